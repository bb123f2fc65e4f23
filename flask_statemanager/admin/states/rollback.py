"""Going back: an earlier version of a state beside what it is now, and the way to restore it."""

from __future__ import annotations

from msgspec.structs import replace

from ...core.record import Record
from ...errors import StateNotFound, StateValidationError
from ..answers import Done, Shown
from ..visit import Visit
from .differences import differences
from .forms import known_id, seen, version, vetoable
from .history import changes_of, meanwhile, record_at


def show_rollback(visit: Visit, state_id: str) -> Shown:
    """Show what the restoring of a version would change.

    :param visit: the visit; ``to`` in its query is the version.
    :param state_id: which state.
    :raises StateNotFound: when there never was one, or no such version is kept.
    :raises StorageError: when the storage fails.
    """
    name = known_id(state_id)
    present, past = _present(visit, name), _past(visit, name)
    restored = replace(present, label=past.label, status=past.status, data=past.data, metadata=past.metadata)
    return Shown(
        "state_rollback.html",
        {
            "state": present,
            "past": past,
            "data": visit.covered(past.data),
            "metadata": visit.covered(past.metadata),
            "differences": differences(visit, present, restored),
            "meanwhile": meanwhile(visit, present),
        },
    )


def roll_back(visit: Visit, state_id: str) -> Done:
    """Restore a version, if the state is still at the version that the page showed.

    :param visit: the visit.
    :param state_id: which state.
    :raises StateManagerError: when it is not possible, or the page is old.
    """
    name, wanted = known_id(state_id), version(visit.form.get("to", ""))
    if wanted is None:
        raise StateValidationError({"to": ["Must be a version, a positive number."]})
    with vetoable():
        done = visit.runtime.lifecycle.rollback_state(
            name, wanted, undelete=visit.form.get("undelete") == "yes", expect=seen(visit), **visit.writing()
        )
    return Done(f"{name}: version {wanted} is restored, as version {done.version}.", visit.url("state", state_id=name))


def _present(visit: Visit, name: str) -> Record:
    found = visit.runtime.bucket.get(name, strong=True)
    if found is not None:
        return found
    changes = changes_of(visit, name)
    if not changes:
        raise StateNotFound(name)
    return changes[0].after


def _past(visit: Visit, name: str) -> Record:
    written = visit.query.get("to", "")
    wanted = version(written)
    found = None if wanted is None else record_at(visit, name, wanted)
    if found is None:
        raise StateNotFound(name, at=f"version {written}")
    return found

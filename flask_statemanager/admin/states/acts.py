"""What is done to a state from its page: transitions, deletion, timers."""

from __future__ import annotations

from typing import Any

from ...core.secrets import uncovered
from ...errors import StateValidationError
from ...lifecycle.types import DELETE
from ..answers import Answer, Done
from ..visit import REASON, Visit
from .forms import an_object, known_id, moment, named, seen, span, vetoable
from .state import show_state

TIMER = "timer_"
"""What the fields of the form for timers begin with."""


def transition(visit: Visit, state_id: str) -> Done:
    """Move a state along a transition, if it is still at the version that the page showed.

    :param visit: the visit.
    :param state_id: which state.
    :raises StateManagerError: when it is not possible, or the page is old.
    """
    name, wanted = known_id(state_id), visit.form.get("transition", "")
    data = _given(visit, "data")
    if wanted == DELETE:
        raise StateValidationError({"transition": ["A deletion has a form of its own, which asks before."]})
    with vetoable():
        done = visit.runtime.lifecycle.update_state(name, data, wanted, expect=seen(visit), **visit.writing())
    return Done(
        f"{name}: {wanted} done, the status is {done.status}, version {done.version}.",
        visit.url("state", state_id=name),
    )


def remove(visit: Visit, state_id: str) -> Done:
    """Delete a state, if it is still at the version that the page showed.

    :param visit: the visit.
    :param state_id: which state.
    :raises StateManagerError: when it is not possible, or the page is old.
    """
    name = known_id(state_id)
    with vetoable():
        done = visit.runtime.lifecycle.delete_state(name, expect=seen(visit), **visit.writing())
    return Done(
        f"{name} is deleted, as version {done.version}; its history stays, and any version can be restored.",
        visit.url("state", state_id=name),
    )


def schedule(visit: Visit, state_id: str) -> Done:
    """Have a transition made later.

    :param visit: the visit.
    :param state_id: which state.
    :raises StateManagerError: when it is not possible.
    """
    name, form = known_id(state_id), visit.form
    at, after, data = moment(visit, f"{TIMER}at"), span(visit, f"{TIMER}after"), _given(visit, f"{TIMER}data")
    with vetoable(), named(lambda field: field if field == REASON else f"{TIMER}{field}"):
        made = visit.runtime.lifecycle.schedule_transition(
            name,
            form.get(f"{TIMER}transition", ""),
            at=at,
            after=after,
            data=data,
            key=form.get(f"{TIMER}key", "").strip() or None,
            **visit.writing(),
        )
    return Done(f"{name}: {made.transition} is due at {made.due_at}.", visit.url("state", state_id=name))


def cancel(visit: Visit, state_id: str) -> Done:
    """Cancel a timer.

    :param visit: the visit.
    :param state_id: which state.
    :raises StateManagerError: when it is not possible.
    """
    name, key = known_id(state_id), visit.form.get("key", "")
    number = visit.runtime.lifecycle.cancel_scheduled(name, key=key, **visit.writing())
    told = f"{name}: the timer is cancelled." if number else f"{name}: the timer has ended already."
    return Done(told, visit.url("state", state_id=name))


def reveal(visit: Visit, state_id: str) -> Answer:
    """Show a state with its secrets.

    :param visit: one that sees them.
    :param state_id: which state.
    :raises StateNotFound: when there never was one.
    """
    return show_state(visit, state_id)


def _given(visit: Visit, field: str) -> dict[str, Any] | None:
    """Return the data that a form brings along; what is covered in it can only be a mistake."""
    written = visit.form.get(field, "").strip()
    if not written:
        return None
    return {"data": uncovered(an_object(written, field), {}, visit.runtime.settings.live_secrets, field)}

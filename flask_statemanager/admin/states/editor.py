"""The editor: a state's document as JSON, whole or as a patch, and new states."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

from msgspec import Struct

from ...core.clock import iso
from ...core.record import JSON, Record
from ...errors import StateValidationError
from ...lifecycle.writes import Mode
from ..answers import Done, Shown
from ..visit import Visit
from .forms import UNITS, an_object, live, mended, moment, named, seen, span, vetoable
from .history import meanwhile

MOST_EDITED = 300_000
"""Bytes that a document takes as a form, for the editor to show it whole; a larger one takes patches.

Flask takes 500,000 bytes of a form unless it is told otherwise.
"""

DOCUMENTS = ("data", "metadata")

_NAMES = {"state_type": "type", "initial_status": "status", "state_id": "id"}


class Line(Struct, frozen=True):
    """One line of a document that was refused.

    :param text: the line.
    :param problems: what is wrong with what is in it.
    """

    text: str
    problems: Sequence[str]


def show_editor(visit: Visit, state_id: str) -> Shown:
    """Show the editor of a state, with what was typed where that was refused.

    :param visit: the visit; ``mode`` in its query is ``merge`` for a patch.
    :param state_id: which state.
    :raises StateNotFound: when there is none.
    :raises StorageError: when the storage fails.
    """
    state = live(visit, state_id)
    whole = {part: json.dumps(visit.covered(getattr(state, part)), indent=2, ensure_ascii=False) for part in DOCUMENTS}
    large = sum(len(quote_plus(text)) for text in whole.values()) > MOST_EDITED
    merges = large or visit.query.get("mode") == "merge"
    return Shown(
        "state_edit.html",
        {
            "state": state,
            "merges": merges,
            "large": large,
            "documents": {part: visit.typed(part, "{}" if merges else whole[part]) for part in DOCUMENTS},
            "reviewed": _reviewed(visit),
            "expires_at": "" if state.expires_at is None else iso(state.expires_at),
            "meanwhile": meanwhile(visit, state),
        },
    )


def save(visit: Visit, state_id: str) -> Done:
    """Write what was typed, if the state is still at the version that the page showed.

    :param visit: the visit.
    :param state_id: which state.
    :raises StateManagerError: when it is not possible, or the page is old.
    """
    state, form = live(visit, state_id), visit.form
    mode: Mode = "merge" if form.get("mode") == "merge" else "replace"
    envelope: dict[str, Any] = {part: mended(visit, part, getattr(state, part)) for part in DOCUMENTS}
    _check_kept(visit, state)
    label, owner = form.get("name", "").strip(), form.get("owner", "").strip()
    expires_at = moment(visit, "expires_at")
    with vetoable():
        done = visit.runtime.lifecycle.update_state(
            state.key.name,
            envelope | ({"name": label} if label else {}),
            mode=mode,
            expect=seen(visit),
            owner=owner if owner not in ("", state.owner) else None,
            expires_at=None if expires_at == state.expires_at else expires_at,
            **visit.writing(),
        )
    return Done(f"{done.state_id} is saved, as version {done.version}.", visit.url("state", state_id=done.state_id))


def _check_kept(visit: Visit, state: Record) -> None:
    """Refuse an empty field for what can be replaced and not be taken away, as nothing would happen."""
    kept = {"name": state.label, "owner": state.owner, "expires_at": state.expires_at}
    emptied = [name for name, value in kept.items() if value and not visit.form.get(name, str(value)).strip()]
    if emptied:
        told = ["This can be changed, and not be taken away: type another one, or what was here."]
        raise StateValidationError(dict.fromkeys(emptied, told))


def show_new(visit: Visit) -> Shown:
    """Show the form for a new state, with what was typed where that was refused.

    :param visit: the visit.
    """
    types = visit.runtime.declarations.definitions.types
    documents = {part: visit.typed(part, "{}") for part in DOCUMENTS}
    initial = {status for definition in types.values() for status in definition.machine.initial}
    values = {"types": sorted(types), "initial": sorted(initial), "documents": documents, "units": list(UNITS)}
    return Shown("state_new.html", values | {"reviewed": _reviewed(visit)})


def create(visit: Visit) -> Done:
    """Make a new state.

    :param visit: the visit.
    :raises StateManagerError: when it is not possible.
    """
    form = {name: value.strip() for name, value in visit.form.items()}
    envelope: dict[str, Any] = {part: mended(visit, part, {}) for part in DOCUMENTS}
    with vetoable(), named(lambda field: _NAMES.get(field, field)):
        made = visit.runtime.lifecycle.register_state(
            form.get("id") or None,
            form.get("type", ""),
            envelope | ({"name": form["name"]} if form.get("name") else {}),
            initial_status=form.get("status") or None,
            owner=form.get("owner") or None,
            ttl=span(visit, "ttl"),
            **visit.writing(),
        )
    return Done(f"{made.state_id} is there, as version {made.version}.", visit.url("state", state_id=made.state_id))


def _reviewed(visit: Visit) -> dict[str, list[Line]]:
    """Return the refused documents line by line, each message at the line of its field."""
    if visit.refusal is None:
        return {}
    reviewed = {}
    for part in DOCUMENTS:
        told = {path: texts for path, texts in visit.refusal.fields.items() if path.startswith(f"{part}.")}
        if told:
            try:
                typed = an_object(visit.form.get(part, ""), part)
            except StateValidationError:
                continue
            reviewed[part] = list(lines(visit.covered(typed), told, part))
    return reviewed


def lines(value: JSON, told: Mapping[str, Sequence[str]], path: str, name: str = "", depth: int = 0) -> Iterator[Line]:
    """Write a JSON value over several lines, messages at the lines of their fields.

    :param value: the value.
    :param told: messages by path; one about what is not there stands where what would hold it begins.
    :param path: where the value is.
    :param name: what stands before it.
    :param depth: how far it is indented.
    """
    indent, brackets = "  " * depth, "[]" if isinstance(value, list) else "{}"
    members = _members(value)
    if not members:
        yield Line(f"{indent}{name}{json.dumps(value, ensure_ascii=False)}", _about(told, path, ()))
        return
    yield Line(f"{indent}{name}{brackets[0]}", _about(told, path, [member for member, _before, _item in members]))
    for member, before, item in members:
        yield from lines(item, told, f"{path}.{member}", before, depth + 1)
    yield Line(f"{indent}{brackets[1]}", [])


def _members(value: JSON) -> list[tuple[str, str, JSON]]:
    """Return what is in a value: how a path calls it, what stands before it, and itself."""
    if isinstance(value, dict):
        return [(member, f"{json.dumps(member, ensure_ascii=False)}: ", item) for member, item in value.items()]
    return [(str(place), "", item) for place, item in enumerate(value)] if isinstance(value, list) else []


def _about(told: Mapping[str, Sequence[str]], path: str, members: Sequence[str]) -> list[str]:
    """Return the messages about a value, and about what is not in it."""
    known = tuple(f"{path}.{member}" for member in members)
    found = list(told.get(path, ()))
    for at, texts in told.items():
        elsewhere = any(at == name or at.startswith(f"{name}.") for name in known)
        if at.startswith(f"{path}.") and not elsewhere:
            found += [f"{at.removeprefix(path)[1:]}: {text}" for text in texts]
    return found

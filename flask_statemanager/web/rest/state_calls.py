"""What the routes of states have in common: whom they act for, under which conditions, and how a state is shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from flask import url_for

from ...errors import StateNotFound, StateValidationError
from ...lifecycle.state import State
from ..answer import Answer
from ..call import Call
from ..cursors import cursor, next_link
from .once import once_in

CONTENT = ("name", "data", "metadata")
"""The parts of a state that are its envelope."""

_LIKE_A_ROUTE = re.compile(r"/(?:allowed|diff|history|rollback|timers|transitions/[^/]+)$")

NAMES = {"state_type": "type", "initial_status": "status", "after": "cursor"}
"""What arguments of the verbs are called in requests."""


@contextmanager
def renamed() -> Iterator[None]:
    """Name fields in what a verb refuses as the request names them.

    :raises StateValidationError: when the block does.
    """
    try:
        yield
    except StateValidationError as error:
        fields = {NAMES.get(name, name.removeprefix("filters.")): told for name, told in error.errors.items()}
        raise StateValidationError(fields) from error


def plain(state_id: str) -> str:
    """Return the id that a path stands for; one that ends like a route has a slash behind it.

    :param state_id: as it stands in the path.
    """
    return state_id.removesuffix("/")


def place_of(state_id: str) -> str:
    """Return the path of a state, which :func:`plain` understands.

    :param state_id: its id.
    """
    path = url_for(".get_state", state_id=state_id)
    return f"{path}/" if _LIKE_A_ROUTE.search(path) else path


def origin_of(call: Call) -> dict[str, Any]:
    """Return who asks and why, as the verbs take it.

    :param call: the call; ``reason`` may stand in its body or its query.
    """
    return {"actor": call.actor, "reason": call.body.get("reason", call.query.get("reason"))}


def content(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the envelope of a body; one without data has none to change.

    :param given: the body.
    """
    return {"data": {}, **{part: given[part] for part in CONTENT if part in given}}


def shown(state: State, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Answer with a state.

    :param state: the state.
    :param status: the HTTP status.
    :param headers: further headers.
    """
    return Answer(state, status, state.version, headers or {})


def present(call: Call, state_id: str) -> State:
    """Return a state as it is stored now.

    :param call: the call.
    :param state_id: which state.
    :raises StateNotFound: when there is none.
    """
    found = call.runtime.lifecycle.get_state(state_id, consistency="strong")
    if found is None:
        raise StateNotFound(state_id)
    return found


def changed(call: Call, state_id: str, write: Callable[[int | None], State]) -> Answer:
    """Write under the conditions of the request, once, and answer with the state as it is then.

    :param call: the call.
    :param state_id: which state.
    :param write: writes if this version is stored; whatever is stored, for None.
    """

    def work() -> Answer:
        conditions = call.preconditions
        return shown(conditions.guard(lambda: present(call, state_id).version, write) if conditions else write(None))

    return once_in(call.runtime.bucket, call, work, state_id=state_id)


def page_of(found: Sequence[Mapping[str, Any]], limit: int, place: str) -> Answer:
    """Answer with a page of a list of which one more was read than it shows.

    :param found: what was read.
    :param limit: the most that it shows.
    :param place: the member by whose number the next page goes on.
    """
    page = found[:limit]
    if len(found) <= limit:
        return Answer({"items": page, "next": None})
    behind = str(page[-1][place])
    return Answer({"items": page, "next": cursor(behind)}, links=next_link(behind))


def number_at(place: str | None) -> int | None:
    """Return the number by which a page goes on, or None for the first page.

    :param place: what the cursor stands for.
    :raises StateValidationError: when it is the cursor of something else.
    """
    if place is None:
        return None
    if not (place.isascii() and place.isdecimal()) or len(place) > 18:
        raise StateValidationError({"cursor": ["This is the cursor of another list: take the one of the link."]})
    return int(place)

"""The routes for what becomes of a state: transitions, what is allowed, history, differences, rollback."""

from __future__ import annotations

from typing import Any

from ...core.patch import diff
from ...errors import StateNotFound
from ...lifecycle.state import State
from ..answer import Answer
from ..call import Call
from ..cursors import position
from ..operation import Operations
from .state_answers import AllowedAnswer, DiffAnswer, HistoryAnswer, StateAnswer
from .state_calls import changed, content, number_at, origin_of, page_of, present
from .state_requests import DiffQuery, HistoryQuery, Move, Rollback

operations = Operations("transitions", "What becomes of a state, what has, and what could.")

COMPARED = ("name", "type", "status", "data", "metadata", "owner", "expires_at")
"""The members of a state that a difference tells of; the others differ with every version."""


@operations.operation(
    "POST",
    "/states/<path:state_id>/transitions/<transition>",
    permission="write",
    summary="Move a state along a transition",
    body=Move,
    body_required=False,
    answers={200: StateAnswer},
    conditional=True,
    idempotent=True,
)
def make_transition(call: Call, state_id: str, transition: str) -> Answer:
    """What the present status or a guard does not allow is 409, with the transitions that are `allowed`.

    :param call: the call.
    :param state_id: which state.
    :param transition: which transition.
    """
    given = call.body

    def write(version: int | None) -> State:
        return call.runtime.lifecycle.update_state(
            state_id,
            content(given),
            transition,
            mode=given["mode"] if given.keys() & {"data", "metadata"} else "merge",
            expect=version,
            ttl=given.get("ttl"),
            expires_at=given.get("expires_at"),
            owner=given.get("owner"),
            **origin_of(call),
        )

    return changed(call, state_id, write)


@operations.operation(
    "GET",
    "/states/<path:state_id>/allowed",
    permission="read",
    summary="List the transitions that are possible now",
    answers={200: AllowedAnswer},
)
def list_allowed(call: Call, state_id: str) -> Answer:
    """Guards are asked with the data as it is. What a guard refuses is explained.

    :param call: the call.
    :param state_id: which state.
    """
    state, explained = present(call, state_id), call.runtime.lifecycle.explain_transitions(state_id)
    return Answer(
        {
            "state_id": state_id,
            "status": explained[0].status if explained else state.status,
            "allowed": [each.transition for each in explained if each.possible],
            "transitions": [
                {"transition": each.transition, "possible": each.possible, "guard": each.guard, "reason": each.reason}
                for each in explained
            ],
        }
    )


@operations.operation(
    "GET",
    "/states/<path:state_id>/history",
    permission="read",
    summary="List the changes of a state",
    query=HistoryQuery,
    answers={200: HistoryAnswer},
)
def list_history(call: Call, state_id: str) -> Answer:
    """A deleted state keeps its history. The header `Link` has the next page.

    :param call: the call.
    :param state_id: which state.
    :raises StateNotFound: when there never was one.
    """
    asked = call.query
    limit, after = asked["limit"], number_at(position(asked.get("cursor")))
    found = call.runtime.lifecycle.get_state_history(
        state_id, limit + 1, after, newest_first=asked["order"] == "newest"
    )
    if not found and after is None:
        raise StateNotFound(state_id)
    return page_of(found, limit, "revision")


@operations.operation(
    "GET",
    "/states/<path:state_id>/diff",
    permission="read",
    summary="Compare two versions of a state",
    query=DiffQuery,
    answers={200: DiffAnswer},
)
def compare_versions(call: Call, state_id: str) -> Answer:
    """The patch turns the older version into the newer, without what differs with every version.

    By default the last change is shown.

    :param call: the call.
    :param state_id: which state.
    """
    asked = call.query
    newer = _at(call, state_id, asked["to_version"]) if "to_version" in asked else present(call, state_id)
    if "from_version" in asked:
        before, older = asked["from_version"], _compared(_at(call, state_id, asked["from_version"]))
    else:
        before, older = newer.version - 1, _before(call, newer)
    patch = diff(older, _compared(newer))
    return Answer({"state_id": state_id, "from": before, "to": newer.version, "patch": patch})


@operations.operation(
    "POST",
    "/states/<path:state_id>/rollback",
    permission="write",
    summary="Restore an earlier version of a state",
    body=Rollback,
    answers={200: StateAnswer},
    conditional=True,
    idempotent=True,
)
def roll_back(call: Call, state_id: str) -> Answer:
    """Appended is a new version with name, data, metadata and status of then, owner and expiry of now.

    The old data must be acceptable today.

    :param call: the call.
    :param state_id: which state.
    """
    given = call.body

    def write(version: int | None) -> State:
        return call.runtime.lifecycle.rollback_state(
            state_id,
            given.get("to_version"),
            at=given.get("at"),
            undelete=given["undelete"],
            expect=version,
            **origin_of(call),
        )

    return changed(call, state_id, write)


def _at(call: Call, state_id: str, version: int) -> State:
    found = call.runtime.lifecycle.get_state(state_id, at=version)
    if found is None:
        raise StateNotFound(state_id, at=f"version {version}")
    return found


def _before(call: Call, newer: State) -> dict[str, Any]:
    """Return what a version is compared with by default: nothing, where a state begins or comes back."""
    found = None if newer.version == 1 else call.runtime.lifecycle.get_state(newer.state_id, at=newer.version - 1)
    return {} if found is None else _compared(found)


def _compared(state: State) -> dict[str, Any]:
    return {part: state[part] for part in COMPARED if part in state}

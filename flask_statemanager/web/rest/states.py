"""The routes of states: find, create, read, patch, delete."""

from __future__ import annotations

from ...errors import StateNotFound
from ...lifecycle.state import State
from ..answer import Answer
from ..call import Call
from ..cursors import cursor, next_link, position
from ..operation import Operations
from .once import once_in
from .state_answers import StateAnswer, StatesAnswer
from .state_calls import changed, content, origin_of, place_of, plain, renamed, shown
from .state_requests import NewState, Reasoned, StatePatch, StateQuery, StatesQuery

operations = Operations("states", "Things with a status, a history, and rules for what may become of them.")

MERGE_PATCH = ("application/merge-patch+json", "application/json")


@operations.operation(
    "GET", "/states", permission="read", summary="Search states", query=StatesQuery, answers={200: StatesAnswer}
)
def list_states(call: Call) -> Answer:
    """All conditions must hold. The header `Link` has the next page.

    :param call: the call.
    """
    asked = call.query
    with renamed():
        found = call.runtime.lifecycle.search_states(
            asked.get("type"),
            asked["filters"],
            status=asked.get("status"),
            owner=asked.get("owner"),
            order_by=asked["sort"],
        )
        page = found.page(asked["limit"], position(asked.get("cursor")))
    if page.next is None:
        return Answer({"items": page.items, "next": None})
    return Answer({"items": page.items, "next": cursor(page.next)}, links=next_link(page.next))


@operations.operation(
    "POST",
    "/states",
    permission="write",
    summary="Create a state",
    body=NewState,
    answers={201: StateAnswer},
    idempotent=True,
)
def create_state(call: Call) -> Answer:
    """The header `Location` says where it is. An id that is taken is 409.

    :param call: the call.
    """
    given = call.body

    def create() -> Answer:
        with renamed():
            made = call.runtime.lifecycle.register_state(
                given.get("state_id"),
                given["type"],
                content(given),
                initial_status=given.get("status"),
                ttl=given.get("ttl"),
                expires_at=given.get("expires_at"),
                owner=given.get("owner"),
                **origin_of(call),
            )
        return shown(made, status=201, headers={"Location": place_of(made.state_id)})

    return once_in(call.runtime.bucket, call, create)


@operations.operation(
    "GET",
    "/states/<path:state_id>",
    permission="read",
    summary="Read a state",
    query=StateQuery,
    answers={200: StateAnswer},
    conditional=True,
)
def get_state(call: Call, state_id: str) -> Answer:
    """The `ETag` is the version.

    An id that ends like a route of its own, such as `a/history`, has a slash behind it here: `/states/a/history/`.

    :param call: the call.
    :param state_id: which state.
    :raises StateNotFound: when there is none.
    """
    name, asked = plain(state_id), call.query
    at = asked.get("version", asked.get("at"))
    found = call.runtime.lifecycle.get_state(name, at=at)
    if found is None:
        raise StateNotFound(name, at=at)
    return shown(found)


@operations.operation(
    "PATCH",
    "/states/<path:state_id>",
    permission="write",
    summary="Change a state in place",
    query=Reasoned,
    body=StatePatch,
    media_types=MERGE_PATCH,
    answers={200: StateAnswer},
    conditional=True,
    idempotent=True,
)
def patch_state(call: Call, state_id: str) -> Answer:
    """The body is a merge patch (RFC 7396) of the state; null removes a member of `data` or `metadata`.

    This is the transition `update`, which the machine of a type may refuse in some statuses (409).

    :param call: the call.
    :param state_id: which state.
    """
    name, given = plain(state_id), call.body

    def write(version: int | None) -> State:
        return call.runtime.lifecycle.update_state(
            name,
            content(given),
            expect=version,
            expires_at=given.get("expires_at"),
            owner=given.get("owner"),
            **origin_of(call),
        )

    return changed(call, name, write)


@operations.operation(
    "DELETE",
    "/states/<path:state_id>",
    permission="write",
    summary="Delete a state",
    query=Reasoned,
    answers={200: StateAnswer},
    conditional=True,
    idempotent=True,
)
def delete_state(call: Call, state_id: str) -> Answer:
    """The answer is the last state, with the status `deleted`. Its history stays, and a rollback can bring it back.

    :param call: the call.
    :param state_id: which state.
    """
    name = plain(state_id)

    def write(version: int | None) -> State:
        return call.runtime.lifecycle.delete_state(name, expect=version, **origin_of(call))

    return changed(call, name, write)

"""The routes of timers: transitions that are made later."""

from __future__ import annotations

from ..answer import Answer
from ..call import Call
from ..cursors import position
from ..operation import Operations
from .once import once_in
from .state_answers import CancelledAnswer, TimerAnswer, TimersAnswer
from .state_calls import number_at, origin_of, page_of
from .state_requests import CancelQuery, NewTimer, TimersQuery

operations = Operations("timers", "Transitions that a worker makes later.")


@operations.operation(
    "GET",
    "/states/<path:state_id>/timers",
    permission="read",
    summary="List the timers and deadlines of a state",
    query=TimersQuery,
    answers={200: TimersAnswer},
)
def list_timers(call: Call, state_id: str) -> Answer:
    """Those set first come first. The header `Link` has the next page.

    :param call: the call.
    :param state_id: which state.
    """
    asked = call.query
    found = call.runtime.lifecycle.list_timers(
        state_id,
        status=asked.get("status"),
        limit=asked["limit"] + 1,
        after=number_at(position(asked.get("cursor"))),
    )
    return page_of(found, asked["limit"], "id")


@operations.operation(
    "POST",
    "/states/<path:state_id>/timers",
    permission="write",
    summary="Have a transition made later",
    body=NewTimer,
    answers={201: TimerAnswer},
    idempotent=True,
)
def schedule_transition(call: Call, state_id: str) -> Answer:
    """Either `at` or `after` says when. If the transition is not possible then, the timer ends as `skipped`.

    :param call: the call.
    :param state_id: which state.
    """
    given = call.body

    def schedule() -> Answer:
        made = call.runtime.lifecycle.schedule_transition(
            state_id,
            given["transition"],
            at=given.get("at"),
            after=given.get("after"),
            data=None if "data" not in given else {"data": given["data"]},
            key=given.get("key"),
            only_in=given.get("only_in"),
            **origin_of(call),
        )
        return Answer(made, 201)

    return once_in(call.runtime.bucket, call, schedule, state_id=state_id)


@operations.operation(
    "DELETE",
    "/states/<path:state_id>/timers",
    permission="write",
    summary="Cancel timers of a state",
    query=CancelQuery,
    answers={200: CancelledAnswer},
    idempotent=True,
)
def cancel_timers(call: Call, state_id: str) -> Answer:
    """All that have not fired, or some. Deadlines stay.

    :param call: the call.
    :param state_id: which state.
    """
    asked = call.query

    def cancel() -> Answer:
        number = call.runtime.lifecycle.cancel_scheduled(
            state_id, key=asked.get("key"), transition=asked.get("transition"), **origin_of(call)
        )
        return Answer({"cancelled": number})

    return once_in(call.runtime.bucket, call, cancel, state_id=state_id)

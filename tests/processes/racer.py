"""A process that races others: it waits for the starting gun, acts, and says how it fared, round by round."""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from flask_statemanager import StateConflict, TransitionNotAllowed
from tests.processes.application import Shared, opened
from tests.processes.kv_acts import KV_ACTS
from tests.processes.voice import say

RACERS, FIELDS = 8, 50

Act = Callable[[Shared, int, int], Any]
"""Takes the application, the round from 0 on, and the racer's number; what it returns is told."""


def transition(shared: Shared, turn: int, me: int) -> Any:
    """Make one transition that only one can make, each round of another state."""
    return shared.states.update_state(f"t{turn}", {"winner": me}, transition="activate").version


def self_transition(shared: Shared, turn: int, me: int) -> Any:
    """Stay in the status, expecting the version that everybody knows."""
    return shared.states.update_state("self", {"winner": me}, expect=turn + 1).version


def there_and_back(shared: Shared, turn: int, me: int) -> Any:
    """Leave the status and come back to it; the others still expect the version from before."""
    seen = 2 * turn + 2
    shared.states.update_state("aba", {"winner": me}, transition="suspend", expect=seen)
    return shared.states.update_state("aba", transition="resume", expect=seen + 1).version


def settle_payment(shared: Shared, turn: int, me: int) -> Any:
    """Complete a payment or fail it, half of them in the application's own transaction with a row of its own."""
    event = "fail" if me % 2 else "complete"
    if me % 4 < 2:
        return shared.states.update_state(f"p{turn}", {"by": me}, transition=event).version
    session = shared.db.session
    try:
        with shared.states.transaction(session):
            session.add(shared.note(text=f"p{turn}:{event}"))
            version = shared.states.update_state(f"p{turn}", {"by": me}, transition=event).version
        session.commit()
    finally:
        session.rollback()
    return version


def repeat_request(shared: Shared, turn: int, me: int) -> Any:
    """Deliver the same webhook as everybody else."""
    return shared.states.update_state(
        f"w{turn}", {"amount": turn}, transition="activate", actor="gateway", idempotency_key=f"event-{turn}"
    )


def repeat_registration(shared: Shared, turn: int, me: int) -> Any:
    """Create a state as everybody else does, without naming it: the answer says which it is."""
    return shared.states.register_state(None, "user", {"turn": turn}, actor="gateway", idempotency_key=f"new-{turn}")


def merge_fields(shared: Shared, turn: int, me: int) -> Any:
    """Set some of the fields of one state, each in a thread of its own."""

    def merge(number: int) -> int:
        with shared.app.app_context():
            version: int = shared.states.update_state(f"m{turn}", {f"f{number}": number}).version
            return version

    mine = range(me, FIELDS, RACERS)
    with ThreadPoolExecutor(len(mine)) as threads:
        return list(threads.map(merge, mine))


def create(shared: Shared, turn: int, me: int) -> Any:
    """Create a state that everybody wants to create."""
    return shared.states.register_state(f"c{turn}", "user", {"winner": me}).version


ACTS: dict[str, Act] = KV_ACTS | {
    act.__name__: act
    for act in (
        transition,
        self_transition,
        there_and_back,
        settle_payment,
        repeat_request,
        repeat_registration,
        merge_fields,
        create,
    )
}


def outcome(act: Act, shared: Shared, turn: int, me: int) -> dict[str, Any]:
    """Act, and tell how that went.

    :param act: what to do.
    :param shared: the application.
    :param turn: the round.
    :param me: the racer's number.
    """
    try:
        return {"won": True, "answer": act(shared, turn, me)}
    except StateConflict as error:
        return {"won": False, "error": "StateConflict", "expected": error.expected, "actual": error.actual}
    except TransitionNotAllowed as error:
        return {"won": False, "error": "TransitionNotAllowed", "status": error.status, "version": error.version}
    except Exception as error:  # noqa: BLE001 - the test tells what must not happen
        trace = "".join(traceback.format_exception(error))
        return {"won": False, "error": type(error).__name__, "trace": trace}


def main() -> None:
    """Obey until the input ends."""
    warnings.simplefilter("error")
    told = json.loads(sys.argv[1])
    stack, shared = ExitStack(), None
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "open":
            stack.close()
            shared = stack.enter_context(opened(order["url"], redis_url=order["redis_url"]))
            shared.states.get_state("nobody")
            say("open")
            continue
        assert shared is not None
        for turn in range(order["rounds"]):
            assert os.read(told["guns"][turn % 2], 1), "the test has gone"
            say(outcome(ACTS[order["act"]], shared, turn, told["number"]))
    stack.close()


if __name__ == "__main__":
    main()

"""A process that writes until its input ends, and says what has been acknowledged; or writes once, into a trap."""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from flask_statemanager import StorageError
from tests.processes.application import Shared, opened
from tests.processes.traps import Trap
from tests.processes.voice import say

PACE = 0.03
"""Seconds between two writes, and between two attempts."""


def once(order: dict[str, Any]) -> None:
    """Make one transition with a key, in a transaction of its own or in the application's with a row of its own.

    :param order: the database, the paper, which state, which key, whether to join, and the point of the trap.
    """
    call = {"transition": "activate", "actor": "gateway", "idempotency_key": order["key"]}
    with opened(order["url"], paper=order["paper"]) as shared:
        Trap(order["point"], 1).lay(shared)
        if not order["joined"]:
            shared.states.update_state(order["state"], {"paid": True}, **call)
            return
        session = shared.db.session
        with shared.states.transaction(session):
            session.add(shared.note(text=order["key"]))
            shared.states.update_state(order["state"], {"paid": True}, **call)
        session.commit()


def persistently(work: Callable[[], Any]) -> tuple[Any, int]:
    """Do something until the storage lets it be done.

    :param work: does it.
    :returns: its result, and how often the storage failed.
    """
    for failures in itertools.count():
        try:
            return work(), failures
        except StorageError:
            time.sleep(PACE)
    raise AssertionError("counting does not end")


class Stream:
    """Writes that never end: each is repeated under its key until it is acknowledged.

    :param shared: the application.
    """

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.stopping = threading.Event()

    def run(self, state_id: str) -> None:
        """Write to one state.

        :param state_id: which one.
        """
        with self.shared.app.app_context():
            number = 0
            while not self.stopping.is_set():
                number += 1
                try:
                    say(self._acknowledged(state_id, number))
                except Exception as error:  # noqa: BLE001 - told to the test, which fails
                    say({"unexpected": repr(error)})
                    return

    def _acknowledged(self, state_id: str, number: int) -> dict[str, Any]:
        """Write once, under a key, as often as it takes, and read it back."""
        states, key = self.shared.states, f"{state_id}-{number}"
        state, failures = persistently(
            lambda: states.update_state(state_id, {"number": number}, actor="stream", idempotency_key=key)
        )
        seen, _failures = persistently(lambda: states.get_state(state_id))
        assert seen.version >= state.version, "a reading went back behind an acknowledged write"
        # Nobody else writes here; the pause is the pace of the load.
        self.stopping.wait(PACE)
        return {"state": state_id, "version": state.version, "number": number, "failures": failures}


def main() -> None:
    """Write until the input ends."""
    warnings.simplefilter("error")
    order = json.loads(sys.argv[1])
    with opened(order["url"], paper=order["paper"]) as shared:
        stream = Stream(shared)
        threads = [threading.Thread(target=stream.run, args=(state_id,)) for state_id in order["states"]]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        stream.stopping.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()

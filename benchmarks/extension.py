"""The extension as an application has it: a machine, a validator, history, a signal with a receiver, a callback."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import Any

from flask import Flask

from benchmarks.ground import Store
from benchmarks.rounds import Batch, Operation, timed
from benchmarks.work import DOCUMENT, LISTED, PAGE, SEEN, VERSIONS
from flask_statemanager import Machine, StateManager, Transition
from flask_statemanager.signals import state_changed

NEAR_CACHE = {"near_cache_bytes": 2**24}
"""The config of an application with a near cache."""

PATIENCE = 30
"""Seconds until the near cache has to answer."""

KIND = "account"
"""The type of the states."""

MACHINE = Machine(
    initial="active",
    transitions=[Transition("suspend", ["active"], "suspended"), Transition("resume", ["suspended"], "active")],
)


def _hear(_sender: object, **_sent: Any) -> None:
    """Receive a signal."""


def _called(_state_id: str, _old: dict[str, Any], _new: dict[str, Any], _transition: str) -> None:
    """Stand for a callback."""


def _valid(state: dict[str, Any]) -> bool:
    """Look at the data, as a validator does."""
    return "@" in state["data"]["email"]


class Extension:
    """An application with states in a database of its own.

    :param store: where.
    :param stack: closes it.
    :param url: its database; a new one by default.
    :param tables: whether the tables are to be made.
    :param config: further keys, without ``STATEMANAGER_``.
    """

    def __init__(self, store: Store, stack: ExitStack, *, url: str = "", tables: bool = True, **config: Any) -> None:
        self.app = Flask("benchmark")
        self.url = url or store.fresh()
        self.app.config["STATEMANAGER_DATABASE_URI"] = self.url
        # The file is in WAL mode already; left to itself, a commit of sqlite3 waits for the disk.
        self.app.config["STATEMANAGER_SQLITE_WAL"] = not store.durable
        self.app.config.update({f"STATEMANAGER_{key.upper()}": value for key, value in config.items()})
        StateManager.reset_instance()
        self.manager = StateManager(self.app)
        self.document = json.loads(DOCUMENT)
        self.turns = [0] * SEEN
        self.versions = [1] * SEEN
        runtime = self.app.extensions["statemanager"]
        stack.callback(runtime.close)
        if tables:
            runtime.backend.create_tables()
        self.manager.define(KIND, MACHINE)
        self.equip(KIND)
        state_changed.connect(_hear)
        stack.callback(state_changed.disconnect, _hear)
        stack.callback(StateManager.reset_instance)

    def equip(self, kind: str, *, validated: bool = True) -> None:
        """Give a type what an application gives it: a callback, and a validator.

        :param kind: the type.
        :param validated: whether it gets the validator.
        """
        self.manager.register_callback(kind, _called)
        if validated:
            self.manager.register_validator(kind, _valid)

    def seen(self, *, listed: bool = False) -> Extension:
        """Register the states that are read and moved, and return itself.

        :param listed: also those that a search goes through, and one with a long history.
        """
        names = [f"seen_{number}" for number in range(SEEN)]
        with self.app.app_context():
            self._register(names, "active")
            if listed:
                self._register([f"listed_{number}" for number in range(LISTED)], None)
                self._register(["long"], "active")
                for _ in range(VERSIONS - 1):
                    self.manager.update_state("long", {})
        return self

    def _register(self, names: list[str], status: str | None) -> None:
        items = [{"state_id": name, "data": self.document} for name in names]
        assert self.manager.register_many(KIND, items).ok
        if status is None:
            assert self.manager.transition_many(names[1::2], "suspend").ok

    def timed(self, operation: Operation) -> Batch:
        """Return what runs an operation in the app's context, entered once for a batch.

        :param operation: what is measured.
        """
        return timed(operation, self.app.app_context)

    def update(self, number: int) -> None:
        """Move a state and change a member of its data.

        :param number: says which state.
        """
        at = number % SEEN
        self.turns[at] = turn = self.turns[at] + 1
        self.manager.update_state(f"seen_{at}", {"turn": turn}, "suspend" if turn % 2 else "resume")

    def update_expected(self, number: int) -> None:
        """Do the same, saying which version is there.

        :param number: says which state.
        """
        at = number % SEEN
        self.turns[at] = turn = self.turns[at] + 1
        way = "suspend" if turn % 2 else "resume"
        done = self.manager.update_state(f"seen_{at}", {"turn": turn}, way, expect=self.versions[at])
        self.versions[at] = done.version

    def expecting(self) -> Batch:
        """Return what does that with states that the process has just read, as who edits one has; that is not timed."""
        moved = self.timed(self.update_expected)

        def batch(numbers: range) -> float:
            spent = 0.0
            for first in range(0, len(numbers), SEEN):
                with self.app.app_context():
                    for at in range(SEEN):
                        self._take_in_hand(f"seen_{at}")
                spent += moved(numbers[first : first + SEEN])
            return spent

        return batch

    def _take_in_hand(self, name: str) -> None:
        """Read a state until the near cache answers, which first hears of its last change."""
        counters = self.app.extensions["statemanager"].counters
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            before = counters.value("cache.near")
            self.manager.get_state(name)
            if counters.value("cache.near") > before:
                return
        raise RuntimeError(f"The near cache does not keep {name}.")

    def update_hot(self, number: int) -> None:
        """Change the one state that everybody wants.

        :param number: a number that no other run gets.
        """
        self.manager.update_state("hot", {"turn": number})

    def register(self, number: int) -> None:
        """Register a state.

        :param number: makes the id.
        """
        self.manager.register_state(f"new_{number}", KIND, self.document)

    def get(self, number: int) -> Any:
        """Read a state.

        :param number: says which.
        """
        return self.manager.get_state(f"seen_{number % SEEN}")

    def search(self, _number: int) -> Any:
        """Read a page of a search."""
        return self.manager.search_states(KIND, status="active").page(PAGE)

    def history(self, _number: int) -> Any:
        """Read the versions of a state."""
        return self.manager.get_state_history("long")

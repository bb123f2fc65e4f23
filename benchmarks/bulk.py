"""Many states at once, beside a loop over single verbs and beside the bare driver, on SQLite and PostgreSQL.

``python -m benchmarks.bulk`` prints a Markdown table and a JSON document, in microseconds for each state. PostgreSQL is
that of ``--postgres``, else a private one like that of the tests.
"""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flask import Flask

from benchmarks.bulk_floor import postgres_bulk_floor, sqlite_bulk_floor
from benchmarks.floor import DOCUMENT
from benchmarks.lifecycle import PACKAGES, postgres, within
from benchmarks.rounds import Contestant, Operation, measure
from flask_statemanager import Guard, Machine, StateManager, Transition

WAYS = ("driver", "bulk", "loop")


def guarded(_present: Any, _planned: Any) -> bool:
    """Let everything pass, in Python."""
    return True


def machine(*guards: Any) -> Machine:
    """Return a machine that goes round in one status.

    :param guards: of its one transition.
    """
    return Machine(initial="next", transitions=[Transition("go", "next", "next", guards=guards)])


class Work:
    """The verbs on states of their own, many at once and one by one.

    :param manager: acts on the app of the present context.
    :param number: how many states the bulk verbs take at once.
    :param sample: how many states a loop takes.
    """

    def __init__(self, manager: StateManager, number: int, sample: int) -> None:
        self.manager = manager
        self.number, self.sample = number, sample
        self.document = json.loads(DOCUMENT)
        rule = Guard.where({"data.plan": "pro"})
        for name, guards in (("plain", ()), ("ruled", (rule,)), ("coded", (guarded,))):
            manager.define(name, machine(*guards))
            self.create(f"{name}_bulk", name, number)
            self.create(f"{name}_loop", name, sample)

    def create(self, prefix: str, type_name: str, number: int) -> None:
        """Register states by the bulk verb.

        :param prefix: what their ids begin with.
        :param type_name: their type.
        :param number: how many.
        """
        items = [{"state_id": f"{prefix}_{i}", "data": self.document} for i in range(number)]
        assert self.manager.register_many(type_name, items).done == number

    def bulk(self, prefix: str, data: dict[str, Any] | None = None) -> Operation:
        """Return a transition of many states.

        :param prefix: which ones.
        :param data: new data, apart from the turn.
        """
        names = [f"{prefix}_bulk_{i}" for i in range(self.number)]

        def run(turn: int) -> None:
            given = None if data is None else {**data, "turn": turn}
            assert self.manager.transition_many(names, "go", given).done == self.number

        return run

    def loop(self, prefix: str, data: dict[str, Any] | None = None) -> Operation:
        """Return the transitions of some states, one by one.

        :param prefix: which ones.
        :param data: new data, apart from the turn.
        """

        def run(turn: int) -> None:
            given = None if data is None else {**data, "turn": turn}
            for i in range(self.sample):
                self.manager.update_state(f"{prefix}_loop_{i}", given, "go")

        return run

    def register_loop(self, turn: int) -> None:
        """Register some states, one by one.

        :param turn: a number that no other run gets.
        """
        for i in range(self.sample):
            self.manager.register_state(f"one_{turn}_{i}", "plain", self.document)

    def operations(self) -> dict[str, tuple[Operation, Operation]]:
        """Return the bulk verb and the loop for each piece of work."""
        register: Callable[[int], None] = lambda turn: self.create(f"many_{turn}", "plain", self.number)  # noqa: E731
        return {
            "register": (register, self.register_loop),
            "transition": (self.bulk("plain"), self.loop("plain")),
            "transition, guard that is a rule": (self.bulk("ruled"), self.loop("ruled")),
            "transition, guard in Python": (self.bulk("coded"), self.loop("coded")),
            "transition with data": (self.bulk("plain", {}), self.loop("plain", {})),
        }


def contestants(store: str, url: str, arguments: argparse.Namespace, stack: ExitStack) -> Iterator[Contestant]:
    """Yield driver, bulk verb and loop for each piece of work on one database.

    :param store: how to name it.
    :param url: its SQLAlchemy URL.
    :param arguments: the command line.
    :param stack: what is to be closed at the end.
    """
    app = Flask("benchmark")
    app.config["STATEMANAGER_DATABASE_URI"] = url
    StateManager.reset_instance()
    manager = StateManager(app)
    backend = app.extensions["statemanager"].backend
    stack.callback(backend.close)
    backend.create_tables()
    postgresql = url.startswith("postgresql")
    floor = (
        postgres_bulk_floor(url, arguments.number)
        if postgresql
        else sqlite_bulk_floor(url.removeprefix("sqlite:///"), arguments.number)
    )
    stack.callback(floor.connection.close)
    with app.app_context():
        found = Work(manager, arguments.number, arguments.sample).operations()
    context, floors = app.app_context(), floor.operations()
    for work, (bulk, loop) in found.items():
        bare = floors.get(work) or floors["transition with data" if "Python" in work else "transition"]
        for way, operation in zip(WAYS, (bare, within(context, bulk), within(context, loop)), strict=True):
            yield Contestant(store, work, way, operation)


def for_each_state(found: list[Contestant], arguments: argparse.Namespace) -> None:
    """Divide what a run took by the number of its states.

    :param found: the contestants, measured.
    :param arguments: the command line.
    """
    for each in found:
        number = arguments.sample if each.way == "loop" else arguments.number
        each.times[:] = [spent / number for spent in each.times]


def table(found: list[Contestant]) -> str:
    """Draw the results as a Markdown table.

    :param found: driver, bulk verb and loop in turn.
    """
    lines = ["| store | work | driver µs | bulk µs | loop µs | bulk : driver | loop : bulk |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|")
    for floor, bulk, loop in zip(found[::3], found[1::3], found[2::3], strict=True):
        one, two, three = floor.median, bulk.median, loop.median
        what = f"{floor.store} | {floor.work}"
        lines.append(f"| {what} | {one:.1f} | {two:.1f} | {three:.0f} | {two / one:.1f} | {three / two:.1f} |")
    return "\n".join(lines)


def report(found: list[Contestant], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the results with what they were measured on.

    :param found: the contestants.
    :param arguments: the command line.
    """
    versions = {name: version(name) for name in PACKAGES}
    return {
        "rounds": arguments.rounds,
        "states": {"driver": arguments.number, "bulk": arguments.number, "loop": arguments.sample},
        "versions": {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version, **versions},
        "microseconds for each state": [
            {
                "store": each.store,
                "work": each.work,
                "way": each.way,
                "median": round(each.median, 1),
                "lowest": round(min(each.times), 1),
                "highest": round(max(each.times), 1),
            }
            for each in found
        ],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how many rounds count (default 5)")
    parser.add_argument("--number", type=int, default=10_000, help="states of a bulk verb (default 10000)")
    parser.add_argument("--sample", type=int, default=300, help="states of a loop (default 300)")
    parser.add_argument("--postgres", metavar="URL", help="an empty database, postgresql+psycopg://...")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stores = [("SQLite (WAL, NORMAL)", f"sqlite:///{Path(folder) / 'states.db'}")]
        server = postgres(arguments, stack)
        stores += [server] if server else []
        found = [each for store, url in stores for each in contestants(store, url, arguments, stack)]
        measure(found, rounds=arguments.rounds, runs=1)
        for_each_state(found, arguments)
        print(table(found))
        print()
        print(json.dumps(report(found, arguments), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()

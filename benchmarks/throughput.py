"""Transitions in a second, by one thread and by eight, with and without a durable effect, beside the bare driver.

``python -m benchmarks.throughput`` prints a Markdown table and a JSON document. Every thread has states of its own, and
on the bare driver a connection of its own. PostgreSQL is that of ``--postgres``, else a private one like that of the
tests.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from flask import Flask

from benchmarks.floor import DOCUMENT, SEEN, Floor, postgres_floor, sqlite_floor
from benchmarks.lifecycle import PACKAGES, postgres
from benchmarks.rounds import Contestant, Operation, measure
from flask_statemanager import Machine, StateManager, Transition

THREADS = (1, 8)
LANES = max(THREADS)
"""How many groups of states there are, one for each thread."""

KINDS = {"": "plain", ", one effect": "effective"}
"""What is added to the name of the work, and the type of the states."""

Lane = Callable[[int], object]
"""Makes one transition in one group of states, given a number that goes up."""


class Team:
    """Threads that begin together.

    :param number: how many.
    :param each: how many transitions each thread makes.
    """

    def __init__(self, number: int, each: int) -> None:
        self._pool = ThreadPoolExecutor(number)
        self._barrier = threading.Barrier(number)
        self._number = number
        self._each = each

    def operation(self, lanes: list[Lane], context: Callable[[], Any]) -> Operation:
        """Return a run in which every thread makes its transitions.

        :param lanes: what each thread does.
        :param context: entered by each thread.
        """

        def work(lane: Lane, turn: int) -> None:
            self._barrier.wait(60)
            with context():
                for number in range(turn * self._each, (turn + 1) * self._each):
                    lane(number)

        def run(turn: int) -> None:
            found = [self._pool.submit(work, lane, turn) for lane in lanes[: self._number]]
            for each in found:
                each.result()

        return run

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def verbs(manager: StateManager) -> dict[str, list[Lane]]:
    """Return the lanes of each type of states, which are made here.

    :param manager: acts on the app of the present context.
    """
    there_and_back = [Transition("go", ["here"], "there"), Transition("come", ["there"], "here")]
    for kind in KINDS.values():
        manager.define(kind, Machine(initial="here", transitions=there_and_back))
    manager.effect("effective", name="bench")(_nothing)
    document = json.loads(DOCUMENT)
    for kind in KINDS.values():
        items = [{"state_id": f"{kind}_{lane}_{i}", "data": document} for lane in range(LANES) for i in range(SEEN)]
        assert manager.register_many(kind, items).ok

    def move(kind: str, lane: int, done: Iterator[int], _number: int) -> None:
        # Teams of both sizes work on the first lane, so it counts for itself how often its states went there and back.
        turn, state = divmod(next(done), SEEN)
        manager.update_state(f"{kind}_{lane}_{state}", {"turn": turn}, "come" if turn % 2 else "go")

    return {kind: [partial(move, kind, lane, count()) for lane in range(LANES)] for kind in KINDS.values()}


def _nothing(_state_id: str, _old: dict[str, Any], _new: dict[str, Any], _transition: str) -> None:
    """Stand for an effect, which nobody carries out here."""


def contestants(store: str, url: str, teams: dict[int, Team], stack: ExitStack) -> Iterator[Contestant]:
    """Yield driver and extension for each number of threads, with and without an effect, on one database.

    :param store: how to name it.
    :param url: its SQLAlchemy URL.
    :param teams: the threads, by their number.
    :param stack: what is to be closed at the end.
    """
    app = Flask("benchmark")
    app.config["STATEMANAGER_DATABASE_URI"] = url
    StateManager.reset_instance()
    manager = StateManager(app)
    runtime = app.extensions["statemanager"]
    stack.callback(runtime.close)
    runtime.backend.create_tables()
    floors = [_floor(url, f"floor_{lane}") for lane in range(LANES)]
    for floor in floors:
        stack.callback(floor.connection.close)
    with app.app_context():
        found = verbs(manager)
    for threads, team in teams.items():
        for addition, kind in KINDS.items():
            work = f"{threads} thread{'s' * (threads > 1)}{addition}"
            bare: list[Lane] = [partial(floor.transition, effect=bool(addition)) for floor in floors]
            yield Contestant(store, work, "driver", team.operation(bare, ExitStack))
            yield Contestant(store, work, "extension", team.operation(found[kind], app.app_context))


def _floor(url: str, bucket: str) -> Floor:
    path = url.removeprefix("sqlite:///").partition("?")[0]
    return postgres_floor(url, bucket) if url.startswith("postgresql") else sqlite_floor(path, bucket)


def rates(found: list[Contestant], each: int) -> None:
    """Turn microseconds of a run into transitions in a second.

    :param found: the contestants, measured.
    :param each: how many transitions each thread has made in a run.
    """
    for one in found:
        number = int(one.work.split()[0]) * each
        one.times[:] = [number / spent * 1e6 for spent in one.times]


def table(found: list[Contestant]) -> str:
    """Draw the results as a Markdown table.

    :param found: driver and extension in turn.
    """
    lines = ["| store | work | driver /s | extension /s | share |", "|---|---|---:|---:|---:|"]
    for floor, ours in zip(found[::2], found[1::2], strict=True):
        share = ours.median / floor.median
        lines.append(f"| {floor.store} | {floor.work} | {floor.median:,.0f} | {ours.median:,.0f} | {share:.0%} |")
    return "\n".join(lines)


def report(found: list[Contestant], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the results with what they were measured on.

    :param found: the contestants.
    :param arguments: the command line.
    """
    versions = {name: version(name) for name in PACKAGES}
    return {
        "rounds": arguments.rounds,
        "transitions of a thread in a round": arguments.each,
        "versions": {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version, **versions},
        "transitions in a second": [
            {
                "store": one.store,
                "work": one.work,
                "way": one.way,
                "median": round(one.median, 1),
                "lowest": round(min(one.times), 1),
                "highest": round(max(one.times), 1),
            }
            for one in found
        ],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="how many rounds count (default 9)")
    parser.add_argument("--each", type=int, default=150, help="transitions of a thread in a round (default 150)")
    parser.add_argument("--postgres", metavar="URL", help="an empty database, postgresql+psycopg://...")
    arguments = parser.parse_args()
    # Nobody carries the effects out, and that is not to be warned of.
    logging.getLogger("flask_statemanager.effects").setLevel(logging.ERROR)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stores = [("SQLite (WAL, NORMAL)", f"sqlite:///{Path(folder) / 'states.db'}?timeout=60")]
        server = postgres(arguments, stack)
        stores += [server] if server else []
        teams = {number: Team(number, arguments.each) for number in THREADS}
        for team in teams.values():
            stack.callback(team.close)
        found = [each for store, url in stores for each in contestants(store, url, teams, stack)]
        measure(found, rounds=arguments.rounds, runs=1)
        rates(found, arguments.each)
        print(table(found))
        print()
        print(json.dumps(report(found, arguments), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()

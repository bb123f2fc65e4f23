"""A transition with history, a registration and a read, on SQLite and PostgreSQL, beside the bare driver.

``python -m benchmarks.lifecycle`` prints a Markdown table and a JSON document. PostgreSQL is that of ``--postgres``,
else a private one like that of the tests.
"""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flask import Flask

from benchmarks.floor import DOCUMENT, SEEN, postgres_floor, sqlite_floor
from benchmarks.rounds import Contestant, Operation, measure
from flask_statemanager import StateManager
from tests.servers import PostgresServer, ServerMissing

PACKAGES = ("Flask-StateManager", "Flask", "SQLAlchemy", "psycopg")


def verbs(manager: StateManager) -> dict[str, Operation]:
    """Return the verbs that are measured, by what they do.

    :param manager: acts on the app of the present context.
    """
    document = json.loads(DOCUMENT)
    for number in range(SEEN):
        manager.register_state(f"seen_{number}", "user", document)
    turns = [0] * SEEN

    def transition(number: int) -> None:
        at = number % SEEN
        turns[at] += 1
        manager.update_state(f"seen_{at}", {"turn": turns[at]}, "suspend" if turns[at] % 2 else "resume")

    return {
        "transition with history": transition,
        "register": lambda number: manager.register_state(f"new_{number}", "user", document),
        "get_state": lambda number: manager.get_state(f"seen_{number % SEEN}"),
    }


def contestants(store: str, url: str, stack: ExitStack) -> Iterator[Contestant]:
    """Yield driver and extension for each piece of work on one database.

    :param store: how to name it.
    :param url: its SQLAlchemy URL.
    :param stack: what is to be closed at the end.
    """
    app = Flask("benchmark")
    app.config["STATEMANAGER_DATABASE_URI"] = url
    StateManager.reset_instance()
    manager = StateManager(app)
    backend = app.extensions["statemanager"].backend
    stack.callback(backend.close)
    backend.create_tables()
    floor = postgres_floor(url) if url.startswith("postgresql") else sqlite_floor(url.removeprefix("sqlite:///"))
    stack.callback(floor.connection.close)
    with app.app_context():
        found = verbs(manager)
    context = app.app_context()
    for work, operation in floor.operations().items():
        yield Contestant(store, work, "driver", operation)
        yield Contestant(store, work, "extension", within(context, found[work]))


def within(context: Any, operation: Operation) -> Operation:
    """Return the operation, run in an app context; pushing it costs about a microsecond.

    :param context: the context.
    :param operation: what to run in it.
    """

    def run(number: int) -> None:
        with context:
            operation(number)

    return run


def postgres(arguments: argparse.Namespace, stack: ExitStack) -> tuple[str, str] | None:
    """Return name and URL of the PostgreSQL to measure, or None where there is none.

    :param arguments: the command line.
    :param stack: what is to be closed at the end.
    """
    if arguments.postgres:
        return "PostgreSQL", arguments.postgres
    server = PostgresServer()
    try:
        server.start()
    except ServerMissing as missing:
        print(f"PostgreSQL is left out: {missing}", file=sys.stderr)
        return None
    stack.callback(server.close)
    return "PostgreSQL (fsync off)", server.create_database()


def table(found: list[Contestant]) -> str:
    """Draw the results as a Markdown table.

    :param found: driver and extension in turn.
    """
    lines = ["| store | work | driver µs | extension µs | ratio |", "|---|---|---:|---:|---:|"]
    for floor, ours in zip(found[::2], found[1::2], strict=True):
        ratio = ours.median / floor.median
        lines.append(f"| {floor.store} | {floor.work} | {floor.median:.0f} | {ours.median:.0f} | {ratio:.1f} |")
    return "\n".join(lines)


def report(found: list[Contestant], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the results with what they were measured on.

    :param found: the contestants.
    :param arguments: the command line.
    """
    versions = {name: version(name) for name in PACKAGES}
    return {
        "rounds": arguments.rounds,
        "runs": arguments.runs,
        "versions": {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version, **versions},
        "microseconds": [
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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lifecycle", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="how many rounds count (default 15)")
    parser.add_argument("--runs", type=int, default=100, help="how often each works in a round (default 100)")
    parser.add_argument("--postgres", metavar="URL", help="an empty database, postgresql+psycopg://...")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stores = [("SQLite (WAL, NORMAL)", f"sqlite:///{Path(folder) / 'states.db'}")]
        server = postgres(arguments, stack)
        stores += [server] if server else []
        found = [each for store, url in stores for each in contestants(store, url, stack)]
        measure(found, rounds=arguments.rounds, runs=arguments.runs)
        print(table(found))
        print()
        print(json.dumps(report(found, arguments), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()

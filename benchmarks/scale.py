"""How costs grow with the number of states: the same reads and searches among ten thousand and among a million.

``python -m benchmarks.scale [--sizes 10000,100000,1000000]`` prints a Markdown table and a JSON document.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from flask import Flask
from sqlalchemy import func, select

from benchmarks.circumstances import Run
from benchmarks.ground import Choice, Ground, Store
from benchmarks.report import document, results_table
from benchmarks.rounds import Contestant, Operation, measure, timed
from benchmarks.stock import FIELDS, fill
from flask_statemanager import StateManager
from flask_statemanager.backends.sql import indexes
from flask_statemanager.core.query import Order, cursor_after
from flask_statemanager.lifecycle.query import Page

SIZES = (10_000, 100_000, 1_000_000)
"""How many states there are, by turns; with ``--sizes`` also ten million."""

ROUNDS, RUNS = 11, 50
"""How many rounds count, and how often each works in one."""

_PAGE = 20
_SEEN = 50
"""How many different states and cursors each goes round."""


def contestants(store: Store, sizes: Sequence[int], stack: ExitStack) -> Iterator[Contestant]:
    """Yield each piece of work among each number of states.

    :param store: where.
    :param sizes: how many states there are, by turns.
    :param stack: what is to be closed at the end.
    """
    for size in sizes:
        app = Flask("benchmark")
        app.config.update(STATEMANAGER_DATABASE_URI=store.fresh(), STATEMANAGER_INDEXED_FIELDS=FIELDS)
        StateManager.reset_instance()
        manager = StateManager(app)
        backend = app.extensions["statemanager"].backend
        stack.callback(backend.close)
        backend.create_tables()
        names = [found.name for found in indexes.standings(backend)]
        indexes.drop(backend, names, str)  # filling goes faster without
        fill(backend.engine, size)
        indexes.sync(backend, str)
        with app.app_context():
            found = operations(manager, app)
        for work, operation in found.items():
            yield Contestant(store.name, work, f"{size:,} states", timed(operation, app.app_context))


def operations(manager: StateManager, app: Flask) -> dict[str, Operation]:
    """Return what is measured, by name.

    :param manager: acts on the app of the present context.
    :param app: the application, whose states lie ready.
    """
    runtime = app.extensions["statemanager"]
    table = runtime.backend.tables.state
    with runtime.backend.engine.connect() as connection:
        most = connection.scalar(select(func.max(table.c.revision))) or 0
        spread = [most * at // (_SEEN + 1) for at in range(1, _SEEN + 1)]
        ids = list(connection.scalars(select(table.c.name).where(table.c.revision.in_(spread))))
    cursors = [cursor_after(runtime.bucket.get(state_id), Order()) for state_id in ids]
    whole = manager.search_states("user")

    def page(filters: dict[str, Any]) -> Page:
        return manager.search_states("user", filters).page(_PAGE)

    return {
        "get_state": lambda number: manager.get_state(ids[number % _SEEN]),
        "history of a state": lambda number: manager.get_state_history(ids[number % _SEEN]),
        "page in the default order": lambda number: whole.page(_PAGE, after=cursors[number % _SEEN]),
        "page by an indexed field": lambda number: page({"data.city": f"city_{number % 10 * 10 + 1}"}),
        "page by two indexed fields": lambda number: page(
            {"data.city": f"city_{number % 10 * 10 + 1}", "data.plan": "free"}
        ),
        "page by a field and a range": lambda number: page({"data.plan": "pro", "data.amount__gte": number % 500}),
        "page by a range": lambda number: page({"data.amount__gte": number % 500}),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="how many states there are, by turns")
    parser.add_argument("--stores", default="sqlite,postgresql", help="where")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"how many rounds count (default {ROUNDS})")
    parser.add_argument("--postgres", metavar="URL", help="a server on which databases may be made")
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")]
    results: list[dict[str, Any]] = []
    run = Run()
    with ExitStack() as stack:
        ground = Ground(Choice(postgres=given.postgres), stack)
        ground.place(apart=True)
        for store in ground.stores(given.stores.split(",")):
            found = list(contestants(store, sizes, stack))
            measure(found, rounds=given.rounds, runs=RUNS)
            results += [{"run": 0, **each.result()} for each in found]
        report = document(results, [run.told(ground.versions)])
    print(results_table(results))
    print()
    print(json.dumps(report, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()

"""The admin pages: how long the server takes for each, among a million states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from time import perf_counter

from flask import Flask
from flask.testing import FlaskClient

from benchmarks.ground import Ground, Store
from benchmarks.rounds import Batch, Contestant
from benchmarks.scale import SIZES
from benchmarks.stock import FIELDS, FIRST, fill
from benchmarks.work import ADMIN, ADMIN_SLOWEST, EXTENSION
from flask_statemanager import StateManager
from flask_statemanager.backends.sql import indexes

QUICK = 2_000
"""How many states there are where it is to be quick."""

FAILED = 400
"""From this HTTP status on a page is none."""

PAGES = {
    "overview": "/",
    "overview, counted anew": "/?fresh=1",
    "states": "/states",
    "states of a status": "/states?type=user&status=active",
    "states of an owner": "/states?owner=tenant_7",
    "states by an indexed field": "/states?type=user&where=data.city%3Dcity_1",
    "states by text": "/states?text=city_77",
    "one state": f"/states/{FIRST}",
    "its editor": f"/state-editor/{FIRST}",
    "types": "/types",
    "one type": "/types/user",
    "effects": "/effects",
    "timers": "/timers",
    "keys": "/keys",
    "conversations": "/conversations",
    "snapshots": "/snapshots",
    "live changes": "/live",
    "audit": "/audit",
    "audit of somebody": "/audit?actor=system",
    "refusals": "/refusals",
    "sessions": "/sessions",
    "stores": "/stores",
    "long work": "/work",
    "health": "/health",
}
"""The pages, by name: what is behind the prefix."""


def contestants(ground: Ground, store: Store, stack: ExitStack) -> Iterator[Contestant]:
    """Yield the pages.

    :param ground: says whether to be quick.
    :param store: where the states are.
    :param stack: closes what is opened.
    """
    app = stocked(store, QUICK if ground.choice.quick else SIZES[-1], stack)
    prefix = app.extensions["statemanager"].settings.admin_prefix
    client = app.test_client()
    every = {title: visits(client, f"{prefix}{path}") for title, path in PAGES.items()}
    for title, batch in every.items():
        yield Contestant(store.name, f"{ADMIN}: {title}", EXTENSION, batch, unit="ms", scale=1e3)
    yield Contestant(store.name, ADMIN_SLOWEST, EXTENSION, slowest(list(every.values())), unit="ms", scale=1e3)


def stocked(store: Store, size: int, stack: ExitStack) -> Flask:
    """Return an application with the admin pages and a stock of states.

    :param store: where they are.
    :param size: how many.
    :param stack: closes what is opened.
    """
    app = Flask("benchmark")
    app.config.update(
        SECRET_KEY="benchmark",
        STATEMANAGER_DATABASE_URI=store.fresh(),
        STATEMANAGER_INDEXED_FIELDS=FIELDS,
        STATEMANAGER_ADMIN_ENABLED=True,
    )
    StateManager.reset_instance()
    manager = StateManager(app)
    manager.identity_loader(lambda: ("operator", ["admin"]))
    runtime = app.extensions["statemanager"]
    stack.callback(runtime.close)
    runtime.backend.create_tables()
    indexes.drop(runtime.backend, [found.name for found in indexes.standings(runtime.backend)], str)
    fill(runtime.backend.engine, size)
    indexes.sync(runtime.backend, str)
    return app


def visits(client: FlaskClient, path: str) -> Batch:
    """Return what opens a page again and again.

    :param client: the browser.
    :param path: the page.
    """

    def batch(numbers: range) -> float:
        begin = perf_counter()
        for _number in numbers:
            answer = client.get(path, buffered=True)
            if answer.status_code >= FAILED:
                raise RuntimeError(f"{path} answers {answer.status}")
        return perf_counter() - begin

    return batch


def slowest(batches: list[Batch]) -> Batch:
    """Return what opens every page, and takes as long as the slowest of them.

    :param batches: open the pages.
    """
    return lambda numbers: sum(max(batch(range(number, number + 1)) for batch in batches) for number in numbers)

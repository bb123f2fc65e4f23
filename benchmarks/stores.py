"""Stores of user interfaces: small and large tables, beside Serverside of dash-extensions and Flask-Caching."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import Any

from flask import Flask
from flask_caching import Cache

from benchmarks.ground import Ground, Store
from benchmarks.rounds import Contestant, Operation, timed
from benchmarks.work import EXTENSION, STORE_GET, STORE_SET, STORE_SIZES
from flask_statemanager.stores import StateManager, StateManagerConfig

QUICK = ("1 KB",)
"""Which sizes are measured with ``--quick``."""

RUNS = {"1 KB": 100, "100 KB": 20, "5 MB": 2}
"""How often each is read and written in a round."""


def table(rows: int) -> list[dict[str, Any]]:
    """Return a table as a callback hands it to a store: records of numbers and texts.

    :param rows: how many.
    """
    chance = random.Random(rows)
    cities = ("Berlin", "Lisbon", "Oslo")
    return [
        {"id": at, "name": f"user{at}", "amount": chance.random(), "city": chance.choice(cities)} for at in range(rows)
    ]


def contestants(ground: Ground, store: Store, stack: ExitStack) -> Iterator[Contestant]:
    """Yield reads and writes of each size, by the extension and by the others that keep values where it does.

    :param ground: says whether to be quick, and whether others take part.
    :param store: where.
    :param stack: closes what is opened.
    """
    sizes = QUICK if ground.choice.quick else tuple(STORE_SIZES)
    ways = {EXTENSION: _ours(store, stack)}
    if ground.choice.peers:
        ways |= _others(store, stack)
    for size in sizes:
        value, runs = table(STORE_SIZES[size]), None if ground.choice.quick else RUNS[size]
        for way, kept in ways.items():
            key = f"table of {size}"
            kept.set(key, value)
            assert kept.get(key) == value
            for work, operation in _works(kept, key, value).items():
                yield Contestant(store.name, f"{work}, {size}", way, timed(operation), runs=runs)


def _works(kept: Any, key: str, value: Any) -> dict[str, Operation]:
    def read(_number: int) -> Any:
        return kept.get(key)

    def write(_number: int) -> Any:
        return kept.set(key, value)

    return {STORE_GET: read, STORE_SET: write}


class Ours:
    """The store manager, by the names that the others have.

    :param manager: it.
    """

    def __init__(self, manager: StateManager) -> None:
        self._manager = manager

    def get(self, key: str) -> Any:
        """Read.

        :param key: the store.
        """
        return self._manager.get_store_data(key, user_id="ada")

    def set(self, key: str, value: Any) -> Any:
        """Write.

        :param key: the store.
        :param value: what to keep.
        """
        return self._manager.set_store_data(key, value, user_id="ada")


def _ours(store: Store, stack: ExitStack) -> Ours:
    kind = "redis" if store.short == "redis" else "database"
    config = StateManagerConfig(kind, **{f"{kind}_url": store.fresh()})
    manager = StateManager(config)
    stack.callback(manager.close)
    return Ours(manager)


def _others(store: Store, stack: ExitStack) -> dict[str, Any]:
    url = store.fresh() if store.short == "redis" else None
    app = Flask("peer")
    config: dict[str, Any] = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": url}
    if url is None:
        folder = stack.enter_context(TemporaryDirectory(prefix="statemanager-bench-"))
        config = {"CACHE_TYPE": "FileSystemCache", "CACHE_DIR": folder}
    caching = Cache(app, config={**config, "CACHE_DEFAULT_TIMEOUT": 3600})
    stack.enter_context(app.app_context())
    found = {f"Flask-Caching, {config['CACHE_TYPE']}": caching}
    return found | import_module("benchmarks.peers.serverside").backends(stack, url)

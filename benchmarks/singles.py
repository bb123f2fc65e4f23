"""Verbs for one state: updates and registrations, reads, pages, histories, with and without a cache."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import orjson
import redis

from benchmarks.children import Child, ChildMissing
from benchmarks.extension import NEAR_CACHE, Extension
from benchmarks.floor import PostgresFloor, floor_in, with_tables
from benchmarks.ground import Ground, Store
from benchmarks.rounds import Contestant, timed
from benchmarks.work import (
    DOCUMENT,
    DRIVER,
    EXTENSION,
    GET,
    HISTORY,
    NEAR_HIT,
    ONE_STATEMENT,
    ONE_TRIP,
    ORM,
    REDIS_HIT,
    REGISTER,
    SEARCH,
    SEEN,
    UPDATE,
)

PEERS = {
    ORM: "orm",
    "transitions + Flask-SQLAlchemy": "transitions_orm",
    "SQLAlchemy-Continuum": "continuum",
    "django-fsm-2 + django-fsm-log": "django_fsm",
    "eventsourcing, cached": "eventsourced",
}
"""Other packages, and the module of ``benchmarks.peers`` that speaks for each."""


def writes(ground: Ground, store: Store, stack: ExitStack) -> Iterator[Contestant]:
    """Yield everybody's updates and registrations.

    :param ground: the servers.
    :param store: where.
    :param stack: closes what is opened.
    """
    bare, ours = floor_in(store, with_tables(store), stack), Extension(store, stack).seen()
    bare.seen()
    yield Contestant(store.name, UPDATE, DRIVER, timed(bare.update))
    yield Contestant(store.name, UPDATE, EXTENSION, ours.timed(ours.update))
    if isinstance(bare, PostgresFloor):
        yield from _one_trip(ground, store, stack)
    yield Contestant(store.name, REGISTER, DRIVER, timed(bare.register))
    yield Contestant(store.name, REGISTER, EXTENSION, ours.timed(ours.register))
    yield from _peers(ground, store, stack, (UPDATE, REGISTER))


def _one_trip(ground: Ground, store: Store, stack: ExitStack) -> Iterator[Contestant]:
    bare = floor_in(store, with_tables(store), stack)
    assert isinstance(bare, PostgresFloor)
    bare.seen()
    yield Contestant(store.name, UPDATE, ONE_STATEMENT, timed(bare.update_at_once))
    url = ground.redis()
    if url is not None:
        ours = Extension(store, stack, cache_url=url, cache_ttl=3600, **NEAR_CACHE).seen()
        yield Contestant(store.name, UPDATE, ONE_TRIP, ours.expecting())


def reads(ground: Ground, store: Store, stack: ExitStack) -> Iterator[Contestant]:
    """Yield everybody's reads, without any cache.

    :param ground: the servers.
    :param store: where.
    :param stack: closes what is opened.
    """
    bare, ours = floor_in(store, with_tables(store), stack), Extension(store, stack).seen(listed=True)
    bare.seen()
    bare.fill()
    works = {
        GET: (bare.get, ours.get),
        SEARCH: (bare.search, ours.search),
        HISTORY: (bare.history, ours.history),
    }
    for work, (one, other) in works.items():
        yield Contestant(store.name, work, DRIVER, timed(one))
        yield Contestant(store.name, work, EXTENSION, ours.timed(other))
    yield from _peers(ground, store, stack, tuple(works))


def _peers(ground: Ground, store: Store, stack: ExitStack, works: tuple[str, ...]) -> Iterator[Contestant]:
    for way, module in PEERS.items() if ground.choice.peers else ():
        child = peer(way, module, stack, store.fresh(), store.durable)
        for work in works if child is not None else ():
            if child is not None and work in child.works:
                yield Contestant(store.name, work, way, child.batch(work))


def peer(way: str, module: str, stack: ExitStack, *arguments: Any) -> Child | None:
    """Return the process that speaks for another package, or None where it is not installed.

    :param way: its name.
    :param module: of ``benchmarks.peers``.
    :param stack: ends it.
    :param arguments: what it needs to know.
    """
    try:
        child = Child(f"benchmarks.peers.{module}", *arguments)
    except ChildMissing as missing:
        print(f"{way} is left out ({missing}): use `make bench`, which installs it", file=sys.stderr)
        return None
    stack.callback(child.close)
    return child


def caches(ground: Ground, store: Store, stack: ExitStack) -> Iterator[Contestant]:
    """Yield reads that the cache answers, in Redis and in the process.

    :param ground: the servers.
    :param store: behind the cache.
    :param stack: closes what is opened.
    """
    url = ground.redis()
    if url is None:
        return
    client = stack.enter_context(redis.Redis.from_url(url))
    for number in range(SEEN):
        client.set(f"seen_{number}", DOCUMENT)
    known = {f"seen_{number}": DOCUMENT for number in range(SEEN)}
    far = Extension(store, stack, cache_url=url, cache_ttl=3600).seen()
    near = Extension(store, stack, cache_url=url, cache_ttl=3600, **NEAR_CACHE).seen()
    child = peer("Flask-Caching", "flask_caching_", stack, url) if ground.choice.peers else None
    bare = timed(lambda number: orjson.loads(client.get(f"seen_{number % SEEN}")))
    yield Contestant("Redis", REDIS_HIT, "redis-py GET + orjson", bare)
    yield Contestant("Redis", REDIS_HIT, EXTENSION, far.timed(far.get))
    if child is not None:
        yield Contestant("Redis", REDIS_HIT, "Flask-Caching, RedisCache", child.batch("redis"), runs=200)
    bare = timed(lambda number: orjson.loads(known[f"seen_{number % SEEN}"]))
    yield Contestant("the process", NEAR_HIT, "dict + orjson", bare, runs=2000)
    yield Contestant("the process", NEAR_HIT, EXTENSION, near.timed(near.get), runs=2000)
    if child is not None:
        yield Contestant("the process", NEAR_HIT, "Flask-Caching, SimpleCache", child.batch("simple"), runs=2000)

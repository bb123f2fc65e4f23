"""Keys and values: one key beside the bare driver, and lists and statistics among more and more keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import Any
from uuid import uuid4

import orjson
import redis

from benchmarks.extension import Extension
from benchmarks.floor import floor_in, with_tables
from benchmarks.ground import Ground, Store
from benchmarks.rounds import Contestant, Operation, timed
from benchmarks.work import DOCUMENT, DRIVER, EXTENSION, KV_GET, KV_KEYS, KV_STATS, KV_SWAP, KV_UPDATE, PAGE, SEEN

SIZES, LARGE = (10_000, 100_000), 1_000_000
"""How many keys there are, by turns; ``--large`` adds the last."""

SOME = 5_000
"""How many keys are set at once to fill a bucket."""

SWAP = """
local seen = redis.call('GET', KEYS[1])
if string.match(seen, '^(%d+) ') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 10000, '*', 'b', seen, 'a', ARGV[2])
return 1
"""
"""Compares the version, writes, and appends both values to a log, as little as somebody would write by hand."""


class Keys:
    """An application with keys in a store.

    :param store: where.
    :param stack: closes it.
    :param config: further keys, without ``STATEMANAGER_``.
    :ivar prefix: what the keys begin with, on Redis.
    """

    def __init__(self, store: Store, stack: ExitStack, **config: Any) -> None:
        self.prefix = f"bench-{uuid4().hex}:"
        if store.short == "redis":
            config |= {"kv_backend": "redis", "redis_url": store.fresh(), "redis_prefix": self.prefix}
        self.extension = Extension(store, stack, url="sqlite://" if store.short == "redis" else "", **config)
        self.kv = self.extension.manager.kv
        self.documents = [json.loads(DOCUMENT) for _ in range(SEEN)]

    def seen(self) -> Keys:
        """Set the keys that are read and swapped, and return itself."""
        with self.extension.app.app_context():
            self.kv.set_many({f"seen:{at}": document for at, document in enumerate(self.documents)})
        return self

    def timed(self, operation: Operation) -> Callable[[range], float]:
        """Return what runs an operation in the app's context.

        :param operation: what is measured.
        """
        return self.extension.timed(operation)

    def get(self, number: int) -> Any:
        """Read a key.

        :param number: says which.
        """
        return self.kv.get(f"seen:{number % SEEN}")

    def swap(self, number: int) -> None:
        """Put a value in place of another.

        :param number: says which.
        """
        at = number % SEEN
        after = {**self.documents[at], "turn": number}
        assert self.kv.compare_and_swap(f"seen:{at}", self.documents[at], after)
        self.documents[at] = after

    def update(self, number: int) -> None:
        """Put in place of a value what a function makes of it.

        :param number: says which.
        """
        at = number % SEEN
        found = self.kv.update(f"seen:{at}", lambda value: {**value, "turn": number})
        self.documents[at] = found.value

    def fill(self, size: int) -> None:
        """Set as many keys, small ones, a hundredth of them beginning alike.

        :param size: how many.
        """
        names = iter(range(size))
        with self.extension.app.app_context():
            while some := list(islice(names, SOME)):
                self.kv.set_many({f"k{at % 100:02}:{at:08}": {"n": at} for at in some})


class RedisFloor:
    """The same by hand, with redis-py.

    :param url: the Redis.
    :param stack: closes it.
    """

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.client = stack.enter_context(redis.Redis.from_url(url))
        self.script = self.client.script_load(SWAP)
        self.prefix = f"floor-{uuid4().hex}:"
        for at in range(SEEN):
            self.client.set(f"{self.prefix}{at}", DOCUMENT)
            self.client.set(f"{self.prefix}v{at}", f"1 {DOCUMENT}")

    def get(self, number: int) -> Any:
        """Read a document.

        :param number: says which.
        """
        return orjson.loads(self.client.get(f"{self.prefix}{number % SEEN}"))

    def update(self, number: int) -> None:
        """Read a document with its version, change it, and write it if the version is still there.

        :param number: says which.
        """
        key = f"{self.prefix}v{number % SEEN}"
        version, _space, body = self.client.get(key).partition(b" ")
        text = orjson.dumps({**orjson.loads(body), "turn": number})
        done = self.client.evalsha(
            self.script, 2, key, f"{self.prefix}log", version, b"%d %b" % (int(version) + 1, text)
        )
        assert done


def singles(_ground: Ground, store: Store, stack: ExitStack) -> Iterator[Contestant]:
    """Yield reads and swaps of one key, beside the bare driver.

    :param _ground: the servers.
    :param store: where.
    :param stack: closes what is opened.
    """
    bare: Any
    if store.short == "redis":
        bare = RedisFloor(store.fresh(), stack)
    else:
        bare = floor_in(store, with_tables(store), stack)
        bare.seen()
    ours = Keys(store, stack).seen()
    works = {KV_GET: (bare.get, ours.get), KV_SWAP: (bare.update, ours.swap), KV_UPDATE: (bare.update, ours.update)}
    for work, (one, other) in works.items():
        yield Contestant(store.name, work, DRIVER, timed(one))
        yield Contestant(store.name, work, EXTENSION, ours.timed(other))


def growing(ground: Ground, store: Store, stack: ExitStack) -> Iterator[Contestant]:
    """Yield lists and statistics among more and more keys.

    :param ground: says whether to be quick, and whether a million is wanted.
    :param store: where.
    :param stack: closes what is opened.
    """
    sizes: Sequence[int] = (1_000, 2_000) if ground.choice.quick else SIZES
    for size in (*sizes, LARGE) if ground.choice.large else sizes:
        ours = Keys(store, stack)
        ours.fill(size)
        way = f"{size:,} keys"
        yield Contestant(store.name, KV_KEYS, way, ours.timed(_page_of(ours, size)))
        yield Contestant(store.name, KV_STATS, way, ours.timed(lambda _number, kv=ours.kv: kv.stats()), runs=5)


def _page_of(ours: Keys, size: int) -> Operation:
    """Return what reads a page from the middle of the keys that begin alike."""
    middle = f"k50:{size // 2:08}"

    def page(_number: int) -> Any:
        found = ours.kv.keys("k50:", PAGE, after=middle)
        assert len(found) > 1
        return found

    return page

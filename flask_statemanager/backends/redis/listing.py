"""Lists of names on Redis, and how much there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from heapq import merge
from itertools import islice
from typing import Any

from ...core.lists import Lists, Measure, Span
from ...redis_line import Command
from .codec import micros
from .keys import Shard
from .store import ATTEMPTS, RedisStore, restless
from .unit import RedisUnit

PAGE = 1000
"""How many names one call looks at, so that nobody waits long for it."""

_BEHIND = b"\xff"
"""A byte that no name has in it, and that sorts behind all of them."""


class RedisLists(RedisStore, Lists):
    """Lists names by a set that is ordered by them, and counts by what each write has counted."""

    def listed(self, unit: RedisUnit, span: Span) -> list[str]:
        """Return names in order.

        :param unit: an open unit; its own writes are not among them before the commit.
        :param span: which ones.
        :raises StorageError: when Redis fails.
        """
        if span.limit is not None and span.limit <= 0:
            return []
        shards = self.shards(span.bucket)
        pages = self._page(shards, span, _bounds(span)[0], PAGE if span.limit is None else min(PAGE, span.limit))
        found = merge(*(self._names(shard, span, page) for shard, page in zip(shards, pages, strict=True)))
        return [name.decode() for name in islice(found, span.limit)]

    def tally(self, unit: RedisUnit, span: Span) -> int:
        """Return how many names there are, its limit left aside.

        :param unit: an open unit.
        :param span: which ones.
        :raises StorageError: when Redis fails.
        """
        first, last = _bounds(span)
        before = b"" if first == b"-" else (b"(" if first[:1] == b"[" else b"[") + first[1:]
        answers = self.each(
            "tally",
            self.shards(span.bucket),
            lambda at: [3, at.pointer, at.names, at.due, at.generation, first, last, before, micros(span.now)],
        )
        return sum(number for (number,) in answers)

    def measure(self, unit: RedisUnit, bucket: str, now: datetime, most: int | None) -> Measure | None:
        """Return how much a bucket holds, or None where too much of it has expired and waits for a sweeper.

        :param unit: an open unit.
        :param bucket: the collection.
        :param now: the moment that decides what has expired.
        :param most: the most expired records to look at, one by one.
        :raises StorageError: when Redis fails.
        """
        keys = size = noted = 0
        prefixes: dict[str, int] = {}
        left = most
        for shard in self.shards(bucket):
            found = self._measured(shard, micros(now), left)
            if found is None:
                return None
            (number, taken, with_metadata, heads), looked_at = found
            left = None if left is None else left - looked_at
            keys, size, noted = keys + number, size + taken, noted + with_metadata
            for head, count in zip(heads[::2], heads[1::2], strict=True):
                prefixes[head.decode()] = prefixes.get(head.decode(), 0) + count
        return Measure(keys, size, noted, prefixes)

    def _page(self, shards: Sequence[Shard], span: Span, first: bytes, size: int) -> list[list[Any]]:
        """Return a page of names of each shard, and where to go on behind."""
        last, now = _bounds(span)[1], micros(span.now)
        return self.each(
            "list", shards, lambda at: [3, at.pointer, at.names, at.due, at.generation, first, last, now, size]
        )

    def _names(self, shard: Shard, span: Span, page: list[Any]) -> Iterator[bytes]:
        """Give the names of one shard, further pages as they are asked for."""
        names, behind = page
        yield from names
        while behind:
            ((names, behind),) = self._page([shard], span, b"(" + behind, PAGE)
            yield from names

    def _measured(self, shard: Shard, now: bytes, most: int | None) -> tuple[list[Any], int] | None:
        """Measure one shard; together with the names of what has expired, which may change between two calls."""
        names: list[bytes] = []
        bound = -1 if most is None else most + 1

        def listing(at: Shard) -> Command:
            return [2, at.pointer, at.due, at.generation, now, bound]

        for _ in range(ATTEMPTS):
            found = self.each("measure", [shard], partial(_measuring, now, names))[0]
            if found:
                return found, len(names)
            ((found,),) = self.each("past", [shard], listing)
            names = found[::2]
            if most is not None and len(names) > most:
                return None
        raise restless(shard)


def _measuring(now: bytes, names: Sequence[bytes], at: Shard) -> Command:
    keys = (at.pointer, at.names, at.due, at.sums, at.heads, *(at.records + name for name in names))
    return [len(keys), *keys, at.generation, now, *names]


def _bounds(span: Span) -> tuple[bytes, bytes]:
    """Return a span as the range of names that it is."""
    prefix, after = span.prefix.encode(), None if span.after is None else span.after.encode()
    first = b"[" + prefix if prefix else b"-"
    if after is not None and after >= prefix:
        first = b"(" + after
    return first, b"(" + prefix + _BEHIND if prefix else b"+"

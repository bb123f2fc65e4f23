"""Listing names and removing tombstones, in memory."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from functools import partial

from ..core.codec import encoded_size
from ..core.jobs import FINISHED, Job
from ..core.lists import PREFIX_END, Lists, Measure, Span, prefix_end
from ..core.purges import Purges
from ..core.record import Key, Record
from .memory_unit import MemoryUnit


class MemoryLists(Lists, Purges):
    """The powers Lists and Purges, for a backend that keeps records in a dict."""

    _records: dict[Key, Record]
    _jobs: dict[int, Job]

    def __init__(self) -> None:
        self._floors: dict[str, int] = {}
        # The names of a bucket in order, tombstones too; forgotten when one comes or goes.
        self._sorted: dict[str, list[str]] = {}

    def listed(self, unit: MemoryUnit, span: Span) -> list[str]:
        """Return names in order.

        :param unit: an open unit.
        :param span: which ones.
        """
        found: list[str] = []
        for name in self._within(span):
            if span.limit is not None and len(found) >= span.limit:
                break
            found.append(name)
        return found

    def tally(self, unit: MemoryUnit, span: Span) -> int:
        """Return how many names there are.

        :param unit: an open unit.
        :param span: which ones.
        """
        return sum(1 for _ in self._within(span))

    def measure(self, unit: MemoryUnit, bucket: str, now: datetime, most: int | None) -> Measure | None:
        """Return how much a bucket holds, or None where that means to look at more records than wanted.

        :param unit: an open unit.
        :param bucket: the collection.
        :param now: the moment that decides what has expired.
        :param most: the most records to look at; None for as many as there are.
        """
        if most is not None and len(self._names(bucket)) > most:
            return None
        names = list(self._within(Span(bucket, now)))
        records = [self._records[Key(bucket, name)] for name in names]
        return Measure(
            keys=len(names),
            bytes=sum(encoded_size(record.data) for record in records),
            with_metadata=sum(bool(record.metadata) for record in records),
            prefixes=dict(Counter(name[: name.find(PREFIX_END) + 1] for name in names)),
        )

    def floor(self, unit: MemoryUnit, key: Key) -> int:
        """Return the version above which a record of this name starts, where nothing is stored.

        :param unit: the unit in which the record was read.
        :param key: the absent record.
        """
        return self._floors.get(key.bucket, 0)

    def forget_tombstones(self, unit: MemoryUnit, bucket: str, before: datetime, limit: int) -> int:
        """Remove tombstones from before a moment, unless they have jobs that are not done, and raise the floor.

        :param unit: an open writing unit.
        :param bucket: the collection.
        :param before: the moment.
        :param limit: the most tombstones.
        :returns: how many were removed.
        """
        busy = {job.key for job in self._jobs.values() if job.status not in FINISHED}
        dead = [(key, record) for key, record in self._records.items() if key.bucket == bucket and key not in busy]
        old = [record for _, record in dead if record.deleted_at is not None and record.deleted_at < before]
        removed = sorted(old, key=lambda record: (record.updated_at, record.key))[:limit]
        for record in removed:
            del self._records[record.key]
            unit.undo.append(partial(self._records.__setitem__, record.key, record))
        self._renamed(unit, bucket)
        known = self._floors.get(bucket, 0)
        self._floors[bucket] = max([known, *(record.version for record in removed)])
        unit.undo.append(partial(self._floors.__setitem__, bucket, known))
        return len(removed)

    def _renamed(self, unit: MemoryUnit, bucket: str) -> None:
        """Forget the order of a bucket's names, now and when the unit is rolled back."""
        self._sorted.pop(bucket, None)
        unit.undo.append(partial(self._sorted.pop, bucket, None))

    def _names(self, bucket: str) -> list[str]:
        found = self._sorted.get(bucket)
        if found is None:
            found = self._sorted[bucket] = sorted(key.name for key in self._records if key.bucket == bucket)
        return found

    def _within(self, span: Span) -> Iterator[str]:
        names, end = self._names(span.bucket), prefix_end(span.prefix)
        first = bisect_left(names, span.prefix)
        if span.after is not None:
            first = max(first, bisect_right(names, span.after))
        for at in range(first, len(names) if end is None else bisect_left(names, end)):
            record = self._records[Key(span.bucket, names[at])]
            expired = record.expires_at is not None and record.expires_at <= span.now
            if record.deleted_at is None and not expired:
                yield names[at]

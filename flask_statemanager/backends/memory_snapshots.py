"""Looks and restores in memory: the readable reference of the power."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from msgspec.structs import replace

from ..core.codec import isolated
from ..core.follows import revision_in
from ..core.record import Change, Key, Record
from ..core.restores import Olds, RestoresAtOnce
from ..core.snapshots import Look, Scan, tombstone
from ..errors import Compacted
from .memory_unit import MemoryUnit


class MemorySnapshots(RestoresAtOnce, ABC):
    """The power Snapshots, for a backend that keeps records in a dict and changes in a list."""

    _records: dict[Key, Record]
    _log: list[Change]
    _revision: int
    _floors: dict[str, int]
    _compacted: dict[str, int]
    _settled: int

    @abstractmethod
    def reading(self) -> AbstractContextManager[MemoryUnit]:
        """Open a unit that only reads."""

    @abstractmethod
    def _renamed(self, unit: MemoryUnit, bucket: str) -> None:
        """Forget the order of a bucket's names, now and when the unit is rolled back."""

    @contextmanager
    def looking(self, scan: Scan) -> Iterator[Look]:
        """Open a look: a list of what is there, made at once.

        :param scan: which records.
        :raises Compacted: when some of what has changed since the cursors is not known any more.
        :raises StateValidationError: when one of them is no cursor.
        """
        with self.reading():
            found = sorted(self._all(scan) if scan.since is None else self._changed(scan), key=lambda each: each.key)
            cursors = dict.fromkeys(scan.buckets, str(self._settled))
            floors = {bucket: self._floors.get(bucket, 0) for bucket in scan.buckets}
        # What is stored is replaced, never edited, so it may be copied later.
        batches = (found[at : at + scan.batch] for at in range(0, len(found), scan.batch))
        yield Look(cursors, floors, ([isolated(record) for record in batch] for batch in batches))

    def has_changed(self, scan: Scan) -> bool:
        """Tell whether anything has changed behind the cursors of a scan.

        :param scan: which records, and since when.
        :raises StateValidationError: when one of them is no cursor.
        """
        with self.reading():
            try:
                return bool(self._changed(scan))
            except Compacted:
                return True

    def _all(self, scan: Scan) -> list[Record]:
        wanted = frozenset(scan.buckets)
        return [
            record for key, record in self._records.items() if key.bucket in wanted and key.name.startswith(scan.prefix)
        ]

    def _changed(self, scan: Scan) -> list[Record]:
        since = {bucket: self._known(bucket, cursor) for bucket, cursor in (scan.since or {}).items()}
        last: dict[Key, Change] = {}
        for change in self._log:
            key = change.key
            if change.revision > since.get(key.bucket, self._revision) and key.name.startswith(scan.prefix):
                last[key] = change
        return [self._records.get(key) or tombstone(change.after, change.version) for key, change in last.items()]

    def _known(self, bucket: str, cursor: str) -> int:
        """Return the revision of a cursor, if all behind it is known."""
        revision = revision_in(cursor)
        if not self._compacted.get(bucket, 0) <= revision <= self._revision:
            raise Compacted(cursor, str(self._revision))
        return revision

    def seclude(self, unit: MemoryUnit) -> None:
        """Do nothing: a writing unit has the whole backend to itself.

        :param unit: an open writing unit.
        """

    def newest(self, unit: MemoryUnit) -> int:
        """Return the greatest revision.

        :param unit: an open unit.
        """
        return self._revision

    def old_names(self, unit: MemoryUnit, olds: Olds) -> list[str]:
        """Return names of live records, in order.

        :param unit: an open unit.
        :param olds: which ones.
        """
        names = [
            record.key.name
            for record in self._alive(olds.bucket, olds.prefix)
            if record.revision <= olds.revision and record.key.name > olds.after
        ]
        return sorted(names)[: olds.limit]

    def living(self, unit: MemoryUnit, bucket: str, prefix: str) -> int:
        """Return how many live records there are.

        :param unit: an open unit.
        :param bucket: the collection.
        :param prefix: how the names begin.
        """
        return len(self._alive(bucket, prefix))

    def _alive(self, bucket: str, prefix: str) -> list[Record]:
        return [record for record in self._all(Scan((bucket,), prefix)) if record.deleted_at is None]

    def lay(self, unit: MemoryUnit, records: Sequence[Record]) -> None:
        """Store tombstones where nothing is, and raise the versions of what is there.

        :param unit: an open writing unit.
        :param records: what shall be stored.
        """
        for record in records:
            stored = self._records.get(record.key)
            if stored is None:
                self._records[record.key] = record
                unit.undo.append(partial(self._records.__delitem__, record.key))
                self._renamed(unit, record.key.bucket)
            else:
                self._records[record.key] = replace(stored, version=record.version)
                unit.undo.append(partial(self._records.__setitem__, record.key, stored))

    def floor_of(self, unit: MemoryUnit, bucket: str) -> int:
        """Return the version above which the records of a bucket start.

        :param unit: an open unit.
        :param bucket: the collection.
        """
        return self._floors.get(bucket, 0)

    def raise_floor(self, unit: MemoryUnit, bucket: str, version: int) -> None:
        """Have absent records of a bucket start above a version.

        :param unit: an open writing unit.
        :param bucket: the collection.
        :param version: the version.
        """
        _raise(unit, self._floors, bucket, version)

    def compact(self, unit: MemoryUnit, bucket: str, revision: int) -> None:
        """Have every cursor before a revision count as compacted.

        :param unit: an open writing unit.
        :param bucket: the collection.
        :param revision: the revision.
        """
        _raise(unit, self._compacted, bucket, revision)


def _raise(unit: MemoryUnit, marks: dict[str, int], bucket: str, value: int) -> None:
    before = marks.get(bucket, 0)
    if value > before:
        marks[bucket] = value
        unit.undo.append(partial(marks.__setitem__, bucket, before))

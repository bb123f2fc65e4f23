"""A restore in one transaction, for backends that write many records in one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from .codec import encode, encoded_size, same
from .powers import MultiKey
from .record import Change, Record
from .retry import retried
from .snapshots import BATCH, MAX_HELD, RESTORE, Restore, Restored, Snapshots, tombstone

_TICK = timedelta(microseconds=1)

_PLAIN = attrgetter("label", "type", "status", "owner", "schema_version", "created_at", "expires_at")


class Olds(Struct, frozen=True):
    """Live records that a restore has not written.

    :param bucket: the collection.
    :param prefix: how the names begin.
    :param revision: the greatest that was drawn before the restore.
    :param after: only names behind this one.
    :param limit: the most names.
    """

    bucket: str
    prefix: str
    revision: int
    after: str = ""
    limit: int = BATCH


class RestoresAtOnce(Snapshots, MultiKey, ABC):
    """Restores in one writing unit: others see all of it at once, and nothing where it is rolled back."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Any]:
        """Open a unit that only reads."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[Any]:
        """Open a unit that commits at the end of the block."""

    @abstractmethod
    def seclude(self, unit: Any) -> None:
        """Have everybody else's writes wait until the unit ends; reads go on.

        :param unit: an open writing unit, in which nothing was done yet.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def newest(self, unit: Any) -> int:
        """Return the greatest revision that is visible; 0 at first.

        :param unit: an open unit.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def old_names(self, unit: Any, olds: Olds) -> list[str]:
        """Return names of live records, those past their ``expires_at`` too, in order.

        :param unit: an open unit.
        :param olds: which ones.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def living(self, unit: Any, bucket: str, prefix: str) -> int:
        """Return how many live records there are, those past their ``expires_at`` too.

        :param unit: an open unit.
        :param bucket: the collection.
        :param prefix: how the names begin.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def lay(self, unit: Any, records: Sequence[Record]) -> None:
        """Store tombstones where nothing is, and raise the versions of what is there, without any change in the log.

        :param unit: an open writing unit that is secluded.
        :param records: what shall be stored; where something is, only their versions count.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def floor_of(self, unit: Any, bucket: str) -> int:
        """Return the version above which the records of a bucket start.

        :param unit: an open unit.
        :param bucket: the collection.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def raise_floor(self, unit: Any, bucket: str, version: int) -> None:
        """Have absent records of a bucket start above a version; a floor never sinks.

        :param unit: an open writing unit.
        :param bucket: the collection.
        :param version: the version.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def compact(self, unit: Any, bucket: str, revision: int) -> None:
        """Have every cursor before a revision count as compacted; the mark never sinks.

        :param unit: an open writing unit.
        :param bucket: the collection.
        :param revision: the revision.
        :raises StorageError: when the storage fails.
        """

    def put_back(self, restore: Restore, records: Callable[[], Iterable[Record]]) -> Restored:
        """Make records what they are given as, in one transaction.

        :param restore: what it shall come to.
        :param records: returns the live records by bucket and name.
        :raises StateConflict: when racers won every attempt.
        :raises StorageError: when the storage fails.
        """
        if restore.rehearsing:
            with self.reading() as unit:
                return _Course(self, unit, restore).rehearsed(records())

        def once() -> Restored:
            with self.writing() as unit:
                self.seclude(unit)
                return _Course(self, unit, restore).run(records())

        return retried(once)


class _Course:
    """One restore on its way.

    :param store: the backend.
    :param unit: the open unit.
    :param restore: what it shall come to.
    """

    def __init__(self, store: RestoresAtOnce, unit: Any, restore: Restore) -> None:
        self._store, self._unit, self._restore = store, unit, restore
        self._before = store.newest(unit)
        self._last = 0
        self._count = Restored()
        self._floors = {bucket: store.floor_of(unit, bucket) for bucket in restore.buckets}

    def run(self, records: Iterable[Record]) -> Restored:
        """Write everything.

        :param records: the live records.
        """
        for bucket, floor in self._restore.floors.items():
            self._raise(bucket, floor)
        for bucket, chunk in chunks(records):
            stored = self._stored(bucket, chunk)
            self._lay(bucket, chunk, stored)
            living = [record for record in chunk if record.deleted_at is None]
            if living:
                floor = self._floors[bucket]
                self._apply([returning(self._restore, each, stored.get(each.key.name), floor) for each in living])
        for bucket in self._restore.buckets if self._restore.replacing else ():
            self._remove(bucket)
        for bucket in self._restore.buckets if self._last else ():
            self._store.compact(self._unit, bucket, self._last)
        return self._count

    def rehearsed(self, records: Iterable[Record]) -> Restored:
        """Only count.

        :param records: the live records.
        """
        restore = self._restore
        for bucket, chunk in chunks(records):
            self._stored(bucket, chunk)
        there = self._count.changed + self._count.same
        if not restore.replacing:
            return self._count
        living = sum(self._store.living(self._unit, bucket, restore.prefix) for bucket in restore.buckets)
        return self._count + Restored(removed=max(0, living - there))

    def _stored(self, bucket: str, chunk: Sequence[Record]) -> dict[str, Record]:
        """Return what is stored under the names of a chunk, and count what becomes of it."""
        names = [record.key.name for record in chunk]
        stored = self._store.read_many(self._unit, bucket, names, lock=not self._restore.rehearsing)
        self._count += sum((compared(record, stored.get(record.key.name)) for record in chunk), Restored())
        if self._restore.told is not None:
            self._restore.told(bucket, names)
        return stored

    def _raise(self, bucket: str, floor: int) -> None:
        if floor > self._floors.get(bucket, floor):
            self._floors[bucket] = floor
            self._store.raise_floor(self._unit, bucket, floor)

    def _lay(self, bucket: str, chunk: Sequence[Record], stored: dict[str, Record]) -> None:
        """Have each record start from a version that is as high as any that was ever seen of it."""
        laid = []
        for record in chunk:
            name, version = record.key.name, record.version
            before = stored.get(name)
            if version > (self._floors[bucket] if before is None else before.version):
                stored[name] = tombstone(record, version) if before is None else replace(before, version=version)
                laid.append(stored[name])
        if laid:
            self._store.lay(self._unit, laid)

    def _remove(self, bucket: str) -> None:
        olds = Olds(bucket, self._restore.prefix, self._before)
        while names := self._store.old_names(self._unit, olds):
            stored = self._store.read_many(self._unit, bucket, names, lock=True)
            self._apply([removing(self._restore, stored[name]) for name in names])
            self._count += Restored(removed=len(names))
            if self._restore.told is not None:
                self._restore.told(bucket, names)
            olds = replace(olds, after=names[-1])

    def _apply(self, changes: Sequence[Change]) -> None:
        revisions = self._store.apply_many(self._unit, changes)
        self._last = max(self._last, *revisions)
        if self._restore.rest is not None:
            done = [change.drawn(revision) for change, revision in zip(changes, revisions, strict=True)]
            self._restore.rest(self._unit, done)


def returning(restore: Restore, record: Record, before: Record | None, floor: int) -> Change:
    """Return the change by which a record is what it was.

    :param restore: what the restore shall come to.
    :param record: as it shall be.
    :param before: what is stored, a tombstone too, or None.
    :param floor: the version above which it starts where nothing is stored.
    """
    version, at, alive = floor + 1, restore.now, None
    if before is not None:
        version, at = before.version + 1, max(at, before.updated_at)
        alive = before if before.deleted_at is None else None
        if alive is None:
            at = max(at, before.updated_at + _TICK)
    after = replace(record, version=version, revision=0, updated_at=at, deleted_at=None)
    return Change(0, record.key, version, RESTORE, alive, after, restore.origin, at)


def removing(restore: Restore, before: Record) -> Change:
    """Return the change by which a record is not there any more.

    :param restore: what the restore shall come to.
    :param before: the live record.
    """
    at = max(restore.now, before.updated_at)
    after = replace(before, version=before.version + 1, revision=0, updated_at=at, expires_at=None, deleted_at=at)
    return Change(0, before.key, after.version, RESTORE, before, after, restore.origin, at)


def compared(record: Record, before: Record | None) -> Restored:
    """Count what becomes of one record.

    :param record: as it shall be; a tombstone changes nothing.
    :param before: what is stored, a tombstone too, or None.
    """
    if record.deleted_at is not None:
        return Restored()
    if before is None or before.deleted_at is not None:
        return Restored(created=1)
    return Restored(same=1) if _alike(before, record) else Restored(changed=1)


def _alike(before: Record, record: Record) -> bool:
    return _PLAIN(before) == _PLAIN(record) and all(
        encode(one) == encode(other) or same(one, other)
        for one, other in ((before.data, record.data), (before.metadata, record.metadata))
    )


def chunks(records: Iterable[Record]) -> Iterator[tuple[str, list[Record]]]:
    """Yield records in chunks of one bucket each, none of which holds too much.

    :param records: by bucket.
    """
    for bucket, some in groupby(records, key=lambda record: record.key.bucket):
        chunk: list[Record] = []
        held = 0
        for record in some:
            chunk.append(record)
            held += encoded_size(record.data) + encoded_size(record.metadata)
            if len(chunk) >= BATCH or held >= MAX_HELD:
                yield bucket, chunk
                chunk, held = [], 0
        if chunk:
            yield bucket, chunk

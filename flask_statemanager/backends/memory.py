"""The memory backend: the readable reference of what a backend does. Nothing outlives the process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import ClassVar

from msgspec.structs import replace

from ..core.codec import isolated
from ..core.jobs import DEAD, EFFECT, PENDING
from ..core.matching import is_after, lapse_of, matches
from ..core.ports import Backend, settle
from ..core.powers import Counts, Expires, KeepsHistory, Searches
from ..core.query import ChangeQuery, Query
from ..core.record import Change, Key, Record
from ..errors import StateConflict
from .memory_audits import MemoryAudits
from .memory_feed import MemoryFeed
from .memory_jobs import MemoryIdempotency, MemoryOutbox
from .memory_lists import MemoryLists
from .memory_many import MemoryMany
from .memory_snapshots import MemorySnapshots
from .memory_unit import MemoryUnit


class MemoryBackend(
    MemoryMany,
    MemoryOutbox,
    MemoryIdempotency,
    MemoryLists,
    MemoryFeed,
    MemorySnapshots,
    MemoryAudits,
    Backend,
    KeepsHistory,
    Searches,
    Counts,
    Expires,
):
    """Keeps records and changes in dicts of this process, one writer at a time."""

    title: ClassVar[str] = "memory"

    def __init__(self) -> None:
        MemoryOutbox.__init__(self)
        MemoryIdempotency.__init__(self)
        MemoryLists.__init__(self)
        MemoryFeed.__init__(self)
        self._lock = threading.RLock()
        self._records: dict[Key, Record] = {}
        self._log: list[Change] = []
        self._revision = 0

    @property
    def shareable(self) -> bool:
        """Never: no other process sees these records."""
        return False

    @property
    def identity(self) -> str:
        """This object, as no other has its records."""
        return f"memory:{id(self)}"

    @contextmanager
    def reading(self) -> Iterator[MemoryUnit]:
        """Open a unit that only reads."""
        with self._lock:
            yield MemoryUnit()

    @contextmanager
    def writing(self) -> Iterator[MemoryUnit]:
        """Open a unit that undoes its writes on an exception, and announces them otherwise."""
        unit = MemoryUnit()
        with self._lock, self._turning():
            try:
                yield unit
            except BaseException:
                unit.rollback()
                raise
        settle(unit.acts)

    def read(self, unit: MemoryUnit, key: Key, *, lock: bool = False) -> Record | None:
        """Return what is stored under a key, a tombstone too, or None.

        :param unit: an open unit.
        :param key: which record.
        :param lock: without effect here: a writing unit has the whole backend to itself.
        """
        record = self._records.get(key)
        return None if record is None else isolated(record)

    def apply(self, unit: MemoryUnit, change: Change) -> int:
        """Store a change if the version before it is the stored one; where nothing is, the floor of the bucket.

        :param unit: an open writing unit.
        :param change: the change.
        :returns: its revision.
        :raises StateConflict: when another version is stored.
        """
        stored = self._records.get(change.key)
        actual = self.floor(unit, change.key) if stored is None else stored.version
        if actual != change.version - 1:
            raise StateConflict(change.key, change.version - 1, actual)
        self._revision += 1
        after = isolated(replace(change.after, revision=self._revision))
        self._records[change.key] = after
        before = None if stored is None or stored.deleted else stored
        self._log.append(replace(change, revision=self._revision, before=before, after=after))
        unit.undo.append(lambda: self._undo(change.key, stored))
        if stored is None:
            self._renamed(unit, change.key.bucket)
        return self._revision

    def _undo(self, key: Key, stored: Record | None) -> None:
        self._log.pop()
        if stored is None:
            del self._records[key]
        else:
            self._records[key] = stored

    def close(self) -> None:
        """Do nothing: there is nothing to give back."""

    def changes(self, unit: MemoryUnit, query: ChangeQuery) -> list[Change]:
        """List changes by revision.

        :param unit: an open unit.
        :param query: which ones.
        """
        log = reversed(self._log) if query.newest_first else iter(self._log)
        found: list[Change] = []
        for change in log:
            if query.limit is not None and len(found) >= query.limit:
                break
            if _listed(change, query):
                before = None if change.before is None else isolated(change.before)
                found.append(replace(change, before=before, after=isolated(change.after)))
        return found

    def record_at(self, unit: MemoryUnit, key: Key, at: int | datetime) -> Record | None:
        """Return a record as it was at a version or moment.

        :param unit: an open unit.
        :param key: which record.
        :param at: a version or a moment.
        """
        for change in reversed(self._log):
            if change.key == key and (change.version == at if isinstance(at, int) else change.at <= at):
                return isolated(change.after)
        return None

    def forget_changes(
        self,
        unit: MemoryUnit,
        before: datetime,
        limit: int,
        after: int = 0,
        *,
        bucket: str | None = None,
        prefix: str = "",
    ) -> list[int]:
        """Remove changes from before a moment, the oldest first, so that no record's history gets a gap.

        Of a record whose tombstone was removed all of them go.

        :param unit: an open writing unit.
        :param before: the moment.
        :param limit: the most changes.
        :param after: only changes behind this revision.
        :param bucket: only changes of this collection; None for all.
        :param prefix: only changes of records whose names begin so.
        :returns: the revisions of those that were removed, in order.
        """
        needed = self._first_needed()
        removed: list[int] = []
        kept: list[Change] = []
        shortened, staying = set[Key](), set[Key]()
        for change in self._log:
            key = change.key
            wanted = change.revision > after and _about(key, bucket, prefix)
            old = wanted and change.at < before and change.version < needed.get(key, change.version + 1)
            if old and key not in staying and len(removed) < limit:
                removed.append(change.revision)
                shortened.add(key)
                self._compact(unit, change)
                continue
            # The oldest that is left has lost the version before it.
            kept.append(replace(change, before=None) if key in shortened and key not in staying else change)
            staying.add(key)
        unit.undo.append(partial(self._restore, self._log))
        self._log = kept
        return removed

    def _first_needed(self) -> dict[Key, int]:
        """Return the version of each record from which on everything stays."""
        needed = {key: record.version for key, record in self._records.items()}
        for job in self._jobs.values():
            if job.kind == EFFECT and job.status in (PENDING, DEAD) and job.key in needed:
                needed[job.key] = min(needed[job.key], job.version - 1)
        return needed

    def _restore(self, log: list[Change]) -> None:
        self._log = log

    def search(self, unit: MemoryUnit, query: Query) -> list[Record]:
        """Return the found records in order.

        :param unit: an open unit.
        :param query: the query.
        """
        found = [record for record in self._found(query) if is_after(record, query)]
        found.sort(key=lambda record: (query.order.value(record), record.key.name), reverse=query.order.descending)
        return [isolated(record) for record in found[: query.limit]]

    def unserved(self, query: Query) -> list[str]:
        """Return nothing, as there are no indexes here.

        :param query: the query.
        """
        return []

    def count(self, unit: MemoryUnit, query: Query, *, exact_to: int | None = None) -> int:
        """Count the found records, exactly.

        :param unit: an open unit.
        :param query: the query.
        :param exact_to: without effect here.
        """
        return sum(1 for _ in self._found(query))

    def due(self, unit: MemoryUnit, query: Query) -> list[Key]:
        """Return the keys of live records to which a lapse rule applies now.

        :param unit: an open unit.
        :param query: its bucket, moment, lapse rules and limit count.
        """
        records = (record for key, record in self._records.items() if key.bucket == query.bucket and not record.deleted)
        found = [record for record in records if lapse_of(record, query) is not None]
        found.sort(key=lambda record: (str(record.expires_at), record.key))
        return [record.key for record in found[: query.limit]]

    def _found(self, query: Query) -> Iterator[Record]:
        return (r for key, r in self._records.items() if key.bucket == query.bucket and matches(r, query))


def _about(key: Key, bucket: str | None, prefix: str) -> bool:
    return bucket in (None, key.bucket) and key.name.startswith(prefix)


def _listed(change: Change, query: ChangeQuery) -> bool:
    if change.key.bucket != query.bucket or (query.key is not None and change.key != query.key):
        return False
    if query.event not in (None, change.event) or query.version not in (None, change.version):
        return False
    if query.after is None:
        return True
    return change.revision < query.after if query.newest_first else change.revision > query.after

"""Many records at once, in memory: one after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from ..core.codec import isolated_change
from ..core.many import Move, Moved, Way
from ..core.matching import holds
from ..core.powers import MultiKey
from ..core.query import Query
from ..core.record import Change, Key, Record


class MemoryMany(MultiKey, ABC):
    """The power MultiKey, for a backend that keeps records in a dict and changes in a list."""

    _records: dict[Key, Record]
    _log: list[Change]

    @abstractmethod
    def read(self, unit: Any, key: Key, *, lock: bool = False) -> Record | None:
        """Return what is stored under a key.

        :param unit: an open unit.
        :param key: which record.
        :param lock: keep others from changing it.
        """

    @abstractmethod
    def apply(self, unit: Any, change: Change) -> int:
        """Store a change.

        :param unit: an open writing unit.
        :param change: the change.
        """

    @abstractmethod
    def search(self, unit: Any, query: Query) -> list[Record]:
        """Return the found records in order.

        :param unit: an open unit.
        :param query: the query.
        """

    def names(self, unit: Any, query: Query) -> list[str]:
        """Return the names of the records that a search finds, in its order.

        :param unit: an open unit.
        :param query: the query.
        """
        return [record.key.name for record in self.search(unit, query)]

    def read_many(self, unit: Any, bucket: str, names: Sequence[str], *, lock: bool = False) -> dict[str, Record]:
        """Return what is stored under names, tombstones too, by name.

        :param unit: an open unit.
        :param bucket: the collection.
        :param names: which ones.
        :param lock: without effect here: a writing unit has the whole backend to itself.
        """
        found = {name: self.read(unit, Key(bucket, name)) for name in names}
        return {name: record for name, record in found.items() if record is not None}

    def apply_many(self, unit: Any, changes: Sequence[Change]) -> list[int]:
        """Store changes of different records.

        :param unit: an open writing unit.
        :param changes: the changes.
        :returns: their revisions.
        :raises StateConflict: when another version of one of them is stored.
        """
        return [self.apply(unit, change) for change in changes]

    def move_many(self, unit: Any, move: Move) -> list[Moved]:
        """Make one transition of many records.

        :param unit: an open writing unit.
        :param move: the transition.
        """
        moved = []
        for name in sorted(set(move.names)):
            record = self._records.get(Key(move.bucket, name))
            way = None if record is None else _way(record, move)
            if record is not None and way is not None:
                change = _changed(record, way, move)
                revision = self.apply(unit, change)
                moved.append(Moved(name, way.source, change.version, revision, change.at))
        return moved

    def changes_of(self, unit: Any, bucket: str, revisions: Sequence[int]) -> list[Change]:
        """Return the changes with these revisions, by revision.

        :param unit: an open unit.
        :param bucket: the collection.
        :param revisions: which ones.
        """
        wanted = frozenset(revisions)
        found = [change for change in self._log if change.revision in wanted and change.key.bucket == bucket]
        return [isolated_change(change) for change in found]


def _way(record: Record, move: Move) -> Way | None:
    """Return the way that fits a record, or None."""
    if record.deleted:
        return None
    past = record.expires_at is not None and record.expires_at <= move.now
    for way in move.ways:
        if (way.type, way.source) == (record.type, record.status):
            fits = not (way.lapsing and past) and all(holds(record, rule) for rule in way.rules)
            return way if fits else None
    return None


def _changed(record: Record, way: Way, move: Move) -> Change:
    at = max(move.now, record.updated_at)
    after = replace(
        record,
        status=way.target,
        version=record.version + 1,
        updated_at=at,
        expires_at=None if way.leaving else record.expires_at,
        deleted_at=at if way.deleting else None,
    )
    return Change(0, record.key, after.version, move.event, record, after, move.origin, at)

"""Looks and restores in a relational database: a look is one read transaction, a restore is one that writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timezone
from functools import cached_property
from operator import itemgetter

from ...core.codec import encoded_size
from ...core.follows import revision_in
from ...core.pace import Pace
from ...core.record import Key, Record
from ...core.restores import Olds, RestoresAtOnce
from ...core.snapshots import Look, Scan, absent
from ...errors import Compacted, StorageTimeout
from .connection import SqlUnit
from .lending import Pool
from .notes import Notes
from .power import SqlPower
from .putting import RECORD_FIELDS
from .scanning import Scanning
from .statements import Compiled

_NAMES = 20_000
"""How many names of changed records are held at once; each page of them reads the log behind the cursor anew."""

_LONG_AGO = datetime.fromtimestamp(0, timezone.utc)


_TEXTS = itemgetter(RECORD_FIELDS.index("data"), RECORD_FIELDS.index("metadata"))


class SqlSnapshots(SqlPower, RestoresAtOnce, ABC):
    """The power Snapshots on the tables."""

    _pool: Pool
    _notes: Notes

    @property
    @abstractmethod
    def shareable(self) -> bool:
        """Whether other connections see the same records."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[SqlUnit]:
        """Open a unit that only reads."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[SqlUnit]:
        """Open a unit with a transaction of its own."""

    @abstractmethod
    def position(self, bucket: str) -> str:
        """Return the cursor behind the last change of now.

        :param bucket: the collection.
        """

    @abstractmethod
    def _head(self, unit: SqlUnit, bucket: str) -> tuple[int, int]:
        """Return up to where a bucket's log has lost something, and the highest revision that there ever was."""

    @cached_property
    def _scanning(self) -> Scanning:
        return Scanning(self._statements)

    # -- looks -----------------------------------------------------------------------------------------------------

    @contextmanager
    def looking(self, scan: Scan) -> Iterator[Look]:
        """Open a look: one transaction that sees one moment, read in pages.

        In a file of SQLite with write-ahead logging, and on PostgreSQL, nobody waits for it.

        :param scan: which records.
        :raises Compacted: when some of what has changed since the cursors is not known any more.
        :raises StateValidationError: when one of them is no cursor.
        :raises StorageError: when the database fails.
        """
        cursors = self._positions(scan) if self._statements.postgres else None
        with self._moment() as unit:
            since = {bucket: self._known(unit, bucket, cursor) for bucket, cursor in (scan.since or {}).items()}
            if cursors is None:
                cursors = dict.fromkeys(scan.buckets, str(self.newest(unit)))
            floors = {bucket: self.floor_of(unit, bucket) for bucket in scan.buckets}
            yield Look(cursors, floors, self._batches(unit, scan, since))

    def has_changed(self, scan: Scan) -> bool:
        """Tell whether anything has changed behind the cursors of a scan.

        :param scan: which records, and since when.
        :raises StateValidationError: when one of them is no cursor.
        :raises StorageError: when the database fails.
        """
        with self.reading() as unit:
            for bucket, cursor in (scan.since or {}).items():
                try:
                    since = self._known(unit, bucket, cursor)
                except Compacted:
                    return True
                values = self._scanning.values(bucket, scan.prefix) | {"k_since": since}
                if unit.run(self._scanning.any_changed(scan.prefix), values, planned=False):
                    return True
        return False

    def _positions(self, scan: Scan) -> dict[str, str]:
        """Return positions up to which all is visible before the look begins; none where that cannot be told."""
        try:
            return {bucket: self.position(bucket) for bucket in scan.buckets}
        except StorageTimeout:
            return {}

    @contextmanager
    def _moment(self) -> Iterator[SqlUnit]:
        """Open a transaction that sees one moment."""
        if not self.shareable:
            # The one connection: what others have open on it would be seen before it is committed.
            with self.writing() as unit:
                yield unit
            return
        with self.reading() as unit:
            with unit.translated():
                self._dialect.look(unit.connection)
            yield unit

    def _known(self, unit: SqlUnit, bucket: str, cursor: str) -> int:
        """Return the revision of a cursor, if all behind it is known."""
        revision = revision_in(cursor)
        compacted, reached = self._head(unit, bucket)
        if not compacted <= revision <= reached:
            raise Compacted(cursor, str(reached))
        return revision

    def _batches(self, unit: SqlUnit, scan: Scan, since: dict[str, int]) -> Iterator[list[Record]]:
        for bucket in scan.buckets:
            if scan.since is None:
                yield from self._all(unit, bucket, scan)
            else:
                yield from self._changed(unit, bucket, scan, since[bucket])

    def _all(self, unit: SqlUnit, bucket: str, scan: Scan) -> Iterator[list[Record]]:
        after, pace = None, Pace(scan.batch)
        while True:
            limit = pace.limit
            values = self._scanning.values(bucket, scan.prefix, after) | {"k_limit": limit}
            rows = unit.run(self._scanning.page(scan.prefix, after), values, planned=False)
            if rows:
                pace.step(sum(len(data) + len(metadata) for data, metadata in map(_TEXTS, rows)), len(rows))
                after = rows[-1][1]
                yield [self._statements.record(row) for row in rows]
            if len(rows) < limit:
                return

    def _changed(self, unit: SqlUnit, bucket: str, scan: Scan, since: int) -> Iterator[list[Record]]:
        after, pace = None, Pace(scan.batch)
        while True:
            values = self._scanning.values(bucket, scan.prefix, after) | {"k_limit": _NAMES, "k_since": since}
            rows = unit.run(self._scanning.changed(scan.prefix, after), values, planned=False)
            at = 0
            while page := rows[at : at + pace.limit]:
                at += len(page)
                stored = self.read_many(unit, bucket, [name for name, _ in page])
                pace.step(sum(encoded_size(record.data) for record in stored.values()), len(page))
                yield [stored.get(name) or absent(Key(bucket, name), version, _LONG_AGO) for name, version in page]
            if len(rows) < _NAMES:
                return
            after = rows[-1][0]

    # -- restores --------------------------------------------------------------------------------------------------

    def seclude(self, unit: SqlUnit) -> None:
        """Lock the states against writers (PostgreSQL; SQLite has locked the file already).

        :param unit: an open writing unit.
        :raises StorageTimeout: when others hold them for too long.
        :raises StorageError: when the database fails.
        """
        table = self._statements.dialect.identifier_preparer.format_table(self.tables.state)
        for sql in self._dialect.seclude(table):
            unit.run(Compiled(sql, None, {}), {}, fetch=False)

    def newest(self, unit: SqlUnit) -> int:
        """Return the greatest revision that is visible; 0 at first.

        :param unit: an open unit.
        :raises StorageError: when the database fails.
        """
        return int(unit.run(self._scanning.newest, {})[0][0])

    def old_names(self, unit: SqlUnit, olds: Olds) -> list[str]:
        """Return names of live records that a restore has not written, in order.

        :param unit: an open unit.
        :param olds: which ones.
        :raises StorageError: when the database fails.
        """
        values = self._scanning.values(olds.bucket, olds.prefix, olds.after)
        values |= {"k_revision": olds.revision, "k_limit": olds.limit}
        return [row[0] for row in unit.run(self._scanning.olds(olds.prefix, olds.after), values, planned=False)]

    def living(self, unit: SqlUnit, bucket: str, prefix: str) -> int:
        """Return how many live records there are.

        :param unit: an open unit.
        :param bucket: the collection.
        :param prefix: how the names begin.
        :raises StorageError: when the database fails.
        """
        rows = unit.run(self._scanning.living(prefix), self._scanning.values(bucket, prefix), planned=False)
        return int(rows[0][0])

    def lay(self, unit: SqlUnit, records: Sequence[Record]) -> None:
        """Store tombstones where nothing is, and raise the versions of what is there.

        :param unit: an open writing unit.
        :param records: what shall be stored.
        :raises StorageError: when the database fails.
        """
        statement = self._scanning.lay
        rows = [statement.bind(self._statements.state_values(record)) for record in records]
        with unit.translated():
            cursor = unit.connection.cursor()
            try:
                cursor.executemany(statement.sql, rows)
            finally:
                cursor.close()

    def floor_of(self, unit: SqlUnit, bucket: str) -> int:
        """Return the version above which the records of a bucket start.

        :param unit: an open unit.
        :param bucket: the collection.
        :raises StorageError: when the database fails.
        """
        return self._notes.floor(unit, bucket)

    def raise_floor(self, unit: SqlUnit, bucket: str, version: int) -> None:
        """Have absent records of a bucket start above a version.

        :param unit: an open writing unit.
        :param bucket: the collection.
        :param version: the version.
        :raises StorageError: when the database fails.
        """
        self._notes.raise_to(unit, bucket, floor=version)

    def compact(self, unit: SqlUnit, bucket: str, revision: int) -> None:
        """Have every cursor before a revision count as compacted.

        :param unit: an open writing unit.
        :param bucket: the collection.
        :param revision: the revision.
        :raises StorageError: when the database fails.
        """
        self._notes.raise_to(unit, bucket, compacted=revision)

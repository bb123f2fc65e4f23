"""What is noted of buckets, behind what was removed from them: statements on the table ``bucket``."""

from __future__ import annotations

from sqlalchemy import BigInteger, Select, bindparam, func, select
from sqlalchemy.sql import ClauseElement

from .connection import SqlUnit
from .floors import floor_of
from .statements import Statements, compiled


class Notes:
    """Reads and raises what is noted of buckets.

    :param statements: tables and the database's habits.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._floor = compiled(self._floor_read(), statements.dialect)
        self._raise = compiled(self._raised(), statements.dialect)

    def floor(self, unit: SqlUnit, bucket: str) -> int:
        """Return the highest version of a removed tombstone.

        :param unit: an open unit.
        :param bucket: the collection.
        :raises StorageError: when the database fails.
        """
        return int(unit.run(self._floor, {"k_bucket": bucket})[0][0])

    def raise_to(self, unit: SqlUnit, bucket: str, *, floor: int = 0, compacted: int = 0) -> None:
        """Raise what is noted of a bucket; what is higher already stays.

        :param unit: an open writing unit.
        :param bucket: the collection.
        :param floor: the highest version of a removed tombstone.
        :param compacted: the highest revision of a removed change.
        :raises StorageError: when the database fails.
        """
        unit.run(self._raise, {"bucket": bucket, "version_floor": floor, "compacted": compacted}, fetch=False)

    def _floor_read(self) -> Select[tuple[int]]:
        table = self._statements.tables.bucket
        return select(floor_of(self._statements.tables, bindparam("k_bucket", type_=table.c.bucket.type)))

    def _raised(self) -> ClauseElement:
        table, habits = self._statements.tables.bucket, self._statements.habits
        given = {column.name: self._statements.bound(column) for column in table.columns}
        insert = habits.insert(table).values(given)
        higher = func.greatest if self._statements.postgres else func.max
        raised = {
            name: higher(table.c[name], insert.excluded[name], type_=BigInteger())
            for name in ("version_floor", "compacted")
        }
        noted: ClauseElement = insert.on_conflict_do_update(index_elements=["bucket"], set_=raised)
        return noted

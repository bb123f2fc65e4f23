"""The power Audits on SQL: the log is walked from its end by its primary key, a bounded number of rows at a time.

No index serves the conditions, as each would cost every write. What is bounded is how many rows are looked at, and the
answer says how far that was. The JSON of the records is never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Integer, Select, Text, and_, bindparam, collate, func, select
from sqlalchemy.sql import ColumnElement

from ...core.audits import DISORDER, Audited, AuditQuery, Audits, Deed, folded
from ...core.record import Key, Origin
from .connection import SqlUnit
from .power import SqlPower
from .reading import Row
from .statements import Compiled, Statements, compiled

_COLUMNS = ("revision", "bucket", "name", "version", "event", "type", "from_status", "to_status")
_ORIGIN = ("actor", "source", "reason", "request_id", "idempotency_key")

_SAME = {
    "bucket": "bucket",
    "actor": "actor",
    "event": "event",
    "source": "source",
    "request_id": "request_id",
    "type": "type",
    "status": "to_status",
}
"""The conditions that compare a column, each with its column."""

_Shape = tuple[bool, ...]


class SqlAudits(SqlPower, Audits):
    """Searches the log backwards, a window of it at a time."""

    @cached_property
    def _windows(self) -> Windows:
        return Windows(self._statements)

    def audit(self, unit: SqlUnit, query: AuditQuery) -> Audited:
        """Search a piece of the log.

        :param unit: an open unit.
        :param query: what to look for, and how far.
        :raises StorageError: when the database fails.
        """
        below = self._below(unit, query)
        values = self._values(query, below)
        found = unit.run(self._windows.search(query, bounded=below is not None), values, planned=False)
        deeds = [self._deed(row) for row in found]
        if len(deeds) == query.limit:
            return Audited(deeds, deeds[-1].revision, deeds[-1].at)
        bottom = unit.run(self._windows.bottom(query, bounded=below is not None), values, planned=False)
        if not bottom:
            return Audited(deeds)
        at = self._time_of(bottom[0][1])
        return Audited(deeds) if query.over_by(at) else Audited(deeds, bottom[0][0], at)

    def _below(self, unit: SqlUnit, query: AuditQuery) -> int | None:
        """Return the revision below which to look; what is newer than the time range is jumped over."""
        if query.until is None or query.name is not None:
            return query.before
        newest = unit.run(self._windows.newest, {}, planned=False)
        jump = 1 + self._last_until(unit, query.until, newest[0][0] if newest else 0)
        return jump if query.before is None else min(jump, query.before)

    def _last_until(self, unit: SqlUnit, until: datetime, newest: int) -> int:
        """Return the newest revision that is not clearly later than a moment, by halving."""
        low, high = 0, newest
        while low < high:
            middle = (low + high + 1) // 2
            row = unit.run(self._windows.at_most, {"k_before": middle}, planned=False)
            if not row or self._time_of(row[0][1]) - DISORDER <= until:
                low = middle
            else:
                high = row[0][0] - 1
        return low

    def _values(self, query: AuditQuery, below: int | None) -> dict[str, Any]:
        time = self._dialect.bound_time
        given = {
            "k_before": below,
            "k_name": query.name,
            **{f"k_{name}": getattr(query, name) for name in _SAME},
            "k_reason": None if query.reason is None else folded(query.reason),
            "k_since": time(query.since),
            "k_until": time(query.until),
        }
        bounds = {"k_limit": query.limit, "k_look_at": query.look_at, "k_last": query.look_at - 1}
        return {name: value for name, value in given.items() if value is not None} | bounds

    def _deed(self, row: Row) -> Deed:
        revision, bucket, name, version, event, type_, before, after, *origin, at = row
        return Deed(
            revision, Key(bucket, name), version, event, type_, before, after, Origin(*origin), self._time_of(at)
        )

    def _time_of(self, value: Any) -> datetime:
        found = self._dialect.read_time(value)
        assert found is not None, "the column takes no null"
        return found


class Windows:
    """The statements, compiled once for each shape that a search can have.

    :param statements: tables and columns.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._known: dict[_Shape, tuple[Compiled, Compiled]] = {}
        log = statements.tables.history.c
        by_revision = select(log.revision, statements.readable(log.created_at)).order_by(log.revision.desc())
        at_most = by_revision.where(log.revision <= self._parameter("before", log.revision))
        self.newest = self._compiled(by_revision.limit(1))
        self.at_most = self._compiled(at_most.limit(1))

    def search(self, query: AuditQuery, *, bounded: bool) -> Compiled:
        """Return the statement that finds deeds in the window.

        :param query: the search.
        :param bounded: whether the window begins below a revision.
        """
        return self._both(query, bounded=bounded)[0]

    def bottom(self, query: AuditQuery, *, bounded: bool) -> Compiled:
        """Return the statement that finds the last entry of the window, if the window is full.

        :param query: the search.
        :param bounded: whether the window begins below a revision.
        """
        return self._both(query, bounded=bounded)[1]

    def _both(self, query: AuditQuery, *, bounded: bool) -> tuple[Compiled, Compiled]:
        names = (*_SAME, "name", "reason", "since", "until")
        shape = (bounded, *(getattr(query, name) is None for name in names))
        found = self._known.get(shape)
        if found is None:
            both = self._search(query, bounded=bounded), self._bottom(query, bounded=bounded)
            found = self._known[shape] = self._compiled(both[0]), self._compiled(both[1])
        return found

    def _search(self, query: AuditQuery, *, bounded: bool) -> Select[Any]:
        log = self._statements.tables.history.c
        columns = [log[name] for name in (*_COLUMNS, *_ORIGIN, "created_at")]
        window = self._walk(query, columns, bounded=bounded).limit(bindparam("k_look_at", type_=Integer())).subquery()
        shown = [self._statements.readable(column) for column in window.c]
        found = select(*shown).where(*self._conditions(query, window.c))
        return found.order_by(window.c.revision.desc()).limit(bindparam("k_limit", type_=Integer()))

    def _bottom(self, query: AuditQuery, *, bounded: bool) -> Select[Any]:
        log = self._statements.tables.history.c
        walk = self._walk(query, [log.revision, self._statements.readable(log.created_at)], bounded=bounded)
        return walk.limit(1).offset(bindparam("k_last", type_=Integer()))

    def _walk(self, query: AuditQuery, columns: Sequence[ColumnElement[Any]], *, bounded: bool) -> Select[Any]:
        """Return the entries from the newest on: of one record by its own index, else by the primary key."""
        log = self._statements.tables.history.c
        walk, order = select(*columns), log.revision
        if query.name is not None:
            mine = and_(log.bucket == bindparam("k_bucket"), log.name == bindparam("k_name"))
            walk, order = walk.where(mine), log.version
        if bounded:
            walk = walk.where(log.revision < self._parameter("before", log.revision))
        return walk.order_by(order.desc())

    def _conditions(self, query: AuditQuery, window: Any) -> list[ColumnElement[bool]]:
        found = [
            window[column] == self._parameter(name, window[column])
            for name, column in _SAME.items()
            if getattr(query, name) is not None
        ]
        if query.reason is not None:
            found.append(self._contains(window.reason, bindparam("k_reason", type_=Text())))
        if query.since is not None:
            found.append(window.created_at >= self._parameter("since", window.created_at))
        if query.until is not None:
            found.append(window.created_at <= self._parameter("until", window.created_at))
        return found

    def _contains(self, column: ColumnElement[Any], text: ColumnElement[str]) -> ColumnElement[bool]:
        """Return whether a text contains another; only ASCII letters count as the same in both cases."""
        if self._statements.postgres:
            return func.strpos(func.lower(collate(column, "C")), text) > 0
        return func.instr(func.lower(column), text) > 0

    def _parameter(self, name: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return bindparam(f"k_{name}", type_=column.type if self._statements.postgres else None)

    def _compiled(self, statement: Select[Any]) -> Compiled:
        return compiled(statement, self._statements.dialect)

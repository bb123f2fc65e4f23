"""The power Audits on SQL: the log is walked from its end by its primary key, a bounded number of rows at a time.

No index serves the conditions, as each would cost every write. What is bounded is how many rows are looked at, and the
answer says how far that was. The JSON of the records is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial
from typing import Any

from sqlalchemy import Integer, Select, Text, and_, bindparam, collate, func, select
from sqlalchemy.sql import ColumnElement

from ...core.audits import DISORDER, Audited, AuditQuery, Audits, Deed, folded
from ...core.record import Key, Origin
from .connection import SqlUnit
from .paths import unindexed
from .power import SqlPower
from .reading import Row
from .statements import Compiled, Statements, compiled

_COLUMNS = ("revision", "bucket", "name", "version", "event", "type", "from_status", "to_status")
_ORIGIN = ("actor", "source", "reason", "request_id", "idempotency_key")
_SHOWN = (*_COLUMNS, *_ORIGIN, "created_at")

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

_Shape = tuple[int, ...]


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
        return self._of_one(unit, query) if query.name is not None else self._of_all(unit, query)

    def _of_one(self, unit: SqlUnit, query: AuditQuery) -> Audited:
        """Search the changes of one record."""
        bounded = query.before is not None
        values = {**self._values(query), "k_look_at": query.look_at, "k_last": query.look_at - 1}
        if query.before is not None:
            values["k_before"] = query.before
        deeds = [self._deed(row) for row in unit.run(self._windows.of_one(query, bounded), values, planned=False)]
        if len(deeds) == query.limit:
            return Audited(deeds, deeds[-1].revision, deeds[-1].at)
        bottom = unit.run(self._windows.bottom[bounded], values, planned=False)
        return Audited(deeds, bottom[0][0], self._time_of(bottom[0][1])) if bottom else Audited(deeds)

    def _of_all(self, unit: SqlUnit, query: AuditQuery) -> Audited:
        """Search a window of the log: as many revisions as rows are to be looked at, of which some may be gone."""
        top = self._top(unit, query)
        floor = max(0, top - query.look_at)
        values = {**self._values(query), "k_before": top, "k_floor": floor}
        deeds = [self._deed(row) for row in unit.run(self._windows.of_all(query), values, planned=False)]
        if len(deeds) == query.limit:
            return Audited(deeds, deeds[-1].revision, deeds[-1].at)
        rest = unit.run(self._windows.at_most, {"k_before": floor - 1}, planned=False)
        if not rest:
            return Audited(deeds)
        revision, at = rest[0][0], self._time_of(rest[0][1])
        return Audited(deeds) if query.over_by(at) else Audited(deeds, revision + 1, at)

    def _top(self, unit: SqlUnit, query: AuditQuery) -> int:
        """Return the revision below which to look; what is newer than the time range is jumped over."""
        newest = unit.run(self._windows.newest, {}, planned=False)
        last = newest[0][0] if newest else 0
        if query.until is not None:
            last = self._last_until(unit, query.until, last)
        return last + 1 if query.before is None else min(last + 1, query.before)

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

    def _values(self, query: AuditQuery) -> dict[str, Any]:
        time = self._dialect.bound_time
        given = {
            "k_name": query.name,
            **{f"k_{name}": getattr(query, name) for name in _SAME},
            **{f"k_but_{place}": bucket for place, bucket in enumerate(query.but)},
            "k_reason": None if query.reason is None else folded(query.reason),
            "k_since": time(query.since),
            "k_until": time(query.until),
        }
        return {name: value for name, value in given.items() if value is not None} | {"k_limit": query.limit}

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
        self._known: dict[_Shape, Compiled] = {}
        log = statements.tables.history.c
        by_revision = select(log.revision, statements.readable(log.created_at)).order_by(log.revision.desc()).limit(1)
        self.newest = self._compiled(by_revision)
        self.at_most = self._compiled(by_revision.where(log.revision <= self._parameter("before", log.revision)))
        last = bindparam("k_last", type_=Integer())
        moments = [log.revision, statements.readable(log.created_at)]
        self.bottom = [self._compiled(self._own(moments, bounded=each).limit(1).offset(last)) for each in (False, True)]

    def of_all(self, query: AuditQuery) -> Compiled:
        """Return the statement that finds deeds between two revisions.

        :param query: the search.
        """
        return self._shaped(query, 2, self._of_all)

    def of_one(self, query: AuditQuery, bounded: bool) -> Compiled:
        """Return the statement that finds deeds among the newest changes of one record.

        :param query: the search.
        :param bounded: whether these begin below a revision.
        """
        return self._shaped(query, bounded, partial(self._of_one, bounded=bounded))

    def _shaped(self, query: AuditQuery, way: int, make: Callable[[AuditQuery], Select[Any]]) -> Compiled:
        names = (*_SAME, "reason", "since", "until")
        shape = (way, len(query.but), *(getattr(query, name) is None for name in names))
        found = self._known.get(shape)
        if found is None:
            found = self._known[shape] = self._compiled(make(query).limit(bindparam("k_limit", type_=Integer())))
        return found

    def _of_all(self, query: AuditQuery) -> Select[Any]:
        log = self._statements.tables.history.c
        revision = log.revision
        between = and_(revision < self._parameter("before", revision), revision >= self._parameter("floor", revision))
        shown = [self._statements.readable(log[name]) for name in _SHOWN]
        # By its bucket SQLite would go through all that a bucket has ever had, to sort it.
        seen = {**dict(log.items()), "bucket": unindexed(log.bucket)}
        return select(*shown).where(between, *self._conditions(query, seen)).order_by(revision.desc())

    def _of_one(self, query: AuditQuery, *, bounded: bool) -> Select[Any]:
        log = self._statements.tables.history.c
        newest = self._own([log[name] for name in _SHOWN], bounded=bounded)
        window = newest.limit(bindparam("k_look_at", type_=Integer())).subquery().c
        shown = [self._statements.readable(column) for column in window]
        return select(*shown).where(*self._conditions(query, dict(window.items()))).order_by(window.revision.desc())

    def _own(self, columns: Sequence[ColumnElement[Any]], *, bounded: bool) -> Select[Any]:
        """Return the changes of one record from the newest on, which have an index of their own."""
        log = self._statements.tables.history.c
        own = select(*columns).where(log.bucket == bindparam("k_bucket"), log.name == bindparam("k_name"))
        if bounded:
            own = own.where(log.revision < self._parameter("before", log.revision))
        return own.order_by(log.version.desc())

    def _conditions(self, query: AuditQuery, window: Mapping[str, ColumnElement[Any]]) -> list[ColumnElement[bool]]:
        found = [
            window[column] == self._parameter(name, window[column])
            for name, column in _SAME.items()
            if getattr(query, name) is not None
        ]
        found += [
            window["bucket"] != self._parameter(f"but_{place}", window["bucket"]) for place in range(len(query.but))
        ]
        if query.reason is not None:
            found.append(self._contains(window["reason"], bindparam("k_reason", type_=Text())))
        if query.since is not None:
            found.append(window["created_at"] >= self._parameter("since", window["created_at"]))
        if query.until is not None:
            found.append(window["created_at"] <= self._parameter("until", window["created_at"]))
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

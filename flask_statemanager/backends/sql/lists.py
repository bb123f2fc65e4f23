"""The power Lists on SQL: a prefix is a range of the primary key, which collates by code point.

None of these statements is prepared, as a plan for any prefix is not one for this prefix.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    LargeBinary,
    Select,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql import ColumnElement

from ...core.lists import PREFIX_END, Lists, Measure, Span, prefix_end
from .connection import SqlUnit
from .power import SqlPower
from .statements import Compiled, Statements, compiled

_Condition = ColumnElement[bool]
_Shape = tuple[object, ...]

BEHIND_ALL = chr(0x10FFFF) * 256
"""No name is as long. With both ends of a range PostgreSQL goes by the primary key, also before it has statistics."""

_ONE, _NONE = literal_column("1", BigInteger()), literal_column("0", BigInteger())


class SqlLists(SqlPower, Lists):
    """Lists names by the primary key, and measures a bucket in one walk through it."""

    @cached_property
    def _spans(self) -> Spans:
        return Spans(self._statements)

    def listed(self, unit: SqlUnit, span: Span) -> list[str]:
        """Return names in order.

        :param unit: an open unit.
        :param span: which ones.
        :raises StorageError: when the database fails.
        """
        statement, values = self._spans.listing(span)
        return [row[0] for row in unit.run(statement, values, planned=False)]

    def tally(self, unit: SqlUnit, span: Span) -> int:
        """Return how many names there are.

        :param unit: an open unit.
        :param span: which ones.
        :raises StorageError: when the database fails.
        """
        statement, values = self._spans.counting(span)
        return int(unit.run(statement, values, planned=False)[0][0])

    def measure(self, unit: SqlUnit, bucket: str, now: datetime, most: int | None) -> Measure | None:
        """Return how much a bucket holds, or None where that means to look at more rows than wanted.

        :param unit: an open unit.
        :param bucket: the collection.
        :param now: the moment that decides what has expired.
        :param most: the most rows to look at, tombstones among them; None for as many as there are.
        :raises StorageError: when the database fails.
        """
        values = {"k_bucket": bucket, "k_now": self._dialect.bound_time(now)}
        if most is not None:
            values["k_most"] = most
        rows = unit.run(self._spans.measuring(bounded=most is not None), values, planned=False)
        if most is not None and rows[0][0] > most:
            return None
        found = [row[1:] for row in rows if row[1] is not None]
        keys, size, with_metadata = (sum(int(row[place]) for row in found) for place in (1, 2, 3))
        return Measure(keys, size, with_metadata, {row[0]: int(row[1]) for row in found})


class Spans:
    """Builds the statements, each once for every shape that a span can have.

    :param statements: tables and the database's habits.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._state = statements.tables.state.c
        self._known: dict[_Shape, Compiled] = {}

    def listing(self, span: Span) -> tuple[Compiled, dict[str, Any]]:
        """Return the statement for a page of names, and its parameters.

        :param span: which ones.
        """
        values = self._values(span)
        if span.limit is not None:
            values["k_limit"] = span.limit
        shape = ("listing", *values)
        if shape not in self._known:
            page = select(self._state.name).where(*self._conditions(values)).order_by(self._state.name)
            self._keep(shape, page if span.limit is None else page.limit(bindparam("k_limit", type_=BigInteger())))
        return self._known[shape], values

    def counting(self, span: Span) -> tuple[Compiled, dict[str, Any]]:
        """Return the statement for the number of names, and its parameters.

        :param span: which ones.
        """
        values = self._values(span)
        shape = ("counting", *values)
        if shape not in self._known:
            here = self._conditions(values)
            self._keep(shape, select(func.count()).select_from(self._statements.tables.state).where(*here))
        return self._known[shape], values

    def measuring(self, *, bounded: bool) -> Compiled:
        """Return the statement that measures a bucket: a row for each prefix, behind the number of rows looked at.

        :param bounded: whether it is to look no further than one row behind ``k_most``.
        """
        shape = ("measuring", bounded)
        if shape not in self._known:
            self._keep(shape, self._measured(bounded))
        return self._known[shape]

    def _keep(self, shape: _Shape, statement: Select[Any]) -> None:
        self._known[shape] = compiled(statement, self._statements.dialect)

    def _values(self, span: Span) -> dict[str, Any]:
        """Return the parameters; their names are the shape."""
        values: dict[str, Any] = {"k_bucket": span.bucket, "k_now": self._statements.habits.bound_time(span.now)}
        if span.after is not None and span.after >= span.prefix:
            values["k_after"] = span.after
        else:
            values["k_from"] = span.prefix
        return values | {"k_to": prefix_end(span.prefix) or BEHIND_ALL}

    def _conditions(self, values: dict[str, Any]) -> list[_Condition]:
        name = self._state.name
        first = (
            name > self._parameter("k_after", name) if "k_after" in values else name >= self._parameter("k_from", name)
        )
        return [*self._living(), first, name < self._parameter("k_to", name)]

    def _living(self) -> list[_Condition]:
        state = self._state
        unexpired = or_(state.expires_at.is_(None), state.expires_at > self._parameter("k_now", state.expires_at))
        return [state.bucket == self._parameter("k_bucket", state.bucket), state.deleted_at.is_(None), unexpired]

    def _parameter(self, name: str, column: Column[Any]) -> ColumnElement[Any]:
        # SQLite's moments are text to the driver.
        plain = isinstance(column.type, DateTime) and not self._statements.postgres
        return bindparam(name, type_=Text() if plain else column.type)

    def _measured(self, bounded: bool) -> Select[Any]:
        state = self._state
        columns = self._prefix().label("prefix"), self._size(state.data).label("size")
        rows = select(*columns, self._has_metadata().label("metadata")).where(*self._living())
        looked: Select[Any] = select(_NONE.label("number"))
        most = bindparam("k_most", type_=BigInteger())
        if bounded:
            here = select(_ONE.label("one")).where(state.bucket == self._parameter("k_bucket", state.bucket))
            looked = select(func.count().label("number")).select_from(here.limit(most + _ONE).subquery("here"))
        seen = looked.cte("seen")
        if bounded:
            # As a limit it is asked once, and where there is too much nothing else is done.
            rows = rows.limit(select(case((seen.c.number <= most, most), else_=_NONE)).scalar_subquery())
        found = rows.subquery("found")
        sums = func.count(), func.sum(found.c.size), func.sum(found.c.metadata)
        grouped = select(found.c.prefix, *sums).group_by(found.c.prefix).subquery("grouped")
        return select(seen.c.number, *grouped.c).select_from(seen.outerjoin(grouped, true()))

    def _prefix(self) -> ColumnElement[str]:
        name, end = self._state.name, literal_column(f"'{PREFIX_END}'", Text())
        if self._statements.postgres:
            return func.left(name, func.strpos(name, end))
        return func.substr(name, _ONE, func.instr(name, end))

    def _size(self, document: Column[Any]) -> ColumnElement[Any]:
        text = cast(document, Text)
        # octet_length() is of SQLite 3.43.
        return func.octet_length(text) if self._statements.postgres else func.length(cast(text, LargeBinary))

    def _has_metadata(self) -> ColumnElement[int]:
        empty, kept = literal_column("'{}'", Text()), self._state.metadata
        some = kept != cast(empty, JSONB) if self._statements.postgres else cast(kept, Text) != empty
        return case((some, _ONE), else_=_NONE)

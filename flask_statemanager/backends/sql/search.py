"""Queries as SQL. Every value is a bound parameter; no condition can fail on a row of another JSON type.

The meaning is that of ``core.matching``; the contract suite holds both to one table of cases.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import (
    Column,
    DateTime,
    Select,
    Text,
    UnaryExpression,
    and_,
    bindparam,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    tuple_,
)
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.operators import custom_op
from sqlalchemy.types import TypeEngine

from ...core.query import Filter, Lapse, Query
from .field_index import SERVED, FieldIndex, ValueIndex, quoted
from .fields import Fields
from .paths import Paths, PostgresPaths, SqlitePaths
from .statements import Statements

Condition = ColumnElement[Any]


class Way(Struct, frozen=True):
    """Which indexes of fields a statement is to go by.

    :param indexes: only these; None leaves it to the planner.
    :param sorts: whether what they find is to be sorted, because it is little; otherwise it is read in order.
    :param by_row: no index at all, because the rows are named.
    """

    indexes: tuple[FieldIndex, ...] | None = None
    sorts: bool = False
    by_row: bool = False


PLANNED = Way()
"""Leaves it to the planner, which on PostgreSQL has statistics to go by."""

BY_ROW = Way((), by_row=True)
"""Looks at rows that something else names."""


class Searching:
    """Builds the selects for queries.

    :param statements: tables and columns.
    :param fields: the fields that have indexes.
    """

    def __init__(self, statements: Statements, fields: Fields) -> None:
        self.statements = statements
        self.fields = fields
        self.state = statements.tables.state.c
        self.paths: Paths = PostgresPaths() if statements.postgres else SqlitePaths()

    def found(self, query: Query, way: Way = PLANNED) -> Select[Any]:
        """Return the select for a page of records.

        :param query: the query.
        :param way: which indexes of fields to go by.
        """
        by = (self.state.name,) if query.order.by == "state_id" else (self.state[query.order.by], self.state.name)
        page = select(*self.statements.record_columns()).where(*self._conditions(query, way), *self._behind(by, query))
        sorted_by = [_hidden(column) for column in by] if way.sorts else by
        page = page.order_by(*(column.desc() if query.order.descending else column.asc() for column in sorted_by))
        return page if query.limit is None else page.limit(query.limit)

    def values(self, query: Query) -> dict[str, Any]:
        """Return the parameters of a statement that differ from page to page; all others are in it.

        :param query: the query.
        """
        time = self.statements.habits.bound_time
        found: dict[str, Any] = {"k_now": time(query.now)}
        if query.after is not None:
            at, name = query.after
            by = "name" if query.order.by == "state_id" else query.order.by
            found |= {"k_after_name": name, f"k_after_{by}": time(at) if isinstance(at, datetime) else at}
        return found

    def _behind(self, by: tuple[Column[Any], ...], query: Query) -> list[Condition]:
        """The cursor, as a comparison of rows, which an index on these columns serves."""
        if query.after is None:
            return []
        there = [bindparam(f"k_after_{column.name}", None, type_=self._type_of(column)) for column in by]
        return [tuple_(*by) < tuple_(*there) if query.order.descending else tuple_(*by) > tuple_(*there)]

    def counted(self, query: Query, most: int | None = None) -> Select[Any]:
        """Return the select for the number of records.

        :param query: the query.
        :param most: count no further than this.
        """
        if most is None:
            return select(func.count()).select_from(self.statements.tables.state).where(*self._conditions(query))
        return select(func.count()).select_from(self.rows(query).limit(most).subquery())

    def rows(self, query: Query, way: Way = PLANNED) -> Select[Any]:
        """Return the select for nothing of the records but that they are there, in no order.

        :param query: the query.
        :param way: which indexes to go by.
        """
        there = select(literal(1).label("one")).select_from(self.statements.tables.state)
        return there.where(*self._conditions(query, way))

    def reach(self, query: Query, index: ValueIndex, most: int) -> Select[Any]:
        """Return the select for how many records an index finds by itself.

        :param query: a query with filters that it serves.
        :param index: the index.
        :param most: count no further than this.
        """
        served = [asked for asked in query.filters if self.serving(asked, query) is index]
        found = select(literal(1).label("one")).where(*self._living(query), *map(index.condition, served))
        if not any(asked.operator in ("eq", "in") for asked in served):
            # A range of the index, in its own order: there is no doubt by which index to go.
            found = found.order_by(index.expression())
        return select(func.count()).select_from(found.limit(most).subquery())

    def serving(self, asked: Filter, query: Query) -> FieldIndex | None:
        """Return the index that answers a filter, or None.

        :param asked: the filter.
        :param query: its query.
        """
        return self.fields.serving(asked, query.type)

    def unserved(self, query: Query) -> list[str]:
        """Return the paths of a query that an index could serve and none does.

        :param query: the query.
        """
        asked = [f for f in query.filters if f.operator in SERVED and self.serving(f, query) is None]
        return [".".join((found.root, *found.path)) for found in asked]

    def due(self, query: Query) -> Select[Any]:
        """Return the select for the names of records to which a lapse rule applies.

        :param query: the query.
        """
        rules = or_(false(), *(self._applies(rule, query) for rule in query.lapses))
        found = select(self.state.name).where(self.state.bucket == query.bucket, self.state.deleted_at.is_(None), rules)
        return found.order_by(self.state.expires_at, self.state.name).limit(query.limit)

    def _living(self, query: Query, way: Way = PLANNED) -> list[Condition]:
        """The collection and the type; the type is a word of the statement where indexes are of that type alone."""
        state = self.state
        bucket = _hidden(state.bucket) if way.by_row else state.bucket  # every index begins with it
        found: list[Condition] = [bucket == query.bucket, state.deleted_at.is_(None)]
        if query.type is not None:
            found.append(state.type == (quoted(query.type) if self.fields.knows(query.type) else query.type))
        return found

    def _conditions(self, query: Query, way: Way = PLANNED) -> list[Condition]:
        state = self.state
        conditions = self._living(query, way)
        if query.owner is not None:
            conditions.append(state.owner == query.owner)
        if query.statuses is not None:
            # Hidden where the way is by an index of a field: the one of statuses must not seem better.
            status = _hidden(state.status) if way.indexes else state.status
            conditions.append(or_(false(), *(self._counts_as(word, query, status) for word in query.statuses)))
        return conditions + [self._holds(asked, query, way) for asked in query.filters]

    def _holds(self, asked: Filter, query: Query, way: Way) -> Condition:
        column = self.state[asked.root]
        index = self.serving(asked, query)
        if index is None or (way.indexes is not None and index not in way.indexes):
            return self.paths.condition(column, asked)
        found = index.condition(asked)
        return found if index.exact else and_(found, self.paths.condition(column, asked))

    def _counts_as(self, word: str, query: Query, status: Condition) -> Condition:
        """The status as stored and not lapsed, or lapsed into it."""
        rules = [rule for rule in query.lapses if query.type in (None, rule.type)]
        left = [not_(func.coalesce(self._applies(rule, query), false())) for rule in rules if rule.source == word]
        stays = and_(status == word, *left)
        return or_(stays, *(self._applies(rule, query) for rule in rules if rule.target == word))

    def _applies(self, rule: Lapse, query: Query) -> Condition:
        state = self.state
        past = state.expires_at <= bindparam("k_now", None, type_=self._type_of(state.expires_at))
        return and_(state.type == rule.type, state.status == rule.source, past)

    def _type_of(self, column: Column[Any]) -> TypeEngine[Any]:
        """Return the type of a parameter that is compared with a column; SQLite's moments are text to the driver."""
        return column.type if self.statements.postgres or not isinstance(column.type, DateTime) else Text()


def _hidden(column: Condition) -> Condition:
    """Return a column in a form that no index serves (SQLite's unary plus)."""
    return UnaryExpression(column, operator=custom_op("+"), type_=column.type)

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
from sqlalchemy.types import TypeEngine

from ...core.lists import prefix_end
from ...core.query import Filter, Lapse, Query
from ...core.times import COMPARE, TimeBound
from .field_index import FieldIndex, ValueIndex, quoted
from .fields import Fields
from .lists import BEHIND_ALL
from .paths import Paths, PostgresPaths, SqlitePaths, hidden
from .statements import Statements

Condition = ColumnElement[Any]


class Way(Struct, frozen=True):
    """Which indexes of fields a statement is to go by.

    :param indexes: only these; None leaves it to the planner.
    :param sorts: whether what they find is to be sorted, because it is little; otherwise it is read in order.
    :param by_row: no index at all, because the rows are named.
    :param column: the index of this column instead, ``owner`` or ``status``.
    """

    indexes: tuple[FieldIndex, ...] | None = None
    sorts: bool = False
    by_row: bool = False
    column: str | None = None


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
        sorted_by = [hidden(column) for column in by] if way.sorts else by
        page = page.order_by(*(column.desc() if query.order.descending else column.asc() for column in sorted_by))
        return page if query.limit is None else page.limit(query.limit)

    def values(self, query: Query) -> dict[str, Any]:
        """Return the parameters of a statement that differ from page to page; all others are in it.

        :param query: the query.
        """
        time = self.statements.habits.bound_time
        found: dict[str, Any] = {"k_now": time(query.now)}
        found |= {_parameter(bound): time(bound.at) for bound in query.times}
        if query.prefix:
            found |= {"k_prefix": query.prefix, "k_prefix_end": prefix_end(query.prefix) or BEHIND_ALL}
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

    def counted(self, query: Query, most: int | None = None, way: Way = PLANNED) -> Select[Any]:
        """Return the select for the number of records.

        :param query: the query.
        :param most: count no further than this.
        :param way: which indexes to go by.
        """
        if most is None:
            return select(func.count()).select_from(self.statements.tables.state).where(*self._conditions(query, way))
        return select(func.count()).select_from(self.rows(query, way).limit(most).subquery())

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

    def columns(self, query: Query) -> dict[str, list[str]]:
        """Return what a query asks of the columns that have an index for it: owner, and with a type the status.

        Of a status, what may be stored: a record past its expiry counts as in another than that.

        :param query: the query.
        """
        found = {} if query.owner is None else {"owner": [query.owner]}
        if query.type is not None and query.statuses is not None:
            lapsed = [rule.source for rule in query.lapses if rule.type == query.type and rule.target in query.statuses]
            found["status"] = list(dict.fromkeys((*query.statuses, *lapsed)))
        return found

    def column_reach(self, query: Query, column: str, most: int) -> Select[Any]:
        """Return the select for how many living records the index of a column finds.

        :param query: a query with such a condition.
        :param column: one of :meth:`columns`.
        :param most: count no further than this.
        """
        state = self.state
        found = select(literal(1).label("one")).where(state.bucket == query.bucket, self._among(query, column))
        if column == "status":
            found = found.where(state.type == query.type, state.deleted_at.is_(None))
        return select(func.count()).select_from(found.limit(most).subquery())

    def serving(self, asked: Filter, query: Query) -> FieldIndex | None:
        """Return the index that answers a filter, or None.

        :param asked: the filter.
        :param query: its query.
        """
        return self.fields.serving(asked, query.type)

    def unserved(self, query: Query) -> list[str]:
        """Return the paths of a query that no index serves, each once.

        A path that has an index is among them only where one of another kind would serve.

        :param query: the query.
        """
        asked = [found for found in query.filters if self.fields.lacks(found, query.type)]
        return list(dict.fromkeys(".".join((found.root, *found.path)) for found in asked))

    def due(self, query: Query) -> Select[Any]:
        """Return the select for the names of records to which a lapse rule applies.

        :param query: the query.
        """
        rules = or_(false(), *(self._applies(rule, query) for rule in query.lapses))
        found = select(self.state.name).where(
            self.state.bucket == query.bucket,
            self.state.deleted_at.is_(None),
            # By itself, for the index: inside of the rules no planner takes it for one.
            self._past(),
            rules,
        )
        return found.order_by(self.state.expires_at, self.state.name).limit(query.limit)

    def _living(self, query: Query, way: Way = PLANNED) -> list[Condition]:
        """The collection and the type; the type is a word of the statement where indexes are of that type alone."""
        state = self.state
        bucket = hidden(state.bucket) if way.by_row else state.bucket  # every index begins with it
        found: list[Condition] = [bucket == query.bucket, state.deleted_at.is_(None)]
        if query.type is not None:
            column = hidden(state.type) if way.column == "owner" or self._by_field(query, way) else state.type
            found.append(column == (quoted(query.type) if self.fields.knows(query.type) else query.type))
        return found

    def _by_field(self, query: Query, way: Way) -> bool:
        """Whether SQLite is to go by the index of a field, to which it would prefer that of types if that is newer."""
        if self.statements.postgres or way.indexes == ():
            return False
        return any(self.serving(asked, query) is not None for asked in query.filters)

    def _conditions(self, query: Query, way: Way = PLANNED) -> list[Condition]:
        state = self.state
        conditions = self._living(query, way)
        # Hidden where the way is by another index: theirs must not seem better.
        seen = hidden if way.indexes or way.column is not None else _shown
        if way.column is not None:
            conditions.append(self._among(query, way.column))
        if query.prefix:
            ends = (bindparam(name, None, type_=state.name.type) for name in ("k_prefix", "k_prefix_end"))
            conditions += [state.name >= next(ends), state.name < next(ends)]
        if query.owner is not None:
            conditions.append(seen(state.owner) == query.owner)
        if query.statuses is not None:
            status = seen(state.status)
            conditions.append(or_(false(), *(self._counts_as(word, query, status) for word in query.statuses)))
        conditions += map(self._bounded, query.times)
        return conditions + [self._holds(asked, query, way) for asked in query.filters]

    def _bounded(self, bound: TimeBound) -> Condition:
        column = self.state[bound.column]
        found: Condition = COMPARE[bound.operator](
            column, bindparam(_parameter(bound), None, type_=self._type_of(column))
        )
        return found

    def _among(self, query: Query, column: str) -> Condition:
        return self.state[column].in_(self.columns(query)[column])

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
        return and_(self.state.type == rule.type, self.state.status == rule.source, self._past())

    def _past(self) -> Condition:
        expires_at = self.state.expires_at
        found: Condition = expires_at <= bindparam("k_now", None, type_=self._type_of(expires_at))
        return found

    def _type_of(self, column: Column[Any]) -> TypeEngine[Any]:
        """Return the type of a parameter that is compared with a column; SQLite's moments are text to the driver."""
        return column.type if self.statements.postgres or not isinstance(column.type, DateTime) else Text()


def _parameter(bound: TimeBound) -> str:
    return f"k_{bound.column}_{bound.operator}"


def _shown(column: Condition) -> Condition:
    return column

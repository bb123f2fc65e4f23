"""Queries as SQL. Every value is a bound parameter; no condition can fail on a row of another JSON type.

The meaning is that of ``core.matching``; the contract suite holds both to one table of cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import (
    Column,
    CompoundSelect,
    DateTime,
    Select,
    Text,
    and_,
    bindparam,
    case,
    false,
    func,
    literal,
    literal_column,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.types import TypeEngine

from ...core.lists import prefix_end
from ...core.query import Filter, Query
from ...core.times import COMPARE, TimeBound
from .field_index import FieldIndex, ValueIndex, quoted
from .fields import Fields
from .lapses import Lapses, Part
from .lists import BEHIND_ALL
from .paths import Paths, PostgresPaths, SqlitePaths, hidden
from .putting import RECORD_FIELDS
from .statements import Statements

Condition = ColumnElement[Any]
Rows = Select[Any] | CompoundSelect[Any]


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


FEW = 2000
"""What an index finds up to here is sorted; of more than that a page is soon full when read in order."""

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
        self.lapses = Lapses(statements)
        self.paths: Paths = PostgresPaths() if statements.postgres else SqlitePaths()

    def found(self, query: Query, way: Way = PLANNED) -> Select[Any]:
        """Return the select for a page of records.

        :param query: the query.
        :param way: which indexes of fields to go by.
        """
        pages = [page for part in self._parts(query, way) for page in self._pages(query, way, part)]
        if len(pages) < 2:
            return (pages[0] if pages else self._page(query, way)).with_only_columns(*self.statements.record_columns())
        whole = union_all(*(select(page.subquery()) for page in pages)).subquery()
        page = select(*self.statements.record_columns(whole)).order_by(*_order(whole.c, query))
        return page if query.limit is None else page.limit(query.limit)

    def _pages(self, query: Query, way: Way, part: Part) -> Iterator[Select[Any]]:
        """The first records of a part in order, sorted or read in order, on SQLite whichever suits how many there are.

        PostgreSQL knows it from its statistics. SQLite has to look, which the limit does: it is made up first, and a
        select for no rows reads none. A condition would be looked at again in every row.
        """
        served = query.order.by == "state_id" or (query.order.by == "created_at" and query.type is not None)
        as_it_is = self.statements.postgres or query.limit is None or not served
        if as_it_is or (query.order.by == "created_at" and not part.lapsed):
            yield self._page(query, way, part)
            return
        there: Select[Any] = select(literal_column("1").label("one")).where(*self._living(query, part=part))
        looked_at = there.where(self.lapses.condition(part, query)).limit(FEW + 1).subquery()
        number = select(func.count()).select_from(looked_at).scalar_subquery()
        yield self._page(query, way, part).limit(case((number <= FEW, query.limit), else_=0))
        yield self._page(query, way, replace(part, in_order=True)).limit(case((number > FEW, query.limit), else_=0))

    def _page(self, query: Query, way: Way, part: Part | None = None) -> Select[Any]:
        by_its_own = part is not None and not part.in_order and (part.lapsed or query.order.by != "created_at")
        seen = hidden if way.sorts or (by_its_own and not self.statements.postgres) else _shown
        page: Select[Any] = select(*(self.state[name] for name in RECORD_FIELDS))
        page = page.where(*self._conditions(query, way, part), *self._behind(query, seen))
        page = page.order_by(*_order(self.state, query, seen))
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

    def _behind(self, query: Query, seen: Callable[[Condition], Condition]) -> list[Condition]:
        """The cursor, as a comparison of rows, which an index on these columns serves."""
        if query.after is None:
            return []
        by = [self.state[name] for name in _sorted_by(query)]
        there = [bindparam(f"k_after_{column.name}", None, type_=self._type_of(column)) for column in by]
        here = tuple_(*map(seen, by))
        return [here < tuple_(*there) if query.order.descending else here > tuple_(*there)]

    def counted(self, query: Query, most: int | None = None, way: Way = PLANNED) -> Select[Any]:
        """Return the select for the number of records.

        :param query: the query.
        :param most: count no further than this.
        :param way: which indexes to go by.
        """
        rows = self.rows(query, way)
        if most is None and isinstance(rows, Select):
            return rows.with_only_columns(func.count())
        return select(func.count()).select_from((rows if most is None else rows.limit(most)).subquery())

    def rows(self, query: Query, way: Way = PLANNED) -> Rows:
        """Return the select for nothing of the records but that they are there, in no order.

        :param query: the query.
        :param way: which indexes to go by.
        """
        there: Select[Any] = select(literal_column("1").label("one")).select_from(self.statements.tables.state)
        parts: Sequence[Part | None] = self._parts(query, way) or [None]
        each = [there.where(*self._conditions(query, way, part)) for part in parts]
        return each[0] if len(each) == 1 else union_all(*each)

    def named(self, query: Query) -> Select[Any]:
        """Return the same as one select, to which rows can be named.

        :param query: the query.
        """
        there: Select[Any] = select(literal_column("1").label("one")).select_from(self.statements.tables.state)
        return there.where(*self._conditions(query, BY_ROW))

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
            found["status"] = list(dict.fromkeys((*query.statuses, *self.lapses.sources(query))))
        return found

    def column_reach(self, query: Query, column: str, most: int) -> Select[Any]:
        """Return the select for how many living records the index of a column finds.

        :param query: a query with such a condition.
        :param column: one of :meth:`columns`.
        :param most: count no further than this.
        """
        if column == "status":
            asked = replace(query, owner=None, filters=(), times=(), prefix="")
            return self.counted(asked, most, Way((), column="status"))
        found = select(literal(1).label("one")).where(self.state.bucket == query.bucket, self._among(query, column))
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
        living = self.state.bucket == query.bucket, self.state.deleted_at.is_(None)
        order = self.state.expires_at, self.state.name
        each = [select(*reversed(order)).where(*living, rule) for rule in self.lapses.due(query) or [false()]]
        if query.limit is not None:
            each = [select(found.order_by(*order).limit(query.limit).subquery()) for found in each]
        whole = union_all(*each).subquery()
        return select(whole.c.name).order_by(whole.c.expires_at, whole.c.name).limit(query.limit)

    def _parts(self, query: Query, way: Way) -> list[Part]:
        """Of what to put a search by status together; of nothing where it goes by another index anyway."""
        by_another = way.by_row or way.indexes or way.column == "owner" or self._by_field(query, way)
        if way == PLANNED and query.owner is not None and not self.statements.postgres:
            by_another = True
        return [] if query.statuses is None or by_another else self.lapses.parts(query)

    def _living(self, query: Query, way: Way = PLANNED, part: Part | None = None) -> list[Condition]:
        """The collection and the type; the type is a word of the statement where indexes are of that type alone."""
        state = self.state
        bucket = hidden(state.bucket) if way.by_row else state.bucket  # every index begins with it
        found: list[Condition] = [bucket == query.bucket, state.deleted_at.is_(None)]
        if query.type is not None:
            column = hidden(state.type) if self._goes_elsewhere(query, way, part) else state.type
            found.append(column == (quoted(query.type) if self.fields.knows(query.type) else query.type))
        return found

    def _goes_elsewhere(self, query: Query, way: Way, part: Part | None) -> bool:
        """Whether the way is by an index that does not begin with the type."""
        if part is None:
            return way.column == "owner" or self._by_field(query, way)
        if part.in_order:
            return query.order.by == "state_id"
        return part.lapsed and not self.statements.postgres

    def _by_field(self, query: Query, way: Way) -> bool:
        """Whether SQLite is to go by the index of a field, to which it would prefer that of types if that is newer."""
        if self.statements.postgres or way.indexes == ():
            return False
        return any(self.serving(asked, query) is not None for asked in query.filters)

    def _conditions(self, query: Query, way: Way = PLANNED, part: Part | None = None) -> list[Condition]:
        state = self.state
        conditions = self._living(query, way, part)
        # Hidden where the way is by another index: theirs must not seem better.
        seen = hidden if way.indexes or way.column is not None else _shown
        if part is None and way.column is not None:
            conditions.append(self._among(query, way.column))
        if query.prefix:
            ends = (bindparam(name, None, type_=state.name.type) for name in ("k_prefix", "k_prefix_end"))
            conditions += [state.name >= next(ends), state.name < next(ends)]
        if query.owner is not None:
            conditions.append(seen(state.owner) == query.owner)
        conditions += self._by_status(query, seen, part)
        conditions += map(self._bounded, query.times)
        return conditions + [self._holds(asked, query, way) for asked in query.filters]

    def _by_status(
        self, query: Query, seen: Callable[[Condition], Condition], part: Part | None
    ) -> Iterator[Condition]:
        if part is not None:
            yield self.lapses.condition(part, query)
        elif query.statuses is not None:
            yield self.lapses.counts_as(query, seen(self.state.status))

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

    def _type_of(self, column: Column[Any]) -> TypeEngine[Any]:
        """Return the type of a parameter that is compared with a column; SQLite's moments are text to the driver."""
        return column.type if self.statements.postgres or not isinstance(column.type, DateTime) else Text()


def _parameter(bound: TimeBound) -> str:
    return f"k_{bound.column}_{bound.operator}"


def _sorted_by(query: Query) -> tuple[str, ...]:
    return ("name",) if query.order.by == "state_id" else (query.order.by, "name")


def _order(
    columns: ReadOnlyColumnCollection[str, Any],
    query: Query,
    seen: Callable[[Condition], Condition] | None = None,
) -> Iterator[Condition]:
    for name in _sorted_by(query):
        column = columns[name] if seen is None else seen(columns[name])
        yield column.desc() if query.order.descending else column.asc()


def _shown(column: Condition) -> Condition:
    return column

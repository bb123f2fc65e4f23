"""Finding and counting records: the powers Searches and Counts on the tables."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property, partial
from typing import Any

from sqlalchemy import Select

from ...core.powers import Counts, Searches
from ...core.query import Query
from ...core.record import Record
from . import search
from .connection import SqlUnit
from .estimates import planned_rows, sampled_rows
from .field_index import ValueIndex
from .power import SqlPower
from .reading import Row
from .search import PLANNED, Searching, Way
from .statements import Compiled, compiled

MOST_KEPT, LONGEST_KEPT = 256, 2000
"""How many statements are kept, and how long the filters of one may be."""

_Lead = ValueIndex | str


class SqlFinding(SqlPower, Searches, Counts):
    """The powers Searches and Counts on the tables."""

    _searching: Searching

    @cached_property
    def _kept(self) -> dict[Hashable, Compiled]:
        return {}

    def search(self, unit: SqlUnit, query: Query) -> list[Record]:
        """Return the found records in order.

        :param unit: an open unit.
        :param query: the query.
        :raises StorageError: when the database fails.
        """
        way = self._way(unit, query)
        rows = self._rows(unit, query, way, lambda: self._searching.found(query, way))
        return [self._statements.record(row) for row in rows]

    def unserved(self, query: Query) -> list[str]:
        """Return the paths of a query that no index serves.

        :param query: the query.
        """
        return self._searching.unserved(query)

    def count(self, unit: SqlUnit, query: Query, *, exact_to: int | None = None) -> int:
        """Count the found records; beyond a bound PostgreSQL is asked what its planner expects, SQLite for a sample.

        :param unit: an open unit.
        :param query: the query.
        :param exact_to: up to how many the number has to be exact; None for any.
        :raises StorageError: when the database fails.
        """
        return self.count_each(unit, [query], exact_to=exact_to)[0]

    def count_each(self, unit: SqlUnit, queries: Sequence[Query], *, exact_to: int | None = None) -> list[int]:
        """Count what each query finds, as :meth:`count` does; SQLite's sample is one for all.

        :param unit: an open unit.
        :param queries: the queries.
        :param exact_to: up to how many the numbers have to be exact; None for any.
        :raises StorageError: when the database fails.
        """
        most = None if exact_to is None else exact_to + 1
        numbers = [self._counted(unit, query, most) for query in queries]
        beyond = [place for place, number in enumerate(numbers) if number == most]
        estimates = self._estimated(unit, [queries[place] for place in beyond])
        for place, estimate in zip(beyond, estimates, strict=True):
            numbers[place] = max(numbers[place], estimate)
        return numbers

    def _counted(self, unit: SqlUnit, query: Query, most: int | None) -> int:
        way = self._way(unit, query)
        if way == Way(()):  # nothing is to be had in order here
            way = PLANNED
        [[number]] = self._rows(unit, query, ("count", most, way), partial(self._searching.counted, query, most, way))
        return int(number)

    def _estimated(self, unit: SqlUnit, queries: Sequence[Query]) -> list[int]:
        if self._statements.postgres:
            return [planned_rows(unit, self._searching.rows(each), self._searching.values(each)) for each in queries]
        alike: dict[str, list[Query]] = {}  # one statement takes one value of a parameter
        for query in queries:
            alike.setdefault(repr(self._searching.values(query)), []).append(query)
        found: dict[int, int] = {}
        for some in alike.values():
            rows = [self._searching.named(query) for query in some]
            numbers = sampled_rows(unit, rows, self._searching.values(some[0]), self.tables)
            found |= dict(zip(map(id, some), numbers, strict=True))
        return [found[id(query)] for query in queries]

    def _way(self, unit: SqlUnit, query: Query) -> Way:
        """Choose an index on SQLite, whose planner knows nothing of how often a value occurs.

        One that finds little is worth sorting, be it of a field, of owners or of statuses. Where all find much, one of
        a field that is asked for equality is read in order, or else the default order is: among so many a page is soon
        full.
        """
        indexes = [] if self._statements.postgres else self._by_value(query)
        if not indexes:
            return PLANNED
        ordered = [index for operator, index in indexes if operator == "eq"]
        columns = self._searching.columns(query)
        leads: list[_Lead] = [*columns, *dict.fromkeys(index for _, index in indexes)]
        # One that is read in order in any case needs no look.
        little = None if len(leads) == len(ordered) == 1 else self._finding_little(unit, query, leads)
        if little is None:
            return Way(tuple(ordered[:1]))
        if isinstance(little, ValueIndex):
            return Way((little,), sorts=True)
        in_order = query.order.by == "created_at" and len(columns[little]) == 1
        return Way((), column=little, sorts=not in_order)

    def _by_value(self, query: Query) -> list[tuple[str, ValueIndex]]:
        serving = [(asked.operator, self._searching.serving(asked, query)) for asked in query.filters]
        return [(operator, index) for operator, index in serving if isinstance(index, ValueIndex)]

    def _finding_little(self, unit: SqlUnit, query: Query, leads: Sequence[_Lead]) -> _Lead | None:
        """Return what finds the least, if that is little; no look goes further than the best of them needs."""
        for most in (search.FEW // 40, search.FEW):
            numbers = [self._reach(unit, query, lead, most) for lead in leads]
            if min(numbers) < most:
                return leads[numbers.index(min(numbers))]
        return None

    def _reach(self, unit: SqlUnit, query: Query, lead: _Lead, most: int) -> int:
        if isinstance(lead, str):
            looking = partial(self._searching.column_reach, query, lead, most)
        else:
            looking = partial(self._searching.reach, query, lead, most)
        [[number]] = self._rows(unit, query, (lead, most), looking)
        return int(number)

    def _rows(self, unit: SqlUnit, query: Query, how: Hashable, made: Callable[[], Select[Any]]) -> list[Row]:
        """Run a statement that is kept for the next page, as making one takes longer than most searches."""
        filters = repr(query.filters)  # by its text, as equality would take True for 1
        shape = query.bucket, query.type, query.statuses, query.owner, query.order, query.limit, query.lapses
        bounds = tuple((bound.column, bound.operator) for bound in query.times)
        key = how, query.after is None, bool(query.prefix), filters, bounds, shape
        statement = self._kept.get(key)
        if statement is None:
            statement = compiled(made(), self.engine.dialect)
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            if len(filters) <= LONGEST_KEPT:
                self._kept[key] = statement
        return unit.run(statement, self._searching.values(query), planned=False)

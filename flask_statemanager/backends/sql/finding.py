"""Finding and counting records: the powers Searches and Counts on the tables."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property, partial
from typing import Any

from sqlalchemy import Select

from ...core.powers import Counts, Searches
from ...core.query import Query
from ...core.record import Record
from .connection import SqlUnit
from .estimates import planned_rows, sampled_rows
from .field_index import ValueIndex
from .power import SqlPower
from .search import BY_ROW, PLANNED, Searching, Way
from .statements import Compiled, Row, compiled

MOST_KEPT, LONGEST_KEPT = 256, 2000
"""How many statements are kept, and how long the filters of one may be."""

FEW = 2000
"""What an index finds up to here is sorted; of more than that a page is soon full when read in order."""


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
        """Return the paths of a query that an index could serve and none does.

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
        if exact_to is None:
            return int(self._select(unit, query, self._searching.counted(query))[0][0])
        number = int(self._select(unit, query, self._searching.counted(query, exact_to + 1))[0][0])
        if number <= exact_to:
            return number
        values = self._searching.values(query)
        if self._statements.postgres:
            estimated = planned_rows(unit, self._searching.rows(query), values)
        else:
            estimated = sampled_rows(unit, self._searching.rows(query, BY_ROW), values, self.tables)
        return max(number, estimated)

    def _way(self, unit: SqlUnit, query: Query) -> Way:
        """Choose an index on SQLite, whose planner knows nothing of how often a value occurs.

        An index that finds little is worth sorting. Where all find much, one that is asked for equality is read in
        order, or else the default order is: among so many a page is soon full.
        """
        if self._statements.postgres or query.owner is not None:
            return PLANNED
        serving = [(asked.operator, self._searching.serving(asked, query)) for asked in query.filters]
        by_value = [(operator, index) for operator, index in serving if isinstance(index, ValueIndex)]
        indexes = list(dict.fromkeys(index for _, index in by_value))
        ordered = [index for operator, index in by_value if operator == "eq"]
        if not indexes:
            return PLANNED
        little = None if (len(indexes), len(ordered)) == (1, 1) else self._finding_little(unit, query, indexes)
        return Way(tuple(ordered[:1])) if little is None else Way((little,), sorts=True)

    def _finding_little(self, unit: SqlUnit, query: Query, indexes: Sequence[ValueIndex]) -> ValueIndex | None:
        for index in indexes:
            [[number]] = self._rows(unit, query, index, partial(self._searching.reach, query, index, FEW))
            if number < FEW:
                return index
        return None

    def _rows(self, unit: SqlUnit, query: Query, how: Hashable, made: Callable[[], Select[Any]]) -> list[Row]:
        """Run a statement that is kept for the next page, as making one takes longer than most searches."""
        filters = repr(query.filters)  # by its text, as equality would take True for 1
        shape = query.bucket, query.type, query.statuses, query.owner, query.order, query.limit, query.lapses
        key = how, query.after is None, filters, shape
        statement = self._kept.get(key)
        if statement is None:
            statement = compiled(made(), self.engine.dialect)
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            if len(filters) <= LONGEST_KEPT:
                self._kept[key] = statement
        return unit.run(statement, self._searching.values(query), planned=False)

    def _select(self, unit: SqlUnit, query: Query, statement: Select[Any]) -> list[Row]:
        return unit.run(compiled(statement, self.engine.dialect), self._searching.values(query), planned=False)

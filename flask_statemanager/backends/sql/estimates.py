"""How many rows a statement finds, about: from PostgreSQL's planner, or from a sample on SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CompoundSelect, Select, case, func, literal_column, select
from sqlalchemy.sql import ColumnElement

from ...core.codec import decode
from .connection import SqlUnit
from .statements import compiled
from .tables import Tables

SAMPLE = 3000
"""How many rows SQLite looks at."""


def planned_rows(unit: SqlUnit, rows: Select[Any] | CompoundSelect[Any], values: dict[str, Any]) -> int:
    """Return how many rows PostgreSQL expects, by its statistics of columns and configured fields.

    :param unit: an open unit.
    :param rows: the statement.
    :param values: its parameters.
    :raises StorageError: when the database fails.
    """
    statement = compiled(rows, unit.dialect.engine.dialect)
    explained = statement.behind("EXPLAIN (FORMAT JSON)")
    [[plan]] = unit.run(explained, values, planned=False)
    found = decode(plan) if isinstance(plan, str | bytes) else plan
    return int(found[0]["Plan"]["Plan Rows"])


def sampled_rows(unit: SqlUnit, each: Sequence[Select[Any]], values: dict[str, Any], tables: Tables) -> list[int]:
    """Return how many rows each statement finds if all are as those of a sample, one of each stretch of the table.

    Where in its stretch it lies is scattered, or a sample of regular data could hit the same kind every time.

    :param unit: an open unit.
    :param each: the statements, of the table of states.
    :param values: their parameters, the same for all.
    :param tables: the tables.
    :raises StorageError: when the database fails.
    """
    dialect = unit.dialect.engine.dialect
    rowid: Any = literal_column(f"{tables.state.name}.rowid")
    [[most]] = unit.run(compiled(select(func.max(rowid)).select_from(tables.state), dialect), {})
    stretch = max(1, int(most) // SAMPLE)
    places = [at * stretch + at * 2_654_435_761 % stretch + 1 for at in range(int(most) // stretch)]
    hits = (func.count(case((_conditions(rows), literal_column("1")))) for rows in each)
    drawn = rowid.in_(func.json_each(str(places)).table_valued("value").select())
    sample = select(*hits).select_from(tables.state).where(drawn)
    [counted] = unit.run(compiled(sample, dialect), values, planned=False)
    return [int(number) * stretch for number in counted]


def _conditions(rows: Select[Any]) -> ColumnElement[bool]:
    found = rows.whereclause
    assert found is not None, "a query is of a bucket"
    return found

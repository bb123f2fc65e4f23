"""Making and dropping the indexes of configured fields while the database is at work.

On PostgreSQL they are made CONCURRENTLY, which stops nobody; what an interrupted build has left behind is found and
made anew. Statistics of the field belong to each, because PostgreSQL takes none from an index of some rows only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import Struct
from sqlalchemy import select

from ...errors import StorageTimeout
from .backend import SqlBackend
from .connection import SqlUnit
from .field_index import OURS, FieldIndex
from .fields import MAKING, MEASURING
from .statements import compiled

READY, MISSING, INVALID, INCOMPLETE, UNUSED = "ready", "missing", "invalid", "incomplete", "unused"
"""How an index stands: usable; not there; not built to its end; without its statistics; there, but not configured."""

CREATE, REBUILD, DROP, ANALYZE = "create", "rebuild", "drop", "analyze"
"""What is done to an index; last, the table is analyzed, so that the planner knows what is in it."""

_LIMITS = ("statement_timeout", "lock_timeout")
"""What a build must not be held to."""

_ON_SQLITE = "SELECT name, 1, 1 FROM sqlite_master WHERE type = 'index' AND tbl_name = '{name}'"
_ON_POSTGRESQL = (
    "SELECT c.relname, CAST(i.indisvalid AS integer), (SELECT count(*) FROM pg_statistic_ext s "
    "WHERE s.stxrelid = i.indrelid AND s.stxname = c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "WHERE i.indrelid = CAST('{table}' AS regclass)"
)
_OF_THE_TABLE = (
    "(schemaname, tablename) = (SELECT nspname, relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
    "WHERE pg_class.oid = CAST('{name}' AS regclass))"
)
_WORTH_ANALYZING = (
    "SELECT EXISTS (SELECT FROM {table}) AND ({unseen}) "
    "AND pg_has_role((SELECT relowner FROM pg_class WHERE oid = CAST('{name}' AS regclass)), 'USAGE')"
)
_UNSEEN = f"NOT EXISTS (SELECT FROM pg_stats WHERE {_OF_THE_TABLE})"
_UNSEEN_FIELDS = (
    f"EXISTS (SELECT FROM pg_stats_ext_exprs WHERE {_OF_THE_TABLE} AND null_frac IS NULL "
    "AND statistics_name IN ({names}))"
)


class Standing(Struct, frozen=True):
    """How one index stands.

    :param name: its name.
    :param type: the type that it is for; None where it is not configured.
    :param field: the field; None where it is not configured.
    :param kind: what the field is indexed as; None where it is not configured.
    :param standing: ``ready``, ``missing``, ``invalid``, ``incomplete`` or ``unused``.
    """

    name: str
    type: str | None
    field: str | None
    kind: str | None
    standing: str


class Step(Struct, frozen=True):
    """One thing that is done.

    :param act: ``create``, ``rebuild``, ``drop`` or ``analyze``.
    :param name: the index, or the table.
    :param statements: the statements that do it.
    """

    act: str
    name: str
    statements: tuple[str, ...]


Told = Callable[[Step], object]
"""Hears of each step before it is taken; an index of a large table takes a while."""


def standings(backend: SqlBackend) -> list[Standing]:
    """Return how the indexes stand: those that are configured, in their order, then others of ours.

    :param backend: whose indexes.
    :raises StorageError: when the tables are missing or the database fails.
    """
    with backend.reading() as unit:
        return _standings(backend, unit)


def sync(backend: SqlBackend, told: Told, *, dry_run: bool = False) -> list[Step]:
    """Make the indexes that are missing, and those anew whose build was interrupted; no other is touched.

    PostgreSQL analyzes the table then, and also where it has not since there is something in it.

    :param backend: whose indexes.
    :param told: hears of each step.
    :param dry_run: only tell.
    :returns: the steps.
    :raises StorageTimeout: when another process is making or dropping indexes.
    :raises StorageError: when the tables are missing or the database fails.
    """
    with _working(backend, dry_run) as unit:
        measured = _takes_statistics(unit)
        known = {index.name: index for index in backend.fields.indexes}
        steps = [
            _making(backend, known[found.name], found.standing, measured)
            for found in _standings(backend, unit)
            if found.standing in (MISSING, INVALID, INCOMPLETE)
        ]
        if _concurrent(unit) and (steps or _unmeasured(backend, unit, measured)):
            steps.append(Step(ANALYZE, backend.tables.state.fullname, (f"ANALYZE {_table(backend)}",)))
        return _taken(unit, steps, told, dry_run)


def drop(backend: SqlBackend, names: Sequence[str], told: Told, *, dry_run: bool = False) -> list[Step]:
    """Drop indexes with their statistics.

    :param backend: whose indexes.
    :param names: which ones, as :func:`standings` names them; others are left alone.
    :param told: hears of each step.
    :param dry_run: only tell.
    :returns: the steps.
    :raises StorageTimeout: when another process is making or dropping indexes.
    :raises StorageError: when the tables are missing or the database fails.
    """
    with _working(backend, dry_run) as unit:
        there = [found.name for found in _standings(backend, unit) if found.standing != MISSING]
        steps = [Step(DROP, name, tuple(_dropping(backend, unit, name))) for name in there if name in names]
        return _taken(unit, steps, told, dry_run)


def _standings(backend: SqlBackend, unit: SqlUnit) -> list[Standing]:
    table = backend.tables.state
    unit.run(compiled(select(table.c.name).limit(0), backend.engine.dialect), {})  # SQLite's list misses no table
    listing = _ON_POSTGRESQL if _concurrent(unit) else _ON_SQLITE
    rows = _send(unit, listing.format(name=table.name, table=_table(backend).replace("'", "''")))
    stored = {name: (bool(valid), bool(measured)) for name, valid, measured in rows if OURS.fullmatch(name)}
    measurable = _takes_statistics(unit)
    wanted = backend.fields.indexes
    found = [
        Standing(index.name, index.field.type, index.field.name, index.field.kind, _standing(index, stored, measurable))
        for index in wanted
    ]
    unused = sorted(stored.keys() - {index.name for index in wanted})
    return found + [Standing(name, None, None, None, UNUSED) for name in unused]


def _standing(index: FieldIndex, stored: dict[str, tuple[bool, bool]], measurable: bool) -> str:
    if index.name not in stored:
        return MISSING
    valid, measured = stored[index.name]
    if not valid:
        return INVALID
    return INCOMPLETE if measurable and not measured and index.statistics() is not None else READY


def _making(backend: SqlBackend, index: FieldIndex, standing: str, measurable: bool) -> Step:
    statements = []
    concurrently = index.dialect == "postgresql"
    if standing == INVALID:
        statements.append(f"DROP INDEX CONCURRENTLY IF EXISTS {_place(backend)}{index.name}")
    if standing != INCOMPLETE:
        statements.append(index.creation(concurrently=concurrently))
    statistics = index.statistics()
    if measurable and statistics is not None:
        statements.append(statistics)
    return Step(REBUILD if standing == INVALID else CREATE, index.name, tuple(statements))


def _dropping(backend: SqlBackend, unit: SqlUnit, name: str) -> Iterator[str]:
    place, quoted = _place(backend), backend.engine.dialect.identifier_preparer.quote(name)
    if not _concurrent(unit):
        yield f"DROP INDEX IF EXISTS {place}{quoted}"
        return
    yield f"DROP INDEX CONCURRENTLY IF EXISTS {place}{quoted}"
    yield f"DROP STATISTICS IF EXISTS {place}{quoted}"


def _taken(unit: SqlUnit, steps: list[Step], told: Told, dry_run: bool) -> list[Step]:
    for step in steps:
        told(step)
        for statement in () if dry_run else step.statements:
            _send(unit, statement)
    return steps


@contextmanager
def _working(backend: SqlBackend, dry_run: bool) -> Iterator[SqlUnit]:
    """Lend a unit: on PostgreSQL one that commits each statement, has no limit of time and is the only one at work."""
    if dry_run or backend.engine.dialect.name == "sqlite":
        with backend.reading() if dry_run else backend.writing() as unit:
            yield unit
        return
    with backend.reading() as unit:
        found = {limit: _send(unit, f"SHOW {limit}")[0][0] for limit in _LIMITS}
        # Not to be waited for: a build waits for every statement that is under way, and so for one that waits for it.
        if not _send(unit, f"SELECT pg_try_advisory_lock({MAKING})")[0][0]:
            raise StorageTimeout("Another process is making or dropping indexes: try again when it is done.")
        try:
            for limit in _LIMITS:
                _send(unit, f"SET {limit} = 0")
            yield unit
        finally:
            for limit, value in found.items():
                _send(unit, f"SET {limit} = '{value}'")
            _send(unit, f"SELECT pg_advisory_unlock({MAKING})")


def _unmeasured(backend: SqlBackend, unit: SqlUnit, expressions: bool) -> bool:
    """Whether PostgreSQL has not looked yet at what is in the table, or in the fields of the indexes."""
    if not backend.fields.indexes:
        return False
    table, names = _table(backend), ", ".join(f"'{index.name}'" for index in backend.fields.indexes)
    unseen = " OR ".join((_UNSEEN, _UNSEEN_FIELDS) if expressions else (_UNSEEN,))
    words = {"table": table, "name": table.replace("'", "''"), "names": names}
    return bool(_send(unit, _WORTH_ANALYZING.format(unseen=unseen.format(**words), **words))[0][0])


def _concurrent(unit: SqlUnit) -> bool:
    return unit.dialect.name == "postgresql"


def _takes_statistics(unit: SqlUnit) -> bool:
    """Whether the database takes statistics of expressions."""
    return _concurrent(unit) and int(_send(unit, "SHOW server_version_num")[0][0]) >= MEASURING * 10_000


def _send(unit: SqlUnit, statement: str) -> list[Any]:
    """Run a statement as it stands: without parameters, a percent sign means itself."""
    with unit.translated():
        cursor = unit.connection.cursor()
        try:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []
        finally:
            cursor.close()


def _table(backend: SqlBackend) -> str:
    return str(backend.engine.dialect.identifier_preparer.format_table(backend.tables.state))


def _place(backend: SqlBackend) -> str:
    schema = backend.tables.state.schema
    return "" if schema is None else f"{backend.engine.dialect.identifier_preparer.quote_schema(schema)}."

"""The configured fields of one database, and which of their indexes answers a filter."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, MetaData, Table, event, inspect, text
from sqlalchemy.engine.mock import MockConnection

from ...config import ANY_TYPE, IndexedField
from ...core.query import Filter
from .field_index import DECLARED, DocumentIndex, FieldIndex, PostgresValueIndex, SqliteValueIndex, kind_of

logger = logging.getLogger("flask_statemanager.sql")

MEASURING = 14
"""The version of PostgreSQL from which on it takes statistics of expressions."""

MAKING = 7305808869229753973
"""PostgreSQL's advisory lock of whoever makes or drops indexes."""

_COMPLETING = MAKING + 1
"""That of the ``create_all`` calls, which wait for each other."""

_THERE = (
    "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "WHERE i.indrelid = CAST(:table AS regclass) UNION ALL "
    "SELECT 'statistics of ' || stxname FROM pg_statistic_ext WHERE stxrelid = CAST(:table AS regclass)"
)

_KINDS: dict[tuple[str, bool], type[FieldIndex]] = {
    ("sqlite", False): SqliteValueIndex,
    ("postgresql", False): PostgresValueIndex,
    ("postgresql", True): DocumentIndex,
}
"""The index for each database and for whether a whole document is indexed; SQLite has none for that."""


class Fields:
    """The configured fields, as far as a database can index them.

    :param wanted: the fields.
    :param state: the table of the states, which the indexes are attached to.
    :param dialect: the name of the database.
    """

    def __init__(self, wanted: Sequence[IndexedField], state: Table, dialect: str) -> None:
        asked = [((dialect, field.kind == "gin"), field) for field in wanted]
        self.indexes = tuple(_KINDS[kind](field, state) for kind, field in asked if kind in _KINDS)
        self._of: dict[str, list[FieldIndex]] = {}
        for index in sorted(self.indexes, key=lambda index: not index.exact):
            self._of.setdefault(index.field.type, []).append(index)

    def serving(self, asked: Filter, type_name: str | None) -> FieldIndex | None:
        """Return the index that answers a filter best, or None: the type's own, and that of a path before a document's.

        :param asked: the filter.
        :param type_name: the type that is searched, or None for all.
        """
        own = [] if type_name is None else self._of.get(type_name, [])
        return next((index for index in (*own, *self._of.get(ANY_TYPE, ())) if index.fits(asked)), None)

    def lacks(self, asked: Filter, type_name: str | None) -> bool:
        """Tell whether a filter is one for which a field ought to be configured.

        It is not where its path is configured and no further kind would serve it.

        :param asked: the filter.
        :param type_name: the type that is searched, or None for all.
        """
        if self.serving(asked, type_name) is not None:
            return False
        types = {ANY_TYPE, ANY_TYPE if type_name is None else type_name}
        configured = any(
            index.field.type in types and (index.field.root, index.field.path) == (asked.root, asked.path)
            for index in self.indexes
        )
        return not configured or kind_of(asked) is not None

    def knows(self, type_name: str) -> bool:
        """Tell whether a type has fields of its own.

        :param type_name: the type.
        """
        return type_name in self._of


@event.listens_for(MetaData, "after_create")
def _complete(target: MetaData, connection: Connection | MockConnection, **_asked: Any) -> None:
    """Make what ``create_all`` leaves out: indexes of a table that exists already, and the statistics of all."""
    if isinstance(connection, MockConnection):  # a recorder of statements has no database to look into
        return
    for table in target.tables.values():
        declared = [index.info[DECLARED] for index in table.indexes if DECLARED in index.info]
        wanted = sorted((index for index in declared if index.dialect == connection.dialect.name), key=_by_name)
        if wanted and inspect(connection).has_table(table.name, schema=table.schema):
            _make(connection, table, wanted)


def _make(connection: Connection, table: Table, wanted: Sequence[FieldIndex]) -> None:
    """Make what is missing; on PostgreSQL even a statement that finds everything there locks the table."""
    postgres = connection.dialect.name == "postgresql"
    if postgres and not _missing(connection, table, wanted):
        return
    if postgres:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_COMPLETING})"))
        # Not to be waited for: what is built CONCURRENTLY waits for whoever waits.
        if not connection.scalar(text(f"SELECT pg_try_advisory_xact_lock({MAKING})")):
            logger.warning("Indexes of fields are being made: 'flask state index sync' makes what is missing then.")
            return
    for statement in _missing(connection, table, wanted):
        connection.execute(text(statement.replace(":", r"\:")))


def _missing(connection: Connection, table: Table, wanted: Sequence[FieldIndex]) -> list[str]:
    """Return the statements for what is missing; SQLite looks by itself, without a lock."""
    if connection.dialect.name == "sqlite":
        return [index.creation() for index in wanted]
    name = connection.dialect.identifier_preparer.format_table(table)
    stored = set(connection.scalars(text(_THERE), {"table": name}))
    measuring = (connection.dialect.server_version_info or ()) >= (MEASURING,)
    missing = [index.creation() for index in wanted if index.name not in stored]
    unmeasured = [index for index in wanted if measuring and f"statistics of {index.name}" not in stored]
    return missing + [statement for index in unmeasured if (statement := index.statistics()) is not None]


def _by_name(index: FieldIndex) -> str:
    return index.name

"""The configured fields of one database, and which of their indexes answers a filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, MetaData, Table, event, inspect, text
from sqlalchemy.schema import CreateIndex

from ...config import ANY_TYPE, IndexedField
from ...core.query import Filter
from .field_index import DECLARED, DocumentIndex, FieldIndex, PostgresValueIndex, SqliteValueIndex

MEASURING = 14
"""The version of PostgreSQL from which on it takes statistics of expressions."""

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

    def knows(self, type_name: str) -> bool:
        """Tell whether a type has fields of its own.

        :param type_name: the type.
        """
        return type_name in self._of


@event.listens_for(MetaData, "after_create")
def _complete(target: MetaData, connection: Connection, **_asked: Any) -> None:
    """Make what ``create_all`` leaves out: indexes of a table that exists already, and the statistics of all."""
    declared = [
        index.info[DECLARED] for table in target.tables.values() for index in table.indexes if DECLARED in index.info
    ]
    for index in declared:
        if index.dialect != connection.dialect.name:
            continue
        if inspect(connection).has_table(index.state.name, schema=index.state.schema):
            connection.execute(CreateIndex(index.index, if_not_exists=True))
            version = connection.dialect.server_version_info or ()
            statistics = index.statistics()
            if statistics is not None and version >= (MEASURING,):
                connection.execute(text(statistics.replace(":", r"\:")))

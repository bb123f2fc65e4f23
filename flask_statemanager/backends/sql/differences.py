"""How the tables of a database differ from the models, in sentences: what alembic compares, and what it leaves out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Table, inspect, text

from .field_index import INDEX_PREFIX
from .tables import Tables
from .triggers import GUARDED, missing

_COLLATIONS = text(
    "SELECT a.attname, c.collname FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation "
    "WHERE a.attrelid = CAST(:name AS regclass) AND a.attnum > 0 AND NOT a.attisdropped"
)
_SEQUENCE_CACHE = text(
    "SELECT seqcache FROM pg_sequence WHERE seqrelid = CAST(pg_get_serial_sequence(:name, :column) AS regclass)"
)
_TABLE_TEXT = text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :name")


def differences(connection: Connection, tables: Tables) -> list[str]:
    """Return how the tables differ from the models, a sentence each; empty when they do not.

    The version table is left aside: alembic makes it itself.

    :param connection: the database.
    :param tables: the models.
    """
    inspector = inspect(connection)
    there = {table.name: inspector.has_table(table.name, schema=table.schema) for table in tables.kept}
    found = [f"The table {name} is missing." for name, is_there in there.items() if not is_there]
    found += [_sentence(diff) for diff in _compared(connection, tables, {name for name in there if there[name]})]
    for table in tables.kept:
        if there[table.name]:
            found += _uncompared(connection, table)
    return found


def _compared(connection: Connection, tables: Tables, names: set[str]) -> Iterator[tuple[Any, ...]]:
    schema = tables.state.schema

    def looked_at(name: str | None, kind: str, _parents: Any) -> bool:
        return name in names if kind == "table" else kind != "schema" or name == schema

    def compared(_item: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
        # The indexes of configured fields come and go with the configuration: 'flask state index list' tells of them.
        return name in names if kind == "table" else kind != "index" or not str(name).startswith(INDEX_PREFIX)

    options = {
        "compare_type": True,
        "include_schemas": schema is not None,
        # Reflected tables are chosen by name, before they are read; the models' by object.
        "include_name": looked_at,
        "include_object": compared,
    }
    context = MigrationContext.configure(connection, opts=options)
    with warnings.catch_warnings():
        # On SQLite neither SQLAlchemy nor alembic can look at an index of an expression, and each says so.
        warnings.filterwarnings("ignore", message=".*expression-based index.*")
        found = compare_metadata(context, tables.state.metadata)
    for diff in found:
        yield from diff if isinstance(diff, list) else [diff]


def _sentence(diff: tuple[Any, ...]) -> str:
    """Write one of alembic's operations as a sentence; the shapes are those of its ``compare_metadata``."""
    kind, *rest = diff
    action, _, thing = kind.partition("_")
    if thing == "column":
        _, table, column = rest
        return f"The column {table}.{column.name} is {'missing' if action == 'add' else 'not one of ours'}."
    if action == "modify":
        _, table, column, _, stored, wanted = rest
        return f"The column {table}.{column} has {thing} {_plain(stored)}, and must have {_plain(wanted)}."
    what = "index" if thing in ("index", "table_index") else "constraint"
    name = f"The {what} {rest[0].name} on {rest[0].table.name}"
    return f"{name} is missing." if action == "add" else f"{name} is not one of ours, or has other columns."


def _plain(value: object) -> str:
    return " ".join(str(value).split())


def _uncompared(connection: Connection, table: Table) -> Iterator[str]:
    stored = inspect(connection).get_pk_constraint(table.name, schema=table.schema)["constrained_columns"]
    wanted = [column.name for column in table.primary_key]
    if stored != wanted:
        yield f"The table {table.name} has the primary key ({', '.join(stored)}), and must have ({', '.join(wanted)})."
    if connection.dialect.name == "sqlite":
        yield from _counting_on_sqlite(connection, table)
    else:
        yield from _sorting(connection, table)
        yield from _counting_on_postgresql(connection, table)
    if table.name == GUARDED:
        for name in missing(connection, table.schema):
            yield f"The trigger {name} on {table.name} is missing: run 'flask state db upgrade'."


def _counting_on_sqlite(connection: Connection, table: Table) -> Iterator[str]:
    made = str(connection.scalar(_TABLE_TEXT, {"name": table.name}))
    if table.kwargs.get("sqlite_autoincrement") and "AUTOINCREMENT" not in made.upper():
        [column] = table.primary_key
        yield f"The column {table.name}.{column.name} is not AUTOINCREMENT."


def _sorting(connection: Connection, table: Table) -> Iterator[str]:
    stored = {
        row.attname: row.collname for row in connection.execute(_COLLATIONS, {"name": _quoted(connection, table)})
    }
    for column in table.columns:
        wanted = getattr(column.type.dialect_impl(connection.dialect), "collation", None)
        if wanted is not None and stored.get(column.name, wanted) != wanted:
            where = f"{table.name}.{column.name}"
            yield f'The column {where} has the collation "{stored[column.name]}", and must have "{wanted}".'


def _counting_on_postgresql(connection: Connection, table: Table) -> Iterator[str]:
    column = table.autoincrement_column
    if column is None:
        return
    cache = connection.scalar(_SEQUENCE_CACHE, {"name": _quoted(connection, table), "column": column.name})
    if cache is None:
        yield f"The column {table.name}.{column.name} has no sequence of its own."
    elif cache != 1:
        # Sessions that draw numbers in advance would commit them out of order.
        yield f"The sequence of {table.name}.{column.name} has CACHE {cache}, and must have CACHE 1."


def _quoted(connection: Connection, table: Table) -> str:
    return str(connection.dialect.identifier_preparer.format_table(table))

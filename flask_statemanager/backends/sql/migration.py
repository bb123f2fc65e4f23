"""Migrations: bring the tables to a revision, adopt tables that exist, and tell how they differ from the models.

Alembic does the work, with a version table of its own, so that it never mixes with the application's history. This is
the one module that imports alembic; nothing imports it before a command of ``flask state db`` runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from msgspec import Struct
from sqlalchemy import Connection, inspect

from ...errors import StorageError
from .backend import SqlBackend
from .differences import differences
from .tables import VERSION_TABLE, Tables
from .triggers import make, missing

SCRIPTS = "flask_statemanager.migrations"
"""The package that holds the revisions."""

_WHAT = "the migration"
"""What the database refuses when it does."""


class Move(Struct, frozen=True):
    """What an upgrade or downgrade did.

    :param before: the revision that was noted, or None.
    :param after: the revision that is noted now, or None.
    :param adopted: whether the tables existed, made by something else, and were only noted down.
    """

    before: str | None
    after: str | None
    adopted: bool = False


def upgrade(backend: SqlBackend, revision: str = "head") -> Move:
    """Bring the tables to a revision, in one transaction.

    Tables that exist without a noted revision (made by ``create_all()`` or by the application's own migrations) are
    adopted: when they are what the models say, the newest revision is noted. The guard of the history is made wherever
    it is missing, and nothing else happens to adopted tables.

    :param backend: whose tables.
    :param revision: a revision, or ``head`` for the newest.
    :raises StorageError: when existing tables differ from the models, the revision is unknown, or the database fails.
    """
    config, script = _scripts()
    with backend.connected(_WHAT, alone=True) as connection:
        context = _context(connection, backend.tables)
        with _explained(script):
            before = context.get_current_revision()
            if before is None and _existing(connection, backend.tables):
                _adopt(connection, context, script, backend.tables)
                return Move(None, context.get_current_revision(), adopted=True)
            command.upgrade(_handing_over(config, connection, backend.tables), revision)
        after = context.get_current_revision()
        if after == script.get_current_head():
            _guard(connection, backend.tables)
        return Move(before, after)


def downgrade(backend: SqlBackend, revision: str) -> Move:
    """Take the tables back to an earlier revision, in one transaction; what later ones added is lost.

    :param backend: whose tables.
    :param revision: a revision, ``-1`` for the one before, or ``base``, which removes the tables with every state.
    :raises StorageError: when the migrations did not make the tables, the revision is unknown, or the database fails.
    """
    config, script = _scripts()
    with backend.connected(_WHAT, alone=True) as connection:
        context = _context(connection, backend.tables)
        with _explained(script):
            before = context.get_current_revision()
            if before is None:
                raise StorageError(
                    "No revision is noted, so there is nothing to take back: tables that something else made are "
                    "removed by it, or adopted first with 'flask state db upgrade'."
                )
            command.downgrade(_handing_over(config, connection, backend.tables), revision)
        after = context.get_current_revision()
        if after is None:
            backend.tables.version.drop(connection)
        return Move(before, after)


def current(backend: SqlBackend) -> str | None:
    """Return the noted revision, or None when there is none.

    :param backend: whose tables.
    :raises StorageError: when the database fails.
    """
    with backend.connected(_WHAT) as connection:
        return _context(connection, backend.tables).get_current_revision()


def newest() -> str | None:
    """Return the newest revision that this version of the package has."""
    return _scripts()[1].get_current_head()


def check(backend: SqlBackend) -> list[str]:
    """Return what keeps the tables from being what this version needs, a sentence each; empty when all is well.

    Tables that something else made need no noted revision, as long as they are what the models say.

    :param backend: whose tables.
    :raises StorageError: when the database fails.
    """
    _, script = _scripts()
    with backend.connected(_WHAT) as connection:
        if not _existing(connection, backend.tables):
            return ["The tables are missing: run 'flask state db upgrade'."]
        noted = _context(connection, backend.tables).get_current_revision()
        return [*_pending(script, noted), *differences(connection, backend.tables)]


def context_options(tables: Tables) -> dict[str, Any]:
    """Return how alembic is to look at a database: at our tables alone, with a version table of our own.

    :param tables: the tables, in whichever metadata.
    """
    ours = {table.name for table in tables.all}
    return {
        "target_metadata": tables.state.metadata,
        "version_table": VERSION_TABLE,
        "version_table_schema": tables.state.schema,
        "include_schemas": tables.state.schema is not None,
        "include_object": lambda _item, name, kind, _reflected, _other: kind != "table" or name in ours,
    }


def _scripts() -> tuple[Config, ScriptDirectory]:
    # By its import name: in an editable installation the folder does not lie below the package.
    folder = next(iter(importlib.import_module(SCRIPTS).__path__))
    config = Config()
    config.set_main_option("script_location", folder.replace("%", "%%"))
    return config, ScriptDirectory.from_config(config)


def _handing_over(config: Config, connection: Connection, tables: Tables) -> Config:
    config.attributes.update(connection=connection, tables=tables)
    return config


def _context(connection: Connection, tables: Tables) -> MigrationContext:
    return MigrationContext.configure(connection, opts=context_options(tables))


def _existing(connection: Connection, tables: Tables) -> bool:
    inspector = inspect(connection)
    return any(inspector.has_table(table.name, schema=table.schema) for table in tables.kept)


def _guard(connection: Connection, tables: Tables) -> None:
    history = tables.history
    # Looked for first: making triggers locks the table on PostgreSQL.
    if inspect(connection).has_table(history.name, schema=history.schema) and missing(connection, history.schema):
        make(connection, history.schema)


def _adopt(connection: Connection, context: MigrationContext, script: ScriptDirectory, tables: Tables) -> None:
    _guard(connection, tables)
    found = differences(connection, tables)
    if found:
        raise StorageError(
            f"The tables exist, and they are not what this version needs, so they cannot be adopted. {' '.join(found)} "
            "Bring them there with the migrations that made them."
        )
    context.stamp(script, "head")


def _pending(script: ScriptDirectory, noted: str | None) -> list[str]:
    known = [revision.revision for revision in script.walk_revisions()]
    if noted is None:
        return []
    if noted not in known:
        return [
            f"The tables are at revision {noted}, which this version does not know: install the version that made it."
        ]
    return [
        f"The revision {revision} is pending: run 'flask state db upgrade'."
        for revision in reversed(known[: known.index(noted)])
    ]


@contextmanager
def _explained(script: ScriptDirectory) -> Iterator[None]:
    """Turn alembic's refusals into ours."""
    try:
        yield
    except CommandError as error:
        known = ", ".join(["base", *(revision.revision for revision in reversed(list(script.walk_revisions())))])
        raise StorageError(f"The migration cannot run ({error}); known revisions are {known}.") from error

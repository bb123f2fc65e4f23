"""The guard of the history: triggers that let nobody change or remove what is logged, the retention excepted.

They are made with the table, whichever way it comes: an operation of alembic makes a table object of its own, so the
listeners are those of every table and go by the name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, event, text

from .tables import PREFIX

GUARDED = f"{PREFIX}history"
"""The table that is guarded."""

GUARD = f"{GUARDED}_guard"
"""The function on PostgreSQL, and what the names of the triggers begin with."""

SETTING = "statemanager.retention"
"""The setting of PostgreSQL that lets a transaction delete when it is ``on``."""

REFUSAL = (
    f"{GUARDED} is append-only: write a new version of the state instead, and remove old entries with "
    "''flask state prune''."
)
"""What the database says, as the inside of an SQL literal."""

TRIGGERS = {
    "sqlite": tuple(f"{GUARD}_{act}" for act in ("insert", "update", "delete")),
    "postgresql": tuple(f"{GUARD}_{act}" for act in ("rows", "truncate")),
}
"""The triggers, for each database that has them."""

_ON_SQLITE = {
    # REPLACE removes the row in its way without asking the trigger on DELETE. An undrawn revision shows as -1 here.
    "insert": (
        "BEFORE INSERT ON statemanager_history "
        "WHEN (NEW.revision > 0 AND EXISTS (SELECT 1 FROM statemanager_history WHERE revision = NEW.revision)) "
        "OR EXISTS (SELECT 1 FROM statemanager_history "
        "WHERE bucket = NEW.bucket AND name = NEW.name AND version = NEW.version)"
    ),
    "update": "BEFORE UPDATE ON statemanager_history",
    "delete": "BEFORE DELETE ON statemanager_history",
}
_FUNCTION = (
    "CREATE OR REPLACE FUNCTION {place}" + GUARD + "() RETURNS trigger LANGUAGE plpgsql AS $$ "
    f"BEGIN IF TG_OP = 'DELETE' AND current_setting('{SETTING}', true) = 'on' THEN RETURN OLD; END IF; "
    f"RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'restrict_violation'; END $$"
)
_ON_POSTGRESQL = {
    "rows": "BEFORE UPDATE OR DELETE ON {place}" + GUARDED + " FOR EACH ROW",
    "truncate": "BEFORE TRUNCATE ON {place}" + GUARDED + " FOR EACH STATEMENT",
}
_STORED = {
    "sqlite": "SELECT name FROM {place}sqlite_master WHERE type = 'trigger'",
    # Neither switched off, nor only for replication.
    "postgresql": "SELECT tgname FROM pg_trigger WHERE tgrelid = CAST(:table AS regclass) AND tgenabled IN ('O', 'A')",
}


def make(connection: Connection, schema: str | None) -> None:
    """Make the triggers, those that exist anew.

    :param connection: the database, which has the table.
    :param schema: where the table is.
    """
    for statement in _statements(connection, schema):
        connection.execute(text(statement))


def missing(connection: Connection, schema: str | None) -> list[str]:
    """Name the triggers that are not there, or switched off.

    :param connection: the database, which has the table.
    :param schema: where the table is.
    """
    kind = connection.dialect.name
    if kind not in TRIGGERS:
        return []
    place = _place(connection, schema)
    stored = set(connection.scalars(text(_STORED[kind].format(place=place)), {"table": f"{place}{GUARDED}"}))
    return [name for name in TRIGGERS[kind] if name not in stored]


def opening(place: str) -> str:
    """Return the statement that lets rows be deleted on SQLite, until :func:`closing` in the same transaction.

    :param place: the quoted schema with a dot behind, or nothing.
    """
    return f"DROP TRIGGER IF EXISTS {place}{GUARD}_delete"


def closing(place: str) -> str:
    """Return the statement that ends what :func:`opening` began.

    :param place: the quoted schema with a dot behind, or nothing.
    """
    return _trigger_on_sqlite(place, "delete")


def _statements(connection: Connection, schema: str | None) -> Sequence[str]:
    place = _place(connection, schema)
    if connection.dialect.name == "sqlite":
        made = [(f"DROP TRIGGER IF EXISTS {place}{GUARD}_{act}", _trigger_on_sqlite(place, act)) for act in _ON_SQLITE]
        return [statement for pair in made for statement in pair]
    if connection.dialect.name != "postgresql":
        return []
    statements = [_FUNCTION.format(place=place)]
    for act, when in _ON_POSTGRESQL.items():
        name = f"{GUARD}_{act}"
        statements.append(f"DROP TRIGGER IF EXISTS {name} ON {place}{GUARDED}")
        statements.append(f"CREATE TRIGGER {name} {when.format(place=place)} EXECUTE FUNCTION {place}{GUARD}()")
    return statements


def _trigger_on_sqlite(place: str, act: str) -> str:
    return f"CREATE TRIGGER {place}{GUARD}_{act} {_ON_SQLITE[act]} BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"


def _place(connection: Connection, schema: str | None) -> str:
    return "" if schema is None else f"{connection.dialect.identifier_preparer.quote_schema(schema)}."


@event.listens_for(Table, "after_create")
def _guard(target: Table, connection: Connection, **_asked: Any) -> None:
    if target.name == GUARDED:
        make(connection, target.schema)


@event.listens_for(Table, "after_drop")
def _forget(target: Table, connection: Connection, **_asked: Any) -> None:
    # The triggers go with their table; a function of PostgreSQL stays.
    if target.name == GUARDED and connection.dialect.name == "postgresql":
        connection.execute(text(f"DROP FUNCTION IF EXISTS {_place(connection, target.schema)}{GUARD}()"))

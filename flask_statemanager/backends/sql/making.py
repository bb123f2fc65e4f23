"""Making the tables: one process at a time, however many find them missing at once."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, inspect, text

from .tables import Tables

_LOCK = text("SELECT pg_advisory_xact_lock(7305808869229753972)")
"""One at a time on PostgreSQL, however many deployments start together; SQLite locks the file."""


def begin_making(connection: Connection) -> None:
    """Open a transaction that covers DDL too, which the driver for SQLite does not do by itself, and that is alone.

    :param connection: a connection of our own.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(_LOCK)
    elif not getattr(connection.connection.driver_connection, "in_transaction", False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def make_missing(engine: Engine, tables: Tables) -> None:
    """Make the tables that are missing; where none is, nobody is waited for.

    :param engine: the engine.
    :param tables: the tables.
    :raises DBAPIError: when the database refuses or fails.
    """
    with engine.connect() as connection:
        missing = not all(inspect(connection).has_table(each.name, schema=each.schema) for each in tables.all)
    with engine.begin() as connection:
        if missing:
            begin_making(connection)
        tables.state.metadata.create_all(connection, tables=list(tables.all))

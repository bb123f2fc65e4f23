"""The habits of SQLite; imported where an engine is one of it."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Engine

from ...core.clock import iso
from ...core.codec import decode
from ...core.record import JSON
from ...errors import ConfigurationError, StateConflict, StorageError, StorageTimeout, StorageUnavailable
from .dialect import CHECK_HINT, UPGRADE_HINT, Dialect
from .sqlite_probe import is_locked, lacks
from .tables import KEPT

_BUSY_OR_LOCKED = (5, 6)
"""SQLite's primary result codes SQLITE_BUSY and SQLITE_LOCKED, which ``sqlite3`` names from Python 3.11 on."""

_BUSY_SNAPSHOT = 517
"""SQLite's extended result code: what the transaction has read is not what is stored any more."""

LOCKED_HINT = (
    "The SQLite database is locked by another open write. Where that is this application's own, commit it first, "
    "or join it with session=; otherwise raise the driver's timeout."
)


class SqliteDialect(Dialect):
    """SQLite through the standard library's ``sqlite3``."""

    name = "sqlite"
    at_once = False

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        if sqlite3.sqlite_version_info < (3, 35):
            raise ConfigurationError(
                f"SQLite 3.35 or later is needed (RETURNING), and this is {sqlite3.sqlite_version}."
            )

    def insert(self, table: Table) -> Any:
        """Return an INSERT that can say what to do on a conflict.

        :param table: the table.
        """
        return insert(table)

    def bound_time(self, value: datetime | None) -> str | None:
        """Return UTC text in the form of SQLAlchemy's own DateTime, so that the application can map the column.

        :param value: an aware UTC datetime, or None.
        """
        return None if value is None else iso(value)[:-1].replace("T", " ")

    def read_time(self, value: str | None) -> datetime | None:
        """Return a moment from its text.

        :param value: a column's value.
        """
        return None if value is None else datetime.fromisoformat(f"{value}+00:00")

    def read_json(self, text: str) -> JSON:
        """Return a value from its text, which SQLite keeps as it was written.

        :param text: a column's value.
        """
        return decode(text)

    def write_json(self, text: str) -> str:
        """Return the text, which SQLite keeps as it was written.

        :param text: a column's value.
        """
        return text

    def begin(self, connection: sqlite3.Connection, *, write: bool) -> bool:
        """Take the write lock at once: a transaction that begins by reading may be refused when it wants to write.

        :param connection: the driver's connection.
        :param write: whether it is going to write.
        """
        if write:
            if connection.in_transaction:  # a listener of the application's has begun one on check-out
                connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
        return False

    def look(self, connection: sqlite3.Connection) -> None:
        """Begin, so that all that follows is read from what is there at the first read.

        With write-ahead logging nobody waits for that; with a rollback journal no writer can commit meanwhile.

        :param connection: the driver's connection.
        """
        if connection.in_transaction:  # a listener of the application's has begun one on check-out
            connection.execute("ROLLBACK")
        connection.execute("BEGIN")

    def seclude(self, table: str) -> tuple[str, ...]:
        """Return nothing: whoever writes has locked the file.

        :param table: without effect here.
        """
        return ()

    def end(self, connection: sqlite3.Connection, *, commit: bool) -> None:
        """Commit or roll back by statement, which works whatever the driver's isolation mode is.

        :param connection: the driver's connection.
        :param commit: whether to commit.
        """
        if connection.in_transaction:
            connection.execute("COMMIT" if commit else "ROLLBACK")

    def restore(self, connection: sqlite3.Connection, found: bool) -> None:
        """Do nothing: no mode was changed.

        :param connection: the driver's connection.
        :param found: without effect here.
        """

    def interrupt(self, connection: sqlite3.Connection) -> bool:
        """Return false: a statement is over, in one way or the other, before an exception can come up.

        :param connection: the driver's connection.
        """
        return False

    def join(self, connection: sqlite3.Connection, *, in_savepoint: bool) -> None:
        """Begin where the driver has not: by its default a released SAVEPOINT would survive the outer rollback.

        Inside a savepoint it is too late to begin, and whether the driver had begun before it cannot be found out.

        :param connection: the driver's connection.
        :param in_savepoint: whether the transaction is joined for the first time inside a savepoint.
        :raises ConfigurationError: when it is, and the driver begins by itself (its default).
        """
        if in_savepoint and connection.isolation_level is not None:
            raise ConfigurationError(
                "On SQLite the first joined write of a transaction cannot stand inside begin_nested(), because the "
                "driver would commit it with the savepoint: put 'with state_manager.transaction(session):' around it."
            )
        if not connection.in_transaction:
            connection.execute("BEGIN IMMEDIATE")

    def lost(self, connection: sqlite3.Connection) -> bool:
        """Tell whether SQLite has rolled back by itself, as it does by ``OR ROLLBACK`` and on a full disk.

        :param connection: the driver's connection.
        """
        return not connection.in_transaction

    def wrapped(self, error: Exception, connection: sqlite3.Connection, table: str) -> Exception:
        """Return our error for a driver's.

        :param error: the driver's error.
        :param connection: the driver's connection.
        :param table: a table of ours.
        """
        if isinstance(error, sqlite3.OperationalError):
            code = getattr(error, "sqlite_errorcode", None)  # Python 3.11 and later
            if self.lost_race(error):
                return StateConflict("The record", None, None)
            locked = code is not None and code & 0xFF in _BUSY_OR_LOCKED
            if locked or (code is None and is_locked(connection)):
                return StorageTimeout(LOCKED_HINT)
            if lacks(connection, (table.rpartition(".")[2], *KEPT)):
                return StorageError(f"The tables of Flask-StateManager are missing: {UPGRADE_HINT}.")
            return StorageUnavailable(f"SQLite failed ({error}): check the file, its folder and the disk.")
        return StorageError(f"SQLite refused a statement ({error}): are the tables current? {CHECK_HINT}")

    def lost_race(self, error: BaseException) -> bool:
        """Tell whether the transaction had read before another one wrote.

        A file that is locked for longer than the driver's timeout is none: whoever holds it may hold it on. Python 3.10
        cannot tell the two apart, and says no.

        :param error: the driver's error.
        """
        return getattr(error, "sqlite_errorcode", None) == _BUSY_SNAPSHOT

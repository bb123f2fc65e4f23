"""What differs between the databases: how a transaction begins, how time is bound, what an error means."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timezone
from typing import Any

from sqlalchemy.engine import Engine

from ...core.clock import iso
from ...core.codec import decode, decode_numeric
from ...core.record import JSON
from ...errors import ConfigurationError, StateConflict, StorageError, StorageTimeout, StorageUnavailable
from .dialect import Dialect
from .sqlite_probe import is_locked, lacks
from .tables import KEPT

UPGRADE_HINT = "run 'flask state db upgrade' (or db.create_all() where the application makes its tables so)"

_BUSY_OR_LOCKED = (5, 6)
"""SQLite's primary result codes SQLITE_BUSY and SQLITE_LOCKED, which ``sqlite3`` names from Python 3.11 on."""

_BUSY_SNAPSHOT = 517
"""SQLite's extended result code: what the transaction has read is not what is stored any more."""

CHECK_HINT = "'flask state db check' tells."

_ACTIVE = 1
"""What both drivers, after libpq, call the status of a connection in the middle of a statement."""

_LOST_RACES = ("40001", "40P01")
"""PostgreSQL's SQLSTATEs of a serialization failure and of a deadlock."""

LOCKED_HINT = (
    "The SQLite database is locked by another open write. Where that is this application's own, commit it first, "
    "or join it with session=; otherwise raise the driver's timeout."
)


class SqliteDialect(Dialect):
    """SQLite through the standard library's ``sqlite3``."""

    name = "sqlite"
    at_once = False

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


class PostgresDialect(Dialect):
    """PostgreSQL through psycopg, psycopg2 or another driver with an ``autocommit`` attribute."""

    name = "postgresql"
    at_once = True

    def bound_time(self, value: datetime | None) -> datetime | None:
        """Return the moment as it is.

        :param value: an aware UTC datetime, or None.
        """
        return value

    def read_time(self, value: datetime | None) -> datetime | None:
        """Return a moment from what was selected in UTC, without a zone.

        :param value: a column's value.
        """
        return None if value is None else value.replace(tzinfo=timezone.utc)

    def read_json(self, text: str) -> JSON:
        """Return a value from its text, whose numbers PostgreSQL has written anew.

        :param text: a column's value.
        """
        return decode_numeric(text)

    def begin(self, connection: Any, *, write: bool) -> bool:
        """Let single reads run without BEGIN and ROLLBACK around them: one round trip instead of three.

        :param connection: the driver's connection, not in a transaction.
        :param write: whether it is going to write.
        """
        found = bool(connection.autocommit)
        if connection.info.transaction_status:  # a listener of the application's has said something on check-out
            connection.commit()
        connection.autocommit = not write
        return found

    def end(self, connection: Any, *, commit: bool) -> None:
        """Commit or roll back.

        :param connection: the driver's connection.
        :param commit: whether to commit.
        """
        if commit:
            connection.commit()
        else:
            connection.rollback()

    def restore(self, connection: Any, found: bool) -> None:
        """Leave the connection as the pool knows it.

        :param connection: the driver's connection.
        :param found: whether it committed by itself before.
        """
        connection.autocommit = found

    def interrupt(self, connection: Any) -> bool:
        """Cancel a statement in the middle of which an exception came up: else it would still be done, and committed.

        :param connection: the driver's connection.
        """
        if connection.info.transaction_status != _ACTIVE:
            return False
        connection.cancel()
        return True

    def join(self, connection: Any, *, in_savepoint: bool) -> None:
        """Do nothing, as the driver is in a transaction from the first statement on; unless it commits each by itself.

        :param connection: the driver's connection.
        :param in_savepoint: without effect here.
        :raises ConfigurationError: when the session's engine has the isolation level AUTOCOMMIT.
        """
        if connection.autocommit:
            raise ConfigurationError(
                "session= is on an engine with AUTOCOMMIT, where nothing can be rolled back: leave session= out, or "
                "give the session an engine with transactions."
            )

    def wrapped(self, error: Exception, connection: Any, table: str) -> Exception:
        """Return our error for a driver's, by its SQLSTATE.

        :param error: the driver's error.
        :param connection: the driver's connection.
        :param table: a table of ours.
        """
        state = _sqlstate(error)
        if state in ("42P01", "3F000"):
            return StorageError(f"The tables of Flask-StateManager are missing: {UPGRADE_HINT}.")
        if state in _LOST_RACES:
            return StateConflict("The record", None, None)
        if state == "25P02":
            return StorageError("The session's transaction has failed already: roll the session back first.")
        if state in ("55P03", "57014"):
            return StorageTimeout(f"PostgreSQL gave up waiting ({error}): try again, or look for a long transaction.")
        interfaces = (
            self.engine.dialect.loaded_dbapi.OperationalError,
            self.engine.dialect.loaded_dbapi.InterfaceError,
        )
        if isinstance(error, interfaces) or state[:2] in ("08", "53", "57"):
            return StorageUnavailable(
                f"PostgreSQL cannot be reached ({str(error).strip()}): try again when it is back."
            )
        return StorageError(
            f"PostgreSQL refused a statement ({str(error).strip()}): are the tables current? {CHECK_HINT}"
        )

    def lost_race(self, error: BaseException) -> bool:
        """Tell whether it is a serialization failure or a deadlock.

        :param error: the driver's error.
        """
        return _sqlstate(error) in _LOST_RACES


def _sqlstate(error: BaseException) -> str:
    """Return the SQLSTATE, by the name that psycopg or psycopg2 gives it."""
    found: str | None = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return found or ""


def dialect_of(engine: Engine) -> Dialect:
    """Return the habits of an engine's database.

    :param engine: any engine.
    :raises ConfigurationError: when the database is not supported.
    """
    known: dict[str, type[Dialect]] = {"sqlite": SqliteDialect, "postgresql": PostgresDialect}
    found = known.get(engine.dialect.name)
    if found is None:
        raise ConfigurationError(
            f"The database {engine.dialect.name!r} is not supported: use SQLite or PostgreSQL "
            "(STATEMANAGER_BIND_KEY or STATEMANAGER_DATABASE_URI)."
        )
    if found is SqliteDialect and sqlite3.sqlite_version_info < (3, 35):
        raise ConfigurationError(f"SQLite 3.35 or later is needed (RETURNING), and this is {sqlite3.sqlite_version}.")
    return found(engine)

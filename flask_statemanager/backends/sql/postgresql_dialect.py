"""The habits of PostgreSQL; imported where an engine is one of it."""

from __future__ import annotations

from datetime import datetime, timezone
from operator import attrgetter
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Engine

from ...core.codec import decode_numeric, settled_text
from ...core.record import JSON
from ...errors import ConfigurationError, StateConflict, StorageError, StorageTimeout, StorageUnavailable
from .dialect import CHECK_HINT, UPGRADE_HINT, Dialect

_ACTIVE = 1
"""What both drivers, after libpq, call the status of a connection in the middle of a statement."""

_FAILED = 3
"""What they call the status of one in a transaction in which a statement has failed."""

_LOST_RACES = ("40001", "40P01")
"""PostgreSQL's SQLSTATEs of a serialization failure and of a deadlock."""


SECLUDE_PATIENCE = 30
"""Seconds that a restore waits for transactions that have written."""


class PostgresDialect(Dialect):
    """PostgreSQL through psycopg, psycopg2 or another driver with an ``autocommit`` attribute."""

    name = "postgresql"
    at_once = True

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        # psycopg makes an object for each look at its ``info``.
        where = "pgconn" if engine.driver == "psycopg" else "info"
        self._status = attrgetter(f"{where}.transaction_status")

    def insert(self, table: Table) -> Any:
        """Return an INSERT that can say what to do on a conflict.

        :param table: the table.
        """
        return insert(table)

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

    def write_json(self, text: str) -> str:
        """Return the text with its numbers as they were written first.

        :param text: a column's value.
        """
        return settled_text(text)

    def begin(self, connection: Any, *, write: bool) -> bool:
        """Let single reads run without BEGIN and ROLLBACK around them: one round trip instead of three.

        :param connection: the driver's connection, not in a transaction.
        :param write: whether it is going to write.
        """
        found = bool(connection.autocommit)
        if self._status(connection):  # a listener of the application's has said something on check-out
            connection.commit()
        if found is write:
            connection.autocommit = not write
        return found

    def look(self, connection: Any) -> None:
        """Begin a transaction that reads from one snapshot.

        :param connection: the driver's connection.
        """
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def seclude(self, table: str) -> tuple[str, ...]:
        """Lock the table in a mode in which others can only read, without waiting for ever.

        A session of the same thread may hold it, which PostgreSQL cannot know to be a deadlock.

        :param table: its quoted name.
        """
        return (
            f"SET LOCAL lock_timeout = '{SECLUDE_PATIENCE}s'",
            f"LOCK TABLE {table} IN EXCLUSIVE MODE",
            "SET LOCAL lock_timeout TO DEFAULT",
        )

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
        if connection.autocommit != found:
            connection.autocommit = found

    def interrupt(self, connection: Any) -> bool:
        """Cancel a statement in the middle of which an exception came up: else it would still be done, and committed.

        :param connection: the driver's connection.
        """
        if self._status(connection) != _ACTIVE:
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

    def lost(self, connection: Any) -> bool:
        """Tell whether a statement of the transaction has failed, behind no savepoint that it was rolled back to.

        :param connection: the driver's connection.
        """
        return bool(self._status(connection) == _FAILED)

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
        if state == "42501":
            return StorageError(
                f"PostgreSQL refused a statement ({_said(error)}): grant the role that right, or the ownership."
            )
        if state in ("55P03", "57014"):
            hint = "try again, or look for a long transaction"
            return StorageTimeout(f"PostgreSQL gave up waiting ({_said(error)}): {hint}.")
        interfaces = (
            self.engine.dialect.loaded_dbapi.OperationalError,
            self.engine.dialect.loaded_dbapi.InterfaceError,
        )
        if isinstance(error, interfaces) or state[:2] in ("08", "53", "57"):
            return StorageUnavailable(f"PostgreSQL cannot be reached ({_said(error)}): try again when it is back.")
        return StorageError(f"PostgreSQL refused a statement ({_said(error)}): are the tables current? {CHECK_HINT}")

    def lost_race(self, error: BaseException) -> bool:
        """Tell whether it is a serialization failure or a deadlock.

        :param error: the driver's error.
        """
        return _sqlstate(error) in _LOST_RACES


def _said(error: BaseException) -> str:
    """Return what a driver's error says, without the statement that it shows below."""
    return str(error).strip().partition("\n")[0]


def _sqlstate(error: BaseException) -> str:
    """Return the SQLSTATE, by the name that psycopg or psycopg2 gives it."""
    found: str | None = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return found or ""

"""Running statements on the driver's cursor, on a connection that is lent by the engine's own pool."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from ...core.ports import Act, Unit
from ...core.record import Key, Record
from ...errors import StorageUnavailable
from .dialect import Dialect
from .reading import Row
from .statements import Compiled

logger = logging.getLogger("flask_statemanager.sql")


class SqlUnit(Unit):
    """A transaction on one driver connection.

    :param connection: the driver's connection.
    :param dialect: the database's habits.
    :param table: a table of ours, for error messages.
    :ivar own: whether the transaction is nobody else's.
    :ivar believed: what the first write takes for stored without having read it.
    :ivar certain: whether what is written was read under the lock of the database, so that nobody can have been faster.
    :ivar absent: the record of which was found last that there is none, so that its next version is its first row.
    """

    own: ClassVar[bool] = True

    def __init__(self, connection: Any, dialect: Dialect, table: str) -> None:
        self._connection = connection
        self.dialect = dialect
        self.table = table
        self.acts: list[Act] = []
        self.doubts: list[Callable[[], None]] = []
        self.certain = False
        self.believed: Record | None = None
        self.absent: Key | None = None

    @property
    def connection(self) -> Any:
        """The driver's connection, as it is to be used for the next statement."""
        return self._connection

    def after_commit(self, act: Act) -> None:
        """Remember what to do after the commit.

        :param act: called in the order of registration.
        """
        self.acts.append(act)

    def in_doubt(self, act: Callable[[], None]) -> None:
        """Remember what to do where nobody knows whether this was committed.

        :param act: called without arguments.
        """
        self.doubts.append(act)

    def hold(self, locks: Iterable[Hashable]) -> None:
        """Do nothing: a transaction of its own ends before anybody could ask what it has locked.

        :param locks: records, and what else others wait for.
        """

    def reserve(self, keys: Sequence[Key]) -> None:
        """Keep other units that reserve one of these keys waiting until this one ends; SQLite has locked the file.

        :param keys: which records.
        :raises StorageError: when the database fails.
        """
        if self.dialect.at_once and keys:
            # In the order of their numbers, so that two cannot deadlock. Two keys with one number wait without need.
            locks = ", ".join(f"pg_advisory_xact_lock({number})" for number in sorted({*map(self._lock_of, keys)}))
            self.run(Compiled(f"SELECT {locks}", None, {}), {})

    def _lock_of(self, key: Key) -> int:
        digest = hashlib.blake2b(f"{self.table}:{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo the block's writes when it raises.

        :raises StorageError: when the database fails.
        """
        self._send("SAVEPOINT flask_statemanager")
        waiting = self.waiting()
        kept = len(waiting)
        try:
            yield
        except BaseException:
            self._send("ROLLBACK TO SAVEPOINT flask_statemanager")
            self._send("RELEASE SAVEPOINT flask_statemanager")
            del waiting[kept:]
            raise
        self._send("RELEASE SAVEPOINT flask_statemanager")

    def waiting(self) -> list[Act]:
        """Return the list of what is to be done after the commit, for it to be shortened."""
        return self.acts

    def _send(self, sql: str) -> None:
        self.run(Compiled(sql, None, {}), {}, fetch=False)

    def run(
        self, statement: Compiled, values: dict[str, Any], *, fetch: bool = True, planned: bool = True
    ) -> list[Row]:
        """Run a statement.

        :param statement: driver SQL.
        :param values: its parameters.
        :param fetch: whether it returns rows.
        :param planned: False keeps psycopg from preparing it, because a generic plan can pass an expression index by.
        :returns: the rows; without ``fetch``, one row with the number of rows it touched.
        :raises StorageError: when the database refuses or fails.
        """
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s", statement.sql)
        options = {} if planned or self.dialect.engine.driver != "psycopg" else {"prepare": False}
        connection = self.connection
        try:
            cursor = connection.cursor()
            try:
                cursor.execute(statement.sql, statement.bind(values) or (), **options)
                return cursor.fetchall() if fetch else [(cursor.rowcount,)]
            finally:
                cursor.close()
        except self.dialect.errors as error:
            raise self.dialect.wrapped(error, self._connection, self.table) from error

    def insert(self, statement: Compiled, values: dict[str, Any]) -> int:
        """Insert a row, and return the row id that SQLite gave it.

        :param statement: driver SQL.
        :param values: its parameters.
        :raises StorageError: when the database refuses or fails.
        """
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s", statement.sql)
        connection = self.connection
        try:
            found: int = connection.execute(statement.sql, statement.bind(values)).lastrowid
        except self.dialect.errors as error:
            raise self.dialect.wrapped(error, self._connection, self.table) from error
        return found

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the driver's errors into ours.

        :raises StorageError: for any error of the driver.
        """
        try:
            yield
        except self.dialect.errors as error:
            raise self.dialect.wrapped(error, self._connection, self.table) from error


def unreachable(error: Exception) -> StorageUnavailable:
    """Return the error for a database that lets nobody in.

    :param error: the driver's error, or SQLAlchemy's around it.
    """
    hint = " ".join(str(getattr(error, "orig", error)).split())
    return StorageUnavailable(f"The database cannot be reached ({hint}): check its address and that it runs.")


def in_memory(dialect: Dialect) -> bool:
    """Tell whether an engine's database lives in one connection.

    :param dialect: the database's habits.
    """
    if dialect.name != "sqlite":
        return False
    url = dialect.engine.url
    named = url.database or ""
    return named in ("", ":memory:", "file::memory:") or "mode=memory" in named or url.query.get("mode") == "memory"

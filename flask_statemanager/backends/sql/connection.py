"""Running statements on the driver's cursor, on a connection of the engine's own pool."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, ClassVar

from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ...core.ports import Act, Unit, settle
from ...core.record import Key, Record
from ...errors import StateConflict, StorageTimeout, StorageUnavailable
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


class Pool:
    """Lends units on connections of an engine's pool, never on the application's session.

    :param dialect: the database's habits, which know the engine.
    :param table: a table of ours, for error messages.
    """

    def __init__(self, dialect: Dialect, table: str) -> None:
        self.dialect = dialect
        self.table = table

    @property
    def engine(self) -> Engine:
        """The engine whose pool is used."""
        return self.dialect.engine

    def unit(self, *, write: bool) -> AbstractContextManager[SqlUnit]:
        """Lend a unit; it is committed at the end of the block, rolled back on an exception.

        :param write: whether it is going to write.
        :raises StorageError: when no connection is to be had, or the database fails.
        """
        return Loan(self, write)

    @contextmanager
    def private(self) -> Iterator[SqlUnit]:
        """Lend a unit for single reads, on a connection that the pool does not count, for as long as the block takes.

        :raises StorageError: when no connection is to be had, or the database fails.
        """
        fairy = self.checked_out()
        unit = SqlUnit(fairy.dbapi_connection, self.dialect, self.table)
        fairy.detach()
        try:
            with unit.translated():
                self.dialect.begin(unit.connection, write=False)
            yield unit
        finally:
            with suppress(self.dialect.errors):
                unit.connection.close()

    def close(self) -> None:
        """Give back what is kept between units; nothing here."""

    def checked_out(self) -> Any:
        """Return a connection of the engine's pool, to be closed.

        :raises StorageError: when none is to be had.
        """
        try:
            return self.dialect.engine.raw_connection()
        except PoolTimeout as error:
            raise StorageTimeout("No database connection became free: give the engine a larger pool.") from error
        except (DBAPIError, self.dialect.errors) as error:
            raise unreachable(error) from error


class Loan(AbstractContextManager[SqlUnit]):
    """Lends a unit for the length of a block; what is to be done after its commit is done behind the block.

    :param pool: where connections come from.
    :param write: whether it is going to write.
    """

    def __init__(self, pool: Pool, write: bool) -> None:
        self._pool = pool
        self._write = write

    def __enter__(self) -> SqlUnit:
        dialect, table = self._pool.dialect, self._pool.table
        self._fairy = fairy = self._pool.checked_out()
        # Of drivers that do not await it is the driver's own, found without three calls.
        self._connection = connection = fairy.dbapi_connection
        self._unit = unit = SqlUnit(connection, dialect, table)
        try:
            self._found = dialect.begin(connection, write=self._write)
        except BaseException as error:
            wrapped = dialect.wrapped(error, connection, table) if isinstance(error, dialect.errors) else None
            if wrapped is None:
                fairy.invalidate(error)
            fairy.close()
            if wrapped is None:
                raise
            raise wrapped from error
        return unit

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            self._give_back(error)
            if error is None and self._unit.acts:
                settle(self._unit.acts)
        except StateConflict:
            raise
        except BaseException:
            # Not only the answer to a COMMIT may get lost: whatever a signal handler raises may come up behind it.
            for act in self._unit.doubts if error is None else ():
                act()
            raise

    def _give_back(self, error: BaseException | None) -> None:
        self._usable = False
        try:
            if error is None:
                self._commit()
            else:
                self._roll_back()
        finally:
            if not self._usable:
                self._fairy.invalidate(error)
            self._fairy.close()

    def _commit(self) -> None:
        dialect, done = self._pool.dialect, False
        try:
            dialect.end(self._connection, commit=True)
            done = True
            dialect.restore(self._connection, self._found)
            self._usable = True
        except dialect.errors as failure:
            # What is done is done, whatever becomes of the connection.
            if not done:
                self._roll_back()
                raise dialect.wrapped(failure, self._connection, self._pool.table) from failure

    def _roll_back(self) -> None:
        """Roll back; where even that fails the connection is dead, and so are the idle ones beside it."""
        dialect = self._pool.dialect
        try:
            if not dialect.interrupt(self._connection):
                dialect.end(self._connection, commit=False)
                dialect.restore(self._connection, self._found)
                self._usable = True
        except dialect.errors:
            self._pool.engine.dispose()


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
    return named in ("", ":memory:") or "mode=memory" in named or url.query.get("mode") == "memory"

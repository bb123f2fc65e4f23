"""Lending connections: those of the engine's pool, or for in-memory SQLite the one that there is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from ...core.ports import settle
from ...errors import ConfigurationError, StateConflict, StorageError, StorageTimeout
from .connection import SqlUnit, in_memory, unreachable
from .dialect import Dialect
from .reading import Row
from .statements import Compiled

logger = logging.getLogger("flask_statemanager.sql")


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

    def rows(self, statement: Compiled, values: dict[str, Any]) -> list[Row]:
        """Run a single statement that reads, for which no unit is needed.

        :param statement: driver SQL.
        :param values: its parameters.
        :raises StorageError: when no connection is to be had, or the database fails.
        """
        return Loan(self, write=False).rows(statement, values)

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

    def alone(self) -> AbstractContextManager[None]:
        """Keep everybody from the connection of the block, where there is no other; nothing here."""
        return nullcontext()

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
        self._unit = unit = SqlUnit(self._take(), self._pool.dialect, self._pool.table)
        return unit

    def rows(self, statement: Compiled, values: dict[str, Any]) -> list[Row]:
        """Run a single statement that reads, instead of a block.

        :param statement: driver SQL.
        :param values: its parameters.
        :raises StorageError: when no connection is to be had, or the database fails.
        """
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s", statement.sql)
        connection = self._take()
        try:
            cursor = connection.cursor()
            cursor.execute(statement.sql, statement.bind(values))
            rows: list[Row] = cursor.fetchall()
            cursor.close()
        except BaseException as error:
            wrapped = self._wrapped(error)
            self._give_back(self._roll_back, error)
            if wrapped is None:
                raise
            raise wrapped from error
        # PostgreSQL has committed by itself; in SQLite a listener of the application's may have begun on check-out.
        self._give_back(self._restore if self._pool.dialect.at_once else self._commit)
        return rows

    def _take(self) -> Any:
        dialect = self._pool.dialect
        self._fairy = fairy = self._pool.checked_out()
        # Of drivers that do not await it is the driver's own, found without three calls.
        self._connection = connection = fairy.dbapi_connection
        try:
            self._found = dialect.begin(connection, write=self._write)
        except BaseException as error:
            wrapped = self._wrapped(error)
            if wrapped is None:
                fairy.invalidate(error)
            fairy.close()
            if wrapped is None:
                raise
            raise wrapped from error
        return connection

    def _wrapped(self, error: BaseException) -> Exception | None:
        """Return our error for one of the driver's, or None for any other."""
        dialect = self._pool.dialect
        if not isinstance(error, dialect.errors):
            return None
        return dialect.wrapped(error, self._connection, self._pool.table)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            self._give_back(self._commit if error is None else self._roll_back, error)
            if error is None and self._unit.acts:
                settle(self._unit.acts)
        except StateConflict:
            raise
        except BaseException:
            # Not only the answer to a COMMIT may get lost: whatever a signal handler raises may come up behind it.
            for act in self._unit.doubts if error is None else ():
                act()
            raise

    def _give_back(self, end: Callable[[], None], error: BaseException | None = None) -> None:
        self._usable = False
        try:
            end()
        finally:
            if not self._usable:
                self._fairy.invalidate(error)
            self._fairy.close()

    def _commit(self) -> None:
        dialect = self._pool.dialect
        try:
            dialect.end(self._connection, commit=True)
        except dialect.errors as failure:
            self._roll_back()
            raise dialect.wrapped(failure, self._connection, self._pool.table) from failure
        self._restore()

    def _restore(self) -> None:
        """Leave the connection as it was found; what is done is done, whatever becomes of it."""
        dialect = self._pool.dialect
        try:
            dialect.restore(self._connection, self._found)
            self._usable = True
        except dialect.errors:
            self._usable = False

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


class SharedConnection(Pool):
    """In-memory SQLite: one connection, which the application's sessions use too.

    It is checked out once and never given back, because the pool rolls a returned connection back, and that would undo
    what the application has open on it.
    """

    def __init__(self, dialect: Dialect, table: str) -> None:
        super().__init__(dialect, table)
        self._lock = threading.RLock()
        self._fairy: Any = None

    def close(self) -> None:
        """Give the connection back, which rolls back what the application has open on it."""
        with self._lock:
            fairy, self._fairy = self._fairy, None
            if fairy is not None:
                fairy.close()

    def rows(self, statement: Compiled, values: dict[str, Any]) -> list[Row]:
        """Run a single statement that reads.

        :param statement: driver SQL.
        :param values: its parameters.
        :raises StorageError: when the connection cannot be opened, or the database fails.
        """
        with self.unit(write=False) as unit:
            return unit.run(statement, values)

    @contextmanager
    def private(self) -> Iterator[SqlUnit]:
        """Lend the shared connection, as there is no other, for statements between the transactions of others.

        :raises StorageError: when it cannot be opened.
        """
        with self.unit(write=False) as unit:
            connection = unit.connection
        yield _BetweenOthers(connection, self.dialect, self.table, self._lock)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other threads from the connection, which is rolled back when the block gives it back to the pool.

        :raises StorageError: when the application has a transaction open on it.
        """
        with self._lock:
            with self.unit(write=True):
                pass
            yield

    @contextmanager
    def unit(self, *, write: bool) -> Iterator[SqlUnit]:
        """Lend the shared connection.

        :param write: whether it is going to write.
        :raises StorageError: when the application has a transaction open on it and we would write.
        """
        with self._lock:
            if self._fairy is not None and self._fairy.driver_connection is None:  # the engine was disposed of
                self.close()
            if self._fairy is None:
                self._fairy = self.checked_out()
            unit = SqlUnit(self._fairy.driver_connection, self.dialect, self.table)
            if not write:
                yield unit
                return
            if unit.connection.in_transaction:
                raise StorageError(
                    "The application has an open write on its in-memory SQLite connection, which is shared: "
                    "commit it first, or join it with session=."
                )
            with unit.translated():
                self.dialect.begin(unit.connection, write=True)
            try:
                yield unit
                with unit.translated():
                    self.dialect.end(unit.connection, commit=True)
            except BaseException:
                self.dialect.end(unit.connection, commit=False)
                raise
        settle(unit.acts)


class _BetweenOthers(SqlUnit):
    """Runs statements when no unit of ours has the connection: what is not committed yet may never be.

    :param connection: the driver's connection.
    :param dialect: the database's habits.
    :param table: a table of ours, for error messages.
    :param lock: held by whoever has the connection.
    """

    def __init__(self, connection: Any, dialect: Dialect, table: str, lock: threading.RLock) -> None:
        super().__init__(connection, dialect, table)
        self._lock = lock

    def run(
        self, statement: Compiled, values: dict[str, Any], *, fetch: bool = True, planned: bool = True
    ) -> list[Row]:
        """Run a statement once the connection is free.

        :param statement: driver SQL.
        :param values: its parameters.
        :param fetch: whether it returns rows.
        :param planned: without effect here.
        :returns: the rows; without ``fetch``, one row with the number of rows it touched.
        :raises StorageError: when the database refuses or fails.
        """
        with self._lock:
            return super().run(statement, values, fetch=fetch, planned=planned)


def pool_for(dialect: Dialect, table: str) -> Pool:
    """Return the way to connections that fits an engine.

    :param dialect: the database's habits.
    :param table: a table of ours, for error messages.
    :raises ConfigurationError: when the engine lends the application's own connection, where there could be others.
    """
    if in_memory(dialect):
        return SharedConnection(dialect, table)
    if isinstance(dialect.engine.pool, StaticPool | SingletonThreadPool):
        raise ConfigurationError(
            f"The engine has a {type(dialect.engine.pool).__name__}, which lends the connection that the application "
            "has in use, whose open rows a commit here would commit too: give the engine a QueuePool or a NullPool."
        )
    return Pool(dialect, table)

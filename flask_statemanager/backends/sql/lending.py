"""Which connections a backend lends: the pool's, or for in-memory SQLite the one that there is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...core.ports import settle
from ...errors import StorageError
from .connection import Pool, SqlUnit, in_memory
from .dialect import Dialect
from .reading import Row
from .statements import Compiled


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

    @contextmanager
    def private(self) -> Iterator[SqlUnit]:
        """Lend the shared connection, as there is no other, for statements between the transactions of others.

        :raises StorageError: when it cannot be opened.
        """
        with self.unit(write=False) as unit:
            connection = unit.connection
        yield _BetweenOthers(connection, self.dialect, self.table, self._lock)

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
    """
    return SharedConnection(dialect, table) if in_memory(dialect) else Pool(dialect, table)

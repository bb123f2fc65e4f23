"""Making the tables, by one process at a time, however many start at once on an empty database.

``create_all`` looks first and makes then, so that of two processes one would fail. Its event ``before_create`` comes
between the two, too late for a lock: an application's own ``db.create_all()`` cannot be kept from that by a listener.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ...errors import StorageError, StorageTimeout, StorageUnavailable
from .connection import unreachable
from .lending import Pool
from .power import SqlPower

_LOCK = text("SELECT pg_advisory_xact_lock(7305808869229753972)")
"""PostgreSQL's advisory lock of whoever makes or migrates tables; SQLite locks the file."""

_DENIED = "42501"
"""PostgreSQL's SQLSTATE for a right that a role has not."""


class SqlMaking(SqlPower):
    """Makes the tables of a relational database, and lends the connection on which they are migrated."""

    _pool: Pool

    def create_tables(self) -> None:
        """Make the tables that are missing, alone; where none is, nothing is locked and nobody waited for.

        :raises StorageUnavailable: when the database cannot be reached.
        :raises StorageTimeout: when another process has it locked for too long.
        :raises StorageError: when it refuses.
        """
        with self.connected("the tables") as connection:
            lacking = self._lacking(connection)
            if lacking:
                self._lock(connection)
            # Looks again, behind the lock; of no table it makes the indexes of fields alone.
            self.tables.state.metadata.create_all(connection, tables=list(self.tables.all) if lacking else [])

    @contextmanager
    def connected(self, what: str, *, alone: bool = False) -> Iterator[Connection]:
        """Lend a connection with a transaction, which is committed at the end; no driver error leaves.

        :param what: what it is for, which is what the database refuses.
        :param alone: let nobody else make tables meanwhile, and roll the tables back too, where it comes to that.
        :raises StorageError: when the database fails or refuses.
        """
        with self._pool.alone(), self._connection() as connection:
            driver = connection.connection.driver_connection
            try:
                self._begin(connection, driver)
                if alone:
                    self._lock(connection)
                yield connection
                self._commit(connection, driver)
            except (DBAPIError, self._dialect.errors) as error:
                raise self._explained(error, driver, what) from error
            finally:
                with suppress(self._dialect.errors):
                    self._dialect.end(driver, commit=False)

    def _connection(self) -> Connection:
        try:
            return self.engine.connect()
        except PoolTimeout as error:
            raise StorageTimeout("No database connection became free: give the engine a larger pool.") from error
        except (DBAPIError, self._dialect.errors) as error:
            raise unreachable(error) from error

    def _begin(self, connection: Connection, driver: Any) -> None:
        """Begin, on PostgreSQL at a level at which every statement sees what is committed before it.

        At a higher one, or where the engine commits each statement by itself, the lock would be of no use.
        """
        self._commit(connection, driver)  # a listener of the application's may have begun already
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="READ COMMITTED")
        connection.begin()

    def _commit(self, connection: Connection, driver: Any) -> None:
        connection.commit()
        self._dialect.end(driver, commit=True)  # where SQLAlchemy or the driver knows of no transaction

    def _lock(self, connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(_LOCK)
        else:
            # Anew: the driver begins no transaction for a CREATE, and one that has read may be refused to write.
            self._dialect.begin(connection.connection.driver_connection, write=True)

    def _lacking(self, connection: Connection) -> bool:
        inspector = inspect(connection)
        return not all(inspector.has_table(table.name, schema=table.schema) for table in self.tables.all)

    def _explained(self, error: Exception, driver: Any, what: str) -> Exception:
        cause = error.orig if isinstance(error, DBAPIError) else error
        words = " ".join(str(cause).split())
        if not isinstance(cause, Exception) or (isinstance(error, DBAPIError) and error.connection_invalidated):
            return StorageUnavailable(f"The database went away ({words}): nothing was changed, try again.")
        found = self._dialect.wrapped(cause, driver, self.tables.state.fullname)
        denied = _DENIED in (getattr(cause, "sqlstate", None), getattr(cause, "pgcode", None))
        if denied or isinstance(found, StorageTimeout):
            return found
        return StorageError(f"The database refused {what} ({words}): nothing was changed.")

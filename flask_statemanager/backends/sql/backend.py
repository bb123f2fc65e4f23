"""The SQL backend: all powers, on the tables in ``tables``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Select
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from ...core.ports import Backend, Unit, settle
from ...core.powers import Counts, Expires, JoinsTransaction, KeepsHistory, Searches
from ...core.query import ChangeQuery, Query
from ...core.record import Change, Key, Record
from ...errors import ConfigurationError, StateConflict
from .connection import SqlUnit, in_memory, pool_for, unreachable
from .dialects import dialect_of
from .idempotency import SqlIdempotency
from .joining import hold, joined, refuse_to_wait_for_itself
from .many import SqlMany
from .outbox import SqlOutbox
from .retention import SqlRetention
from .search import Searching
from .sessions import made_whole
from .statements import Row, Statements, compiled
from .tables import Tables

_TUNING = frozenset(
    ("user", "password", "passfile", "application_name", "connect_timeout", "sslmode", "sslcert", "sslkey", "timeout")
)
"""Options of a database URL that do not change what is found behind it; a password must not get into a key."""


class SqlBackend(
    SqlOutbox, SqlIdempotency, SqlMany, SqlRetention, Backend, KeepsHistory, Searches, Counts, Expires, JoinsTransaction
):
    """Keeps records and their history in a relational database.

    :param engine: the application's engine, or one of our own.
    :param tables: the tables, in whichever metadata.
    :param owned: whether :meth:`close` disposes of the engine.
    :param sessions: makes the application's own kind of session; a plain one on the engine by default.
    :raises ConfigurationError: when the database is not supported.
    """

    title: ClassVar[str] = "sql"

    def __init__(
        self, engine: Engine, tables: Tables, *, owned: bool = False, sessions: Callable[[], Session] | None = None
    ) -> None:
        self.engine = engine
        self.tables = tables
        self._owned = owned
        self._sessions = sessions
        if engine.get_execution_options().get("schema_translate_map"):
            raise ConfigurationError(
                "schema_translate_map does not reach the statements of the states: give the metadata a schema instead."
            )
        self._dialect = dialect_of(engine)
        self._pool = pool_for(self._dialect, tables.state.fullname)
        self._statements = Statements(tables, self._dialect)
        self._searching = Searching(self._statements)

    @property
    def shareable(self) -> bool:
        """Whether other processes see the same records; in-memory SQLite is this process's alone."""
        return not in_memory(self._dialect)

    @property
    def identity(self) -> str:
        """Database, options and table, without user and whatever merely tunes a connection."""
        url = self.engine.url
        place = f"{url.host or ''}:{url.port or ''}/{url.database}"
        options = sorted((name, str(value)) for name, value in url.query.items() if name not in _TUNING)
        return f"{url.get_backend_name()}://{place}?{options}#{self.tables.state.fullname}"

    def create_tables(self) -> None:
        """Make the tables that are missing.

        :raises StorageUnavailable: when the database cannot be reached.
        """
        try:
            self.tables.state.metadata.create_all(self.engine, tables=list(self.tables.all))
        except DBAPIError as error:
            raise unreachable(error) from error

    @contextmanager
    def reading(self) -> Iterator[SqlUnit]:
        """Open a unit that only reads.

        :raises StorageError: when the database fails.
        """
        with self._pool.unit(write=False) as unit:
            yield unit

    @contextmanager
    def writing(self) -> Iterator[SqlUnit]:
        """Open a unit with a transaction of its own.

        :raises StorageError: when the database fails.
        """
        with self._pool.unit(write=True) as unit:
            yield unit
        settle(unit.acts)

    def joined(self, session: Any, *, write: bool) -> Unit:
        """Return a unit inside a session's transaction.

        :param session: the owner's session.
        :param write: whether it is going to write.
        :raises ConfigurationError: when it is no session of this database.
        :raises StorageError: when the database fails.
        """
        table = self.tables.state
        return joined(session, self._dialect, table, table.fullname, write=write)

    def new_session(self) -> Session:
        """Return a session of the same database, for whoever asks to commit, roll back and close."""
        return made_whole(Session(self.engine) if self._sessions is None else self._sessions())

    def lost_race(self, error: BaseException) -> bool:
        """Tell whether a session's error means that another transaction was faster, so that trying again helps.

        :param error: what the session raised.
        """
        return isinstance(error, DBAPIError) and error.orig is not None and self._dialect.lost_race(error.orig)

    def read(self, unit: SqlUnit, key: Key, *, lock: bool = False) -> Record | None:
        """Return what is stored under a key, a tombstone too, or None.

        :param unit: an open unit.
        :param key: which record.
        :param lock: lock the row until the unit ends (PostgreSQL; SQLite has locked the file already).
        :raises StorageError: when the database fails, or this thread's own session has it locked.
        """
        if lock:
            refuse_to_wait_for_itself(unit, [key])
        statement = self._statements.read_locked if lock else self._statements.read
        found = self._one(unit.run(statement, self._statements.key_values(key)))
        if lock and found is not None:
            hold(unit, [key])
        return found

    def apply(self, unit: SqlUnit, change: Change) -> int:
        """Append the history row, which draws the revision, then write the state row under the seen version.

        A racer's history row has the same version: the unique constraint makes the second insert do nothing, and no
        error breaks the transaction.

        :param unit: an open writing unit.
        :param change: the change.
        :returns: its revision.
        :raises StateConflict: when another version is stored.
        :raises StorageError: when the database fails.
        """
        values = self._statements.state_values(change.after)
        drawn = unit.run(self._statements.insert_history, self._statements.history_values(change, values))
        if not drawn:
            raise StateConflict(change.key, change.version - 1, None)
        hold(unit, [change.key])
        revision: int = drawn[0][0]
        values["revision"] = revision
        if change.version == 1:
            touched = unit.run(self._statements.insert_state, values, fetch=False)
        else:
            values |= self._statements.key_values(change.key) | {"k_version": change.version - 1}
            touched = unit.run(self._statements.update_state, values, fetch=False)
        if touched[0][0] != 1:
            raise StateConflict(change.key, change.version - 1, None)
        return revision

    def close(self) -> None:
        """Give back what is kept between units, and dispose of the engine if it is our own."""
        self._pool.close()
        if self._owned:
            self.engine.dispose()

    def changes(self, unit: SqlUnit, query: ChangeQuery) -> list[Change]:
        """List changes by revision, each with the record before it.

        :param unit: an open unit.
        :param query: which ones.
        :raises StorageError: when the database fails.
        """
        return [self._statements.change(row) for row in self._select(unit, self._searching.changes(query))]

    def record_at(self, unit: SqlUnit, key: Key, at: int | datetime) -> Record | None:
        """Return a record as it was at a version or moment.

        :param unit: an open unit.
        :param key: which record.
        :param at: a version or a moment.
        :raises StorageError: when the database fails.
        """
        values = self._statements.key_values(key)
        if isinstance(at, int):
            return self._one(unit.run(self._statements.at_version, values | {"k_version": at}))
        return self._one(unit.run(self._statements.at_moment, values | {"k_moment": self._dialect.bound_time(at)}))

    def search(self, unit: SqlUnit, query: Query) -> list[Record]:
        """Return the found records in order.

        :param unit: an open unit.
        :param query: the query.
        :raises StorageError: when the database fails.
        """
        return [self._statements.record(row) for row in self._select(unit, self._searching.found(query))]

    def count(self, unit: SqlUnit, query: Query) -> int:
        """Count the found records.

        :param unit: an open unit.
        :param query: the query.
        :raises StorageError: when the database fails.
        """
        return int(self._select(unit, self._searching.counted(query))[0][0])

    def due(self, unit: SqlUnit, query: Query) -> list[Key]:
        """Return the keys of live records to which a lapse rule applies now.

        :param unit: an open unit.
        :param query: its bucket, moment, lapse rules and limit count.
        :raises StorageError: when the database fails.
        """
        return [Key(query.bucket, row[0]) for row in self._select(unit, self._searching.due(query))]

    def _one(self, rows: list[Row]) -> Record | None:
        return self._statements.record(rows[0]) if rows else None

    def _select(self, unit: SqlUnit, statement: Select[Any]) -> list[Row]:
        return unit.run(compiled(statement, self.engine.dialect), {}, planned=False)

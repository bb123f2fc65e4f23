"""The SQL backend: all powers, on the tables in ``tables``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from ...config import IndexedField
from ...core.ports import UNSEEN, Backend, Seen, Unit, Work, check_belief
from ...core.powers import Expires, JoinsTransaction, KeepsHistory
from ...core.query import ChangeQuery, Query
from ...core.record import Change, Key, Record
from ...core.unread import Unread
from ...errors import ConfigurationError, StateConflict
from .auditing import SqlAudits
from .connection import SqlUnit, in_memory
from .dialects import dialect_of
from .feed import SqlFeed
from .fields import Fields
from .finding import SqlFinding
from .following import Followers
from .frontier import Frontier
from .idempotency import SqlIdempotency
from .joining import joined, refuse_to_wait_for_itself
from .lending import pool_for
from .listing import Listing
from .lists import SqlLists
from .making import SqlMaking
from .many import SqlMany
from .notes import Notes
from .outbox import SqlOutbox
from .purging import SqlPurges
from .reading import Row
from .retention import SqlRetention
from .search import Searching
from .sessions import made_whole
from .snapshots import SqlSnapshots
from .statements import Statements
from .tables import Tables
from .telling import SqlTells

_TUNING = frozenset(
    ("user", "password", "passfile", "application_name", "connect_timeout", "sslmode", "sslcert", "sslkey", "timeout")
)
"""Options of a database URL that do not change what is found behind it; a password must not get into a key."""


class SqlBackend(
    SqlMaking,
    SqlFinding,
    SqlOutbox,
    SqlIdempotency,
    SqlMany,
    SqlRetention,
    SqlPurges,
    SqlLists,
    SqlFeed,
    SqlTells,
    SqlSnapshots,
    SqlAudits,
    Backend,
    KeepsHistory,
    Expires,
    JoinsTransaction,
):
    """Keeps records and their history in a relational database.

    :param engine: the application's engine, or one of our own.
    :param tables: the tables, in whichever metadata.
    :param owned: whether :meth:`close` disposes of the engine.
    :param sessions: makes the application's own kind of session; a plain one on the engine by default.
    :param indexed: the fields that have indexes, which are declared with the tables.
    :raises ConfigurationError: when the database is not supported.
    """

    title: ClassVar[str] = "sql"

    def __init__(
        self,
        engine: Engine,
        tables: Tables,
        *,
        owned: bool = False,
        sessions: Callable[[], Session] | None = None,
        indexed: Sequence[IndexedField] = (),
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
        self.fields = Fields(indexed, tables.state, self._dialect.name)
        self._searching = Searching(self._statements, self.fields)
        self._listing = Listing(self._statements)
        self._notes = Notes(self._statements)
        self._frontier = Frontier()
        self._followers = Followers(engine, tables.history.schema)

    @property
    def shareable(self) -> bool:
        """Whether other processes see the same records; in-memory SQLite is this process's alone."""
        return not in_memory(self._dialect)

    @property
    def embedded(self) -> bool:
        """Whether the database is a part of this process, as SQLite is."""
        return self.engine.dialect.name == "sqlite"

    @property
    def identity(self) -> str:
        """Database, options and table, without user and whatever merely tunes a connection."""
        url = self.engine.url
        place = f"{url.host or ''}:{url.port or ''}/{url.database}"
        options = sorted((name, str(value)) for name, value in url.query.items() if name not in _TUNING)
        return f"{url.get_backend_name()}://{place}?{options}#{self.tables.state.fullname}"

    def reading(self) -> AbstractContextManager[SqlUnit]:
        """Open a unit that only reads.

        :raises StorageError: when the database fails.
        """
        return self._pool.unit(write=False)

    def writing(self) -> AbstractContextManager[SqlUnit]:
        """Open a unit with a transaction of its own.

        :raises StorageError: when the database fails.
        """
        return self._pool.unit(write=True)

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
            unit.hold([key])
        return found

    def fetch(self, key: Key) -> Record | None:
        """Return what is stored under a key, a tombstone too, or None, outside of any transaction.

        :param key: which record.
        :raises StorageError: when the database fails.
        """
        return self._one(self._pool.rows(self._statements.read, {"k_bucket": key.bucket, "k_name": key.name}))

    def fetch_unread(self, key: Key) -> Unread | None:
        """Return the same, its JSON as the database has written it.

        :param key: which record.
        :raises StorageError: when the database fails.
        """
        rows = self._pool.rows(self._statements.read_unread, {"k_bucket": key.bucket, "k_name": key.name})
        return self._statements.unread(rows[0]) if rows else None

    def apply(self, unit: SqlUnit, change: Change) -> int:
        """Write state and history under the seen version: PostgreSQL by one statement, SQLite by two.

        On SQLite the history row, which draws the revision, comes first; it is appended only if the version before is
        the stored one, so that no log entry can stand without its state. Where nothing is stored, that is the floor of
        the bucket; it takes another statement only where a change over nothing is not known to be a first one.

        :param unit: an open writing unit.
        :param change: the change.
        :returns: its revision.
        :raises StateConflict: when another version is stored.
        :raises StorageError: when the database fails.
        """
        write = self._at_once if self._dialect.at_once else self._in_turn
        first = change.version == 1 or unit.absent == change.key
        unit.absent = None
        revision = write(unit, change, first)
        if revision is None:
            raise StateConflict(change.key, change.version - 1, None)
        unit.hold([change.key])
        return revision

    def _at_once(self, unit: SqlUnit, change: Change, first: bool) -> int | None:
        values = self._statements.change_values(change)
        statement = self._statements.put_first if first else self._statements.put_next
        if unit.believed is not None and unit.believed.version == change.version - 1:
            statement = self._statements.put_believed
            values |= self._statements.believed_values(unit.believed)
        drawn = unit.run(statement, values)
        if not drawn and not first and change.before is None:
            # Where there is no tombstone any more, above the floor.
            drawn = unit.run(self._statements.put_first, values)
        return drawn[0][0] if drawn else None

    def _in_turn(self, unit: SqlUnit, change: Change, first: bool) -> int | None:
        values = self._statements.state_values(change.after)
        logged = self._statements.history_values(change, values)
        if unit.certain and (first or change.before is not None):
            revision = unit.insert(self._statements.append_history, logged)
        else:
            drawn = unit.run(self._statements.insert_history, logged)
            if not drawn:
                return None
            revision = drawn[0][0]
        values["revision"] = revision
        if first:
            touched = unit.run(self._statements.insert_state, values, fetch=False)
        else:
            values |= {"k_bucket": change.key.bucket, "k_name": change.key.name, "k_version": change.version - 1}
            touched = unit.run(self._statements.update_for(change), values, fetch=False)
            if touched[0][0] == 0 and change.before is None:
                touched = unit.run(self._statements.insert_state, values, fetch=False)
        return revision if touched[0][0] == 1 else None

    def alter(self, key: Key, work: Work, *, seen: Seen = UNSEEN) -> list[Change]:
        """Change one record in a transaction of its own.

        PostgreSQL reads without a lock and writes by one statement if nothing has changed meanwhile: two round trips,
        or one where the caller has seen the record; what it has seen is compared in that statement, as it may come out
        of a cache. SQLite locks the file at once and reads, which costs no trip.

        :param key: which record.
        :param work: decides.
        :param seen: what the caller believes to be stored.
        :returns: the changes with their revisions.
        :raises StateConflict: when a race was lost; nothing is changed then.
        :raises StorageError: when the database fails.
        """
        at_once = self._dialect.at_once
        with self._pool.unit(write=not at_once) as unit:
            refuse_to_wait_for_itself(unit, [key])
            found = work(None if at_once else unit, self._believed(unit, key, seen))
            if found is None:
                return []
            if at_once and (len(found.changes) > 1 or found.rest is not None):
                with unit.translated():
                    self._dialect.begin(unit.connection, write=True)
            return self.applied(unit, found)

    def _believed(self, unit: SqlUnit, key: Key, seen: Seen) -> Record | None:
        """Return what a write starts from: what is stored, or on PostgreSQL what the caller has seen, unread."""
        if seen is None:
            return None
        if isinstance(seen, Record) and self._dialect.at_once:
            unit.believed = seen
            return seen
        stored = self.read(unit, key)
        check_belief(key, seen, stored)
        if self._dialect.at_once:
            # The statement compares the floor, so that a first version may be guessed.
            unit.absent = key if stored is None else None
        else:
            unit.certain = True
        return stored

    def close(self) -> None:
        """Give back what is kept between units, and dispose of the engine if it is our own."""
        self._followers.close()
        self._pool.close()
        if self._owned:
            self.engine.dispose()

    def changes(self, unit: SqlUnit, query: ChangeQuery) -> list[Change]:
        """List changes by revision, each with the record before it.

        :param unit: an open unit.
        :param query: which ones.
        :raises StorageError: when the database fails.
        """
        statement, values = self._listing.statement(query)
        rows = unit.run(statement, values, planned=query.key is not None)
        return self._statements.changes(rows)

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

    def due(self, unit: SqlUnit, query: Query) -> list[Key]:
        """Return the keys of live records to which a lapse rule applies now.

        :param unit: an open unit.
        :param query: its bucket, moment, lapse rules and limit count.
        :raises StorageError: when the database fails.
        """
        rows = self._rows(unit, query, "due", partial(self._searching.due, query))
        return [Key(query.bucket, row[0]) for row in rows]

    def _one(self, rows: list[Row]) -> Record | None:
        return self._statements.record(rows[0]) if rows else None

"""Working inside a session's transaction, and announcing when its outermost commit is done.

SQLAlchemy's ``after_commit`` fires for a released SAVEPOINT too, and inside it the session refuses SQL. So commits are
only noted there; at ``after_transaction_end`` a nested transaction hands its announcements to its parent, and the root
delivers them, when the session is usable again. A rolled-back transaction takes its own announcements with it.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from msgspec import Struct
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError, InvalidRequestError, UnboundExecutionError
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

from ...core.ports import Act, Unit, settle
from ...errors import ConfigurationError, StorageError
from .connection import SqlUnit, in_memory, unreachable
from .dialect import Dialect

_INFO = "flask_statemanager.announcements"


class Lock(Struct, frozen=True):
    """Something beside a record that one transaction has and others wait for; a record's lock is its key.

    :param kind: what it is, for people.
    :param name: which one.
    :param scope: what else tells it from others.
    """

    kind: str
    name: Hashable
    scope: Hashable = None

    def __str__(self) -> str:
        return f"The {self.kind} {self.name!r}"


class Announcements:
    """What one session's transactions will announce once they are committed.

    :param session: the session; it carries this object in its ``info``.
    """

    def __init__(self, session: Session) -> None:
        self._waiting: dict[SessionTransaction, list[Act]] = {}
        self._committed: set[SessionTransaction] = set()
        self._joined: SessionTransaction | None = None
        self._held: dict[SessionTransaction, dict[tuple[str, Hashable], Dialect]] = {}
        event.listen(session, "after_commit", self._after_commit)
        event.listen(session, "after_transaction_end", self._after_end)

    @classmethod
    def of(cls, session: Session) -> Announcements:
        """Return the announcements of a session, made at the first call.

        :param session: the session.
        """
        if _INFO not in session.info:
            session.info[_INFO] = cls(session)
        found: Announcements = session.info[_INFO]
        return found

    def add(self, session: Session, act: Act) -> None:
        """Remember an announcement of the innermost transaction.

        :param session: the session.
        :param act: delivers it.
        """
        self.waiting(session).append(act)

    def waiting(self, session: Session) -> list[Act]:
        """Return what the innermost transaction is going to announce.

        :param session: the session.
        """
        return self._waiting.setdefault(_innermost(session), [])

    def held(self, session: Session) -> dict[tuple[str, Hashable], Dialect]:
        """Return what the innermost transaction has locked, by table and lock.

        :param session: the session.
        """
        return self._held.setdefault(_innermost(session), {})

    def hold(self, session: Session, unit: SqlUnit, locks: Iterable[Hashable]) -> None:
        """Note what the innermost transaction has locked.

        :param session: the session.
        :param unit: knows database and table.
        :param locks: records, and what else others wait for.
        """
        self.held(session).update(dict.fromkeys(((unit.table, lock) for lock in locks), unit.dialect))
        _sessions.known.add(self)

    @property
    def holding(self) -> bool:
        """Whether an open transaction of the session has anything locked."""
        return any(self._held.values())

    def holds(self, unit: SqlUnit, lock: Hashable) -> bool:
        """Tell whether an open transaction of the session has something locked.

        :param unit: knows database and table.
        :param lock: the record, or what else others wait for.
        """
        found = (held.get((unit.table, lock)) for held in self._held.values())
        return any(dialect is not None and _same_database(dialect, unit.dialect) for dialect in found)

    def begins_in_savepoint(self, session: Session) -> bool:
        """Tell whether a root transaction is joined for the first time inside a savepoint, and note that it is joined.

        :param session: the session.
        """
        root = session.get_transaction()
        unsure = root is not self._joined and session.in_nested_transaction()
        if not unsure:
            self._joined = root
        return unsure

    def _after_commit(self, session: Session) -> None:
        transaction = _innermost(session)
        if transaction in self._waiting or transaction in self._held:
            self._committed.add(transaction)

    def _after_end(self, session: Session, transaction: SessionTransaction) -> None:
        held = self._held.pop(transaction, {})
        acts = self._waiting.pop(transaction, [])
        committed = transaction in self._committed
        if transaction is self._joined:
            self._joined = None
        self._committed.discard(transaction)
        if not committed:
            return
        parent = transaction.parent
        if parent is not None:
            self._waiting.setdefault(parent, []).extend(acts)
            self._held.setdefault(parent, {}).update(held)
            return
        settle(acts)


class _Sessions(threading.local):
    """The sessions in which a thread has locked anything, as long as they live."""

    def __init__(self) -> None:
        self.known: WeakSet[Announcements] = WeakSet()


_sessions = _Sessions()


def hold(unit: SqlUnit, locks: Iterable[Hashable]) -> None:
    """Note what a unit has locked until its transaction ends; one of its own ends before anybody could ask.

    :param unit: any unit.
    :param locks: records, and what else others wait for.
    """
    if isinstance(unit, JoinedUnit):
        unit.hold(locks)


def refuse_to_wait_for_itself(unit: SqlUnit, locks: Iterable[Hashable]) -> None:
    """See that this thread is not about to wait for a session of its own, which would never end.

    :param unit: a unit that is going to take locks.
    :param locks: which ones; only looked at when the thread holds any.
    :raises StorageError: when a session's open transaction has one of them.
    """
    if not len(_sessions.known) or isinstance(unit, JoinedUnit):
        return
    holding = [announcements for announcements in _sessions.known if announcements.holding]
    held = (lock for lock in (locks if holding else ()) if any(each.holds(unit, lock) for each in holding))
    for lock in held:
        raise StorageError(
            f"{lock} is locked by this thread's session, which has not committed: waiting for it would never end. "
            "Commit the session first, or join it with session=."
        )


def _same_database(one: Dialect, other: Dialect) -> bool:
    """Two managers on one database have an engine each; two databases in memory may have the same address."""
    return one is other or (not in_memory(one) and one.engine.url == other.engine.url)


def _innermost(session: Session) -> SessionTransaction:
    transaction = session.get_nested_transaction() or session.get_transaction()
    assert transaction is not None, "the session has a connection, so it has a transaction"
    return transaction


def _connected(session: Session, clause: Any) -> tuple[Engine, Any]:
    """Return the engine that a session uses for a table, and the driver's connection in its transaction."""
    try:
        connection = session.connection(bind_arguments={"clause": clause})
        return connection.engine, connection.connection.driver_connection
    except UnboundExecutionError as error:
        raise ConfigurationError("session= has no database: bind it to the engine that keeps the states.") from error
    except DBAPIError as error:
        raise unreachable(error) from error
    except InvalidRequestError as error:
        raise StorageError(f"The session given as session= cannot be used: roll it back first ({error}).") from error


class JoinedUnit(SqlUnit):
    """A unit inside a session's transaction, which only the session's owner ends.

    :param session: the session.
    :param clause: a table of ours, by which the session finds its bind.
    :param dialect: the database's habits.
    :param table: the table's name, for error messages.
    :param write: whether it is going to write.
    """

    def __init__(
        self, session: Session | scoped_session[Any], clause: Any, dialect: Dialect, table: str, *, write: bool
    ) -> None:
        super().__init__(None, dialect, table)
        self._given = session
        self._clause = clause
        self._write = write

    @property
    def _session(self) -> Session:
        """The session, looked up anew each time: within a block ``db.session`` may be removed and made again."""
        found: Session = self._given() if isinstance(self._given, scoped_session) else self._given
        return found

    @property
    def connection(self) -> Any:
        """The session's connection, asked for anew each time.

        A session sends SAVEPOINT when it is asked for its connection inside ``begin_nested()``, and not before; without
        asking, the statement would belong to the outer transaction and survive the savepoint's rollback.

        :raises ConfigurationError: when the session is one of another database.
        :raises StorageError: when the database fails.
        """
        engine, connection = _connected(self._session, self._clause)
        same = engine.pool is self.dialect.engine.pool
        if not same and (in_memory(self.dialect) or engine.url != self.dialect.engine.url):
            raise ConfigurationError(
                "session= is bound to another database than the one that keeps the states: "
                "use a session of that database, or STATEMANAGER_BIND_KEY to put the states beside your tables."
            )
        self._connection = connection
        if self._write:
            unsure = Announcements.of(self._session).begins_in_savepoint(self._session)
            with self.translated():
                self.dialect.join(self._connection, in_savepoint=unsure)
        return self._connection

    def after_commit(self, act: Act) -> None:
        """Remember what to do after the session's outermost commit.

        :param act: called in the order of registration.
        """
        Announcements.of(self._session).add(self._session, act)

    def hold(self, locks: Iterable[Hashable]) -> None:
        """Note what is locked until the session's transaction ends.

        :param locks: records, and what else others wait for.
        """
        Announcements.of(self._session).hold(self._session, self, locks)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo the block's writes when it raises; the database gives up the locks that were taken in it.

        :raises StorageError: when the database fails.
        """
        held = Announcements.of(self._session).held(self._session)
        kept = dict(held)
        try:
            with super().savepoint():
                yield
        except BaseException:
            held.clear()
            held.update(kept)
            raise

    def waiting(self) -> list[Act]:
        """Return what the session's innermost transaction is going to announce."""
        return Announcements.of(self._session).waiting(self._session)


def joined(session: Any, dialect: Dialect, clause: Any, table: str, *, write: bool) -> Unit:
    """Return a unit inside a session's transaction.

    :param session: a Session, or a scoped_session such as ``db.session``.
    :param dialect: the database's habits.
    :param clause: a table of ours, by which the session finds its bind.
    :param table: its name, for error messages.
    :param write: whether it is going to write.
    :raises ConfigurationError: when it is no session, or one of another kind of database.
    :raises StorageError: when the database fails.
    """
    if not isinstance(session, Session | scoped_session):
        raise ConfigurationError(
            f"session= takes an SQLAlchemy session such as db.session, not {type(session).__name__} "
            "(asynchronous sessions: pass their sync_session)."
        )
    unit = JoinedUnit(session, clause, dialect, table, write=write)
    assert unit.connection is not None, "asking for it joins, and refuses what cannot be joined"
    return unit

"""Working inside a session's transaction, which only its owner ends."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, InvalidRequestError, UnboundExecutionError
from sqlalchemy.orm import Session, scoped_session

from ...core.ports import Act, Unit
from ...errors import ConfigurationError, StorageError
from .announcements import Announcements, sessions
from .connection import SqlUnit, in_memory, unreachable
from .dialect import Dialect


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
    if not len(sessions.known) or isinstance(unit, JoinedUnit):
        return
    holding = [announcements for announcements in sessions.known if announcements.holding]
    held = (lock for lock in (locks if holding else ()) if any(each.holds(unit, lock) for each in holding))
    for lock in held:
        raise StorageError(
            f"{lock} is locked by this thread's session, which has not committed: waiting for it would never end. "
            "Commit the session first, or join it with session=."
        )


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

    own: ClassVar[bool] = False

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
            Announcements.of(self._session).write_on(self.dialect, self._connection)
        return self._connection

    def join(self) -> None:
        """Join the transaction of the session that is there now, and refuse what cannot be joined.

        :raises ConfigurationError: when the session is one of another database.
        :raises StorageError: when the database fails.
        """
        _ = self.connection

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        """Let nobody commit what is written in the block when the storage fails in it, as SQLite would."""
        try:
            yield
        except StorageError:
            Announcements.of(self._session).spoil(self._session)
            raise

    def after_commit(self, act: Act) -> None:
        """Remember what to do after the session's outermost commit.

        :param act: called in the order of registration.
        """
        Announcements.of(self._session).add(self._session, act)

    def in_doubt(self, act: Callable[[], None]) -> None:
        """Remember what to do where nobody knows whether the session's outermost commit is done.

        :param act: called without arguments.
        """
        Announcements.of(self._session).in_doubt(self._session, act)

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
        self.join()  # the session may be a new one, which has begun nothing yet
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
    unit.join()
    return unit

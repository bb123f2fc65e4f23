"""Working inside a session's transaction, and announcing when its outermost commit is done.

SQLAlchemy's ``after_commit`` fires for a released SAVEPOINT too, and inside it the session refuses SQL. So commits are
only noted there; at ``after_transaction_end`` a nested transaction hands its announcements to its parent, and the root
delivers them, when the session is usable again. A rolled-back transaction takes its own announcements with it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

from ...core.ports import Act, Unit, settle
from ...errors import ConfigurationError
from .connection import SqlUnit
from .dialects import Dialect

_INFO = "flask_statemanager.announcements"


class Announcements:
    """What one session's transactions will announce once they are committed.

    :param session: the session; it carries this object in its ``info``.
    """

    def __init__(self, session: Session) -> None:
        self._waiting: dict[SessionTransaction, list[Act]] = {}
        self._committed: set[SessionTransaction] = set()
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
        self._waiting.setdefault(_innermost(session), []).append(act)

    def _after_commit(self, session: Session) -> None:
        transaction = _innermost(session)
        if transaction in self._waiting:
            self._committed.add(transaction)

    def _after_end(self, session: Session, transaction: SessionTransaction) -> None:
        acts = self._waiting.pop(transaction, [])
        committed = transaction in self._committed
        self._committed.discard(transaction)
        if not acts or not committed:
            return
        parent = transaction.parent
        if parent is not None:
            self._waiting.setdefault(parent, []).extend(acts)
            return
        settle(acts)


def _innermost(session: Session) -> SessionTransaction:
    transaction = session.get_nested_transaction() or session.get_transaction()
    assert transaction is not None, "the session has a connection, so it has a transaction"
    return transaction


class JoinedUnit(SqlUnit):
    """A unit inside a session's transaction, which only the session's owner ends."""

    def __init__(self, session: Session, connection: Any, dialect: Dialect, table: str) -> None:
        super().__init__(connection, dialect, table)
        self._session = session

    def after_commit(self, act: Act) -> None:
        """Remember what to do after the session's outermost commit.

        :param act: called in the order of registration.
        """
        Announcements.of(self._session).add(self._session, act)


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
    if isinstance(session, scoped_session):
        session = session()
    if not isinstance(session, Session):
        raise ConfigurationError(
            f"session= takes an SQLAlchemy session such as db.session, not {type(session).__name__} "
            "(asynchronous sessions: pass their sync_session)."
        )
    connection = session.connection(bind_arguments={"clause": clause})
    if connection.engine.url != dialect.engine.url:
        raise ConfigurationError(
            "session= is bound to another database than the one that keeps the states: "
            "use a session of that database, or STATEMANAGER_BIND_KEY to put the states beside your tables."
        )
    unit = JoinedUnit(session, connection.connection.driver_connection, dialect, table)
    if write:
        with unit.translated():
            dialect.join(unit.connection)
    return unit

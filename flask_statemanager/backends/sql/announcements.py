"""What a session's transactions will announce, and what they have locked.

SQLAlchemy's ``after_commit`` fires for a released SAVEPOINT too, and inside it the session refuses SQL. So commits are
only noted there; at ``after_transaction_end`` a nested transaction hands its announcements to its parent, and the root
delivers them, when the session is usable again. A rolled-back transaction takes its own announcements with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable
from typing import Any
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from ...core.ports import Act, settle
from ...errors import StorageError
from .connection import SqlUnit, in_memory
from .dialect import Dialect

_INFO = "flask_statemanager.announcements"


class Announcements:
    """What one session's transactions will announce once they are committed.

    :param session: the session; it carries this object in its ``info``.
    """

    def __init__(self, session: Session) -> None:
        self._waiting: dict[SessionTransaction, list[Act]] = {}
        self._doubts: dict[SessionTransaction, list[Callable[[], None]]] = {}
        self._committing: SessionTransaction | None = None
        self._committed: set[SessionTransaction] = set()
        self._joined: SessionTransaction | None = None
        self._held: dict[SessionTransaction, dict[tuple[str, Hashable], Dialect]] = {}
        self._connections: dict[Dialect, Any] = {}
        self._spoiled: set[SessionTransaction] = set()
        event.listen(session, "before_commit", self._before_commit)
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

    def in_doubt(self, session: Session, act: Callable[[], None]) -> None:
        """Remember what to do where nobody knows whether the session's root transaction has committed.

        :param session: the session.
        :param act: called without arguments.
        """
        if session.get_transaction() is not None:  # a hook may have ended it
            self._doubts.setdefault(_root(session), []).append(act)

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
        sessions.known.add(self)

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

    def write_on(self, dialect: Dialect, connection: Any) -> None:
        """Note on which connection the present transaction is written.

        :param dialect: the database's habits.
        :param connection: the driver's connection.
        """
        self._connections[dialect] = connection

    def spoil(self, session: Session) -> None:
        """Note that the innermost transaction has half of something in it.

        :param session: the session.
        """
        if session.in_transaction():
            self._spoiled.add(_innermost(session))

    def begins_in_savepoint(self, session: Session) -> bool:
        """Tell whether a root transaction is joined for the first time inside a savepoint, and note that it is joined.

        :param session: the session.
        """
        root = _root(session)
        unsure = root is not self._joined and session.in_nested_transaction()
        if not unsure:
            self._joined = root
        return unsure

    def _before_commit(self, session: Session) -> None:
        """Refuse a commit that would be none: PostgreSQL rolls a failed transaction back and calls that success."""
        # The release of a savepoint fails by itself. In-memory SQLite has one connection, and another session may have
        # ended its transaction.
        written = {} if session.in_nested_transaction() else self._connections
        lost = (dialect.lost(connection) for dialect, connection in written.items() if not in_memory(dialect))
        if self._spoiled or any(lost):
            raise StorageError(
                "The session's transaction has failed already, although its error was passed over, and nothing of it "
                "would be committed: roll the session back, and do it again."
            )
        if not session.in_nested_transaction():
            self._committing = _root(session)

    def _after_commit(self, session: Session) -> None:
        transaction = _innermost(session)
        if transaction in self._waiting or transaction in self._held or transaction in self._doubts:
            self._committed.add(transaction)

    def _after_end(self, session: Session, transaction: SessionTransaction) -> None:
        held = self._held.pop(transaction, {})
        acts = self._waiting.pop(transaction, [])
        committed = transaction in self._committed
        if transaction is self._joined:
            self._joined = None
        self._committed.discard(transaction)
        self._spoiled.discard(transaction)
        parent = transaction.parent
        if parent is None:
            self._connections.clear()
        doubts = self._doubts.pop(transaction, [])
        if not committed:
            # A commit that was begun and did not end may be done: it is the answer that may have got lost.
            _act(doubts if transaction is self._committing else ())
            return
        if parent is not None:
            self._waiting.setdefault(parent, []).extend(acts)
            self._held.setdefault(parent, {}).update(held)
            return
        try:
            settle(acts)
        except BaseException:
            _act(doubts)
            raise


class _Sessions(threading.local):
    """The sessions in which a thread has locked anything, as long as they live."""

    def __init__(self) -> None:
        self.known: WeakSet[Announcements] = WeakSet()


sessions = _Sessions()
"""Those of the present thread."""


def _same_database(one: Dialect, other: Dialect) -> bool:
    """Two managers on one database have an engine each; two databases in memory may have the same address."""
    return one is other or (not in_memory(one) and one.engine.url == other.engine.url)


def _act(acts: Iterable[Callable[[], None]]) -> None:
    for act in acts:
        act()


def _root(session: Session) -> SessionTransaction:
    transaction = session.get_transaction()
    assert transaction is not None, "the session has a connection, so it has a transaction"
    return transaction


def _innermost(session: Session) -> SessionTransaction:
    return session.get_nested_transaction() or _root(session)

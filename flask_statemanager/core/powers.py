"""Powers: what only some backends can do, a class each.

A face asks for a power once, at start-up, with :func:`require`; nothing asks at run time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from ..errors import ConfigurationError
from .audits import Audits
from .enqueues import Enqueues
from .follows import Watches
from .hearing import Tells
from .idempotency import Remembered, Request
from .lists import Lists
from .looks_back import LooksBack
from .many import Move, Moved
from .ports import Backend, Unit
from .purges import Purges
from .query import ChangeQuery, Query
from .record import Change, Key, Record
from .snapshots import Snapshots


class KeepsHistory(ABC):
    """Power: every change stays, and can be listed and looked up."""

    @abstractmethod
    def changes(self, unit: Any, query: ChangeQuery) -> list[Change]:
        """List changes, each with the record before it (from the version before).

        :param unit: an open unit.
        :param query: which ones.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def record_at(self, unit: Any, key: Key, at: int | datetime) -> Record | None:
        """Return a record as it was, a tombstone too, or None where there was none.

        :param unit: an open unit.
        :param key: which record.
        :param at: a version, or a moment.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def forget_changes(
        self,
        unit: Any,
        before: datetime,
        limit: int,
        after: int = 0,
        *,
        bucket: str | None = None,
        prefix: str = "",
    ) -> list[int]:
        """Remove changes from before a moment, the oldest first: the one way in which the log loses anything.

        The newest change of every record stays. Of a record with pending or dead effects so does what they have yet to
        look at, the change and the one before it, with all that came later: no record's history gets a gap.

        :param unit: an open writing unit of its own, not a joined one.
        :param before: the moment.
        :param limit: the most changes.
        :param after: only changes behind this revision, with which a batch goes on where the last one ended; a record
            of which an earlier change is left keeps all of its own.
        :param bucket: only changes of this collection; None for all.
        :param prefix: only changes of records whose names begin so.
        :returns: the revisions of those that were removed, in order.
        :raises StorageError: when the storage fails.
        """


class Searches(ABC):
    """Power: finds records by what they hold."""

    @abstractmethod
    def search(self, unit: Any, query: Query) -> list[Record]:
        """Return the found records in the order asked for, at most ``query.limit``.

        :param unit: an open unit.
        :param query: the query.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def unserved(self, query: Query) -> list[str]:
        """Return the paths of a query's filters that no index serves, each once.

        :param query: the query.
        :returns: for example ``data.plan``; nothing where records have no indexes at all.
        """


class Counts(ABC):
    """Power: counts records without loading them."""

    @abstractmethod
    def count(self, unit: Any, query: Query, *, exact_to: int | None = None) -> int:
        """Return how many records a query finds, its cursor and limit left aside.

        :param unit: an open unit.
        :param query: the query.
        :param exact_to: up to how many the number has to be exact; beyond that it may be an estimate, which is greater
            than this. None for an exact number in any case.
        :raises StorageError: when the storage fails.
        """

    def count_each(self, unit: Any, queries: Sequence[Query], *, exact_to: int | None = None) -> list[int]:
        """Return how many records each query finds; a storage that estimates from a sample draws one for all of them.

        :param unit: an open unit.
        :param queries: the queries.
        :param exact_to: as for :meth:`count`.
        :raises StorageError: when the storage fails.
        """
        return [self.count(unit, query, exact_to=exact_to) for query in queries]


class Expires(ABC):
    """Power: keeps ``expires_at`` and finds what is due."""

    @abstractmethod
    def due(self, unit: Any, query: Query) -> list[Key]:
        """Return the keys of live records to which a lapse rule applies now, the longest due first.

        :param unit: an open unit.
        :param query: its bucket, moment, lapse rules and limit count.
        :raises StorageError: when the storage fails.
        """


class JoinsTransaction(ABC):
    """Power: works inside a transaction that somebody else opened and will end."""

    @abstractmethod
    def joined(self, session: Any, *, write: bool) -> Unit:
        """Return a unit inside the session's transaction; it never commits or rolls back.

        :param session: the owner's session, for example ``db.session``.
        :param write: whether the unit is going to write.
        :raises ConfigurationError: when this is no session of the same database.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def new_session(self) -> Any:
        """Return a session of the same database, for whoever asks to commit, roll back and close."""

    @abstractmethod
    def lost_race(self, error: BaseException) -> bool:
        """Tell whether an error of a session means that another transaction was faster, so that trying again helps.

        :param error: what the session raised, for example at its commit.
        """


class Idempotent(ABC):
    """Power: remembers outcomes, in the transaction of the write that they belong to."""

    @abstractmethod
    def recall(self, unit: Any, request: Request, now: datetime) -> Remembered | None:
        """Return what an earlier request in the same scope came to; where there was none, take the scope.

        Waits for another unit that has taken it, for the request's ``patience`` at the most where the backend can say
        how long. What is older than its ttl counts as none.

        :param unit: an open writing unit.
        :param request: the request.
        :param now: the moment.
        :returns: None when the scope is the caller's now: either :meth:`remember` follows in the same unit, or the
            scope is free again when it ends.
        :raises RequestInProgress: when the patience is over.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def remember(self, unit: Any, request: Request, outcome: str) -> None:
        """Keep the outcome of a request whose scope was taken in this unit.

        :param unit: the unit.
        :param request: the request.
        :param outcome: any text.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def forget_requests(self, unit: Any, now: datetime, limit: int) -> int:
        """Remove what is older than its ttl.

        :param unit: an open writing unit.
        :param now: the moment.
        :param limit: the most of them.
        :returns: how many were removed.
        :raises StorageError: when the storage fails.
        """


class MultiKey(ABC):
    """Power: works on many records at once, in few statements."""

    @abstractmethod
    def names(self, unit: Any, query: Query) -> list[str]:
        """Return the names of the records that a search finds, in its order.

        :param unit: an open unit.
        :param query: the query.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def read_many(self, unit: Any, bucket: str, names: Sequence[str], *, lock: bool = False) -> dict[str, Record]:
        """Return what is stored under names, tombstones too, by name.

        :param unit: an open unit.
        :param bucket: the collection.
        :param names: which ones, at most some thousands.
        :param lock: keep others from changing them until the unit ends, taken in the order of the names.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def apply_many(self, unit: Any, changes: Sequence[Change]) -> list[int]:
        """Store changes of different records, as :meth:`Backend.apply` stores one, in the order given.

        :param unit: an open writing unit.
        :param changes: at most some thousands, by the names of their records, so that two callers cannot deadlock.
        :returns: their revisions, in the order of the changes.
        :raises StateConflict: when another version of one of them is stored; the unit has to be rolled back then.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def move_many(self, unit: Any, move: Move) -> list[Moved]:
        """Make one transition of many records, without loading them.

        :param unit: an open writing unit.
        :param move: the transition.
        :returns: the records that were moved, by revision; the others are as they were.
        :raises StateConflict: when a racer was faster; the unit has to be rolled back then.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def changes_of(self, unit: Any, bucket: str, revisions: Sequence[int]) -> list[Change]:
        """Return the changes with these revisions, each with the record before it, by revision.

        :param unit: an open unit.
        :param bucket: the collection.
        :param revisions: which ones, at most some thousands; one that is not known is left out.
        :raises StorageError: when the storage fails.
        """


Power = TypeVar("Power")


ALL = (
    KeepsHistory,
    Searches,
    Counts,
    Expires,
    JoinsTransaction,
    Enqueues,
    Idempotent,
    MultiKey,
    Lists,
    Purges,
    Watches,
    Tells,
    Snapshots,
    LooksBack,
    Audits,
)
"""Every power there is."""


def require(backend: Backend, power: type[Power], face: str) -> Power:
    """Return the backend as one that has a power.

    :param backend: the configured backend.
    :param power: one of the power classes.
    :param face: who needs it.
    :returns: the same object.
    :raises ConfigurationError: when it lacks the power.
    """
    if isinstance(backend, power):
        return backend
    raise ConfigurationError(
        f"{face} needs a backend with the power {power.__name__}, which the {backend.title} backend has not: "
        "choose another STATEMANAGER_BACKEND."
    )


def powers_of(backend: Backend, known: Sequence[type] = ()) -> set[str]:
    """Name the powers that a backend declares.

    :param backend: any backend.
    :param known: which powers to look for; all by default.
    :returns: class names.
    """
    all_powers = known or ALL
    return {power.__name__ for power in all_powers if isinstance(backend, power)}

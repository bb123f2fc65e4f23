"""What a backend has to offer: a few primitives that all have, and powers that only some have.

A power is a class of its own. A face asks for it once, at start-up, with :func:`require`; nothing asks at run time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, ClassVar, Protocol, TypeVar

from ..errors import ConfigurationError
from .query import ChangeQuery, Query
from .record import Change, Key, Record

Act = Callable[[], Callable[[], None] | None]
"""Something to do after the commit; what it returns is done once, behind all other acts of that commit."""


def settle(acts: Sequence[Act]) -> None:
    """Do what was to be done after a commit.

    The acts line up what there is to tell before anything is told, so that a subscriber that writes cannot get its own
    change announced ahead of an earlier one.

    :param acts: in the order of registration.
    """
    endings = dict.fromkeys(act() for act in acts)
    for ending in endings:
        if ending is not None:
            ending()


class Unit(ABC):
    """A piece of work within one transaction of a backend."""

    @abstractmethod
    def after_commit(self, act: Act) -> None:
        """Remember what to do once the outermost transaction has committed; a rollback forgets it.

        :param act: called without arguments, in the order of registration; it must not raise.
        """

    @abstractmethod
    def savepoint(self) -> AbstractContextManager[None]:
        """Undo what is written in the block, and forget what it wants announced, when it raises.

        :raises StorageError: when the storage fails.
        """


class Backend(ABC):
    """Where records live. Every method that takes a unit works inside that unit's transaction."""

    title: ClassVar[str]
    """How to name the backend in messages."""

    @property
    @abstractmethod
    def shareable(self) -> bool:
        """Whether other processes see the same records, so that a shared cache in front of it makes sense."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Text that tells this store from others, without secrets, to keep their cache entries apart."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Any]:
        """Open a unit that only reads.

        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def writing(self) -> AbstractContextManager[Any]:
        """Open a unit that commits at the end of the block, rolls back on an exception, and then acts.

        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def read(self, unit: Any, key: Key, *, lock: bool = False) -> Record | None:
        """Return what is stored under a key, a tombstone too, or None.

        :param unit: an open unit.
        :param key: which record.
        :param lock: keep others from changing it until the unit ends, where the storage can.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def apply(self, unit: Any, change: Change) -> int:
        """Store ``change.after`` if the stored version is still ``change.version - 1``, and log the change.

        :param unit: an open writing unit.
        :param change: the change, whose revision is not drawn yet.
        :returns: the revision drawn for it.
        :raises StateConflict: when another version is stored; nothing is changed then.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back connections that this backend opened for itself."""


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


class Searches(ABC):
    """Power: finds records by what they hold."""

    @abstractmethod
    def search(self, unit: Any, query: Query) -> list[Record]:
        """Return the found records in the order asked for, at most ``query.limit``.

        :param unit: an open unit.
        :param query: the query.
        :raises StorageError: when the storage fails.
        """


class Counts(ABC):
    """Power: counts records without loading them."""

    @abstractmethod
    def count(self, unit: Any, query: Query) -> int:
        """Return how many records a query finds, its cursor and limit left aside.

        :param unit: an open unit.
        :param query: the query.
        :raises StorageError: when the storage fails.
        """


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


class ReadCache(Protocol):
    """A cache that all processes share. It may forget and fail silently, and never goes back to an older version."""

    def get(self, key: Key) -> Record | None:
        """Return the cached record, a tombstone too, or None when there is none.

        :param key: which record.
        """
        ...  # pragma: no cover - a protocol has no body

    def put(self, record: Record) -> None:
        """Keep what was just written, unless a newer version of it is there, and remember where that fails.

        :param record: a committed record or tombstone.
        """
        ...  # pragma: no cover - a protocol has no body

    def fill(self, record: Record) -> None:
        """Keep what was just read, unless a newer version of it is there.

        :param record: a committed record or tombstone.
        """
        ...  # pragma: no cover - a protocol has no body


Power = TypeVar("Power")


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
    all_powers = known or (KeepsHistory, Searches, Counts, Expires, JoinsTransaction)
    return {power.__name__ for power in all_powers if isinstance(backend, power)}

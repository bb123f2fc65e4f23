"""What every backend has to offer: a few primitives. What only some can do is in ``powers``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol

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

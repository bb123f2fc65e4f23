"""What every backend has to offer: a few primitives. What only some can do is in ``powers``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from functools import partial
from typing import Any, ClassVar, Protocol

from msgspec import Struct
from msgspec.structs import replace

from ..errors import StateConflict
from .entry import Entry
from .record import Change, Key, Record
from .unread import Unread

Act = Callable[[], Callable[[], None] | None]
"""Something to do after the commit; what it returns is done once, behind all other acts of that commit."""


class Alteration(Struct, frozen=True):
    """What shall become of a record.

    :param changes: one change after the other, whose revisions are not drawn yet.
    :param rest: what else is to be written in the same transaction, given the unit and the changes with their
        revisions; None for nothing.
    :param told: called with each of these changes after the commit, as an :data:`Act` is; None for nobody.
    """

    changes: Sequence[Change]
    rest: Callable[[Any, list[Change]], None] | None = None
    told: Callable[[Change], Callable[[], None] | None] | None = None


Work = Callable[[Any, Record | None], Alteration | None]
"""Takes the unit, or None where there is no transaction yet, and what is stored; returns None for no change."""


class Unseen(Enum):
    """Stands for a record that nobody has looked at."""

    UNSEEN = "unseen"


UNSEEN = Unseen.UNSEEN
Seen = Record | None | Unseen


def check_belief(key: Key, seen: Seen, stored: Record | None) -> None:
    """Refuse when a record is not what it was believed to be.

    :param key: which record.
    :param seen: what was believed; only a record is compared.
    :param stored: what was read.
    :raises StateConflict: when it differs in anything.
    """
    if isinstance(seen, Record) and stored != seen:
        raise StateConflict(key, seen.version, None if stored is None else stored.version)


def settle(acts: Sequence[Act]) -> None:
    """Do what was to be done after a commit.

    The acts line up what there is to tell before anything is told, so that a subscriber that writes cannot get its own
    change announced ahead of an earlier one.

    :param acts: in the order of registration.
    """
    endings = dict.fromkeys([act() for act in acts])
    for ending in endings:
        if ending is not None:
            ending()


def following_on(change: Change, before: Record) -> Change:
    """Return a change of the same record with what was stored just before it.

    :param change: the change.
    :param before: what it follows; a tombstone counts as nothing.
    """
    return replace(change, before=None if before.deleted_at is not None else before)


class Unit(ABC):
    """A piece of work within one transaction of a backend."""

    @abstractmethod
    def after_commit(self, act: Act) -> None:
        """Remember what to do once the outermost transaction has committed; a rollback forgets it.

        :param act: called without arguments, in the order of registration; it must not raise.
        """

    def reserve(self, keys: Sequence[Key]) -> None:  # noqa: B027 - most need not do anything
        """Keep other units that reserve one of these keys waiting until this one ends, even where nothing is stored.

        What a condition has found absent cannot be locked otherwise. Where units do not run side by side, or the commit
        finds out what has changed, there is nothing to do, as here.

        :param keys: which records, in an order that all who reserve agree on.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def in_doubt(self, act: Callable[[], None]) -> None:
        """Remember what to do where nobody knows whether the outermost transaction and what follows it came to an end.

        :param act: called without arguments, at most once; it must not raise.
        """

    @abstractmethod
    def savepoint(self) -> AbstractContextManager[None]:
        """Undo what is written in the block, and forget what it wants announced, when it raises.

        :raises StorageError: when the storage fails.
        """

    def unguarded(self) -> AbstractContextManager[None]:
        """Let nobody commit what is written in the block when the storage fails in it; cheaper than a savepoint."""
        return nullcontext()


class Backend(ABC):
    """Where records live. Every method that takes a unit works inside that unit's transaction."""

    title: ClassVar[str]
    """How to name the backend in messages."""

    @property
    @abstractmethod
    def shareable(self) -> bool:
        """Whether other processes see the same records, so that a shared cache in front of it makes sense."""

    @property
    def embedded(self) -> bool:
        """Whether a record is read without asking another process, so that a cache in one would only slow that down."""
        return False

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

    def fetch(self, key: Key) -> Record | None:
        """Return what is stored under a key, a tombstone too, or None, outside of any transaction.

        :param key: which record.
        :raises StorageError: when the storage fails.
        """
        with self.reading() as unit:
            return self.read(unit, key)

    def fetch_many(self, keys: Sequence[Key]) -> dict[Key, Record]:
        """Return what is stored under some keys, tombstones too, outside of any transaction.

        :param keys: which records, each once; at most some thousands.
        :returns: what there is, in no particular order.
        :raises StorageError: when the storage fails.
        """
        with self.reading() as unit:
            found = {key: self.read(unit, key) for key in keys}
        return {key: record for key, record in found.items() if record is not None}

    def fetch_unread(self, key: Key) -> Unread | None:
        """Return the same as :meth:`fetch`, its JSON unread where the storage gives it as text.

        :param key: which record.
        :raises StorageError: when the storage fails.
        """
        record = self.fetch(key)
        return None if record is None else Unread.of(record)

    def recalled(self, key: Key, version: int) -> Record | None:
        """Return a record in a version that this process has read lately, for a write that compares it anyway, or None.

        :param key: which record.
        :param version: the version; another one is not returned.
        """
        return None

    def alter(self, key: Key, work: Work, *, seen: Seen = UNSEEN) -> list[Change]:
        """Change one record in a transaction of its own, in as few steps as the storage knows.

        :param key: which record.
        :param work: decides; called once.
        :param seen: what the caller believes to be stored, a record or None for nothing, to spare a round trip; where
            anything of it is wrong, a race counts as lost.
        :returns: the changes with their revisions.
        :raises StateConflict: when a race was lost; nothing is changed then.
        :raises StorageError: when the storage fails.
        """
        with self.writing() as unit:
            stored = None if seen is None else self.read(unit, key, lock=True)
            check_belief(key, seen, stored)
            found = work(unit, stored)
            return [] if found is None else self.applied(unit, found)

    def over(
        self, changes: Sequence[Change], seen: Mapping[Key, Record | None], told: Callable[[Change], Any]
    ) -> list[Change]:
        """Store changes of different records in one transaction, each over what it was decided on before that.

        :param changes: by the names of their records, so that two callers cannot deadlock.
        :param seen: what each was decided on; None for nothing.
        :param told: called with each change after the commit, as an :data:`Act` is.
        :returns: the changes with their revisions.
        :raises StateConflict: when something else is stored; nothing is changed then.
        :raises StorageError: when the storage fails.
        """
        with self.writing() as unit:
            done = [change.drawn(self.apply(unit, change)) for change in changes]
            for change in done:
                unit.after_commit(partial(told, change))
            return done

    def applied(self, unit: Any, found: Alteration) -> list[Change]:
        """Store all that belongs to an alteration.

        :param unit: an open writing unit.
        :param found: the alteration.
        :returns: the changes with their revisions.
        :raises StateConflict: when another version is stored.
        :raises StorageError: when the storage fails.
        """
        done: list[Change] = []
        for change in found.changes:
            following = following_on(change, done[-1].after) if done else change
            done.append(following.drawn(self.apply(unit, following)))
        if found.told is not None:
            for change in done:
                unit.after_commit(partial(found.told, change))
        if found.rest is not None:
            found.rest(unit, done)
        return done

    @abstractmethod
    def apply(self, unit: Any, change: Change) -> int:
        """Store ``change.after`` if the stored version is still ``change.version - 1``, and log the change.

        Where nothing is stored, that version is 0, or the bucket's floor where the backend purges tombstones.

        :param unit: an open writing unit.
        :param change: the change, whose revision is not drawn yet.
        :returns: the revision drawn for it.
        :raises StateConflict: when another version is stored; nothing is changed then.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back connections that this backend opened for itself."""


Load = Callable[[Key], Record | None]
"""Reads one record from the store, a tombstone too."""

LoadMany = Callable[[Sequence[Key]], dict[Key, Record]]
"""Reads many records from the store, tombstones too; what is not there is left out."""


class ReadCache(Protocol):
    """A cache in front of a store. It may forget and fail silently, and never goes back to an older version."""

    def at_hand(self, path: str) -> Entry | None:
        """Return what this process has at hand, a tombstone too, or None; nobody is asked.

        :param path: which record, as ``str(key)`` writes it.
        """
        ...  # pragma: no cover - a protocol has no body

    def read(self, key: Key, load: Load) -> Record | Entry | None:
        """Return the cached record, else the stored one, which is cached then; a tombstone too, or None.

        :param key: which record.
        :param load: reads it from the store; not called when it is cached.
        """
        ...  # pragma: no cover - a protocol has no body

    def read_many(self, keys: Sequence[Key], load: LoadMany) -> dict[Key, Record | Entry]:
        """Return the cached records, and of the others the stored ones, which are cached then.

        :param keys: which records, each once.
        :param load: reads what is not cached from the store, in one call.
        """
        ...  # pragma: no cover - a protocol has no body

    def put(self, record: Record) -> None:
        """Keep what was just written, unless a newer version of it is there, and remember where that fails.

        :param record: a committed record or tombstone.
        """
        ...  # pragma: no cover - a protocol has no body

    def doubt(self, keys: Iterable[Key]) -> None:
        """Believe nothing that is kept of records of which nobody knows whether they were just written.

        :param keys: which records.
        """
        ...  # pragma: no cover - a protocol has no body

    def check(self) -> bool:
        """Ask the cache whether it is there."""
        ...  # pragma: no cover - a protocol has no body

    def close(self) -> None:
        """End this process's threads and connections."""
        ...  # pragma: no cover - a protocol has no body

"""The power to look at whole buckets in one moment, and to take them back to what they were then."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from .record import Change, Key, Origin, Record

RESTORE = "restore"
"""The event of every change that a restore makes."""

BATCH = 1000
"""How many records are held at once."""

MAX_HELD = 8 * 2**20
"""About how many bytes of JSON are held at once, beyond a single record."""


class Scan(Struct, frozen=True):
    """Which records a look takes in.

    :param buckets: the collections, each once, in order.
    :param prefix: how the names begin; empty for all.
    :param since: only what has changed behind these cursors, one for each bucket; None for everything.
    :param batch: the most records at once.
    """

    buckets: tuple[str, ...]
    prefix: str = ""
    since: dict[str, str] | None = None
    batch: int = BATCH


class Look(Struct, frozen=True):
    """What the records of some buckets are in one moment.

    :param cursors: a position for each bucket, with which a later look may go on: what is changed behind it may be
        here already, and nothing before it is missing. Empty where none could be found.
    :param floors: for each bucket, the version above which a record starts where nothing is stored; 0 where none was
        ever purged. They are final behind the last batch.
    :param batches: the records by bucket and name, in the order of their code points, tombstones among them. A look at
        what has changed has a tombstone also for a record whose own was purged.
    """

    cursors: dict[str, str]
    floors: dict[str, int]
    batches: Iterator[list[Record]]


class Restore(Struct, frozen=True):
    """What a restore shall come to.

    :param buckets: the collections, in order.
    :param prefix: how the names begin that it concerns; empty for all.
    :param floors: for each bucket from which tombstones were purged, the version above which its records start.
    :param origin: who asks.
    :param now: the moment; no record gets an ``updated_at`` before the one that it has.
    :param replacing: whether live records that are not given are removed.
    :param rehearsing: only count, and change nothing.
    :param rest: what else is to be written, given the unit and some of the changes with their revisions, where the
        backend has transactions; None for nothing.
    :param told: called with a bucket and names of records that were looked at; anew from the first when a race was
        lost, and also where it fails in the end. None for nobody.
    """

    buckets: tuple[str, ...]
    prefix: str
    floors: dict[str, int]
    origin: Origin
    now: datetime
    replacing: bool = True
    rehearsing: bool = False
    rest: Callable[[Any, Sequence[Change]], None] | None = None
    told: Callable[[str, Sequence[str]], None] | None = None


class Restored(Struct, frozen=True):
    """What a restore came to, or would come to.

    :param created: how many records were absent or deleted, and are there again.
    :param changed: how many were different.
    :param same: how many were what they are now; they have a new version all the same.
    :param removed: how many were removed.
    """

    created: int = 0
    changed: int = 0
    same: int = 0
    removed: int = 0

    def __add__(self, other: Restored) -> Restored:
        return Restored(
            self.created + other.created,
            self.changed + other.changed,
            self.same + other.same,
            self.removed + other.removed,
        )


class Snapshots(ABC):
    """Power: shows buckets as they are in one moment, while others write, and restores them as a whole."""

    @abstractmethod
    def looking(self, scan: Scan) -> AbstractContextManager[Look]:
        """Open a look, whose records are read as they are taken.

        :param scan: which records.
        :raises Compacted: when some of what has changed since the cursors is not known any more; while records are
            taken, when some of what changed meanwhile is not, so that it has to be begun again.
        :raises StateValidationError: when one of them is no cursor of its bucket.
        :raises StorageError: when the storage fails, here or while records are taken.
        """

    @abstractmethod
    def has_changed(self, scan: Scan) -> bool:
        """Tell whether anything may have changed behind the cursors of a scan, at little cost.

        :param scan: which records, and since when.
        :raises StateValidationError: when one of them is no cursor of its bucket.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def put_back(self, restore: Restore, records: Callable[[], Iterable[Record]]) -> Restored:
        """Make records what they are given as: all of them, or none when anything fails or the process is killed.

        Each becomes a change of the event :data:`RESTORE` with a new revision. Its version goes on from what is stored,
        or from its own if that is higher, and is above the floors in any case: no ``expect`` from before can hold. A
        tombstone is there for its version only: it changes nothing else, be it that nothing is stored or something.
        Whoever follows these buckets from a cursor before it is told that the log was compacted.

        :param restore: what it shall come to.
        :param records: returns the records by bucket and name, each once; called anew when a race was lost. What it
            raises ends the restore.
        :raises StateConflict: when racers won every attempt.
        :raises StorageError: when the storage fails.
        """


def tombstone(record: Record, version: int) -> Record:
    """Return a tombstone in the place of a record, be it one or not, of which nothing is kept but its version.

    :param record: the record.
    :param version: the version.
    """
    moment = record.deleted_at or record.updated_at
    return replace(record, data={}, metadata={}, version=version, revision=0, expires_at=None, deleted_at=moment)


def absent(key: Key, version: int, moment: datetime) -> Record:
    """Return the tombstone of a record of which nothing is known but its last version.

    :param key: its key.
    :param version: the version.
    :param moment: since when it is deleted.
    """
    return Record(key, key.name, "", "deleted", {}, {}, version, 0, None, 1, moment, moment, None, moment)

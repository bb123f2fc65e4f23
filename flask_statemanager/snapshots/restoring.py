"""Restoring: from the files of a chain into the stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from msgspec import Struct

from ..core.record import Origin
from ..core.snapshots import Restore, Restored
from .chain import Chain
from .making import Progress
from .namelist import NameList
from .snapshot import Snapshot
from .stores import Group, Stores

Doubt = Callable[[str, Sequence[str]], None]
"""Has a cache believe no more what it keeps of these names of a bucket."""


class Wish(Struct, frozen=True):
    """What is asked of a restore.

    :param snapshot: the snapshot.
    :param origin: who asks.
    :param replacing: whether what is not in it is removed.
    :param rehearsing: only count, and change nothing.
    """

    snapshot: Snapshot
    origin: Origin
    replacing: bool
    rehearsing: bool


class Restoring:
    """One restore.

    :param chain: the snapshot and what it stands on, opened.
    :param stores: where the buckets lie.
    :param wish: what is asked.
    :param doubt: told of what was written; None for nobody.
    :param progress: told how many records were read or written, of how many.
    """

    def __init__(
        self, chain: Chain, stores: Stores, wish: Wish, doubt: Doubt | None, progress: Progress | None
    ) -> None:
        self._chain, self._stores, self._wish = chain, stores, wish
        self._doubt = None if wish.rehearsing else doubt
        self._progress = progress
        # Half of it is checking.
        self._done, self._total = 0, 2 * chain.size

    def run(self, now: datetime) -> Restored:
        """Check everything, then restore store by store.

        :param now: the moment.
        :returns: what it came to.
        :raises SnapshotDamaged: when something is not what was written.
        :raises StateConflict: when racers won every attempt.
        :raises StateValidationError: when one of its buckets is not there any more.
        :raises StorageError: when a store fails.
        """
        for read in self._chain.verify():
            self._reach(read)
        self._stores.chosen(self._wish.snapshot.buckets)
        with NameList() as names:
            try:
                return sum((self._restored(group, names, now) for group in self._groups()), Restored())
            finally:
                # Also when it fails: of several stores one may be done, and the answer to a COMMIT may be lost.
                if self._doubt is not None:
                    names.tell(self._doubt)

    def _groups(self) -> list[Group]:
        return self._stores.groups(self._wish.snapshot.buckets)

    def _restored(self, group: Group, names: NameList, now: datetime) -> Restored:
        def told(bucket: str, some: Sequence[str]) -> None:
            self._reach(self._done + len(some))
            if self._doubt is not None:
                names.add(bucket, some)

        restore = Restore(
            group.buckets,
            self._wish.snapshot.prefix,
            self._chain.floors(),
            self._wish.origin,
            now,
            replacing=self._wish.replacing,
            rehearsing=self._wish.rehearsing,
            told=told,
        )
        return group.power.put_back(restore, partial(self._chain.records, group.buckets))

    def _reach(self, done: int) -> None:
        self._done = done
        if self._progress is not None:
            self._progress(min(done, self._total), self._total)

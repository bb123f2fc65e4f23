"""Automatic snapshots: made when something has changed, removed when there are too many."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from ..errors import SnapshotDamaged, SnapshotInUse, SnapshotNotFound
from .archive import Archive
from .making import Wanted
from .snapshot import Snapshot

logger = logging.getLogger("flask_statemanager.snapshots")

CLAIM = "automatic"
"""What a worker claims while it makes a snapshot, so that others do not make the same."""

FULL_EVERY = 10
"""After how many snapshots the next one is a full one; a restore reads no more than that many files."""

_CLAIMED = 3600.0


class AutoSnapshots:
    """Makes snapshots of all buckets now and then, each on the one before, and keeps the newest of them.

    It is meant to be run again and again, by any number of workers, more often than there are snapshots to be made.

    :param archive: the app's snapshots.
    :param interval: the least seconds between two automatic snapshots.
    :param most: how many automatic ones are kept at most.
    :param full_every: after how many the next one is a full one; not more than half of those that are kept.
    """

    def __init__(self, archive: Archive, *, interval: float, most: int, full_every: int = FULL_EVERY) -> None:
        self._archive = archive
        self._interval = timedelta(seconds=interval)
        self._most = most
        # Whole chains are removed: of two there is always one left.
        self._full_every = max(1, min(full_every, most // 2))

    def run(self) -> bool:
        """Make a snapshot if it is time for one and something has changed, and remove what is too many.

        :returns: False, as there is never more to do at once.
        :raises ConfigurationError: when a backend can make no snapshots.
        :raises StorageError: when a store fails, or a file cannot be written or removed.
        """
        if not self._is_due():
            return False
        storage = self._archive.shelf.storage
        with self._archive.shelf.translated("written"):
            claimed = storage.claim(CLAIM, max(_CLAIMED, self._interval.total_seconds()))
        if not claimed:
            return False
        try:
            # Somebody else may have been at it since.
            if self._is_due():
                self._make()
                self._retain()
        finally:
            with self._archive.shelf.translated("written"):
                storage.release(CLAIM)
        return False

    def _mine(self) -> list[Snapshot]:
        return [each for each in self._archive.list_snapshots() if each.label.automatic]

    def _is_due(self) -> bool:
        mine = self._mine()
        if not mine:
            return True
        newest, buckets = mine[-1], self._archive.stores.chosen(None)
        if self._archive.clock.now() - newest.created_at < self._interval:
            return False
        return newest.buckets != buckets or self._archive.maker.has_changed(newest)

    def _make(self) -> None:
        wanted = Wanted(self._archive.stores.chosen(None), automatic=True)
        base = self._archive.maker.base_for(wanted)
        if base is not None and self._length(base) < self._full_every:
            wanted = Wanted(wanted.buckets, base=base, automatic=True)
        made = self._archive.maker.make(wanted)
        logger.info("Made the %s snapshot %s of %d keys by itself.", made.kind, made.id, made.keys)

    def _length(self, base: Snapshot) -> int:
        """Return how many snapshots a restore of one reads; of one that cannot be restored, too many."""
        try:
            return len(self._archive.shelf.chain(base))
        except (SnapshotDamaged, SnapshotNotFound):
            logger.warning("The snapshot %s cannot be built upon.", base.id, exc_info=True)
            return self._full_every

    def _retain(self) -> None:
        """Remove the oldest chains, whole ones, until there are few enough; the newest chain stays."""
        chains = _chains(self._mine())
        number = sum(map(len, chains))
        for chain in chains[:-1]:
            if number <= self._most:
                return
            number -= self._removed(chain)

    def _removed(self, chain: Sequence[Snapshot]) -> int:
        """Remove a chain from its end, as far as nothing else stands on it, and return how many that were."""
        for number, snapshot in enumerate(reversed(chain)):
            try:
                self._archive.shelf.remove(snapshot.id)
            except SnapshotInUse as error:
                logger.info("An automatic snapshot stays: %s", error)
                return number
        return len(chain)


def _chains(snapshots: Sequence[Snapshot]) -> list[list[Snapshot]]:
    """Return automatic snapshots in chains, each begun by one that stands on none of the others before it."""
    chains: list[list[Snapshot]] = []
    place: dict[str, list[Snapshot]] = {}
    for snapshot in snapshots:
        chain = place.get(snapshot.base) if snapshot.base is not None else None
        if chain is None:
            chain = []
            chains.append(chain)
        chain.append(snapshot)
        place[snapshot.id] = chain
    return chains

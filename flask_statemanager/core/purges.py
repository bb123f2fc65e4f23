"""The power to forget tombstones without forgetting how far versions were."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any

from .record import Key


class Purges(ABC):
    """Power: removes tombstones, and keeps for each bucket the highest version that one of them had.

    A new record starts above that version floor, so that a stale ``expect`` of whoever knew an earlier record of the
    name can never hold again. For :meth:`~flask_statemanager.core.ports.Backend.apply` an absent record counts as one
    whose version is the floor.
    """

    @abstractmethod
    def floor(self, unit: Any, key: Key) -> int:
        """Return the version above which a record of this name starts, where nothing is stored; 0 at first.

        :param unit: the unit in which the record was read.
        :param key: the absent record.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def forget_tombstones(self, unit: Any, bucket: str, before: datetime, limit: int) -> int:
        """Remove tombstones from before a moment, and raise the floor in the same step, so that neither is ever alone.

        Where a transaction holds what it has looked at, tombstones and floor go with the unit, and come back with it
        when it fails. A store that only compares at the commit may remove them at once, for good: that a unit fails
        makes no tombstone younger, and a floor that is too high hurts nobody. So every tombstone is counted once, by
        whoever has removed it.

        :param unit: an open writing unit of its own, not a joined one.
        :param bucket: the collection.
        :param before: the moment.
        :param limit: the most tombstones.
        :returns: how many were removed.
        :raises StorageError: when the storage fails; where they are removed at once, some may be gone by then.
        """

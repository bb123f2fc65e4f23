"""The power to look back from the end of the log, where no full history is kept."""

from __future__ import annotations

from abc import ABC, abstractmethod

from .record import Change


class LooksBack(ABC):
    """Power: the newest changes of a record can be listed, as far as they are still kept."""

    @abstractmethod
    def latest(self, bucket: str, name: str, limit: int) -> list[Change]:
        """Return the newest changes of a record that are still kept, newest first.

        :param bucket: the collection.
        :param name: the record.
        :param limit: the most changes.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def forget_latest(self, bucket: str, prefix: str) -> int:
        """Remove what is still kept of the changes of records whose names begin alike, at once and for good.

        Whoever follows the log and has not come to them is told so, as for any piece that is not kept any more.

        :param bucket: the collection.
        :param prefix: how the names begin.
        :returns: how many changes were removed.
        :raises StorageError: when the storage fails; some may be gone by then.
        """

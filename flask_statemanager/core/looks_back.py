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

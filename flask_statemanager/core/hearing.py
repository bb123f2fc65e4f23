"""The power to tell whoever keeps copies of records which of them have changed, and what is heard of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

Changed = Iterable[str] | None
"""Records that may have changed, as ``str(key)`` writes them; None for any record."""


class Hearing(ABC):
    """What one thread hears changes with."""

    @abstractmethod
    def asked(self) -> Changed:
        """Return what has changed since an answer was returned last, at least all that others could see by now.

        The first answer is None where what changed before it is not told.

        :raises Exception: whatever the connection fails with; then this one is of no more use.
        """

    @abstractmethod
    def waited(self, seconds: float) -> Changed:
        """Return what is heard without asking, as soon as there is something; nothing when the time is over.

        :param seconds: the most seconds.
        :raises Exception: whatever the connection fails with.
        """


Hear = Callable[[], AbstractContextManager[Hearing]]
"""Opens what is heard with."""


class Tells(ABC):
    """Power: tells which records have changed as soon as anybody can read it, so that copies of them can be dropped.

    Unlike the log that is followed (:class:`~flask_statemanager.core.follows.Watches`) it waits for nobody: what a long
    transaction holds back there is told here at once, in no particular order, and perhaps twice.
    """

    @abstractmethod
    def hearing(self) -> AbstractContextManager[Hearing]:
        """Open what is heard with, on a connection of its own.

        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def announce(self) -> None:
        """Wake those who wait, in this process and others: to be called after commits. Never waits and never raises."""

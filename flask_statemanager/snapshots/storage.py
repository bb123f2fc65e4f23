"""Where the files of snapshots lie: the port, and files in memory for tests."""

from __future__ import annotations

import io
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Sink(Protocol):
    """What a file is written to."""

    def write(self, data: bytes, /) -> int:
        """Write bytes behind those before.

        :param data: the bytes.
        """
        ...  # pragma: no cover - a protocol has no body


class Source(Protocol):
    """What a file is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes; none at the end.

        :param size: the most; all by default.
        """
        ...  # pragma: no cover - a protocol has no body

    def readline(self, size: int = -1, /) -> bytes:
        """Return the next bytes up to a line feed, that included.

        :param size: the most; as many as there are by default.
        """
        ...  # pragma: no cover - a protocol has no body

    def seek(self, place: int, /) -> int:
        """Go on from another place.

        :param place: how many bytes from the beginning.
        """
        ...  # pragma: no cover - a protocol has no body


class SnapshotStorage(ABC):
    """Keeps files under names; what one of its methods cannot do it says with an :class:`OSError`.

    Names are made by this package: letters, digits, dots and hyphens.
    """

    @property
    @abstractmethod
    def location(self) -> str:
        """Where the files are, without secrets."""

    @abstractmethod
    def path(self, name: str) -> str:
        """Return where one file is.

        :param name: its name.
        """

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of the files that are complete, in any order.

        :raises OSError: when they cannot be listed.
        """

    @abstractmethod
    def writing(self, name: str) -> AbstractContextManager[Sink]:
        """Open a new file. It is there when the block ends, and nothing of it is left when the block raises.

        :param name: its name.
        :raises OSError: when it cannot be written, here, in the block or at its end.
        """

    @abstractmethod
    def reading(self, name: str) -> AbstractContextManager[Source]:
        """Open a file, which can be read from its beginning again.

        :param name: its name.
        :raises FileNotFoundError: when there is none.
        :raises OSError: when it cannot be read.
        """

    @abstractmethod
    def tail(self, name: str, length: int) -> tuple[bytes, int]:
        """Return the end of a file, and how large the whole is.

        :param name: its name.
        :param length: the most bytes.
        :raises FileNotFoundError: when there is none.
        :raises OSError: when it cannot be read.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file, if it is there.

        :param name: its name.
        :raises OSError: when it cannot be removed.
        """

    @abstractmethod
    def claim(self, name: str, seconds: float) -> bool:
        """Take a name for oneself, for a while.

        :param name: the name.
        :param seconds: after which somebody else may have it, as whoever took it must be gone.
        :returns: whether it could be had.
        :raises OSError: when that cannot be found out.
        """

    @abstractmethod
    def release(self, name: str) -> None:
        """Give a name back.

        :param name: the name.
        :raises OSError: when that fails.
        """


class MemoryStorage(SnapshotStorage):
    """Keeps files in this process, for tests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._claims: dict[str, float] = {}

    @property
    def location(self) -> str:
        """A name that is no path."""
        return "memory"

    def path(self, name: str) -> str:
        """Return where one file is.

        :param name: its name.
        """
        return f"memory:{name}"

    def names(self) -> list[str]:
        """Return the names of the files."""
        return list(self.files)

    @contextmanager
    def writing(self, name: str) -> Iterator[Sink]:
        """Open a new file.

        :param name: its name.
        """
        stream = io.BytesIO()
        yield stream
        self.files = {**self.files, name: stream.getvalue()}

    @contextmanager
    def reading(self, name: str) -> Iterator[Source]:
        """Open a file.

        :param name: its name.
        :raises FileNotFoundError: when there is none.
        """
        yield io.BytesIO(self._found(name))

    def tail(self, name: str, length: int) -> tuple[bytes, int]:
        """Return the end of a file, and how large the whole is.

        :param name: its name.
        :param length: the most bytes.
        :raises FileNotFoundError: when there is none.
        """
        data = self._found(name)
        return data[-length:], len(data)

    def _found(self, name: str) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(name)
        return self.files[name]

    def remove(self, name: str) -> None:
        """Remove a file, if it is there.

        :param name: its name.
        """
        self.files = {each: data for each, data in self.files.items() if each != name}

    def claim(self, name: str, seconds: float) -> bool:
        """Take a name for oneself, for a while.

        :param name: the name.
        :param seconds: after which somebody else may have it.
        """
        now = time.monotonic()
        with self._lock:
            if self._claims.get(name, now) > now:
                return False
            self._claims[name] = now + seconds
            return True

    def release(self, name: str) -> None:
        """Give a name back.

        :param name: the name.
        """
        self._claims.pop(name, None)

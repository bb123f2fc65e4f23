"""Wakers: what a thread can wait for together with a socket, and any thread can raise."""

from __future__ import annotations

import os
from contextlib import suppress


class Waker:
    """A file descriptor that is readable from :meth:`ring` to :meth:`clear`. Close it."""

    def __init__(self) -> None:
        self._read, self._write = _descriptors()

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._read

    def ring(self) -> None:
        """Make it readable; never waits."""
        with suppress(BlockingIOError):  # it is readable many times over
            os.write(self._write, _ONE)

    def clear(self) -> None:
        """Make it unreadable until the next ring."""
        with suppress(BlockingIOError):
            while len(os.read(self._read, 4096)) == 4096:
                pass  # pragma: no cover - more rings than a pipe is read of at once

    def close(self) -> None:
        """Give the descriptors back."""
        for descriptor in {self._read, self._write}:
            os.close(descriptor)


_ONE = (1).to_bytes(8, "little")


def _descriptors() -> tuple[int, int]:
    """Return where to read and where to write: on Linux one descriptor, which halves what a client takes of them."""
    if hasattr(os, "eventfd"):
        one = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return one, one
    read, write = os.pipe()  # pragma: no cover - elsewhere than on Linux
    os.set_blocking(read, False)  # pragma: no cover
    os.set_blocking(write, False)  # pragma: no cover
    return read, write  # pragma: no cover

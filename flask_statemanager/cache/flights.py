"""One thread at a time loads a record that many threads miss; the others wait for it, and look again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 2.0
"""The most seconds to wait for another thread; whoever has waited that long loads for itself."""


class Flights:
    """The loads that are under way in one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._landings: dict[str, threading.Event] = {}

    @contextmanager
    def joined(self, path: str) -> Iterator[bool]:
        """Enter the block as the first to load a record, or when the first is done with it.

        :param path: which record.
        :returns: whether the caller is the first.
        """
        ours = threading.Event()
        with self._lock:
            landing = self._landings.setdefault(path, ours)
        if landing is not ours:
            landing.wait(PATIENCE)
            yield False
            return
        try:
            yield True
        finally:
            with self._lock:
                del self._landings[path]
            ours.set()

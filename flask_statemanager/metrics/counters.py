"""Counters of one app, in this process."""

from __future__ import annotations

import threading
from collections import Counter


class Counters:
    """Named numbers that only grow, for example ``cache.hit`` or ``change.suspend``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: Counter[str] = Counter()

    def increment(self, name: str, by: int = 1) -> None:
        """Raise a counter.

        :param name: which one.
        :param by: by how much.
        """
        with self._lock:
            self._values[name] += by

    def value(self, name: str) -> int:
        """Return a counter.

        :param name: which one; 0 when nothing was counted.
        """
        return self._values[name]

    def snapshot(self) -> dict[str, int]:
        """Return all counters at this moment."""
        with self._lock:
            return dict(sorted(self._values.items()))

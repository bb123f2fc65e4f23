"""Counters of one app, in this process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from ..core.waking import PerProcess


class Counters:
    """Named numbers that only grow, for example ``cache.hit`` or ``change.suspend``."""

    def __init__(self) -> None:
        # A fork while another thread holds a lock would leave it held in the child for good.
        self._locks = PerProcess(threading.Lock)
        self._values: Counter[str] = Counter()
        self._followed: dict[str, Callable[[], int]] = {}

    def increment(self, name: str, by: int = 1) -> None:
        """Raise a counter.

        :param name: which one.
        :param by: by how much.
        """
        with self._locks.get():
            self._values[name] += by

    def follow(self, name: str, read: Callable[[], int]) -> None:
        """Take a counter from elsewhere, where it is raised more often than a lock allows.

        :param name: which one.
        :param read: returns its value.
        """
        self._followed[name] = read

    def value(self, name: str) -> int:
        """Return a counter.

        :param name: which one; 0 when nothing was counted.
        """
        read = self._followed.get(name)
        return self._values[name] if read is None else read()

    def snapshot(self) -> dict[str, int]:
        """Return all counters at this moment."""
        followed = {name: read() for name, read in self._followed.items()}
        with self._locks.get():
            return dict(sorted((self._values | Counter(followed)).items()))

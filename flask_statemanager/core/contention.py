"""Which records are fought over: these are locked before they are looked at."""

from __future__ import annotations

import time
from collections.abc import Callable

from .record import Key

COOLING = 5.0
"""Seconds after a lost race for which a record counts as fought over."""

MOST = 1024
"""How many records are remembered."""


class Contention:
    """Remembers of which records this process has lost a race lately.

    To look first and to write only if nothing has changed is the cheapest way as long as nobody else writes. Where many
    do, a lock is cheaper than losing again and again.

    :param clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hot: dict[Key, float] = {}

    def heat(self, key: Key) -> None:
        """Note a lost race.

        :param key: which record.
        """
        if len(self._hot) >= MOST:
            self._hot.clear()
        self._hot[key] = self._clock() + COOLING

    def hot(self, key: Key) -> bool:
        """Tell whether a race was lost lately.

        :param key: which record.
        """
        until = self._hot.get(key) if self._hot else None
        if until is None:
            return False
        if self._clock() < until:
            return True
        self._hot.pop(key, None)
        return False

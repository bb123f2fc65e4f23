"""The time of a Redis, which all who share it have in common."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from msgspec import Struct

from .link import Link

FRESH = 1.0
"""Seconds for which the server's answer is carried on by the machine's own monotonic clock."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class _Answer(Struct, frozen=True):
    """What the server said, in microseconds, and the monotonic seconds at which it was heard."""

    micros: int
    heard: float


class ServerClock:
    """Tells the time by a Redis, so that several machines agree on what has expired.

    The answer counts from the moment at which it was heard. That is later than the one at which it was given, so that
    this clock is behind the server's by what an answer takes, and never ahead of it: nothing expires early. Of a
    cluster's masters the one that is behind the others counts.

    :param link: to Redis.
    :param monotonic: monotonic seconds.
    """

    def __init__(self, link: Link, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._monotonic = monotonic
        self._answer = _Answer(0, float("-inf"))

    def now(self) -> datetime:
        """Return the present moment, asking the server if it was not asked within the last second.

        :raises StorageUnavailable: when Redis cannot be reached: the machine's own clock may be quite another.
        :raises StorageError: when Redis fails otherwise.
        """
        answer, moment = self._answer, self._monotonic()
        if not 0 <= moment - answer.heard < FRESH:
            micros = min(int(seconds) * 10**6 + int(rest) for seconds, rest in self._link.ask_all(("TIME",)))
            answer = self._answer = _Answer(micros, self._monotonic())
            moment = answer.heard
        return _EPOCH + timedelta(microseconds=answer.micros + int((moment - answer.heard) * 10**6))

"""Trying again after a lost race: bounded, with growing random pauses."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import StateConflict

Result = TypeVar("Result")

ATTEMPTS = 10
"""How often a write is tried in all."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.25


def retried(
    work: Callable[[], Result], *, attempts: int = ATTEMPTS, sleep: Callable[[float], None] = time.sleep
) -> Result:
    """Run a piece of work again while it loses races.

    Full jitter: each pause is random between nothing and a bound that doubles, so that racers do not meet again.

    :param work: does everything anew at each call, its reading too.
    :param attempts: the most calls, at least 1.
    :param sleep: waits that many seconds; replaced in tests.
    :returns: what the work returned.
    :raises StateConflict: when the last attempt lost too.
    """
    for attempt in range(1, attempts):
        try:
            return work()
        except StateConflict as conflict:
            if conflict.expected is not None:  # the caller's expectation failed, and will fail again
                raise
            bound = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
            sleep(random.uniform(0, bound))  # noqa: S311 - spreading racers needs no secrecy
    return work()

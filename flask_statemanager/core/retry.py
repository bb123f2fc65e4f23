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


def retry_conflicts(
    work: Callable[[], Result],
    *,
    attempts: int = ATTEMPTS,
    undo: Callable[[], None],
    lost_race: Callable[[BaseException], bool],
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Run a caller's unit of work again while another is faster.

    Unlike :func:`retried` it repeats the caller's reading too, so a conflict with an expectation is worth another try.

    :param work: reads, decides, writes and commits, everything anew at each call.
    :param attempts: the most calls, at least 1.
    :param undo: rolls the caller's transaction back; called after every failure.
    :param lost_race: tells whether an error of the database means that another transaction was faster.
    :param sleep: waits that many seconds; replaced in tests.
    :returns: what the work returned.
    :raises StateConflict: when the last attempt lost too.
    """
    for attempt in range(1, attempts + 1):
        try:
            return work()
        except Exception as error:
            undo()
            if attempt == attempts or not (isinstance(error, StateConflict) or lost_race(error)):
                raise
        pause(attempt, sleep)
    raise AssertionError("the last attempt returns or raises")  # pragma: no cover - the type checker cannot see it


def pause(attempt: int, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait a random while before the next attempt, of a bound that doubles, so that racers do not meet again.

    :param attempt: how many there were.
    :param sleep: waits that many seconds.
    """
    bound = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
    sleep(random.uniform(0, bound))  # noqa: S311 - spreading racers needs no secrecy


def retried(
    work: Callable[[], Result], *, attempts: int = ATTEMPTS, sleep: Callable[[float], None] = time.sleep
) -> Result:
    """Run a piece of work again while it loses races.

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
            pause(attempt, sleep)
    return work()

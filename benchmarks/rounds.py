"""Measuring: contestants take turns in every round, so that whatever slows the machine slows all of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

Operation = Callable[[int], object]
"""One run of what is measured; it gets a number that no other run gets."""


@dataclass
class Contestant:
    """One way to do a piece of work.

    :param store: where.
    :param work: what is done.
    :param way: by what means, ``driver`` or ``extension``.
    :param operation: does it once.
    :param times: microseconds for one run, one number for each round.
    """

    store: str
    work: str
    way: str
    operation: Operation
    times: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of the rounds, in microseconds."""
        return statistics.median(self.times)


def measure(contestants: Iterable[Contestant], *, rounds: int, runs: int) -> None:
    """Let the contestants take turns, after one round that does not count.

    :param contestants: who takes part.
    :param rounds: how many rounds count.
    :param runs: how often each works in a round.
    """
    taking_part = list(contestants)
    number = 0
    for index in range(rounds + 1):
        for contestant in taking_part if index % 2 else taking_part[::-1]:
            spent = _timed(contestant.operation, range(number, number + runs))
            number += runs
            if index:
                contestant.times.append(spent / runs * 1e6)


def _timed(operation: Operation, numbers: range) -> float:
    gc.collect()
    gc.disable()
    try:
        begin = time.perf_counter()
        for number in numbers:
            operation(number)
        return time.perf_counter() - begin
    finally:
        gc.enable()

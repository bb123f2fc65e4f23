"""Measuring: contestants take turns in every round, so that whatever slows the machine slows all of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from msgspec import Struct, field

Operation = Callable[[int], object]
"""One run of what is measured; it gets a number that no other run gets."""

Batch = Callable[[range], float]
"""Runs what is measured once for each number, and returns how many seconds that took."""


UNSTEADY = 2
"""How many times the fastest round the slowest may take; the footnotes of the tables say so too."""


class Contestant(Struct):
    """One way to do a piece of work.

    :param store: where.
    :param work: what is done.
    :param way: by what means: the driver, the extension, another package.
    :param batch: does it.
    :param pieces: how many pieces of work one run is, such as the states of a bulk verb.
    :param runs: how often it works in a round; None for as often as the others.
    :param unit: what the result is in.
    :param scale: how many units a second has, or whatever else the batch returns.
    :param times: for one piece of work, one number for each round.
    """

    store: str
    work: str
    way: str
    batch: Batch
    pieces: int = 1
    runs: int | None = None
    unit: str = "µs"
    scale: float = 1e6
    times: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.times)

    def result(self) -> dict[str, Any]:
        """Return what was measured, for the report."""
        found = {"store": self.store, "work": self.work, "way": self.way, "unit": self.unit}
        numbers = {"median": self.median, "lowest": min(self.times), "highest": max(self.times)}
        unsteady = numbers["highest"] > UNSTEADY * numbers["lowest"]
        return found | {name: round(number, 3) for name, number in numbers.items()} | {"unsteady": unsteady}


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
            count = contestant.runs or runs
            spent = contestant.batch(range(number, number + count))
            number += count
            if index:
                contestant.times.append(spent / count / contestant.pieces * contestant.scale)


def timed(operation: Operation, context: Callable[[], AbstractContextManager[object]] = nullcontext) -> Batch:
    """Return what runs an operation and looks at the clock, without the collector of garbage in between.

    :param operation: what is measured.
    :param context: entered around a batch.
    """

    def batch(numbers: range) -> float:
        gc.collect()
        gc.disable()
        try:
            with context():
                begin = time.perf_counter()
                for number in numbers:
                    operation(number)
                return time.perf_counter() - begin
        finally:
            gc.enable()

    return batch

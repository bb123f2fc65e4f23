"""Several processes that race, released together by a starting gun."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

from typing_extensions import Self

from tests.processes.child import Child


class Crew:
    """Racers, which stay for several races.

    The gun is a pipe that all of them read from: one write of as many bytes as there are racers releases them all. A
    second one is for every other round: who is ready early for the next round must not take the byte of a late one.

    :param number: how many.
    :param program: what they run.
    """

    def __init__(self, number: int, program: str = "racer") -> None:
        pipes = [os.pipe() for _ in range(2)]
        self._guns = [gun for _waits, gun in pipes]
        waits = [waits for waits, _gun in pipes]
        self.racers = [Child(program, {"guns": waits, "number": n}, handles=waits) for n in range(number)]
        for handle in waits:
            os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self, url: str, redis_url: str | None = None) -> None:
        """Let all of them open a database.

        :param url: the database.
        :param redis_url: the Redis of keys and values, where they do not live in the database.
        """
        self._tell({"do": "open", "url": url, "redis_url": redis_url})
        assert self._hear() == ["open"] * len(self.racers)

    def race(self, act: str, rounds: int) -> list[list[dict[str, Any]]]:
        """Let all of them do something at once, several times.

        :param act: the name of a function in their program.
        :param rounds: how often.
        :returns: for each round how everybody fared, in the racers' order.
        """
        self._tell({"do": "race", "act": act, "rounds": rounds})
        return [self._round(turn) for turn in range(rounds)]

    def close(self) -> None:
        """End them."""
        for gun in self._guns:
            os.close(gun)
        for racer in self.racers:
            racer.close()

    def _round(self, turn: int) -> list[dict[str, Any]]:
        os.write(self._guns[turn % 2], b"!" * len(self.racers))
        return self._hear()

    def _tell(self, order: Any) -> None:
        for racer in self.racers:
            racer.tell(order)

    def _hear(self) -> list[Any]:
        return [racer.hear() for racer in self.racers]

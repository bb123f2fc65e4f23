"""Processes that write to a database all the time, one that works off the effects, and what was acknowledged."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Any

from typing_extensions import Self

from tests.processes.child import Child, until

WRITERS, STATES_EACH = 2, 2
STATES = [f"l{number}" for number in range(WRITERS * STATES_EACH)]


class Load:
    """Two writers of two threads each, every thread with a state of its own, and a worker.

    :param url: the database, in which :data:`STATES` are registered.
    :param paper: the file of the effects.
    :param environment: more environment variables.
    """

    def __init__(self, url: str, paper: str, environment: dict[str, str] | None = None) -> None:
        told = {"url": url, "paper": paper}
        self.worker = Child("worker", told, environment=environment)
        self.writers = [
            Child("writer", {**told, "states": STATES[first : first + STATES_EACH]}, environment=environment)
            for first in range(0, len(STATES), STATES_EACH)
        ]
        self.acknowledged: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        try:
            assert self.worker.hear() == "ready"
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        for child in (*self.writers, self.worker):
            child.close()

    def go_on(self, number: int) -> None:
        """Wait until every state has been written so many times more.

        :param number: how often.
        """
        before = self._counted()

        def written() -> bool:
            for writer in self.writers:
                self._keep(writer.heard())
            now = self._counted()
            return all(now[name] - before[name] >= number for name in STATES)

        until(written, f"every state has {number} acknowledged writes more")

    def stop_writing(self) -> None:
        """Let the writers finish what they are at."""
        for writer in self.writers:
            self._keep(writer.rest())

    def _counted(self) -> Counter[str]:
        return Counter(each["state"] for each in self.acknowledged)

    def _keep(self, told: list[dict[str, Any]]) -> None:
        wrong = [each for each in told if "unexpected" in each]
        assert not wrong, wrong
        self.acknowledged += told

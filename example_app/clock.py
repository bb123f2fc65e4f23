"""The time, which the sample data can turn back for itself and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timezone


class TravellingClock:
    """The present moment, or within :meth:`at` another one. Other threads keep the present."""

    def __init__(self) -> None:
        self._moment: ContextVar[datetime | None] = ContextVar("moment", default=None)

    def now(self) -> datetime:
        """Return the moment as an aware UTC datetime."""
        return self._moment.get() or datetime.now(timezone.utc)

    @contextmanager
    def at(self, moment: datetime) -> Iterator[None]:
        """Let it be another moment inside the block.

        :param moment: an aware datetime.
        """
        token = self._moment.set(moment)
        try:
            yield
        finally:
            self._moment.reset(token)


clock = TravellingClock()


def timestamp() -> str:
    """Return the present moment as text for a state's data: ISO 8601 in UTC, whole seconds."""
    return clock.now().astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

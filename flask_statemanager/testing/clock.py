"""A clock that stands still until it is told to move."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from ..core.clock import in_utc

START = datetime(2026, 1, 1, 12, 0, tzinfo=timezone.utc)
"""Where a fake clock begins."""


class FakeClock:
    """A :class:`flask_statemanager.Clock` for tests; it may also go backwards, as real ones do.

    >>> clock = FakeClock()
    >>> clock.advance(90).isoformat()
    '2026-01-01T12:01:30+00:00'

    :param start: the first moment, an aware datetime.
    :raises StateValidationError: when the moment has no time zone.
    """

    def __init__(self, start: datetime = START) -> None:
        self._now = in_utc(start, "start")

    def now(self) -> datetime:
        """Return the moment at which the clock stands, in UTC."""
        return self._now

    def set(self, moment: datetime) -> datetime:
        """Put the clock to a moment.

        :param moment: an aware datetime, earlier or later.
        :returns: the moment in UTC.
        :raises StateValidationError: when it has no time zone.
        """
        self._now = in_utc(moment, "moment")
        return self._now

    def advance(self, seconds: float) -> datetime:
        """Move the clock on.

        :param seconds: how far; negative to go back.
        :returns: the new moment in UTC.
        """
        return self.set(self._now + timedelta(seconds=seconds))

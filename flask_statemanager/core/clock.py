"""Time: aware UTC datetimes from one injected clock, and their text form."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import lru_cache
from typing import Protocol

import orjson

from ..errors import StateValidationError

_LENGTH = len("2026-01-31T12:00:00.000000Z")


class Clock(Protocol):
    """Anything that tells the time; tests inject one that stands still."""

    def now(self) -> datetime:
        """Return the present moment as an aware UTC datetime."""
        ...  # pragma: no cover - a protocol has no body


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the present moment as an aware UTC datetime."""
        return datetime.now(timezone.utc)


class ReplaceableClock:
    """A clock behind which another can be put, for tests and for loading data of the past.

    :param clock: the clock to begin with.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()

    def now(self) -> datetime:
        """Return the present moment of the clock behind, as an aware UTC datetime.

        :raises StateValidationError: when that clock gives a moment without a time zone.
        """
        found = self.clock.now()
        # Each write looks at the clock, and nearly every clock tells the time so.
        return found if type(found) is datetime and found.tzinfo is timezone.utc else in_utc(found, "clock")


class PreferredClock:
    """The clock that an application has put in place of the machine's, or else another than the machine's.

    :param application: the application's clock.
    :param otherwise: tells the time where that is the machine's.
    """

    def __init__(self, application: ReplaceableClock, otherwise: Clock) -> None:
        self._application = application
        self._otherwise = otherwise

    def now(self) -> datetime:
        """Return the present moment as an aware UTC datetime.

        :raises StorageError: when the other clock is a server's, which fails.
        """
        machines = isinstance(self._application.clock, SystemClock)
        return self._otherwise.now() if machines else self._application.now()


def in_utc(value: datetime, field: str) -> datetime:
    """Convert an aware datetime to UTC.

    :param value: any aware datetime.
    :param field: how to name the value in an error.
    :returns: the same moment in UTC.
    :raises StateValidationError: when the value is no datetime or has no time zone, because guessing one loses hours.
    """
    if not isinstance(value, datetime):
        raise StateValidationError({field: [f"Must be a datetime, not {type(value).__name__}."]})
    if value.tzinfo is timezone.utc:
        return value
    if value.utcoffset() is None:
        raise StateValidationError({field: ["Must have a time zone: pass datetime.now(timezone.utc) or the like."]})
    try:
        return value.astimezone(timezone.utc)
    except OverflowError as error:
        raise StateValidationError({field: ["Must lie in the years 1 to 9999, in UTC too."]}) from error


def iso(value: datetime) -> str:
    """Write a moment as ISO 8601 in UTC with a ``Z`` and six decimals, so that text order is time order.

    :param value: an aware datetime.
    :returns: for example ``2026-01-31T12:00:00.000000Z``.
    """
    moment = value if value.tzinfo is timezone.utc else value.astimezone(timezone.utc)
    try:
        text = orjson.dumps(moment, option=orjson.OPT_UTC_Z)[1:-1].decode()
    except TypeError:  # one of a class of its own, as time-freezing test tools make them
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
    # A whole second is written without a fraction.
    return text if len(text) == _LENGTH else f"{text[:-1]}.000000Z"


iso_again = lru_cache(maxsize=256)(iso)
"""Does the same for a moment that is written several times, as one write shows its own to hooks and callers."""


def from_iso(text: str) -> datetime:
    """Read what :func:`iso` wrote.

    :param text: ISO 8601 with a ``Z``.
    :returns: an aware UTC datetime.
    """
    return datetime.fromisoformat(text.replace("Z", "+00:00"))

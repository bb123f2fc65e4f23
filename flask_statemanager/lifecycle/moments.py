"""Moments: when a timer is to fire, as a caller may put it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from ..core.clock import in_utc
from ..errors import StateValidationError
from .deadlines import LATEST

Moment = Callable[[datetime], datetime]
"""Turns the present moment into the timer's."""


def moment_of(at: datetime | None, after: float | timedelta | None) -> Moment:
    """Return when a timer is to fire, never in the past.

    :param at: when, an aware datetime.
    :param after: or in how many seconds, or after which span.
    :returns: a function of the present moment; it refuses what lies too far ahead of that.
    :raises StateValidationError: when both are given, or neither, or what is given is no moment.
    """
    if (at is None) == (after is None):
        raise StateValidationError({"at": ["Give either at or after."]})
    if at is not None:
        return partial(_not_past, in_utc(at, "at"))
    span = _span(after)
    return lambda now: now + span


def _not_past(at: datetime, now: datetime) -> datetime:
    if at - now > LATEST:
        raise StateValidationError({"at": ["Must lie within ten years."]})
    return max(at, now)


def _span(after: object) -> timedelta:
    if isinstance(after, int | float) and not isinstance(after, bool) and 0 <= after <= LATEST.total_seconds():
        return timedelta(seconds=after)
    if isinstance(after, timedelta) and timedelta(0) <= after <= LATEST:
        return after
    raise StateValidationError({"after": ["Must be a number of seconds or a timedelta, from 0 to ten years."]})

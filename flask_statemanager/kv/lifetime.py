"""How long a key lives: as the caller says, as its metadata say, as the bucket says."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from ..core.record import JSON, JSONObject
from ..errors import StateValidationError, shown
from .value import KEEP, Keep

TTL = "ttl"
"""The member of the metadata that sets the expiry: seconds, as a number or as text."""

_LEAST, _LONGEST = 0.001, 10 * 365 * 86400
_NUMERIC = re.compile(r"\d{1,12}(\.\d{1,9})?", re.ASCII)

Ttl = float | timedelta | None | Keep
"""Seconds, a timedelta, None for no expiry, or :data:`~flask_statemanager.kv.value.KEEP`."""


def check_ttl(value: object) -> float | Keep | None:
    """Return a caller's time to live in seconds, or refuse it.

    :param value: what the caller passed.
    :raises StateValidationError: when it is no such time.
    """
    if value is None or isinstance(value, Keep):
        return value
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    return _seconds(seconds, "ttl")


def noted_ttl(metadata: JSONObject | Keep | None) -> float | None:
    """Return the time to live that metadata note, or None where they note none.

    :param metadata: clean metadata.
    :raises StateValidationError: when what they note is no such time.
    """
    if not isinstance(metadata, dict) or metadata.get(TTL) is None:
        return None
    noted: JSON = metadata[TTL]
    if isinstance(noted, str) and _NUMERIC.fullmatch(noted):
        noted = float(noted)
    return _seconds(noted, "metadata.ttl")


def _seconds(value: object, field: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and _LEAST <= value <= _LONGEST:  # type: ignore[operator]
        return float(value)  # type: ignore[arg-type]
    raise StateValidationError({field: [f"{shown(value)} is no time to live: pass seconds from 0.001 to ten years."]})


def expiry(ttl: float | Keep | None, now: datetime, present: datetime | None) -> datetime | None:
    """Return when a key is going to be absent.

    :param ttl: seconds from now on, None for never, or ``KEEP``.
    :param now: the moment.
    :param present: when it would be as it is.
    :raises StateValidationError: when that lies behind the year 9999.
    """
    if ttl is KEEP:
        return present
    if ttl is None:
        return None
    try:
        return now + timedelta(seconds=ttl)
    except OverflowError as error:
        raise StateValidationError({"ttl": ["The key would expire after the year 9999."]}) from error

"""How the pages write numbers, moments and values; templates have this as ``wording``."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

NOTHING = "\u2013"
"""Stands where there is no value."""

MOST_JSON = 200_000
"""Characters of a value as JSON that a page shows."""

_UNITS = ("B", "KB", "MB", "GB", "TB")


def number(value: int | None) -> str:
    """Write a whole number with thin groups of three digits.

    >>> number(1234567)
    '1,234,567'

    :param value: the number; None is a dash.
    """
    return NOTHING if value is None else f"{value:,}"


def share(value: float | None) -> str:
    """Write a share as percent.

    >>> share(0.9345)
    '93.5 %'

    :param value: from 0 to 1; None is a dash.
    """
    return NOTHING if value is None else f"{value:.1%}".replace("%", " %")


def words(name: str) -> str:
    """Write a name, such as ``past_due``, as words.

    :param name: the name.
    """
    return name.replace("_", " ")


def moment(value: datetime) -> str:
    """Write a moment in UTC, to the second.

    >>> moment(datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc))
    '2026-01-02 03:04:05'

    :param value: an aware datetime.
    """
    return f"{value.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}"


def stamp(value: datetime) -> str:
    """Write a moment for programs (ISO 8601), to the microsecond.

    :param value: an aware datetime.
    """
    return f"{value.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%S.%fZ}"


def span(seconds: float) -> str:
    """Write a length of time in its two largest units.

    >>> span(3725)
    '1 h 2 min'

    :param seconds: the seconds, at least 0.
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next(index for index, (count, _unit) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def size(value: int) -> str:
    """Write a number of bytes.

    >>> size(1536)
    '1.5 KB'

    :param value: the bytes.
    """
    power = min(len(_UNITS) - 1, max(0, value.bit_length() - 1) // 10)
    left = value / 1024**power
    return f"{left:.0f} {_UNITS[power]}" if power == 0 or left >= 100 else f"{left:.1f} {_UNITS[power]}"


def pretty(value: Any) -> str:
    """Write a JSON value over several lines, with its members in order; a very long one is cut.

    :param value: the value.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= MOST_JSON else f"{text[:MOST_JSON]}\n… ({len(text) - MOST_JSON:,} characters more)"

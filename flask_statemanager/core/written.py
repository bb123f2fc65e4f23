"""Values as people write them on a command line and in a query string."""

from __future__ import annotations

import json
from datetime import datetime
from typing import NoReturn

from .clock import from_iso
from .record import JSON


def value_of(written: str) -> JSON:
    """Read a value: JSON, or else the text itself.

    :param written: the text, for example ``10``, ``true``, ``"10"`` or ``active``.
    """
    try:
        found: JSON = json.loads(written, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return written
    return found


def moment_of(written: str) -> datetime | None:
    """Read a moment in ISO 8601 with a time zone.

    :param written: the text.
    :returns: an aware datetime, or None when it is no such moment.
    """
    try:
        found = from_iso(written)
    except ValueError:
        return None
    return None if found.utcoffset() is None else found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON.")

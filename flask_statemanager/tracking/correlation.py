"""Correlation ids: what ties together the requests, in several services, that one act has led to."""

from __future__ import annotations

import os
import time
from zlib import crc32

from ..core.names import check_id
from ..errors import StateValidationError
from .rules import COMPLETION

HEADER = "X-Correlation-ID"
"""The header that brings a correlation id, and takes it back."""

MAX_CORRELATION_ID = 64
"""Characters of a correlation id."""


def new_correlation_id() -> str:
    """Return a new correlation id, 32 hexadecimal digits.

    They begin with the milliseconds, so that the keys of new requests land at one end of an index, and end with 80
    random bits: whoever could guess the ids of others could take their keys.
    """
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def correlation_id_of(sent: str | None) -> str:
    """Return the correlation id that was sent, if it can be part of a key, or else a new one.

    :param sent: the header's value, or None.
    """
    if sent is None or len(sent) > MAX_CORRELATION_ID:
        return new_correlation_id()
    try:
        found = check_id(sent)
    except StateValidationError:
        return new_correlation_id()
    # The key of its beginning would be that of another request's end.
    return new_correlation_id() if found.endswith(COMPLETION) else found


def sampled(correlation_id: str, share: float) -> bool:
    """Tell whether a request is among those that are noted: all services decide alike for one id.

    :param correlation_id: the request.
    :param share: which share is noted, from 0 to 1.
    """
    return share >= 1.0 or crc32(correlation_id.encode()) < share * 2**32

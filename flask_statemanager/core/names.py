"""Names: what a state id may look like, how one is made, and the shorter names of types and transitions."""

from __future__ import annotations

import os
import re
import threading
import time
import uuid

from ..errors import LimitExceeded, StateValidationError, shown
from .codec import text_problem

MAX_ID = 255
"""Characters of a state id."""

ID_PATTERN, WORD_PATTERN = r"[A-Za-z0-9._:@/+=~-]{1,255}", r"[A-Za-z][A-Za-z0-9_-]{0,62}"
"""What ids, and the names of types, statuses and transitions, are made of; of segments of ids there is more to say."""

_ID = re.compile(ID_PATTERN, re.ASCII)
_NO_SEGMENTS = frozenset(("", ".", ".."))
_WORD = re.compile(WORD_PATTERN, re.ASCII)
_ID_RULE = (
    "1 to 255 ASCII characters, letters, digits and ._:@/+=~-, no leading or trailing slash, "
    "no empty, '.' or '..' segment"
)


def check_id(value: object) -> str:
    """Return a state id, or refuse it.

    :param value: what the caller passed.
    :returns: the id as plain text.
    :raises StateValidationError: when it breaks the rule, which the message states.
    """
    if isinstance(value, str) and _ID.fullmatch(value) and _NO_SEGMENTS.isdisjoint(value.split("/")):
        return str.__str__(value)
    raise StateValidationError({"state_id": [f"{shown(value)} is not a state id: {_ID_RULE}."]})


def check_prefix(prefix: object, field: str = "prefix") -> str:
    """Return how ids or keys shall begin, or refuse it.

    :param prefix: what the caller passed.
    :param field: how to name it in an error.
    :returns: plain text.
    :raises StateValidationError: when none can begin so.
    """
    if not isinstance(prefix, str) or len(prefix) > 255 or not prefix.isascii() or not prefix.isprintable():
        raise StateValidationError({field: [f"{shown(prefix)} is no beginning of an id or key: pass ASCII text."]})
    return str.__str__(prefix)


def check_word(value: object, field: str) -> str:
    """Return the name of a type, status or transition, or refuse it.

    :param value: text, or an enum whose value is text.
    :param field: how to name it in the error.
    :returns: plain text.
    :raises StateValidationError: when it is not a letter followed by at most 62 letters, digits, ``_`` or ``-``.
    """
    word = getattr(value, "value", value)
    if isinstance(word, str) and _WORD.fullmatch(word):
        return str.__str__(word)
    raise StateValidationError(
        {field: [f"{shown(value)} is not a name: a letter, then at most 62 letters, digits, underscores or hyphens."]}
    )


def check_text(value: object, field: str, limit: int) -> str:
    """Return a caller's free text, or refuse it.

    :param value: what the caller passed.
    :param field: how to name it in an error.
    :param limit: the most characters.
    :returns: plain text.
    :raises StateValidationError: when it is no text, empty, or cannot be stored.
    :raises LimitExceeded: when it is too long.
    """
    if not isinstance(value, str) or not value:
        raise StateValidationError({field: [f"Must be text and not empty, not {shown(value)}."]})
    if len(value) > limit:
        raise LimitExceeded(f"{field}", limit, len(value), unit="characters")
    problem = text_problem(value)
    if problem:
        raise StateValidationError({field: [problem]})
    return str.__str__(value)


class TimeOrderedIds:
    """Makes UUIDs of version 7 (RFC 9562 section 5.7) that ascend within the process.

    The 12 bits after the millisecond hold a fraction of it (section 6.2, method 3), so that ids made one after another
    sort in that order, and new rows land at one end of the index.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def new(self) -> str:
        """Return a new id, 36 characters."""
        with self._lock:
            self._last = ticks = max(self._last + 1, time.time_ns() * 4096 // 1_000_000)
        number = (ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0b10 << 62
        return str(uuid.UUID(int=number | int.from_bytes(os.urandom(8), "big") >> 2))

"""Cursors of the log on Redis: a revision for each shard."""

from __future__ import annotations

from collections.abc import Iterable

from ...errors import StateValidationError, shown

BEGINNING = "0"
"""The cursor from before the first change of every bucket."""

_DIGITS = 16
"""The most digits of a revision: what scripts can count exactly."""


def written(revisions: Iterable[int]) -> str:
    """Write a cursor.

    :param revisions: of each shard, in order.
    """
    return ".".join(map(str, revisions))


def parsed(cursor: object, shards: int) -> list[int]:
    """Read a cursor.

    :param cursor: the text.
    :param shards: of how many shards.
    :returns: a revision for each.
    :raises StateValidationError: when it is no cursor of such a bucket.
    """
    parts = cursor.split(".") if isinstance(cursor, str) else []
    if cursor == BEGINNING:
        parts = [BEGINNING] * shards
    if len(parts) != shards or not all(part.isascii() and part.isdigit() and len(part) <= _DIGITS for part in parts):
        raise StateValidationError(
            {"cursor": [f"{shown(cursor)} is no cursor of this bucket: pass one that a page of it had, or '0'."]}
        )
    return [int(part) for part in parts]

"""From a caller's arguments to the decision to set a key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.codec import clean
from ..core.record import JSON, Expectation
from ..errors import StateValidationError, shown
from .decisions import Set
from .lifetime import check_ttl, noted_ttl
from .parts import KvParts, check_expect
from .value import KEEP, Keep

Metadata = Mapping[str, Any] | None | Keep
"""What is noted about a key, None for nothing, or :data:`~flask_statemanager.kv.value.KEEP`."""


def setting(
    parts: KvParts,
    key: object,
    value: JSON | Keep,
    metadata: object,
    ttl: object,
    *,
    expect: Expectation = None,
    absent: bool = False,
) -> Set:
    """Return the decision to set a key, its arguments checked and copied.

    :param parts: the bucket.
    :param key: the caller's key.
    :param value: any JSON value, or ``KEEP``.
    :param metadata: a JSON object, None, or ``KEEP``.
    :param ttl: a time to live, None, or ``KEEP``.
    :param expect: what the caller expects.
    :param absent: whether the key must not be there.
    :raises StateValidationError: when something in it is unusable.
    :raises LimitExceeded: when value or metadata are too large.
    """
    noted = metadata
    if isinstance(metadata, Mapping):
        noted = clean(dict(metadata), "metadata", parts.limit)
    elif metadata is not None and metadata is not KEEP:
        raise StateValidationError({"metadata": [f"Must be a dict, not {shown(metadata)}."]})
    # Looked at also where it does not count: nobody should read a time to live there that is none.
    by_note = noted_ttl(noted)  # type: ignore[arg-type]
    lives = check_ttl(ttl)
    if lives is KEEP and by_note is not None:
        lives = by_note
    return Set(
        parts.key(key),
        KEEP if value is KEEP else clean(value, "value", parts.limit),
        noted,  # type: ignore[arg-type]
        lives,
        parts.definition.ttl,
        absent,
        check_expect(expect),
    )

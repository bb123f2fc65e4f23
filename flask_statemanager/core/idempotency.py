"""Idempotency: the same request under the same key is answered from memory.

The meaning follows the IETF draft "The Idempotency-Key HTTP Header Field": a key belongs to one request, a retry with
another request is an error, and an error response need not be remembered.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from ..errors import shown
from .clock import iso
from .record import Revision

_SIMPLE = (str, type(None))


class Request(Struct, frozen=True):
    """What a caller wants done once. Actor, verb and key are the scope: nobody is answered with another's state.

    :param actor: who asks.
    :param verb: the verb's name.
    :param key: the caller's key.
    :param fingerprint: of everything that was asked for, made by :func:`fingerprint`.
    :param ttl: how long the answer is remembered.
    :param patience: for how many seconds an earlier request is waited for that has not ended yet, where the store can
        tell that from other waiting, and the transaction is nobody else's; None for as long as it takes.
    """

    actor: str
    verb: str
    key: str
    fingerprint: str
    ttl: timedelta
    patience: float | None = None


class Remembered(Struct, frozen=True):
    """What is kept of an earlier request in the same scope.

    :param fingerprint: of that request.
    :param outcome: what it was answered with.
    """

    fingerprint: str
    outcome: str


def fingerprint(arguments: dict[str, Any]) -> str:
    """Return a digest of a verb's arguments; equal JSON values have equal digests.

    :param arguments: clean JSON values, datetimes, timedeltas, revisions, None; anything else, which the verb is going
        to refuse, counts by how it is shown.
    :returns: SHA-256 as 64 hexadecimal digits.
    """
    text = json.dumps(_plain(arguments), sort_keys=True, ensure_ascii=True, default=shown, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, int | float):
        return _number(value)
    return value if isinstance(value, _SIMPLE) else _written(value)


def _written(value: object) -> Any:
    if isinstance(value, timedelta):
        return _plain(value.total_seconds())
    if isinstance(value, Revision):
        return {"revision": value.number}
    try:
        return {"moment": iso(value)} if isinstance(value, datetime) else shown(value)
    except OverflowError:  # outside of the years 1 to 9999 in UTC
        return shown(value)


def _number(value: Any) -> Any:
    if not isinstance(value, float):
        # What has more than 64 bits is refused later on, like everything that is no JSON.
        return value if abs(value) < 2**64 else shown(value)
    return int(value) if value.is_integer() and abs(value) < 2**64 else value

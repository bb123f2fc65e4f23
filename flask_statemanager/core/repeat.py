"""Doing what is asked for once, however often it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from ..errors import IdempotencyKeyReused
from .entry import decode_record, encode_record
from .idempotency import Request
from .powers import Idempotent
from .record import Record

_NOTHING = "null"


def repeated(
    memory: Idempotent, unit: Any, request: Request, now: datetime, work: Callable[[], Record | None]
) -> Record | None:
    """Answer a request from memory, or do the work and remember what it comes to; a refusal is not remembered.

    :param memory: the backend.
    :param unit: an open writing unit; it has to be rolled back when this raises.
    :param request: the request.
    :param now: the moment.
    :param work: does what is asked for.
    :returns: the answer, the same for every repetition.
    :raises IdempotencyKeyReused: when the key belongs to another request.
    :raises StateManagerError: whatever the work refuses with.
    :raises StorageError: when the storage fails.
    """
    record: Record | None = None

    def outcome() -> str:
        nonlocal record
        record = work()
        return _NOTHING if record is None else encode_record(record)

    text = repeated_text(memory, unit, request, now, outcome)
    return decode_record(text) if record is None and text != _NOTHING else record


def repeated_text(memory: Idempotent, unit: Any, request: Request, now: datetime, work: Callable[[], str]) -> str:
    """Answer a request from memory, or do the work and remember what it comes to, for work that comes to a text.

    :param memory: the backend.
    :param unit: an open writing unit; it has to be rolled back when this raises.
    :param request: the request.
    :param now: the moment.
    :param work: does what is asked for.
    :returns: the answer, the same for every repetition.
    :raises IdempotencyKeyReused: when the key belongs to another request.
    :raises StateManagerError: whatever the work refuses with.
    :raises StorageError: when the storage fails.
    """
    found = memory.recall(unit, request, now)
    if found is None:
        outcome = work()
        memory.remember(unit, request, outcome)
        return outcome
    if found.fingerprint != request.fingerprint:
        raise IdempotencyKeyReused(request.key, request.verb)
    return found.outcome

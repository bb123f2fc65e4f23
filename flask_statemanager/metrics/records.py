"""Structured log records of operations."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger("flask_statemanager.operations")


def log_operation(
    operation: str,
    *,
    state_id: str | None = None,
    transition_type: str | None = None,
    duration_ms: float | None = None,
    fields: Mapping[str, Any] | None = None,
) -> None:
    """Write one INFO record to the logger ``flask_statemanager.operations``; every field is an attribute of it too.

    :param operation: what was done, for example ``state_update``.
    :param state_id: on which state.
    :param transition_type: by which transition.
    :param duration_ms: how long it took, in milliseconds.
    :param fields: anything else; names that log records have themselves get the prefix ``state_``.
    """
    known: dict[str, Any] = {
        "operation": operation,
        "state_id": state_id,
        "transition_type": transition_type,
        "duration_ms": duration_ms,
        **(fields or {}),
    }
    given = {name: value for name, value in known.items() if value is not None}
    text = " ".join(f"{name}={_shown(value)}" for name, value in given.items())
    reserved = logging.makeLogRecord({}).__dict__.keys() | {"message", "asctime"}
    extra = {f"state_{name}" if name in reserved else name: value for name, value in given.items()}
    logger.info("%s", text, extra=extra)


def _shown(value: object) -> str:
    # A line break in a value would let a caller forge a second record.
    text = str(value)
    return text if text.isprintable() and " " not in text else repr(text)

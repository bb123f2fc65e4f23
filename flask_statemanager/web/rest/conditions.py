"""The conditions of a search as parameters of a query string, such as ``data.amount__gte=10``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...core.times import TIMES
from ...core.written import moment_of, value_of
from ...errors import StateValidationError


def conditions(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Read conditions; a value is JSON, or else text.

    :param pairs: names and values.
    :returns: filters, as ``search_states`` takes them.
    :raises StateValidationError: when a moment is none.
    """
    return {name: _operand(name, written) for name, written in pairs}


def _operand(name: str, written: str) -> Any:
    path, _, operator = name.partition("__")
    if path in TIMES:
        moment = moment_of(written)
        if moment is None:
            raise StateValidationError({name[:120]: ["Must be a moment with a time zone: 2026-01-31T12:00:00Z."]})
        return moment
    value = value_of(written)
    listed = operator == "in" and not isinstance(value, list)
    return [value_of(each) for each in written.split(",")] if listed else value

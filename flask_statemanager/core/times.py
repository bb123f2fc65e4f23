"""Conditions of a search on when a record was created or last written."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from ..errors import StateValidationError
from .clock import in_utc
from .record import Record

TIMES = ("created_at", "updated_at")
"""The moments of a record that a search can ask for."""

COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
"""The operators, each as a function."""


class TimeBound(Struct, frozen=True):
    """One condition on one moment.

    :param column: one of :data:`TIMES`.
    :param operator: one of :data:`COMPARE`.
    :param at: the moment to compare with, in UTC.
    """

    column: str
    operator: str
    at: datetime

    def holds(self, record: Record) -> bool:
        """Tell whether the condition holds for a record.

        :param record: any record.
        """
        return bool(COMPARE[self.operator](getattr(record, self.column), self.at))


def parse_times(filters: Mapping[Any, Any] | None) -> tuple[tuple[TimeBound, ...], Mapping[Any, Any] | None]:
    """Take the conditions on moments, such as ``{"updated_at__gte": moment}``, out of the filters of a search.

    :param filters: the filters, or None.
    :returns: the conditions, and the filters that are left.
    :raises StateValidationError: when one has an operator other than these, or no aware datetime.
    """
    if not isinstance(filters, Mapping):
        return (), filters
    timed = [name for name in filters if isinstance(name, str) and name.partition("__")[0] in TIMES]
    left = {name: value for name, value in filters.items() if name not in timed}
    return tuple(_bound(name, filters[name]) for name in timed), left


def _bound(name: str, value: Any) -> TimeBound:
    column, _, word = name.partition("__")
    if word not in COMPARE:
        message = f"Ask for a range of {column} with {', '.join(f'__{known}' for known in COMPARE)}."
        raise StateValidationError({f"filters.{name[:120]}": [message]})
    return TimeBound(column, word, in_utc(value, f"filters.{name}"))

"""The conditions of a search as people write them on a command line, in a query string and in a form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import StateValidationError
from .times import TIMES
from .written import moment_of, value_of


def operand(name: str, written: str) -> Any:
    """Read what a condition compares with: a moment for a state's own times, else JSON, else the text itself.

    >>> operand("data.amount__gte", "10"), operand("data.plan__in", "pro,free"), operand("data.plan", '"10"')
    (10, ['pro', 'free'], '10')

    :param name: the path with its operator, for example ``data.amount__gte``.
    :param written: the text.
    :raises StateValidationError: when it has to be a moment and is none.
    """
    path, _, operator = name.partition("__")
    if path in TIMES:
        moment = moment_of(written)
        if moment is None:
            raise StateValidationError({name[:120]: ["Must be a moment with a time zone: 2026-01-31T12:00:00Z."]})
        return moment
    value = value_of(written)
    listed = operator == "in" and not isinstance(value, list)
    return [value_of(each) for each in written.split(",")] if listed else value


def conditions(words: Iterable[str]) -> dict[str, Any]:
    """Read conditions, each like ``data.amount__gte=10``.

    >>> conditions(["data.plan=pro", "data.amount__gte=10"])
    {'data.plan': 'pro', 'data.amount__gte': 10}

    :param words: the conditions.
    :returns: filters, as ``search_states`` takes them.
    :raises StateValidationError: when one has no ``=`` or no moment where it needs one, or two have the same path and
        operator, of which one would be lost.
    """
    found: dict[str, Any] = {}
    for word in words:
        path, equals, written = word.partition("=")
        if not path or not equals:
            raise StateValidationError({"filters": [f"{word!r} is no condition, such as data.amount__gte=10."]})
        if path in found:
            raise StateValidationError({"filters": [f"{path!r} is given twice, and only one can hold."]})
        found[path] = operand(path, written)
    return found

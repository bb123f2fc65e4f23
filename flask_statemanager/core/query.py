"""What can be asked of many records: filters, order, cursor. One meaning on every backend (see ``matching``)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from math import isfinite
from typing import Any

from msgspec import Struct, field

from ..errors import LimitExceeded, StateValidationError, shown
from .clock import from_iso, iso
from .codec import settled, text_problem
from .record import JSON, Key, Record
from .times import TimeBound

OPERATORS = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "contains", "startswith", "exists")
"""The words after ``__`` in a filter; without one, ``eq`` is meant."""

ORDERS = ("created_at", "updated_at", "state_id", "version", "revision")
"""What a search can be ordered by; a leading ``-`` turns the order round."""

MAX_FILTERS, MAX_VALUES = 100, 10_000
"""The most conditions of a search, and values of one ``__in``; databases have limits of their own behind these."""

_ROOTS = ("data", "metadata")
_ORDERED = ((str, int, float), "compares numbers with numbers or text with text.")
_OPERANDS: dict[str, tuple[Any, str]] = {
    "exists": (bool, "takes True or False."),
    "startswith": (str, "takes text."),
    **dict.fromkeys(("gt", "gte", "lt", "lte"), _ORDERED),
}
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_UNADDRESSABLE = frozenset('"\\') | frozenset(map(chr, range(32)))


class Filter(Struct, frozen=True):
    """One condition on one path.

    :param root: ``data`` or ``metadata``.
    :param path: the member names from there on.
    :param operator: one of :data:`OPERATORS`.
    :param value: what to compare with; its JSON type is part of the condition.
    """

    root: str
    path: tuple[str, ...]
    operator: str
    value: JSON


class Order(Struct, frozen=True):
    """How the found records are sorted; the name breaks ties, so that a cursor is unambiguous.

    :param by: one of :data:`ORDERS`.
    :param descending: largest first.
    """

    by: str = "created_at"
    descending: bool = False

    def value(self, record: Record) -> datetime | str | int:
        """Return what a record is sorted by.

        :param record: a found record.
        """
        found: datetime | str | int = record.key.name if self.by == "state_id" else getattr(record, self.by)
        return found


class Lapse(Struct, frozen=True):
    """A rule for records past their ``expires_at``: those of this type in ``source`` count as being in ``target``."""

    type: str
    source: str
    target: str


class Query(Struct, frozen=True):
    """A search within one bucket. Tombstones are never found.

    :param bucket: the collection.
    :param now: the moment that decides what has expired.
    :param type: only this type.
    :param statuses: only these statuses, lapses taken into account; None for all.
    :param owner: only this owner's.
    :param filters: all of these conditions.
    :param times: and all of these, on its moments.
    :param order: the order.
    :param after: the position after which to go on: the ordered value and the name of the last record seen.
    :param limit: the most records to return; None for all.
    :param lapses: the rules for expired records.
    :param prefix: only records whose names begin so.
    """

    bucket: str
    now: datetime
    type: str | None = None
    statuses: tuple[str, ...] | None = None
    owner: str | None = None
    filters: tuple[Filter, ...] = ()
    times: tuple[TimeBound, ...] = ()
    order: Order = field(default_factory=Order)
    after: tuple[datetime | str | int, str] | None = None
    limit: int | None = None
    lapses: tuple[Lapse, ...] = ()
    prefix: str = ""


class ChangeQuery(Struct, frozen=True):
    """A listing of changes within one bucket, ordered by revision.

    :param bucket: the collection.
    :param key: only this record's changes.
    :param version: only the change that made this version.
    :param event: only changes of this event.
    :param newest_first: the order.
    :param after: go on after this revision, in the order asked for.
    :param limit: the most changes to return; None for all.
    """

    bucket: str
    key: Key | None = None
    version: int | None = None
    event: str | None = None
    newest_first: bool = False
    after: int | None = None
    limit: int | None = None


def parse_filters(filters: Mapping[str, JSON] | None) -> tuple[Filter, ...]:
    """Turn ``{"data.amount__gte": 5}`` into conditions.

    :param filters: dotted paths below ``data`` or ``metadata``, with an optional ``__operator``.
    :returns: the conditions, all of which must hold.
    :raises StateValidationError: for an unknown root or operator, an unusable path, or a value that the operator
        cannot compare.
    """
    if filters is None:
        return ()
    if not isinstance(filters, Mapping):
        raise StateValidationError({"filters": ["Must be a dict such as {'data.status': 'active'}."]})
    if len(filters) > MAX_FILTERS:
        raise LimitExceeded("The search", MAX_FILTERS, len(filters), unit="filters")
    return tuple(_parse(name, value) for name, value in filters.items())


def _parse(name: object, value: JSON) -> Filter:
    if not isinstance(name, str):
        raise StateValidationError({"filters": [f"The path {shown(name)} is not text."]})
    dotted, mark, operator = name.rpartition("__")
    if not mark:
        dotted, operator = name, "eq"
    if operator not in OPERATORS:
        listed = ", ".join(OPERATORS)
        raise _bad(
            name, f"{shown(operator)} is no operator; known are {listed}. A name with '__' in it needs '__eq' behind."
        )
    root, *path = dotted.split(".")
    if root not in _ROOTS or not path:
        raise _bad(name, "A filter is a path below 'data' or 'metadata'; type, status and owner are arguments.")
    for segment in path:
        if not segment or not _UNADDRESSABLE.isdisjoint(segment) or text_problem(segment):
            raise _bad(
                name, "Each part of the path must be non-empty, without quotes, backslashes or control characters."
            )
    return Filter(root, tuple(path), operator, _operand(name, operator, value))


def _operand(name: str, operator: str, value: JSON) -> JSON:
    if operator == "in":
        if not isinstance(value, list | tuple | set | frozenset):
            raise _bad(name, "__in takes a list of values.")
        if len(value) > MAX_VALUES:
            raise LimitExceeded(f"The list of {shown(name)}", MAX_VALUES, len(value), unit="values")
        return [_scalar(name, item) for item in value]
    value = _scalar(name, value)
    kinds, demand = _OPERANDS.get(operator, (object, ""))
    fits = isinstance(value, kinds) and (operator == "exists" or demand == "" or not isinstance(value, bool))
    if not fits:
        raise _bad(name, f"__{operator} {demand}")
    return value


def _scalar(name: str, value: Any) -> JSON:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        problem = text_problem(value)
        if problem:
            raise _bad(name, problem)
        return str.__str__(value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise _bad(name, "The integer has more than 64 bits, and so matches nothing.")
        return int(value)
    if isinstance(value, float) and isfinite(value):
        return settled(float(value))
    raise _bad(name, "Compare with text, a finite number, true, false or null; reach into objects with a longer path.")


def _bad(name: str, message: str) -> StateValidationError:
    return StateValidationError({f"filters.{name[:120]}": [message]})


def parse_order(order_by: object) -> Order:
    """Turn ``"-updated_at"`` into an order.

    :param order_by: one of :data:`ORDERS`, with ``-`` for descending; None for ``created_at``.
    :returns: the order.
    :raises StateValidationError: for anything else.
    """
    if order_by is None:
        return Order()
    by = order_by.removeprefix("-") if isinstance(order_by, str) else ""
    if by not in ORDERS or not isinstance(order_by, str):
        raise StateValidationError(
            {"order_by": [f"{shown(order_by)} is no order; known are {', '.join(ORDERS)}, each with '-'."]}
        )
    return Order(by, descending=order_by.startswith("-"))


def cursor_after(record: Record, order: Order) -> str:
    """Write an opaque cursor that goes on behind a record, or back before it.

    :param record: the last record of a page, or the first.
    :param order: the order of the search.
    :returns: URL-safe text.
    """
    value = order.value(record)
    shown = iso(value) if isinstance(value, datetime) else value
    text = json.dumps([order.by, order.descending, shown, record.key.name], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parse_cursor(cursor: str, order: Order) -> tuple[datetime | str | int, str]:
    """Read what :func:`cursor_after` wrote.

    :param cursor: the text.
    :param order: the order of this search.
    :returns: the ordered value and the name to go on behind.
    :raises StateValidationError: when it is no cursor, or one of another order.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        position = _position(json.loads(base64.urlsafe_b64decode(padded.encode("ascii"))), order)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise StateValidationError(
            {"after": ["Not a cursor of this search: pass the 'next' of the page before, with the same order."]}
        ) from error
    return position


def _position(parts: JSON, order: Order) -> tuple[datetime | str | int, str]:
    by, descending, shown, name = parts
    if (by, descending) != (order.by, order.descending) or not isinstance(name, str) or text_problem(name):
        raise ValueError("This is the cursor of another search.")
    return _POSITIONS[order.by](shown), name


def _past_moment(shown: JSON) -> datetime:
    if not _MOMENT.fullmatch(shown):
        raise ValueError("This cursor holds no moment.")
    return from_iso(shown)


def _past_name(shown: JSON) -> str:
    if not isinstance(shown, str) or text_problem(shown):
        raise ValueError("This cursor holds no name.")
    return shown


def _past_number(shown: JSON) -> int:
    if type(shown) is not int or not 0 <= shown < 2**63:
        raise ValueError("This cursor holds no number.")
    return shown


_POSITIONS: dict[str, Callable[[JSON], datetime | str | int]] = {
    "created_at": _past_moment,
    "updated_at": _past_moment,
    "state_id": _past_name,
    "version": _past_number,
    "revision": _past_number,
}

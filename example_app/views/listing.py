"""Lists: read the filters of a request, search, and hand out one page by its cursor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import request

from flask_statemanager import State, StateValidationError

from ..extensions import state_manager
from ..machines import MACHINES

DEFAULT_SIZE = 25


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list, with what was asked for.

    :param states: the states of this page.
    :param total: how many the filters find.
    :param next: the cursor of the next page, or None.
    :param statuses: the statuses to choose from.
    :param asked: the filters of the request, for links and form fields.
    """

    states: list[State]
    total: int
    next: str | None
    statuses: tuple[str, ...]
    asked: dict[str, str]


def listing(
    state_type: str,
    *,
    filters: Mapping[str, str] | None = None,
    owner: str | None = None,
    order_by: str = "-created_at",
) -> Listing:
    """Search states as the request asks.

    :param state_type: the type.
    :param filters: which path each further query argument filters on, for example ``{"plan": "data.plan"}``.
    :param owner: only this owner's.
    :param order_by: the order.
    :raises StateValidationError: when the request asks for what cannot be.
    :raises StorageError: when the storage fails.
    """
    wanted = {name: request.args.get(name, "").strip() for name in ("status", *(filters or {}))}
    asked = {name: value for name, value in wanted.items() if value}
    found = state_manager.search_states(
        state_type,
        {path: asked[name] for name, path in (filters or {}).items() if name in asked} or None,
        status=asked.get("status"),
        owner=owner,
        order_by=order_by,
    )
    page = found.page(number("size", DEFAULT_SIZE, most=200), after=request.args.get("after") or None)
    return Listing(page.items, found.count(), page.next, (*MACHINES[state_type].statuses,), asked)


def number(name: str, default: int, *, most: int) -> int:
    """Read a whole number from the query.

    :param name: the query argument.
    :param default: what it is when left out.
    :param most: the largest that is allowed.
    :raises StateValidationError: when it is no such number.
    """
    text = request.args.get(name) or str(default)
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= most:
        raise StateValidationError({name: [f"Must be a number from 1 to {most}."]})
    return int(text)


def whole(value: Any, field: str) -> int | None:
    """Read a whole number from a form field or JSON member.

    :param value: text, a number, or nothing.
    :param field: how to name it in an error.
    :returns: the number, or None when there is nothing.
    :raises StateValidationError: when it is no whole number.
    """
    if value is None or value == "":
        return None
    text = str(value).strip()
    if isinstance(value, bool | float) or not text.removeprefix("-").isdecimal() or len(text) > 12:
        raise StateValidationError({field: ["Must be a whole number."]})
    return int(text)


def decimal(value: str | None, field: str) -> float | None:
    """Read a number from a form field.

    :param value: text, or nothing.
    :param field: how to name it in an error.
    :returns: the number, or None when there is nothing.
    :raises StateValidationError: when it is no number.
    """
    if value is None or not value.strip():
        return None
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value.strip(), re.ASCII):
        raise StateValidationError({field: ["Must be a number."]})
    return float(value)

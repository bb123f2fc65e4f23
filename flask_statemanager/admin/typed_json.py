"""JSON that an operator types: read with messages that say where it goes wrong, and with secrets left as they are."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from ..core.codec import MAX_DEPTH
from ..core.record import JSON
from ..core.secrets import REDACTED
from ..errors import StateValidationError

MOST_EDITED = 100_000
"""Characters of a value that are put into a form; a longer one is not cut, it is not edited there."""

_MOST_DIGITS = 100
"""The most digits of a whole number that is read at all; what can be stored has 20."""

_TOO_DEEP = f"It is nested more than {MAX_DEPTH} levels deep: nest it less."


def parsed(text: str, field: str) -> JSON:
    """Return what was typed as a value.

    :param text: what was typed.
    :param field: how to name it in an error.
    :raises StateValidationError: when it is no JSON, with the line and the column, or too deep to be stored.
    """
    try:
        found: JSON = json.loads(text, parse_int=_integer, parse_constant=_no_constant, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        where = f"Line {error.lineno}, column {error.colno}"
        told = f"This is not JSON. {where}: {error.msg}. Write texts in double quotes."
        raise StateValidationError({field: [told]}) from error
    except RecursionError as error:
        raise StateValidationError({field: [_TOO_DEEP]}) from error
    except ValueError as error:
        raise StateValidationError({field: [str(error)]}) from error
    # Before anything goes through it level by level, for which Python's stack is not deep enough.
    if _is_deeper(found, MAX_DEPTH):
        raise StateValidationError({field: [_TOO_DEEP]})
    return found


def editable(value: JSON) -> str | None:
    """Return a value as text to edit, or None where it is too long for a form.

    :param value: the value.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text if len(text) <= MOST_EDITED else None


def uncovered(typed: JSON, shown: JSON, stored: JSON, field: str) -> JSON:
    """Return what was typed, with the stored secrets where their covers were left as they stood.

    >>> uncovered({"pin": "[redacted]", "n": 2}, {"pin": "[redacted]", "n": 1}, {"pin": "1234", "n": 1}, "value")
    {'pin': '1234', 'n': 2}

    :param typed: what was typed.
    :param shown: what was there to be edited.
    :param stored: what is stored.
    :param field: how to name the value in an error.
    :raises StateValidationError: when a cover stands where no secret is stored.
    """
    if typed == REDACTED and typed != stored:
        if shown == REDACTED:
            return stored
        raise StateValidationError({field: [f"{REDACTED} stands where no secret is stored: write the value itself."]})
    if isinstance(typed, dict):
        shown, stored = (each if isinstance(each, dict) else {} for each in (shown, stored))
        return {
            name: uncovered(value, shown.get(name), stored.get(name), f"{field}.{name}")
            for name, value in typed.items()
        }
    if isinstance(typed, list):
        pairs = zip(_as_long(shown, typed), _as_long(stored, typed), strict=True)
        return [
            uncovered(value, *pair, f"{field}.{place}")
            for place, (value, pair) in enumerate(zip(typed, pairs, strict=True))
        ]
    return typed


def _as_long(value: JSON, other: list[Any]) -> list[Any]:
    # Only a list whose length was left as it was: in another one, what stands at a place is not known.
    return value if isinstance(value, list) and len(value) == len(other) else [None] * len(other)


def _is_deeper(value: JSON, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        holders = [each for each in level if isinstance(each, dict | list)]
        level = [each for holder in holders for each in (holder.values() if isinstance(holder, dict) else holder)]
    return any(isinstance(each, dict | list) for each in level)


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(
            f"The number {text[:12]}… has {len(text):,} digits, more than can be stored: write it as text."
        )
    return int(text)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON: write a number or null.")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _value in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"The member {json.dumps(twice, ensure_ascii=False)} is there twice: leave one of them out.")
    return found

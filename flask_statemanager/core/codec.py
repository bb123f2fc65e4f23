"""JSON as this package stores it: what is accepted, how it is written, when two values are the same.

The rules hold on every backend: no NaN or infinity, no NUL or lone surrogate in strings, integers of at most 64 bit,
member names that are strings. A whole float from 1e16 on is written as an integer where it fits 64 bit, because
PostgreSQL's ``numeric`` and an IEEE 754 double would otherwise disagree about its digits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from math import isfinite

import orjson
from msgspec import Struct, to_builtins
from msgspec.structs import replace

from ..errors import LimitExceeded, StateValidationError, shown
from .record import JSON, Change, JSONObject, Record

MAX_DEPTH = 100
"""Levels of nesting; PostgreSQL and SQLite accept more, Python's own recursion not much more."""

MAX_NAME = 1024
"""Characters of a member name."""

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_WHOLE_FLOAT = 1e16
_MANY_DIGITS = re.compile("[0-9]" * 19)
_SIXTHS = re.compile("[0-9]" * 3)
"""What is found in every sixth character of a text that has many digits in a row."""


class _Cleaner(Struct):
    """Walks one value, copies it, and stops as soon as it cannot be stored."""

    limit: int
    spent: int = 0

    def spend(self, size: int) -> None:
        # Counting on the way bounds the work too: a few shared lists can unfold to 2**99 members.
        self.spent += size
        if self.spent > self.limit:
            raise LimitExceeded("The value", self.limit, self.spent)

    def value(self, value: JSON, path: str, depth: int) -> JSON:
        if value is None or value is True or value is False:
            self.spend(4)
            return value
        if isinstance(value, str):
            return self.text(value, path)
        if isinstance(value, int):
            return self.integer(int(value), path)
        if isinstance(value, float):
            return self.floating(float(value), path)
        if depth >= MAX_DEPTH:
            raise _refused(path, f"Nested more than {MAX_DEPTH} levels deep, or containing itself.")
        if isinstance(value, dict):
            return self.members(value, path, depth + 1)
        if isinstance(value, list | tuple):
            return self.items(value, path, depth + 1)
        raise _refused(
            path, f"{type(value).__name__} is not JSON: pass text, numbers, true, false, null, lists or objects."
        )

    def members(self, value: dict[JSON, JSON], path: str, depth: int) -> JSONObject:
        self.spend(2)
        out: JSONObject = {}
        for name, item in value.items():
            if not isinstance(name, str):
                raise _refused(path, f"The member name {shown(name)} is not text: JSON objects have string keys.")
            if len(name) > MAX_NAME:
                raise LimitExceeded(f"A member name in {path[:80]}", MAX_NAME, len(name), unit="characters")
            plain = self.text(name, path)
            out[plain] = self.value(item, f"{path}.{plain}", depth)
        return out

    def items(self, value: list[JSON] | tuple[JSON, ...], path: str, depth: int) -> list[JSON]:
        self.spend(2)
        return [self.value(item, f"{path}.{i}", depth) for i, item in enumerate(value)]

    def text(self, value: str, path: str) -> str:
        value = str.__str__(value)
        self.spend(len(value) + 2)
        problem = text_problem(value)
        if problem:
            raise _refused(path, problem)
        return value

    def integer(self, value: int, path: str) -> int:
        self.spend(1)
        if not _INT_MIN <= value <= _INT_MAX:
            raise _refused(path, "The integer has more than 64 bits: store it as text.")
        return value

    def floating(self, value: float, path: str) -> int | float:
        self.spend(3)
        if not isfinite(value):
            raise _refused(path, "NaN and infinity are not JSON: store null or text.")
        return settled(value)


def settled(value: float) -> int | float:
    """Return a large whole float as the integer it is, where 64 bits hold it; it is stored so.

    :param value: a finite float.
    """
    return int(value) if abs(value) >= _WHOLE_FLOAT and -(2.0**63) <= value < 2.0**63 else value


def _refused(path: str, message: str) -> StateValidationError:
    shown = path if len(path) <= 120 else f"{path[:80]}...{path[-30:]}"
    return StateValidationError({shown: [message]})


def text_problem(value: str) -> str | None:
    """Say why a string cannot be stored.

    :param value: the string.
    :returns: a sentence, or None when it is fine.
    """
    if "\x00" in value:
        return "The text holds a NUL character, which databases refuse: remove it."
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return "The text holds a lone surrogate, which is not Unicode text: decode it properly first."
    return None


def clean(value: JSON, path: str, limit: int) -> JSON:
    """Copy a caller's value into plain JSON, or refuse it.

    :param value: what the caller passed; tuples become lists, subclasses of the plain types become those types.
    :param path: how to name the value in errors, for example ``data``.
    :param limit: the largest size in bytes, approximately; the exact size is checked on the encoded record.
    :returns: a copy that shares nothing with the caller's value.
    :raises StateValidationError: when something in it is not JSON, with the dotted path of it.
    :raises LimitExceeded: when it is too large.
    """
    plain = _plain_text(value, limit)
    if plain is not None and len(plain) <= limit:
        # What was looked at, and not what another thread may have made of the caller's own meanwhile.
        return orjson.loads(plain)
    return _Cleaner(limit).value(value, path, 0)


_SCALARS = frozenset((str, int, bool, type(None)))
_CLEAN = _SCALARS | {float, dict, list}
_UNFIT = {object}
_SHALLOW = 3
"""Levels that are looked through at once; a few shared lists in each cannot unfold to much."""


def _plain_text(value: JSON, limit: int) -> bytes | None:
    """Return the JSON text of a value that is quickly seen to be clean; None where it has to be looked at closely."""
    if type(value) is not dict or _shallow(value.values(), 1, limit) < 0:
        return None
    try:
        # What has more than 53 bits is looked at closely.
        text = orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER)
    except TypeError:
        return None
    # In a text between two quotation marks a name could hide that is too long, if it has no escapes.
    short = len(text) <= MAX_NAME or (b"\\" not in text and max(map(len, text.split(b'"'))) <= MAX_NAME)
    return text if short and b"\\u0000" not in text else None


def _shallow(values: Collection[JSON], level: int, room: int) -> int:
    """Return how much room is left by values that are seen to be clean; a negative number where they are not.

    Every value takes its room, as one list may stand in many places.
    """
    room -= len(values)
    kinds = set(map(type, values)) if room >= 0 else _UNFIT
    if kinds <= _SCALARS:
        return room
    for value in values if kinds <= _CLEAN else ():
        room = _taken(value, level, room)
        if room < 0:
            break
    return room if kinds <= _CLEAN else -1


def _taken(value: JSON, level: int, room: int) -> int:
    """Return how much room a value leaves."""
    kind = type(value)
    if kind is float:  # a number, finite, and nothing to be settled
        return room if -_WHOLE_FLOAT < value < _WHOLE_FLOAT else -1
    if kind is dict or kind is list:
        return _shallow(value.values() if kind is dict else value, level + 1, room) if level < _SHALLOW else -1
    return room


def encode(value: JSON) -> str:
    """Write a clean value as compact JSON text.

    :param value: what :func:`clean` returned, or a merge of such values.
    :returns: the text, not escaped beyond what JSON demands.
    """
    return orjson.dumps(value).decode()


def encoded_size(value: JSON) -> int:
    """Return how many bytes a clean value takes as JSON.

    :param value: the value.
    """
    return len(orjson.dumps(value)) if value else 2


def decode(text: str | bytes) -> JSON:
    """Read JSON text as :func:`encode` wrote it.

    :param text: the text.
    :returns: the value.
    """
    return orjson.loads(text)


def decode_numeric(text: str) -> JSON:
    """Read JSON text whose numbers a database has written anew.

    PostgreSQL writes 1e308 as 309 digits; what exceeds 64 bits can only have been a float.

    :param text: the text.
    :returns: the value.
    """
    if _has_many_digits(text):
        return json.loads(text, parse_int=_integer, parse_float=_float)
    return orjson.loads(text)


def settled_text(text: str) -> str:
    """Return JSON text whose numbers a database has written anew, with the numbers that :func:`decode_numeric` reads.

    :param text: the text.
    """
    return encode(decode_numeric(text)) if _has_many_digits(text) else text


def _has_many_digits(text: str) -> bool:
    """Tell whether a number may not fit into 64 bits, after a glance at a sixth of the text, as most have none."""
    return _SIXTHS.search(text[::6]) is not None and _MANY_DIGITS.search(text) is not None


def _integer(text: str) -> int | float:
    value = int(text) if len(text) < 25 else None
    return value if value is not None and _INT_MIN <= value <= _INT_MAX else float(text)


def _float(text: str) -> int | float:
    return settled(float(text))


def same(left: JSON, right: JSON) -> bool:
    """Compare two JSON values: true is not 1, 1 equals 1.0, members have no order.

    :param left: one value.
    :param right: the other.
    :returns: whether they are the same JSON value.
    """
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, bool | None) or isinstance(right, bool | None):
        return left is right
    return bool(left == right)


copied = to_builtins
"""Copies a clean value deeply, so that a caller may edit it.

It makes new dicts and lists all the way down, and shares the texts, which nobody can edit.
"""


def isolated_change(change: Change) -> Change:
    """Copy a change with the JSON of its records, for code that may edit what it gets.

    :param change: any change.
    :returns: an equal change that shares no dict with it.
    """
    before = None if change.before is None else isolated(change.before)
    after = isolated(change.after)
    return Change(change.revision, change.key, change.version, change.event, before, after, change.origin, change.at)


def isolated(record: Record) -> Record:
    """Copy a record with its JSON, for code that may edit what it gets.

    :param record: any record.
    :returns: an equal record that shares no dict with it.
    """
    return replace(record, data=copied(record.data), metadata=copied(record.metadata))

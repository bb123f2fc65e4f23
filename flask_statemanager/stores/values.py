"""Values as JSON: what JSON has no form for is a tagged object, or lies beside it as bytes. Never pickle.

A tagged object has one member that no object of the caller has; which one is chosen anew for each value, and told
beside it. So nothing of the caller's is ever taken for a tag, and a value without tags is read by the parser alone.
"""

from __future__ import annotations

import importlib
import secrets
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import ModuleType
from typing import Any

import orjson
from msgspec import MsgspecError, Struct
from msgspec.json import decode

from ..core.record import JSON, JSONObject
from ..errors import ConfigurationError, StateManagerError, StateValidationError, StorageError, shown

_HELD = "v"
_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


class Written(Struct, frozen=True):
    """A value as it is kept.

    :param text: JSON.
    :param parts: the bytes that it refers to.
    :param tag: the member by which tagged objects are known; None where there are none.
    """

    text: bytes
    parts: Sequence[bytes] = ()
    tag: str | None = None


def write(value: Any) -> Written:
    """Write a value.

    As in every JSON for a browser, NaN and infinity become null, and tuples become lists.

    :param value: JSON with Decimal, datetime, date, time, timedelta, bytes, NumPy arrays and numbers, pandas
        DataFrames and Series anywhere in it; the keys of a dict may be numbers, too.
    :raises StateValidationError: when something in it is none of these.
    :raises ConfigurationError: when it holds a DataFrame and pyarrow is not installed.
    """
    tag, paired = "~", False
    while True:
        writer = _Writer(tag)
        try:
            text = orjson.dumps(value, default=writer, option=_OPTIONS)
        except TypeError as error:
            if writer.refused is not None or paired or "key" not in str(error):
                raise writer.refused or _unwritable(error) from error
            value, paired = _with_pairs(value, 0), True
            continue
        if not writer.tagged:
            return Written(text)
        # A quotation mark within a text is escaped, so that this stands for a member's name and nothing else.
        if text.count(b'"%b":' % tag.encode()) == writer.tagged:
            return Written(text, writer.parts, tag)
        tag = f"~{secrets.token_hex(8)}"


def read(written: Written) -> Any:
    """Read what :func:`write` wrote.

    :param written: the value as it is kept.
    :raises StorageError: when it is damaged.
    :raises ConfigurationError: when it holds a DataFrame or an array and what reads it is not installed.
    """
    try:
        # The quickest writer and the quickest reader of large values are not of one package.
        value = decode(written.text)
        return value if written.tag is None else _restored(value, written.tag, written.parts)
    except StateManagerError:
        raise
    except (MsgspecError, ValueError, TypeError, KeyError, IndexError, ArithmeticError, RecursionError) as error:
        raise StorageError("The value of a store is damaged: set it again.") from error


class _Writer:
    """Called with what JSON has no form for."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.tagged = 0
        self.parts: list[bytes] = []
        self.refused: StateManagerError | None = None

    def __call__(self, value: Any) -> JSON:
        try:
            kind, held = self._form(value)
        except StateManagerError as error:
            self.refused = error
            raise TypeError from error
        if kind is None:
            return held
        self.tagged += 1
        return {self.tag: kind, _HELD: held}

    def _form(self, value: Any) -> tuple[str | None, JSON]:
        package = type(value).__module__.partition(".")[0]
        if package in _PACKAGES:
            return self._foreign(value, _PACKAGES[package])
        for known, (kind, form) in _FORMS.items():
            if isinstance(value, known):
                return kind, form(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return "bytes", self._beside(bytes(value))
        raise _refused(value)

    def _foreign(self, value: Any, module: str) -> tuple[str | None, JSON]:
        found = _load(module).form_of(value)
        if found is None:
            raise _refused(value)
        kind, held, part = found
        if part is None:
            return kind, held
        return kind, [self._beside(part), held]

    def _beside(self, part: bytes) -> int:
        self.parts.append(part)
        return len(self.parts) - 1


class _Pairs(Struct):
    """A dict of which some keys are no text."""

    pairs: list[list[Any]]


def _with_pairs(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise StateValidationError({"data": ["It is nested too deeply for a store, or contains itself."]})
    if isinstance(value, list | tuple):
        return [_with_pairs(each, depth + 1) for each in value]
    if not isinstance(value, dict):
        return value
    members = {_key(name): _with_pairs(each, depth + 1) for name, each in value.items()}
    if all(isinstance(name, str) for name in members):
        return members
    return _Pairs([[name, each] for name, each in members.items()])


def _key(name: Any) -> Any:
    if isinstance(name, str):
        # Of an enumeration, for example, which orjson does not take for text here.
        return str.__str__(name)
    if isinstance(name, int | float | None):
        return name
    raise StateValidationError(
        {"data": [f"The key {shown(name)} cannot be kept in a store: pass texts and numbers as keys."]}
    )


_DEEPEST = 200

_FORMS: dict[type, tuple[str, Callable[[Any], JSON]]] = {
    # A datetime is a date too.
    datetime: ("datetime", lambda value: value.isoformat()),
    date: ("date", lambda value: value.isoformat()),
    time: ("time", lambda value: value.isoformat()),
    timedelta: ("timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    Decimal: ("decimal", str),
    _Pairs: ("pairs", lambda value: value.pairs),
}

_READ: dict[str, Callable[[Any], Any]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda held: timedelta(*held),
    "decimal": Decimal,
}

_PACKAGES = {"numpy": "arrays", "pandas": "frames"}
"""Which module knows what comes from a package."""

_IMPOSSIBLE = (
    "cannot be kept in a store: pass JSON, Decimal, datetime, bytes, pandas DataFrames and Series, and NumPy arrays."
)

_KINDS = {"array": "arrays", "frame": "frames", "series": "frames"}
"""Which module reads a kind back."""


def _restored(value: JSON, tag: str, parts: Sequence[bytes]) -> Any:
    if isinstance(value, list):
        return [_restored(each, tag, parts) for each in value]
    if not isinstance(value, dict):
        return value
    if tag in value:
        return _read(value[tag], value[_HELD], tag, parts)
    return {name: _restored(each, tag, parts) for name, each in value.items()}


def _read(kind: str, held: JSON, tag: str, parts: Sequence[bytes]) -> Any:
    if kind == "bytes":
        return parts[held]
    if kind == "pairs":
        return {name: _restored(each, tag, parts) for name, each in held}
    if kind in _KINDS:
        place, about = held
        return _load(_KINDS[kind]).restored(kind, about, parts[place])
    return _READ[kind](held)


def _load(module: str) -> ModuleType:
    # Not imported where no store holds such a thing.
    try:
        return importlib.import_module(f"{__package__}.{module}")
    except ImportError as error:
        raise ConfigurationError(
            f"A store with a DataFrame or an array needs a package that is not installed ({error}): "
            "pip install 'Flask-StateManager[frames]'."
        ) from error


def _refused(value: object) -> StateValidationError:
    return StateValidationError({"data": [f"{shown(type(value).__name__)} {_IMPOSSIBLE}"]})


def _unwritable(error: TypeError) -> StateValidationError:
    return StateValidationError({"data": [f"It cannot be kept in a store: {str(error).rstrip('.')}."]})


def members(value: Any) -> JSONObject:
    """Return a value that is an object, or an empty one where there is none yet.

    :param value: what a store holds; None for nothing.
    :raises StateValidationError: when it is something else.
    """
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise StateValidationError({"data": [f"A patch changes an object, and the store holds {shown(value)}."]})

"""Conditions of a write to several keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from ..core.codec import clean
from ..core.record import JSON, Expectation, Key, Record, Revision
from ..core.step import compare
from ..errors import StateConflict, StateValidationError, shown
from .decisions import holds
from .parts import check_expect, check_key, check_several

KINDS = ("absent", "present", "version", "value")


class If(Struct, frozen=True):
    """A condition on one key, made by one of the class's functions.

    >>> If.absent("lock:report")
    If(key='lock:report', kind='absent', operand=None)

    :param key: the key.
    :param kind: ``absent``, ``present``, ``version`` or ``value``.
    :param operand: the version, or the value.
    """

    key: str
    kind: str
    operand: Any = None

    @classmethod
    def absent(cls, key: str) -> If:
        """Ask that there is no such key.

        :param key: the key.
        """
        return cls(key, "absent")

    @classmethod
    def present(cls, key: str) -> If:
        """Ask that there is such a key.

        :param key: the key.
        """
        return cls(key, "present")

    @classmethod
    def version(cls, key: str, version: int | Revision) -> If:
        """Ask for a version, or a :class:`~flask_statemanager.Revision`.

        :param key: the key.
        :param version: the version.
        """
        return cls(key, "version", version)

    @classmethod
    def value(cls, key: str, value: JSON) -> If:
        """Ask for a value; None asks that there is no such key, as in ``compare_and_swap``.

        :param key: the key.
        :param value: any JSON value.
        """
        return cls(key, "value", value)


def check_conditions(given: object, limit: int) -> list[If]:
    """Return conditions whose operands are clean, or refuse them.

    :param given: what the caller passed.
    :param limit: the most bytes of a value.
    :raises StateValidationError: when one of them is no condition.
    :raises LimitExceeded: when a value is too large.
    """
    return [_checked(each, limit) for each in check_several(given, "conditions")]


def _checked(given: object, limit: int) -> If:
    if not isinstance(given, If) or given.kind not in KINDS:
        raise StateValidationError({"conditions": [f"{shown(given)} is no condition: make one as If.absent(key)."]})
    key = check_key(given.key)
    if given.kind == "value":
        return If(key, given.kind, clean(given.operand, "value", limit))
    if given.kind == "version" and check_expect(given.operand, "version") is None:
        raise StateValidationError({"version": ["Must not be None: ask for a key that is not there with If.absent()."]})
    return given


def check_all(conditions: Sequence[If], bucket: str, stored: Mapping[str, Record | None]) -> None:
    """Refuse unless every condition holds.

    :param conditions: clean conditions.
    :param bucket: the collection.
    :param stored: the live records by name.
    :raises StateConflict: when one does not hold, with its key.
    """
    for each in conditions:
        key, alive = Key(bucket, each.key), stored[each.key]
        if each.kind == "version":
            compare(key, alive, _expectation(each.operand))
        elif not _holds(each, alive):
            raise StateConflict(key, _wanted(each), None if alive is None else alive.version)


def _holds(condition: If, alive: Record | None) -> bool:
    if condition.kind == "value":
        return holds(alive, condition.operand)
    return (alive is None) is (condition.kind == "absent")


def _expectation(operand: Any) -> Expectation:
    found: Expectation = operand
    return found


def _wanted(condition: If) -> str:
    return "another value" if condition.kind == "value" else condition.kind

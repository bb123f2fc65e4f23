"""What the verbs of keys and values stand on: one bucket of one app."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from ..core.bucket import Bucket
from ..core.buckets import BucketDefinition
from ..core.follows import Watches
from ..core.held import AROUND, lapsed
from ..core.lists import Lists
from ..core.names import check_id
from ..core.origins import OriginSource
from ..core.record import Expectation, Key, Revision
from ..core.step import Policy
from ..errors import LimitExceeded, StateValidationError, shown
from .measuring import Measures
from .subscribers import Subscribers

MAX_PAGE = 10_000
"""The most keys of a page."""


class KvParts(Struct, frozen=True):
    """One bucket's running parts.

    :param bucket: the records.
    :param definition: the bucket as it was declared.
    :param limit: the most bytes of a value and its metadata.
    :param origin: who asks.
    :param lists: the backend, as one that lists names.
    :param watches: the backend, as one whose log can be followed.
    :param measures: tells how much there is.
    :param subscribers: told of every change in this process.
    :param live: whether changes can be watched; False where the settings switch that off.
    """

    bucket: Bucket
    definition: BucketDefinition
    limit: int
    origin: OriginSource
    lists: Lists
    watches: Watches
    measures: Measures
    subscribers: Subscribers
    live: bool

    def key(self, key: object) -> Key:
        """Return a caller's key, or refuse it.

        :param key: what the caller passed.
        :raises StateValidationError: when it breaks the rule of ids.
        """
        return Key(self.bucket.name, check_key(key))


def check_key(key: object) -> str:
    """Return a caller's key as text, or refuse it.

    :param key: what the caller passed.
    :raises StateValidationError: when it breaks the rule of ids.
    """
    try:
        return check_id(key)
    except StateValidationError as error:
        (message,) = error.errors.popitem()[1]
        raise StateValidationError({"key": [message.replace("a state id", "a key")]}) from None


def check_expect(expect: object, field: str = "expect") -> Expectation:
    """Return what a caller expects to be stored, or refuse it.

    :param expect: what the caller passed.
    :param field: how to name it in an error.
    :raises StateValidationError: when it is neither a version nor a revision; true is not 1.
    """
    number = expect.number if isinstance(expect, Revision) else expect
    if number is None or type(number) is int:
        return expect  # type: ignore[return-value]
    raise StateValidationError({field: [f"{shown(expect)} is no version: pass a number or a Revision."]})


def check_several(given: object, field: str) -> list[Any]:
    """Return what a caller passed several of, or refuse it.

    :param given: what the caller passed.
    :param field: how to name it in an error.
    :raises StateValidationError: when it is one thing; a text is one, and not its letters.
    """
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        return list(given)
    raise StateValidationError({field: [f"Must be a list, not {shown(given)}."]})


def check_number(value: object, field: str, least: int, most: int) -> int:
    """Return a caller's number, or refuse it.

    :param value: what the caller passed.
    :param field: how to name it in an error.
    :param least: the lowest.
    :param most: the highest.
    :raises StateValidationError: when it is no such number.
    """
    if type(value) is int and least <= value <= most:
        return value
    raise StateValidationError({field: [f"Must be a number from {least} to {most:,}, not {shown(value)}."]})


def check_together(given: int, what: str) -> None:
    """Refuse more than one transaction should take.

    :param given: how many keys.
    :param what: how to name them.
    :raises LimitExceeded: when it is too many.
    """
    if given > MAX_PAGE:
        raise LimitExceeded(what, MAX_PAGE, given, unit="keys")


def policy_of(definition: BucketDefinition, limit: int) -> Policy:
    """Return the rules of a bucket of keys and values.

    :param definition: the bucket as it was declared.
    :param limit: the most bytes of a value and its metadata.
    """
    return Policy(
        limit,
        lapsed,
        purges=definition.tombstones is not None,
        around=AROUND,
        noun="value of the key",
        secrets=definition.secrets,
    )

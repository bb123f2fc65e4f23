"""What the verbs decide: pure functions of what is stored and the moment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from ..core.codec import clean, copied, same, settled
from ..core.held import removed
from ..core.record import JSON, Expectation, JSONObject, Key, Record, living
from ..core.step import Step
from ..errors import StateConflict, StateExists, StateManagerError, StateNotFound, StateValidationError, shown
from .lifetime import expiry
from .value import KEEP, STATUS, TYPE, VALUE, Keep

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


class Unchanged(StateManagerError):
    """A condition of the verb itself does not hold; the caller is told by the verb's answer, not by this error."""


class Set(Struct, frozen=True):
    """Give a key a value, metadata, a time to live.

    :param key: the key.
    :param value: the clean value; ``KEEP`` to leave it, which needs a key that is there.
    :param metadata: clean metadata, None for none, or ``KEEP``.
    :param ttl: seconds, None for no expiry, or ``KEEP``.
    :param default_ttl: seconds that a new key lives that was given no time to live.
    :param absent: whether the key must not be there.
    :param expect: what the caller expects; only a key that is there can be expected.
    """

    key: Key
    value: JSON | Keep
    metadata: JSONObject | Keep | None = KEEP
    ttl: float | Keep | None = KEEP
    default_ttl: float | None = None
    absent: bool = False
    expect: Expectation = None

    def __call__(self, stored: Record | None, now: datetime) -> Step | None:
        """Decide.

        :param stored: what is stored.
        :param now: the moment.
        :raises StateNotFound: when there is no such key, and no value for it.
        :raises StateExists: when there is one, and must not be.
        :raises StateConflict: when a version of it is expected, and there is none.
        """
        alive = living(stored)
        if alive is None:
            return self._begun(now)
        if self.absent:
            raise StateExists(self.key.name, None)
        value = alive.data if self.value is KEEP else {VALUE: self.value}
        metadata = alive.metadata if self.metadata is KEEP else self.metadata or {}
        expires_at = expiry(self.ttl, now, alive.expires_at)
        return Step("set", replace(alive, data=value, metadata=metadata, expires_at=expires_at))

    def _begun(self, now: datetime) -> Step:
        if self.expect is not None:
            raise StateConflict(self.key, self.expect, None)
        if self.value is KEEP:
            raise StateNotFound(self.key.name, kind="key")
        ttl = self.default_ttl if self.ttl is KEEP else self.ttl
        metadata: JSONObject = {} if self.metadata is KEEP or self.metadata is None else self.metadata
        fresh = Record(
            key=self.key,
            label=self.key.name,
            type=TYPE,
            status=STATUS,
            data={VALUE: self.value},
            metadata=metadata,
            version=0,
            revision=0,
            owner=None,
            schema_version=1,
            created_at=now,
            updated_at=now,
            expires_at=expiry(ttl, now, None),
        )
        return Step("create", fresh)


class Clear(Struct, frozen=True):
    """Remove a key.

    :param key: the key.
    :param expect: what the caller expects.
    :param lenient: whether it is the same to the caller if there is no such key.
    """

    key: Key
    expect: Expectation = None
    lenient: bool = False

    def __call__(self, stored: Record | None, now: datetime) -> Step | None:
        """Decide.

        :param stored: what is stored.
        :param now: the moment.
        :raises StateConflict: when a version is expected, and there is none.
        :raises Unchanged: when there is no such key.
        """
        alive = living(stored)
        if alive is not None:
            return Step("remove", removed(alive, now))
        if self.expect is not None:
            raise StateConflict(self.key, self.expect, None)
        if not self.lenient:
            raise Unchanged
        return None


class Swap(Struct, frozen=True):
    """Put one value in place of another, if that is the one that is there.

    :param expected: the clean value that must be there, or None for no such key.
    :param put: what is to become of it: sets the new value, or None to remove the key.
    """

    expected: JSON
    put: Set | None

    def __call__(self, stored: Record | None, now: datetime) -> Step | None:
        """Decide.

        :param stored: what is stored.
        :param now: the moment.
        :raises Unchanged: when something else is there.
        """
        alive = living(stored)
        if not holds(alive, self.expected):
            raise Unchanged
        if self.put is not None:
            return self.put(stored, now)
        return None if alive is None else Step("remove", removed(alive, now))


class Increment(Struct, frozen=True):
    """Add to a number; an absent key counts as 0.

    :param put: sets the sum, whose value stands for the number to add.
    :param by: the number.
    """

    put: Set
    by: int | float

    def __call__(self, stored: Record | None, now: datetime) -> Step | None:
        """Decide.

        :param stored: what is stored.
        :param now: the moment.
        :raises StateValidationError: when the value is no number, or the sum is none that can be stored.
        """
        alive = living(stored)
        present = 0 if alive is None else alive.data[VALUE]
        if isinstance(present, bool) or not isinstance(present, int | float):
            raise StateValidationError({"value": [f"{shown(present)} is no number, so nothing can be added to it."]})
        return replace(self.put, value=_sum(present, self.by))(stored, now)


class Update(Struct, frozen=True):
    """Put in place of a value what a function makes of it.

    :param put: sets the new value, whose own stands for nothing.
    :param change: given a copy of the value; may be called several times.
    :param default: what is given to it where there is no such key.
    :param limit: the most bytes of a value.
    """

    put: Set
    change: Callable[[JSON], JSON]
    default: JSON
    limit: int

    def __call__(self, stored: Record | None, now: datetime) -> Step | None:
        """Decide.

        :param stored: what is stored.
        :param now: the moment.
        :raises StateManagerError: whatever the function refuses with, or its answer is refused for.
        """
        alive = living(stored)
        present = self.default if alive is None else alive.data[VALUE]
        value = clean(self.change(copied(present)), "value", self.limit)
        return replace(self.put, value=value)(stored, now)


def holds(alive: Record | None, expected: JSON) -> bool:
    """Tell whether a value is the one that is there.

    :param alive: the live record, or None.
    :param expected: a clean value; None for no such key. A stored null is never expected by value.
    """
    if alive is None or expected is None:
        return alive is None and expected is None
    return same(alive.data[VALUE], expected)


def _sum(present: int | float, by: int | float) -> int | float:
    total = present + by
    if isinstance(total, float):
        if total != total or total in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN alone differs from itself
            raise StateValidationError({"by": ["The sum is no finite number."]})
        return settled(total)
    if not _INT_MIN <= total <= _INT_MAX:
        raise StateValidationError({"by": ["The sum has more than 64 bits, which cannot be stored."]})
    return total

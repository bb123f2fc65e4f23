"""A step: what a decision comes to, and the rules by which it becomes a change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from ..errors import LimitExceeded, StateConflict
from .codec import encoded_size
from .jobs import Job
from .record import Change, Expectation, Key, Origin, Record, Revision


class Step(Struct, frozen=True):
    """What a decision comes to: the event's name, and the record as it shall be.

    The bucket sets version, revision and ``updated_at`` itself.
    """

    event: str
    after: Record


Decide = Callable[[Record | None, datetime], Step | None]
"""A pure function of what is stored (a tombstone too, None where nothing was) and the moment; None for no change."""


class Lookup(Struct, frozen=True):
    """Stands for a decision that needs more than its record, and looks that up in the transaction that writes.

    :param find: takes the unit and what is stored, and returns the pure decision.
    """

    find: Callable[[Any, Record | None], Decide]


Check = Callable[[Change], None]
"""Looks at a change inside the transaction, and raises to refuse it."""


class Plan(Protocol):
    """Says which jobs a change leaves behind."""

    def concerns(self, change: Change) -> bool:
        """Tell whether a change may leave jobs behind, or take some away.

        :param change: the change, not stored yet.
        """
        ...  # pragma: no cover - a protocol has no body

    def __call__(self, unit: Any, change: Change, /) -> Sequence[Job]:
        """Return the jobs, inside the transaction.

        :param unit: the unit in which the change was written.
        :param change: the change.
        """
        ...  # pragma: no cover - a protocol has no body


class Policy(Struct, frozen=True):
    """The rules of a bucket.

    :param max_value_bytes: the most bytes that data and metadata may take as JSON.
    :param lapse: returns the record that an expired one counts as, or None when it counts as it is; not asked where
        there is no ``expires_at``.
    :param purges: whether tombstones are removed after a while, so that versions start above the bucket's floor.
    :param around: bytes of the data that are not the caller's, and do not count.
    :param noun: how to name a record in an error.
    :param secrets: dotted paths of members of its values that nobody but the application sees.
    """

    max_value_bytes: int
    lapse: Callable[[Record, datetime], Record | None]
    purges: bool = False
    around: int = 0
    noun: str = "state"
    secrets: tuple[str, ...] = ()


def compare(key: Key, stored: Record | None, expect: Expectation) -> None:
    """Refuse when the stored record is not the expected one.

    :param key: which record.
    :param stored: what is stored.
    :param expect: what the caller expects; None for nothing in particular.
    :raises StateConflict: when that is something else.
    """
    if expect is None:
        return
    if stored is None:
        raise StateConflict(key, expect, None)
    matched = stored.revision == expect.number if isinstance(expect, Revision) else stored.version == expect
    if not matched:
        raise StateConflict(key, expect, stored.version)


def numbered(before: Record | None, key: Key, step: Step, origin: Origin, now: datetime, *, floor: int = 0) -> Change:
    """Number a step and stamp it, never earlier than what it follows.

    :param before: what is stored, a tombstone too, or None.
    :param key: which record.
    :param step: the decision.
    :param origin: who asks.
    :param now: the moment.
    :param floor: above which version the first one of a name begins.
    :returns: the change, its revision not drawn yet.
    """
    at = now if before is None or now >= before.updated_at else before.updated_at
    if before is not None and before.deleted_at is not None:
        # Strictly later, so that nothing that was meant for the earlier one of this name can take it for that.
        at = max(at, before.updated_at + timedelta(microseconds=1))
    version = (floor if before is None else before.version) + 1
    alive = None if before is None or before.deleted_at is not None else before
    after = replace(
        step.after,
        version=version,
        revision=0,
        created_at=at if alive is None else alive.created_at,
        updated_at=at,
        deleted_at=None if step.after.deleted_at is None else at,
    )
    return Change(0, key, version, step.event, alive, after, origin, at)


def expiry_of(stored: Record | None, policy: Policy, origin: Origin, now: datetime) -> Change | None:
    """Return the expiry that a live record has come to, as a change of its own, or None.

    :param stored: what is stored, a tombstone too, or None.
    :param policy: tells what has expired.
    :param origin: who asks; the change itself is the system's.
    :param now: the moment.
    """
    if stored is None or stored.expires_at is None or stored.deleted_at is not None:
        return None
    lapsed = policy.lapse(stored, now)
    if lapsed is None:
        return None
    by_itself = replace(origin, actor="system", source="expiry", reason=None, idempotency_key=None)
    return numbered(stored, stored.key, Step("expire", lapsed), by_itself, now)


def check_size(change: Change, policy: Policy) -> None:
    """Refuse a change whose result is too large.

    :param change: the change.
    :param policy: the rules of its bucket.
    :raises LimitExceeded: when they take more.
    """
    size = encoded_size(change.after.data) + encoded_size(change.after.metadata) - policy.around
    if size > policy.max_value_bytes:
        raise LimitExceeded(f"The {policy.noun} {change.key.name}", policy.max_value_bytes, size)

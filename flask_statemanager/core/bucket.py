"""A bucket: a named collection of records, and the one write path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..errors import ConfigurationError, LimitExceeded, StateConflict
from .clock import Clock
from .codec import encode
from .ports import Backend, JoinsTransaction, ReadCache
from .publisher import Publisher
from .record import Change, Expectation, Key, Origin, Record, Revision
from .retry import retried
from .scope import entered, unit_around


@dataclass(frozen=True, slots=True)
class Step:
    """What a decision comes to: the event's name, and the record as it shall be.

    The bucket sets version, revision and ``updated_at`` itself.
    """

    event: str
    after: Record


Decide = Callable[[Record | None, datetime], Step | None]
"""A pure function of what is stored (a tombstone too, None where nothing was) and the moment; None for no change."""

Check = Callable[[Change], None]
"""Looks at a change inside the transaction, and raises to refuse it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of a bucket.

    :param max_value_bytes: the most bytes that data and metadata may take as JSON.
    :param lapse: returns the record that an expired one counts as, or None when it counts as it is.
    """

    max_value_bytes: int
    lapse: Callable[[Record, datetime], Record | None]


class Bucket:
    """Reads and writes the records of one collection.

    :param name: the collection.
    :param policy: its rules.
    :param backend: where its records live.
    :param publisher: tells of committed changes.
    :param clock: the time.
    :param cache: a shared read cache, or None.
    :ivar checks: look at each change inside the transaction, in this order.
    :ivar hooked: tells whether one of them may write.
    """

    def __init__(
        self,
        name: str,
        policy: Policy,
        backend: Backend,
        publisher: Publisher,
        *,
        clock: Clock,
        cache: ReadCache | None = None,
    ) -> None:
        self.name = name
        self.policy = policy
        self.backend = backend
        self.publisher = publisher
        self.clock = clock
        self.cache = cache
        self.checks: list[Check] = []
        self.hooked: Callable[[], bool] = lambda: False

    # -- reading ---------------------------------------------------------------------------------------------------

    def get(self, name: str, session: Any = None) -> Record | None:
        """Return the live record of this name, as it counts now, or None.

        :param name: the record's name.
        :param session: read inside this session's transaction.
        :raises StorageError: when the storage fails.
        """
        record = self._load(Key(self.name, name), session)
        return None if record is None or record.deleted else self.present(record)

    def present(self, record: Record, at: datetime | None = None) -> Record:
        """Return a record as it counts at a moment: past its ``expires_at`` it has expired, written or not.

        :param record: a live record.
        :param at: the moment; now by default.
        """
        lapsed = self.policy.lapse(record, at or self.clock.now())
        return record if lapsed is None else lapsed

    def _load(self, key: Key, session: Any) -> Record | None:
        # Inside a transaction the cache is passed by: it knows nothing of that transaction's own writes.
        if self.cache is None or session is not None or unit_around(self.backend) is not None:
            with self.reading(session) as unit:
                return self.backend.read(unit, key)
        cached = self.cache.get(key)
        if cached is not None:
            return cached
        with self.backend.reading() as unit:
            record = self.backend.read(unit, key)
        if record is not None:
            self.cache.fill(record)
        return record

    @contextmanager
    def reading(self, session: Any = None) -> Iterator[Any]:
        """Open a unit for reading: the session's, the surrounding one, or a short one of its own.

        :param session: the application's session, or None.
        :raises ConfigurationError: when the backend cannot join a session.
        :raises StorageError: when the storage fails.
        """
        unit = self._joined(session, write=False) if session is not None else unit_around(self.backend)
        if unit is not None:
            yield unit
        else:
            with self.backend.reading() as own:
                yield own

    # -- writing ---------------------------------------------------------------------------------------------------

    def write(
        self, name: str, decide: Decide, *, origin: Origin, expect: Expectation = None, session: Any = None
    ) -> Record | None:
        """Change one record: read, compare with ``expect``, decide, check, store, commit, announce.

        A write of its own is tried again when it loses a race; ``decide`` and the checks run again then. That a record
        is not the expected one is no race.

        :param name: the record's name.
        :param decide: the pure decision.
        :param origin: who asks.
        :param expect: the version or revision that must be stored.
        :param session: write inside this session's transaction instead of one of its own.
        :returns: the record as it is now; what was there when the decision was to change nothing.
        :raises StateConflict: when something else is stored, or racers won every attempt.
        :raises StateManagerError: whatever the decision or a check refuses with.
        :raises StorageError: when the storage fails.
        """
        self.publisher.check_cascade()
        key = Key(self.name, name)
        unit = unit_around(self.backend) if session is None else self._joined(session, write=True)
        if unit is not None:
            # What hooks have written must go with the write that they, or another hook, refuse in the end.
            with unit.savepoint() if self.hooked() else nullcontext(), entered(self.backend, unit, key):
                return self._perform(unit, key, decide, expect, origin)

        def own() -> Record | None:
            with self.backend.writing() as unit, entered(self.backend, unit, key):
                return self._perform(unit, key, decide, expect, origin)

        return retried(own)

    @contextmanager
    def joining(self, session: Any) -> Iterator[None]:
        """Let everything in the block happen inside a session's transaction, which its owner ends.

        :param session: the application's session.
        :raises ConfigurationError: when the backend cannot join a session.
        :raises StorageError: when the storage fails.
        """
        with entered(self.backend, self._joined(session, write=True)):
            yield

    def _joined(self, session: Any, *, write: bool) -> Any:
        if isinstance(self.backend, JoinsTransaction):
            return self.backend.joined(session, write=write)
        raise ConfigurationError(
            f"The {self.backend.title} backend cannot join a session's transaction: leave session= out, "
            "or use the sql backend."
        )

    def _perform(self, unit: Any, key: Key, decide: Decide, expect: Expectation, origin: Origin) -> Record | None:
        stored = self.backend.read(unit, key, lock=True)
        alive = stored is not None and not stored.deleted
        if alive:
            _compare(key, stored, expect)
        now = self.clock.now()
        expiry = self._expiry(stored, key, origin, now) if alive else None
        step = decide(stored if expiry is None else expiry.after, now)
        if step is None:
            return stored if stored is None else self.present(stored, now)
        if not alive:
            # Only now: a decision that needs a live record has refused with a better answer.
            _compare(key, stored, expect)
        if expiry is None:
            return self._applied(unit, [_change(stored, key, step, origin, now)])
        return self._applied(unit, [expiry, _change(expiry.after, key, step, origin, now)])

    def _applied(self, unit: Any, changes: list[Change]) -> Record:
        for change in changes:
            self._check(change)
        first, *rest = changes
        applied = self._apply(unit, first)
        for change in rest:
            applied = self._apply(unit, replace(change, before=applied.after))
        return applied.after

    def _expiry(self, stored: Record | None, key: Key, origin: Origin, now: datetime) -> Change | None:
        """Return the expiry that a live record has come to, as a change of its own, or None."""
        lapsed = None if stored is None else self.policy.lapse(stored, now)
        if lapsed is None:
            return None
        by_itself = replace(origin, actor="system", source="expiry", reason=None, idempotency_key=None)
        return _change(stored, key, Step("expire", lapsed), by_itself, now)

    def _check(self, change: Change) -> None:
        size = sum(len(encode(value).encode("utf-8")) for value in (change.after.data, change.after.metadata))
        if size > self.policy.max_value_bytes:
            raise LimitExceeded(f"The state {change.key.name}", self.policy.max_value_bytes, size)
        for check in self.checks:
            check(change)

    def _apply(self, unit: Any, change: Change) -> Change:
        try:
            revision = self.backend.apply(unit, change)
        except StateConflict as lost:
            # What was read a moment ago is not the caller's expectation: without one, the race can be run again.
            raise StateConflict(change.key, None, lost.actual) from lost
        done = replace(change, revision=revision, after=replace(change.after, revision=revision))
        unit.after_commit(lambda: self.publisher.line_up(done))
        return done


def _compare(key: Key, stored: Record | None, expect: Expectation) -> None:
    """Refuse when the stored record is not the expected one."""
    if expect is None:
        return
    if stored is None:
        raise StateConflict(key, expect, None)
    matched = stored.revision == expect.number if isinstance(expect, Revision) else stored.version == expect
    if not matched:
        raise StateConflict(key, expect, stored.version)


def _change(before: Record | None, key: Key, step: Step, origin: Origin, now: datetime) -> Change:
    """Number a step and stamp it, never earlier than what it follows."""
    at = now if before is None else max(now, before.updated_at)
    version = 1 if before is None else before.version + 1
    alive = before is not None and not before.deleted
    after = replace(
        step.after,
        version=version,
        revision=0,
        updated_at=at,
        created_at=before.created_at if alive and before is not None else at,
        deleted_at=at if step.after.deleted else None,
    )
    return Change(0, key, version, step.event, before if alive else None, after, origin, at)

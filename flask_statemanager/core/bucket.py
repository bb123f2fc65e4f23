"""A bucket: a named collection of records, and the one write path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from ..errors import ConfigurationError, StateConflict
from .clock import Clock
from .contention import Contention
from .idempotency import Request
from .job_planning import JobPlanning
from .ports import UNSEEN, Backend, ReadCache, Seen, following_on
from .powers import Idempotent
from .publisher import Publisher
from .purges import Purges
from .reader import Reader
from .record import Change, Expectation, Key, Origin, Record
from .repeat import repeated
from .retry import retried
from .scope import TransactionNeeded, entered, unit_around
from .short_write import ShortWrite
from .step import Check, Decide, Lookup, Policy, check_size, compare, expiry_of, numbered

Result = TypeVar("Result")


class Bucket(Reader):
    """Reads and writes the records of one collection.

    :param name: the collection.
    :param policy: its rules.
    :param backend: where its records live.
    :param publisher: tells of committed changes.
    :param clock: the time.
    :param cache: a shared read cache, or None.
    :ivar jobs: what its changes leave behind to be done.
    :ivar checks: look at each change inside the transaction, in this order.
    :ivar hooked: tells whether one of them may write.
    :ivar listened: tells whether a change can leave jobs behind, or anybody wants to hear of it after its commit.
    :ivar tally: counts changes that nobody is told of one by one: their event, and how many.
    :ivar idempotent: the backend, as one that remembers outcomes; None where it cannot.
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
        super().__init__(name, policy, backend, clock=clock, cache=cache)
        self.jobs = JobPlanning(backend)
        self.publisher = publisher
        self._contention = Contention()
        self._touching: set[str] = set()
        self.checks: list[Check] = []
        self.hooked: Callable[[], bool] = lambda: False
        self.listened: Callable[[], bool] = lambda: True
        self.tally: Callable[[str, int], None] = lambda _event, _number: None
        self.idempotent = backend if isinstance(backend, Idempotent) else None
        self._purges = backend if policy.purges and isinstance(backend, Purges) else None
        self._floor = 0

    # -- writing ---------------------------------------------------------------------------------------------------

    def write(
        self,
        name: str,
        decide: Decide | Lookup,
        *,
        origin: Origin,
        expect: Expectation = None,
        session: Any = None,
        once: Request | None = None,
        seen: Seen = UNSEEN,
    ) -> Record | None:
        """Change one record: read, compare with ``expect``, decide, check, store, commit, announce.

        A write of its own is tried again when it loses a race; ``decide`` and the checks run again then. That a record
        is not the expected one is no race.

        :param name: the record's name.
        :param decide: the pure decision, or what finds it.
        :param origin: who asks.
        :param expect: the version or revision that must be stored.
        :param session: write inside this session's transaction instead of one of its own.
        :param once: answer from memory where this request has been answered before, else remember the answer.
        :param seen: what the caller believes to be stored, which may spare the reading.
        :returns: the record as it is now; what was there when the decision was to change nothing.
        :raises ConfigurationError: when the backend cannot remember outcomes, or cannot join a session.
        :raises IdempotencyKeyReused: when the key of ``once`` belongs to another request.
        :raises StateConflict: when something else is stored, or racers won every attempt.
        :raises StateManagerError: whatever the decision or a check refuses with.
        :raises StorageError: when the storage fails.
        """
        self.publisher.check_cascade()
        key = Key(self.name, name)
        if once is None and not isinstance(decide, Lookup) and self._alone(key, session):
            believed = self.at_hand(name, expect) if seen is UNSEEN and expect is not None else seen
            with suppress(TransactionNeeded):
                return self._alter(key, decide, expect, origin, believed)

        def perform(unit: Any) -> Record | None:
            with entered(self.backend, unit, key):
                act = partial(self.perform, unit, key, decide, expect, origin)
                return act() if once is None else repeated(self.remembering(), unit, once, self.clock.now(), act)

        return self.within(perform, session, undone=once is not None, names=lambda: [name])

    def _alone(self, key: Key, session: Any) -> bool:
        """Tell whether a write has its transaction to itself, so that the storage may take its shortest way."""
        joins = session is not None or unit_around(self.backend) is not None
        return not (joins or self.hooked() or self._contention.hot(key))

    def _alter(self, key: Key, decide: Decide, expect: Expectation, origin: Origin, seen: Seen) -> Record | None:
        now: datetime | None = None

        def decided(unit: Any, stored: Record | None) -> list[Change]:
            # Behind what was waited for: what expired meanwhile has expired.
            nonlocal now
            now = self.clock.now()
            floor = self.floor(unit, key, stored)
            return self.decided(key, stored, decide, expect=expect, origin=origin, now=now, floor=floor)

        short = ShortWrite(
            self.backend,
            key,
            decided,
            lambda changes: self.jobs.plan_each if self.jobs.concern(changes) else None,
            contention=self._contention,
            touching=self._touching,
            told=self.publisher.line_up,
        )
        try:
            done = short.run(seen)
        except (StateConflict, TransactionNeeded):
            # Nothing is stored.
            raise
        except BaseException:
            if short.handed:
                self.doubt([key.name])
            raise
        found = done[-1].after if done else short.stored
        return found if found is None or (done and found.deleted_at is not None) else self.present(found, now)

    def doubt(self, names: Iterable[str]) -> None:
        """Have the cache believed no more where nobody knows whether something was written.

        :param names: of the records.
        """
        if self.cache is not None:
            self.cache.doubt(Key(self.name, name) for name in names)

    def within(
        self,
        work: Callable[[Any], Result],
        session: Any = None,
        *,
        undone: bool = False,
        names: Callable[[], Iterable[str]] = tuple,
    ) -> Result:
        """Do a piece of work in a session's transaction, the surrounding one, or one of its own.

        In one of its own it is tried again when it loses a race. In another's, what hooks have written goes with the
        work that they, or another hook, refuse in the end, and no state is committed whose effects could not be stored.

        :param work: called with the unit.
        :param session: the application's session, or None.
        :param undone: undo what the work has written when it raises, also where no hook writes.
        :param names: tells which records it is about.
        :raises StateConflict: when racers won every attempt.
        :raises StateManagerError: whatever the work refuses with.
        :raises StorageError: when the storage fails.
        """

        def doubt() -> None:
            self.doubt(names())

        unit = unit_around(self.backend) if session is None else self._joined(session, write=True)
        if unit is not None:
            with unit.savepoint() if undone or self.hooked() else unit.unguarded():
                result = work(unit)
            unit.in_doubt(doubt)
            return result

        def own() -> Result:
            with self.backend.writing() as unit:
                unit.in_doubt(doubt)
                return work(unit)

        return retried(own)

    def expire(self, name: str, origin: Origin) -> bool:
        """Write down that a record has expired, if it has and nobody has done so yet.

        :param name: the record's name.
        :param origin: who asks; the change itself is the system's.
        :returns: whether this call wrote it.
        :raises StateManagerError: whatever a check refuses with.
        :raises StorageError: when the storage fails.
        """
        key = Key(self.name, name)

        def perform(unit: Any) -> bool:
            with entered(self.backend, unit, key):
                stored = self.backend.read(unit, key, lock=True)
                expiry = expiry_of(stored, self.policy, origin, self.clock.now())
                if expiry is not None:
                    self._check(expiry)
                    self._applied(unit, [expiry])
                return expiry is not None

        return self.within(perform, names=lambda: [name])

    def remembering(self) -> Idempotent:
        """Return the backend as one that remembers outcomes.

        :raises ConfigurationError: when it cannot.
        """
        if self.idempotent is None:
            raise ConfigurationError(
                f"The {self.backend.title} backend cannot remember requests: leave idempotency_key= out, or use "
                "another STATEMANAGER_BACKEND."
            )
        return self.idempotent

    @contextmanager
    def joining(self, session: Any) -> Iterator[None]:
        """Let everything in the block happen inside a session's transaction, which its owner ends.

        :param session: the application's session.
        :raises ConfigurationError: when the backend cannot join a session.
        :raises StorageError: when the storage fails.
        """
        with entered(self.backend, self._joined(session, write=True)):
            yield

    def perform(
        self, unit: Any, key: Key, decide: Decide | Lookup, expect: Expectation, origin: Origin
    ) -> Record | None:
        """Write one record inside a unit.

        :param unit: an open writing unit, which the caller has entered with this key.
        :param key: which record.
        :param decide: the pure decision, or what finds it.
        :param expect: the version or revision that must be stored.
        :param origin: who asks.
        :returns: the record as it is now; what was there when the decision was to change nothing.
        :raises StateManagerError: whatever the decision or a check refuses with.
        :raises StorageError: when the storage fails.
        """
        stored = self.backend.read(unit, key, lock=True)
        now = self.clock.now()
        decision = decide.find(unit, stored) if isinstance(decide, Lookup) else decide
        floor = self.floor(unit, key, stored)
        changes = self.decided(key, stored, decision, expect=expect, origin=origin, now=now, floor=floor)
        if not changes:
            return stored if stored is None else self.present(stored, now)
        written = self._applied(unit, changes)
        return written if written.deleted else self.present(written, now)

    def floor(self, unit: Any, key: Key, stored: Record | None) -> int:
        """Return the version above which a record begins: 0 where tombstones stay for ever.

        :param unit: the unit in which it was read. Without one the floor is guessed, and a wrong guess loses a race.
        :param key: which record.
        :param stored: what is stored.
        :raises StorageError: when the storage fails.
        """
        if stored is not None or self._purges is None:
            return 0
        if unit is not None:
            self._floor = self._purges.floor(unit, key)
        return self._floor

    def decided(
        self,
        key: Key,
        stored: Record | None,
        decide: Decide,
        *,
        expect: Expectation,
        origin: Origin,
        now: datetime,
        floor: int = 0,
    ) -> list[Change]:
        """Return what a decision comes to: no change, one, or the expiry that was due and one; each is checked.

        :param key: which record.
        :param stored: what is stored, a tombstone too, or None.
        :param decide: the pure decision.
        :param expect: the version or revision that must be stored.
        :param origin: who asks.
        :param now: the moment.
        :param floor: above which version a record begins.
        :raises StateManagerError: whatever the decision or a check refuses with.
        """
        alive = stored is not None and stored.deleted_at is None
        if alive:
            compare(key, stored, expect)
        expiry = expiry_of(stored, self.policy, origin, now)
        step = decide(stored if expiry is None else expiry.after, now)
        if step is None:
            return []
        if not alive:
            # Only now: a decision that needs a live record has refused with a better answer.
            compare(key, stored, expect)
        changes = [] if expiry is None else [expiry]
        changes.append(numbered(expiry.after if expiry else stored, key, step, origin, now, floor=floor))
        for change in changes:
            self._check(change)
        return changes

    def _applied(self, unit: Any, changes: list[Change]) -> Record:
        first, *rest = changes
        applied = self.apply(unit, first)
        for change in rest:
            applied = self.apply(unit, following_on(change, applied.after))
        return applied.after

    def _check(self, change: Change) -> None:
        check_size(change, self.policy)
        for check in self.checks:
            check(change)

    def apply(self, unit: Any, change: Change) -> Change:
        """Store a change that was decided and checked, with its jobs, and announce it after the commit.

        :param unit: an open writing unit.
        :param change: the change.
        :returns: the change with its revision.
        :raises StateConflict: when somebody was faster.
        :raises StorageError: when the storage fails.
        """
        try:
            revision = self.backend.apply(unit, change)
        except StateConflict as lost:
            # What was read a moment ago is not the caller's expectation: without one, the race can be run again.
            raise StateConflict(change.key, None, lost.actual) from lost
        done = change.drawn(revision)
        unit.after_commit(lambda: self.publisher.line_up(done))
        self.jobs.plan(unit, [done])
        return done

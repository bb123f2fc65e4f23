"""Writing many records of a bucket in one transaction, each as the bucket would write it alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from msgspec import Struct

from ..errors import ConfigurationError, IdempotencyKeyReused, StateConflict, StateManagerError, StorageError
from .bucket import Bucket
from .idempotency import Request
from .many import Move, Way
from .ports import following_on
from .powers import MultiKey
from .record import Change, Key, Origin, Record
from .scope import entered, unit_around
from .step import Decide


class Row(NamedTuple):
    """One record's part of a batch.

    :param name: the record's name; no two rows of a batch have the same.
    :param decide: the decision.
    :param once: answer from memory where this request has been answered before, else remember the answer. Only one and
        the same row may ever ask by it.
    """

    name: str
    decide: Decide
    once: Request | None = None


class Done(NamedTuple):
    """What came of a row that was not refused.

    :param name: the record's name; for a repeated row the one that was answered first.
    :param version: the record's version now.
    :param repeated: whether an earlier batch had done it, under the same idempotency key.
    """

    name: str
    version: int
    repeated: bool = False


Answer = Done | Exception
"""What came of a row, or why it was refused."""

Answers = dict[str, Answer]
"""What came of each row of a batch, by name."""


class Claim(Struct, frozen=True):
    """What a repeatable call is remembered by, in the transaction of its first change.

    A call that has changed nothing so far leaves its key free, as a refused write of one record does.

    :param request: the call.
    :param outcome: what a repetition has to know.
    """

    request: Request
    outcome: str


class Shortcut(Struct, frozen=True):
    """How records can be moved without looking at them, where nothing but the store has a say.

    :param ways: the ways that no code has a say in.
    :param event: the transition's name.
    """

    ways: tuple[Way, ...]
    event: str


class Batch:
    """Writes many records at once.

    :param bucket: the collection.
    :raises ConfigurationError: when its backend cannot.
    """

    def __init__(self, bucket: Bucket) -> None:
        if not isinstance(bucket.backend, MultiKey):
            raise ConfigurationError(
                f"The {bucket.backend.title} backend cannot write many states at once: write them one by one, or use "
                "another STATEMANAGER_BACKEND."
            )
        self.bucket = bucket
        self.many: MultiKey = bucket.backend

    def joins(self, session: Any = None) -> bool:
        """Tell whether somebody else ends the transaction that a write happens in.

        :param session: the application's session, or None.
        """
        return session is not None or unit_around(self.bucket.backend) is not None

    def known(self, request: Request, session: Any = None) -> str | None:
        """Return what is remembered of a call, or None; whoever is about to remember it is waited for.

        :param request: the call.
        :param session: look inside this session's transaction.
        :raises ConfigurationError: when the backend cannot remember outcomes, or cannot join a session.
        :raises IdempotencyKeyReused: when the key belongs to another call.
        :raises StateConflict: when racers won every attempt.
        :raises StorageError: when the storage fails.
        """
        return self.bucket.within(lambda unit: self._known(unit, request), session, undone=True)

    def write(
        self,
        rows: Sequence[Row],
        *,
        origin: Origin,
        shortcut: Shortcut | None = None,
        claim: Claim | None = None,
        session: Any = None,
    ) -> Answers | None:
        """Write the rows that are not refused, all in one transaction.

        :param rows: each with its decision, at most some thousands.
        :param origin: who asks.
        :param shortcut: moves what it fits, before anything is loaded; it must come to what the decisions come to.
        :param claim: remember the call by this, if anything is changed.
        :param session: write inside this session's transaction instead of one of its own, which is tried again when it
            loses a race.
        :returns: an answer for each name, a refusal being the error that a write of this record alone would raise. None
            when the same call was remembered meanwhile, by somebody else; nothing is written then.
        :raises ConfigurationError: when the backend cannot do what is needed, or cannot join a session.
        :raises IdempotencyKeyReused: when the key of the claim belongs to another call; nothing is written then.
        :raises StateConflict: when racers won every attempt; nothing is written then.
        :raises StorageError: when the storage fails; nothing is written then.
        """
        self.bucket.publisher.check_cascade()

        def perform(unit: Any) -> Answers | None:
            if claim is not None and self._known(unit, claim.request) is not None:
                return None
            answers = self._perform(unit, rows, origin, shortcut)
            if claim is not None and any(isinstance(answer, Done) for answer in answers.values()):
                self.bucket.remembering().remember(unit, claim.request, claim.outcome)
            return answers

        return self.bucket.within(perform, session, undone=True, names=lambda: [row.name for row in rows])

    def _perform(self, unit: Any, rows: Sequence[Row], origin: Origin, shortcut: Shortcut | None) -> Answers:
        now = self.bucket.clock.now()
        answers = self._recalled(unit, rows, now)
        left = [row for row in rows if row.name not in answers]
        hooked = self.bucket.hooked()
        written: Answers = {}
        if shortcut is not None and not hooked:
            written |= self._moved(unit, left, origin, shortcut, now)
            left = [row for row in left if row.name not in written]
        written |= (self._one_by_one if hooked else self._together)(unit, left, origin, now)
        self._remember(unit, rows, written)
        return answers | written

    # -- idempotency -----------------------------------------------------------------------------------------------

    def _known(self, unit: Any, request: Request) -> str | None:
        found = self.bucket.remembering().recall(unit, request, self.bucket.clock.now())
        if found is None:
            return None
        if found.fingerprint != request.fingerprint:
            raise IdempotencyKeyReused(request.key, request.verb)
        return found.outcome

    def _recalled(self, unit: Any, rows: Sequence[Row], now: datetime) -> Answers:
        """Answer what has been done before, in the order of the keys, so that two batches cannot deadlock."""
        answers: Answers = {}
        asked = [(row.once, row.name) for row in rows if row.once is not None]
        for once, name in sorted(asked, key=lambda pair: pair[0].key):
            found = self.bucket.remembering().recall(unit, once, now)
            if found is not None:
                version, first = found.outcome.split(" ", 1)
                answers[name] = Done(first, int(version), repeated=True)
        return answers

    def _remember(self, unit: Any, rows: Sequence[Row], written: dict[str, Answer]) -> None:
        """Remember what came of each row, but no refusal: it is decided anew the next time."""
        for row in rows:
            answer = written.get(row.name)
            if row.once is not None and isinstance(answer, Done):
                self.bucket.remembering().remember(unit, row.once, f"{answer.version} {answer.name}")

    # -- the three ways to write -----------------------------------------------------------------------------------

    def _moved(self, unit: Any, rows: Sequence[Row], origin: Origin, shortcut: Shortcut, now: datetime) -> Answers:
        """Let the store move what fits, and read back what that came to only for those who want to hear of it."""
        bucket = self.bucket
        names = tuple(row.name for row in rows)
        moved = self.many.move_many(unit, Move(bucket.name, names, shortcut.ways, shortcut.event, origin, now))
        if moved and bucket.listened():
            self._tell(unit, self.many.changes_of(unit, bucket.name, [each.revision for each in moved]))
        elif moved:
            self._count(unit, {shortcut.event: len(moved)})
        return {each.name: Done(each.name, each.version) for each in moved}

    def _together(self, unit: Any, rows: Sequence[Row], origin: Origin, now: datetime) -> Answers:
        """Read all, decide each, store all."""
        stored = self._locked(unit, rows)
        bucket, backend, collection = self.bucket, self.bucket.backend, self.bucket.name
        answers: Answers = {}
        expiries: list[Change] = []
        changes: list[Change] = []
        # By name, so that two that write the same records cannot deadlock where there is nothing yet to be locked.
        for row in sorted(rows, key=_named):
            name = row.name
            key, before = Key(collection, name), stored.get(name)
            try:
                with entered(backend, unit, key):
                    floor = bucket.floor(unit, key, before)
                    decided = bucket.decided(key, before, row.decide, expect=None, origin=origin, now=now, floor=floor)
            except StateManagerError as error:
                answers[name] = _refusal(error)
                continue
            if decided:
                changes.append(decided[-1])
                expiries += decided[:-1]
                before = decided[-1].after
            answers[name] = _done(row, before)
        expired = {change.key: change.after for change in self._stored(unit, expiries)}
        self._stored(unit, [_behind(change, expired.get(change.key)) for change in changes] if expired else changes)
        return answers

    def _one_by_one(self, unit: Any, rows: Sequence[Row], origin: Origin, now: datetime) -> Answers:
        """Write each like a single one, as a hook may look at what the rows before have come to, and may write.

        All are locked beforehand, in the order of the names.
        """
        self._locked(unit, rows)
        return {row.name: self._alone(unit, row, origin) for row in rows}

    def _alone(self, unit: Any, row: Row, origin: Origin) -> Answer:
        key = Key(self.bucket.name, row.name)
        try:
            with unit.savepoint(), entered(self.bucket.backend, unit, key):
                record = self.bucket.perform(unit, key, row.decide, None, origin)
        except Exception as error:  # noqa: BLE001 - a hook refuses by raising, whatever it raises
            return _refusal(error)
        return _done(row, record)

    def _locked(self, unit: Any, rows: Sequence[Row]) -> dict[str, Record]:
        names = sorted(row.name for row in rows)
        return self.many.read_many(unit, self.bucket.name, names, lock=True) if names else {}

    def _stored(self, unit: Any, changes: Sequence[Change]) -> list[Change]:
        """Store changes; return them with their revisions, if anybody wants to hear of them."""
        if not changes:
            return []
        try:
            revisions = self.many.apply_many(unit, changes)
        except StateConflict as lost:
            # What was read a moment ago is nobody's expectation, so the race can be run again.
            raise StateConflict(lost.key, None, lost.actual) from lost
        if not self.bucket.listened():
            self._count(unit, Counter(change.event for change in changes))
            return []
        done = [change.drawn(revision) for change, revision in zip(changes, revisions, strict=True)]
        self._tell(unit, done)
        return done

    def _count(self, unit: Any, events: Mapping[str, int]) -> None:
        """Count changes, after the commit, that nobody wants to hear of."""
        tally = self.bucket.tally

        def count() -> None:
            for event, number in events.items():
                tally(event, number)

        unit.after_commit(count)

    def _tell(self, unit: Any, changes: Sequence[Change]) -> None:
        """Store the jobs that changes leave behind, and announce the changes after the commit."""
        bucket = self.bucket
        bucket.jobs.plan(unit, changes)

        def announce() -> Callable[[], None]:
            for change in changes:
                bucket.publisher.line_up(change)
            return bucket.publisher.deliver

        unit.after_commit(announce)


_named = attrgetter("name")


def _done(row: Row, record: Record | None) -> Done:
    return Done(row.name, 0 if record is None else record.version)


def _behind(change: Change, expired: Record | None) -> Change:
    """Return a change whose record before has its revision by now."""
    return change if expired is None else following_on(change, expired)


def _refusal(error: Exception) -> Exception:
    """Return an error that concerns one row; raise what concerns all of them, and a race, which can be run again."""
    lost = isinstance(error, StateConflict) and error.expected is None
    if lost or isinstance(error, StorageError | ConfigurationError):
        raise error
    return error

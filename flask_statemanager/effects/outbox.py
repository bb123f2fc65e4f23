"""The operator's view of durable effects: list them, look at one, try again, discard."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..core.clock import Clock, iso
from ..core.enqueues import Enqueues
from ..core.jobs import CANCELLED, DEAD, EFFECT, PENDING, STATUSES, Job, JobCounts, JobQuery
from ..core.names import check_id, check_text
from ..core.ports import Backend
from ..core.record import Key
from ..errors import JobNotFound, StateValidationError, shown

logger = logging.getLogger("flask_statemanager.effects")

MAX_NOTE = 1000
"""Characters of an actor, a source or a reason that are kept with an effect."""

_PAGE = 100
_LONGEST = 2000


class Effect(dict[str, Any]):
    """A durable effect of one change.

    Keys: ``id, key`` (``bucket:name:version:effect``), ``effect, state_id, version, status`` (``pending``, ``done``,
    ``dead`` or ``cancelled``), ``attempts, due_at, worker, error, traceback, created_at, finished_at``. While a worker
    has it, ``worker`` is set and ``due_at`` is the end of its lease.
    """

    @classmethod
    def of(cls, job: Job) -> Effect:
        """Make the caller's view of an effect's job.

        :param job: a job of the kind effect.
        """
        return cls(
            id=job.id,
            key=job.identity,
            effect=job.topic,
            state_id=job.key.name,
            version=job.version,
            status=job.status,
            attempts=job.attempts,
            due_at=iso(job.due_at),
            worker=job.worker,
            error=job.error,
            traceback=job.trace,
            created_at=iso(job.created_at),
            finished_at=None if job.finished_at is None else iso(job.finished_at),
        )

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"An effect has no {name!r}; it has {', '.join(self)}.") from None


class Outbox(Struct, frozen=True):
    """One app's jobs, as an operator sees them.

    :param bucket: the bucket of the states.
    :param backend: opens units.
    :param enqueues: the backend, as one that keeps jobs.
    :param clock: the time.
    :param wake: called when there is something to do at once.
    """

    bucket: str
    backend: Backend
    enqueues: Enqueues
    clock: Clock
    wake: Callable[[], None]

    def effects(
        self,
        *,
        status: tuple[str, ...] | None,
        state_id: str | None,
        effect: str | None,
        limit: int,
        after: int | None,
        newest_first: bool = False,
    ) -> list[Effect]:
        """List durable effects by id.

        :param status: only these statuses.
        :param state_id: only of this state.
        :param effect: only of this name.
        :param limit: the most of them.
        :param after: go on behind this id.
        :param newest_first: turn the order round.
        :raises StorageError: when the storage fails.
        """
        key = None if state_id is None else Key(self.bucket, state_id)
        query = JobQuery(EFFECT, status, key, effect, after=after, newest_first=newest_first, limit=limit)
        with self.backend.reading() as unit:
            return [Effect.of(job) for job in self.enqueues.jobs(unit, query)]

    def effect(self, number: int) -> Effect:
        """Return one durable effect.

        :param number: its id.
        :raises JobNotFound: when there is none, or it has been forgotten since it ended.
        :raises StorageError: when the storage fails.
        """
        with self.backend.reading() as unit:
            return Effect.of(self._one(unit, number, lock=False))

    def _one(self, unit: Any, number: int, *, lock: bool) -> Job:
        found = self.enqueues.jobs(unit, JobQuery(EFFECT, id=number, limit=1), lock=lock)
        if not found:
            raise JobNotFound(f"The effect {shown(number)}", "there is none, or it ended well and has been forgotten")
        return found[0]

    def retry(self, number: int, by: str | None = None) -> Effect:
        """Let a dead, discarded or waiting effect be tried now, its attempts counted anew.

        :param number: its id.
        :param by: who asks, and why, to stand before its error; None to leave that as it is.
        :returns: the effect as it is now.
        :raises JobNotFound: when there is none, it is done, or a worker has it.
        :raises StorageError: when the storage fails.
        """
        moved = self._moved(number, (DEAD, CANCELLED, PENDING), "retried", by, replace_status=PENDING)
        self.wake()
        return moved

    def retry_dead(
        self, effect: str | None = None, by: str | None = None, progress: Callable[[int], None] | None = None
    ) -> int:
        """Let all dead letters be tried now, those that somebody else retries or discards meanwhile left aside.

        :param effect: only those of this effect.
        :param by: as for :meth:`retry`.
        :param progress: told again and again how many were retried.
        :returns: how many were retried.
        :raises StorageError: when the storage fails; those before it are retried.
        """
        done, last = 0, None
        while True:
            page = self.effects(status=(DEAD,), state_id=None, effect=effect, limit=_PAGE, after=last)
            for found in page:
                try:
                    self._moved(found.id, (DEAD,), "retried", by, replace_status=PENDING)
                    done += 1
                except JobNotFound:
                    continue
            self.wake()
            if progress is not None:
                progress(done)
            if len(page) < _PAGE:
                return done
            last = page[-1].id

    def discard(self, number: int, by: str | None = None) -> Effect:
        """Give an effect up: it is not tried any more.

        :param number: its id.
        :param by: as for :meth:`retry`.
        :returns: the effect as it is now.
        :raises JobNotFound: when there is none, it has ended otherwise, or a worker has it.
        :raises StorageError: when the storage fails.
        """
        return self._moved(number, (DEAD, PENDING), "discarded", by, replace_status=CANCELLED)

    def _moved(
        self, number: int, allowed: tuple[str, ...], verb: str, by: str | None, *, replace_status: str
    ) -> Effect:
        now = self.clock.now()
        with self.backend.writing() as unit:
            job = self._one(unit, number, lock=True)
            if job.status not in allowed:
                raise JobNotFound(f"The effect {number}", f"it is {job.status}, and cannot be {verb}")
            if job.worker is not None and job.due_at > now:
                raise JobNotFound(f"The effect {number}", f"the worker {job.worker} has it: wait until it ends")
            error = job.error if by is None else _noted(f"{verb} by {by}", job.error)
            moved = (
                replace(job.again(now, error, job.trace), attempts=0)
                if replace_status == PENDING
                else job.ended(CANCELLED, now, error, job.trace)
            )
            self.enqueues.save(unit, moved)
        if by is not None:
            logger.info("The effect %s was %s by %s.", job.identity, verb, by)
        return Effect.of(moved)

    def forget(self, before: timedelta, limit: int) -> int:
        """Remove what ended well at least so long ago, and idle bookkeeping.

        :param before: how long ago.
        :param limit: the most jobs.
        :returns: how many were removed.
        :raises StorageError: when the storage fails.
        """
        with self.backend.writing() as unit:
            return self.enqueues.forget_jobs(unit, self.clock.now() - before, limit)

    def counts(self) -> JobCounts:
        """Return how effects and timers stand.

        :raises StorageError: when the storage fails.
        """
        with self.backend.reading() as unit:
            return self.enqueues.count_jobs(unit, self.clock.now())


class OutboxVerbs(ABC):
    """The operator's verbs on durable effects."""

    @abstractmethod
    def _outbox(self) -> Outbox:
        """Return the present app's jobs.

        :raises ConfigurationError: when its backend keeps none.
        """

    def list_effects(
        self,
        *,
        status: str | Sequence[str] | None = None,
        state_id: str | None = None,
        effect: str | None = None,
        limit: int = 50,
        after: int | None = None,
        newest_first: bool = False,
    ) -> list[Effect]:
        """List durable effects, the oldest first; those that ended well are forgotten after a while.

        :param status: only this status, or one of these: ``pending``, ``done``, ``dead``, ``cancelled``.
        :param state_id: only of this state.
        :param effect: only of this name.
        :param limit: the most of them.
        :param after: go on behind this id, in the order asked for.
        :param newest_first: turn the order round.
        :raises StateValidationError: when the arguments are unusable.
        :raises ConfigurationError: when the backend keeps no effects.
        :raises StorageError: when the storage fails.
        """
        wanted: tuple[Any, ...] | None = None
        if status is not None:
            wanted = tuple(status) if isinstance(status, list | tuple | set | frozenset) else (status,)
        if wanted is not None and not all(word in STATUSES for word in wanted):
            raise StateValidationError({"status": [f"{shown(status)} is unknown; known are {', '.join(STATUSES)}."]})
        return self._outbox().effects(
            status=wanted,
            state_id=None if state_id is None else check_id(state_id),
            effect=None if effect is None else check_text(effect, "effect", 255),
            limit=_number(limit, "limit"),
            after=None if after is None else _number(after, "after"),
            newest_first=newest_first,
        )

    def get_effect(self, effect_id: int) -> Effect:
        """Return one durable effect, with the error and the traceback of its last failure.

        :param effect_id: its ``id``.
        :raises JobNotFound: when there is none, or it ended well and has been forgotten.
        :raises StateValidationError: when the id is no number.
        :raises ConfigurationError: when the backend keeps no effects.
        :raises StorageError: when the storage fails.
        """
        return self._outbox().effect(_number(effect_id, "effect_id"))

    def retry_effect(
        self, effect_id: int, *, actor: str | None = None, source: str | None = None, reason: str | None = None
    ) -> Effect:
        """Let a dead letter (or a discarded or waiting effect) be tried again now, its attempts counted anew.

        :param effect_id: its ``id``.
        :param actor: who asks; kept in the effect's ``error``, as are source and reason, where one is given.
        :param source: the part of the system that asks.
        :param reason: why.
        :returns: the effect as it is now.
        :raises JobNotFound: when there is none, it is done, or a worker has it.
        :raises StateValidationError: when the id is no number, or actor, source or reason are no text.
        :raises LimitExceeded: when actor, source or reason are too long.
        :raises ConfigurationError: when the backend keeps no effects.
        :raises StorageError: when the storage fails.
        """
        return self._outbox().retry(_number(effect_id, "effect_id"), asked_by(actor, source, reason))

    def discard_effect(
        self, effect_id: int, *, actor: str | None = None, source: str | None = None, reason: str | None = None
    ) -> Effect:
        """Give a dead letter or a waiting effect up.

        :param effect_id: its ``id``.
        :param actor: who asks; kept in the effect's ``error``, as are source and reason, where one is given.
        :param source: the part of the system that asks.
        :param reason: why.
        :returns: the effect as it is now, ``cancelled``.
        :raises JobNotFound: when there is none, it has ended otherwise, or a worker has it.
        :raises StateValidationError: when the id is no number, or actor, source or reason are no text.
        :raises LimitExceeded: when actor, source or reason are too long.
        :raises ConfigurationError: when the backend keeps no effects.
        :raises StorageError: when the storage fails.
        """
        return self._outbox().discard(_number(effect_id, "effect_id"), asked_by(actor, source, reason))


def asked_by(actor: str | None, source: str | None, reason: str | None) -> str | None:
    """Write who asks for something, and why; None where nothing is said.

    :param actor: who asks.
    :param source: the part of the system that asks.
    :param reason: why.
    :raises StateValidationError: when one of them is no text.
    :raises LimitExceeded: when one of them is too long.
    """
    given = {"actor": actor, "source": source, "reason": reason}
    said = {name: check_text(text, name, MAX_NOTE) for name, text in given.items() if text is not None}
    if not said:
        return None
    source_of = f" ({said['source']})" if "source" in said else ""
    return f"{said.get('actor', 'system')}{source_of}" + (f": {said['reason']}" if "reason" in said else "")


def _noted(note: str, error: str | None) -> str:
    before = "" if error is None else f" -- before that: {error}"
    return f"{note}{before}"[:_LONGEST]


def _number(value: object, field: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise StateValidationError({field: [f"Must be a number from 0 on, not {shown(value)}."]})

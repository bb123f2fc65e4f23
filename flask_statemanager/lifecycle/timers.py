"""What makes timers happen: the plan that sets deadlines, and the runner that fires."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..core.bucket import Bucket
from ..core.clock import from_iso, iso
from ..core.enqueues import Enqueues
from ..core.failure import sentence_of
from ..core.jobs import CANCELLED, DEAD, DONE, PAUSED, PENDING, SKIPPED, TIMER, Job, JobQuery
from ..core.record import Change, JSONObject, Origin, Record
from ..core.scope import entered
from ..core.step import Step
from ..errors import (
    LimitExceeded,
    StateManagerError,
    StateNotFound,
    StateValidationError,
    StorageError,
    TransitionNotAllowed,
)
from .deadlines import Deadline
from .decisions import Update
from .definitions import Definitions
from .validation import Envelope, Lifetime

logger = logging.getLogger("flask_statemanager.effects")

RETRIES = 12
"""How often a timer is tried again that a hook or the application's own error has kept from firing."""

TIMEOUT = 60.0
"""Seconds that a transition and its hooks may take."""


class Moot(StateManagerError):
    """What a timer was set for is no more."""


_REFUSALS = (Moot, StateNotFound, TransitionNotAllowed, StateValidationError, LimitExceeded)


class DeadlinePlan:
    """Sets, stops and cancels the deadlines of the statuses that a change enters and leaves.

    :param definitions: the declared types.
    :param enqueues: keeps the jobs.
    """

    def __init__(self, definitions: Definitions, enqueues: Enqueues) -> None:
        self._definitions = definitions
        self._enqueues = enqueues

    def concerns(self, change: Change) -> bool:
        """Tell whether a change enters or leaves a status that has a deadline.

        :param change: the change.
        """
        definition = self._definitions.find(change.after.type)
        return definition is not None and bool(definition.machine.deadlines)

    def __call__(self, unit: Any, change: Change) -> list[Job]:
        """Return the timers that a change sets; those that it stops are stopped at once.

        :param unit: the unit in which it was written.
        :param change: the change.
        """
        left = None if change.before is None else change.before.status
        entered = None if change.after.deleted else change.after.status
        definition = self._definitions.find(change.after.type)
        if left == entered or definition is None:
            return []
        deadlines, over = definition.machine.deadlines, entered is None or entered in definition.machine.final
        if left is not None:
            self._stop(unit, change, [d for d in deadlines if over or d.status == left], over)
        return self._set(unit, change, [d for d in deadlines if d.status == entered])

    def _stop(self, unit: Any, change: Change, deadlines: list[Deadline], over: bool) -> None:
        kept = [] if over else [deadline for deadline in deadlines if deadline.policy != "restart"]
        gone = [deadline for deadline in deadlines if deadline not in kept]
        for some, status in ((kept, PAUSED), (gone, CANCELLED)):
            if some:
                self._enqueues.withdraw(unit, [deadline.slot(change.key) for deadline in some], status, change.at)

    def _set(self, unit: Any, change: Change, deadlines: list[Deadline]) -> list[Job]:
        jobs = [self._job(change, deadline) for deadline in deadlines]
        lasting = {d.slot(change.key): d.policy for d in deadlines if d.policy != "restart"}
        if not lasting or change.before is None:
            return jobs
        query = JobQuery(slots=tuple(lasting), statuses=(PENDING, PAUSED))
        paused = {job.slot: job for job in self._enqueues.jobs(unit, query, lock=True)}
        return [_resumed(job, paused.get(job.slot), lasting.get(job.slot or "")) for job in jobs]

    def _job(self, change: Change, deadline: Deadline) -> Job:
        return Job(
            TIMER,
            change.key,
            deadline.transition,
            change.version,
            due_at=change.at + deadline.span,
            created_at=change.at,
            slot=deadline.slot(change.key),
            payload={
                "created": iso(change.after.created_at),
                "only_in": [deadline.status],
                "deadline": deadline.status,
                "at": iso(change.at + deadline.span),
            },
            ordered=False,
        )


def _resumed(job: Job, paused: Job | None, policy: str | None) -> Job:
    """Return a deadline that goes on from where the status was left last time."""
    told, earlier = job.payload or {}, {} if paused is None else paused.payload or {}
    if paused is None or policy is None or earlier.get("created") != told.get("created"):
        return job  # first time, or an earlier state of this id
    # Not its due_at: a worker may have had it, and written the end of the lease there.
    due_at = from_iso(earlier["at"])
    if policy == "remaining" and paused.finished_at is not None:
        due_at = job.created_at + (due_at - paused.finished_at)
    # Never due before it is set: work that has waited for long looks as if no worker were there.
    return replace(job, due_at=max(due_at, job.created_at), payload={**told, "at": iso(due_at)})


def declares(definitions: Definitions, type_name: str, status: str, transition: str) -> bool:
    """Tell whether a type has a deadline: the machine may be another one than when the deadline was set.

    :param definitions: the declared types.
    :param type_name: the type.
    :param status: the status that the deadline is for.
    :param transition: what it makes.
    """
    definition = definitions.find(type_name)
    deadlines = () if definition is None else definition.machine.deadlines
    return any((each.status, each.transition) == (status, transition) for each in deadlines)


class Firing(Struct, frozen=True):
    """Decides what a timer does to its state."""

    update: Update
    told: JSONObject
    definitions: Definitions

    def __call__(self, current: Record | None, now: datetime) -> Step:
        """Decide.

        :param current: what is stored.
        :param now: the moment.
        :raises Moot: when the state is gone, another one has its id, it is not in a status that the timer is for, or
            the deadline is not declared any more.
        :raises TransitionNotAllowed: when status or guards do not allow it.
        :raises StateValidationError: when the data does not fit.
        """
        if current is None or current.deleted:
            raise Moot("The state is deleted.")
        if iso(current.created_at) != self.told["created"]:
            raise Moot("The state has been deleted since the timer was set, and another one has its id.")
        self._check_declared(current.type)
        only_in: Sequence[str] | None = self.told.get("only_in")
        if only_in is not None and current.status not in only_in:
            listed = " or ".join(repr(status) for status in only_in)
            raise Moot(f"The state has moved on to the status {current.status!r}, and the timer is for {listed}.")
        return self.update(current, now)

    def _check_declared(self, type_name: str) -> None:
        status, transition = self.told.get("deadline"), self.update.transition
        if status is not None and not declares(self.definitions, type_name, status, transition):
            raise Moot(f"The type {type_name!r} no longer has a deadline {transition!r} for the status {status!r}.")


class TimerRunner:
    """Fires the timers of one app: the transition and the record of it are one transaction.

    :param bucket: the states.
    :param definitions: the declared types.
    :param enqueues: keeps the timers.
    :param pause: says how long to wait after a failed attempt, given their number.
    :param told: hears how each attempt ended: ``done``, ``skipped``, ``failed``, ``dead`` or ``late``, and the job.
    """

    def __init__(
        self,
        bucket: Bucket,
        definitions: Definitions,
        enqueues: Enqueues,
        *,
        pause: Callable[[int], timedelta],
        told: Callable[[str, Job], None],
    ) -> None:
        self._bucket = bucket
        self._definitions = definitions
        self._enqueues = enqueues
        self._pause = pause
        self._told = told

    def run(self, job: Job) -> None:
        """Fire a timer, and record how that ended.

        :param job: a claimed job.
        :raises StorageError: when the storage fails; the job is left to its lease then.
        """
        if job.attempts > RETRIES + 1:
            self._end(job, None, f"{job.attempts - 1} attempts ended without a result: their workers died.")
            return
        try:
            outcome = self._bucket.within(lambda unit: self._fired(unit, job))
        except StorageError:
            raise
        except BaseException as error:  # a hook's SystemExit: in a worker's thread it ends the attempt and no more
            logger.warning("The timer %d of %s failed at attempt %d.", job.id, job.key, job.attempts, exc_info=True)
            again = None if job.attempts > RETRIES else self._pause(job.attempts)
            self._end(job, again, sentence_of(error))
        else:
            self._told(outcome, job)

    def timeout_of(self, _job: Job) -> float:
        """Return how many seconds an attempt may take.

        :param _job: the job; all have the same time.
        """
        return TIMEOUT

    def timed_out(self, job: Job) -> None:
        """Record that an attempt has taken too long; what it still does is not recorded.

        :param job: the claimed job.
        :raises StorageError: when the storage fails.
        """
        # A hook that does not end has the job locked, and nobody may wait for it.
        again = None if job.attempts > RETRIES else self._pause(job.attempts)
        self._end(job, again, "The attempt took too long.", wait=False)

    def _fired(self, unit: Any, job: Job) -> str:
        now = self._bucket.clock.now()
        # The state before the job, as every verb that leaves a status locks them, so that the two cannot deadlock.
        self._bucket.backend.read(unit, job.key, lock=True)
        if not self._enqueues.save(unit, job.ended(DONE, now)):
            return "late"  # cancelled, replaced, or in another worker's hands
        told = job.payload or {}
        update = Update(
            name=job.key.name,
            definition=self._definitions,
            envelope=Envelope(data=told.get("data"), metadata=told.get("metadata"), name=told.get("name")),
            transition=job.topic,
            mode="merge",
            lifetime=Lifetime(),
        )
        origin = Origin(
            actor=told.get("actor") or "system",
            source="deadline" if "deadline" in told else "timer",
            reason=told.get("reason"),
        )
        try:
            with entered(self._bucket.backend, unit):
                self._bucket.write(job.key.name, Firing(update, told, self._definitions), origin=origin)
        except _REFUSALS as refusal:
            skipped = job.ended(SKIPPED, now, str(refusal)[:2000])
            self._enqueues.save(unit, replace(skipped, fence=job.fence + 1))
            return "skipped"
        return "done"

    def _end(self, job: Job, again: timedelta | None, error: str, *, wait: bool = True) -> None:
        now = self._bucket.clock.now()
        failed = job.ended(DEAD, now, error) if again is None else job.again(now + again, error)
        saved = self._bucket.within(lambda unit: self._enqueues.save(unit, failed, wait=wait))
        self._told(("dead" if again is None else "failed") if saved else "late", job)

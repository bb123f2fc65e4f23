"""The verbs of timers: a transition that is made later, by a worker."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from ..core.clock import in_utc, iso
from ..core.codec import copied
from ..core.idempotency import Request
from ..core.jobs import CANCELLED, DEAD, PAUSED, PENDING, STATUSES, TIMER, Job, JobQuery
from ..core.names import TimeOrderedIds, check_id, check_text, check_word
from ..core.record import JSONObject, Key, Record
from ..core.repeat import repeated_text
from ..errors import JobNotFound, StateNotFound, StateValidationError, shown
from .moments import moment_of
from .parts import BUCKET, Call, Parts
from .timers import declares
from .types import StateTransition
from .validation import check_identity, open_envelope

_KEY = re.compile(r"[A-Za-z0-9._@/+=~-]{1,255}", re.ASCII)
_ids = TimeOrderedIds()


class Timer(dict[str, Any]):
    """A transition to be made later, or one that was.

    Keys: ``id, state_id, transition, key, status`` (``pending``, ``paused``, ``done``, ``skipped``, ``cancelled`` or
    ``dead``), ``due_at, data, metadata, name, only_in, actor, reason, error, created_at, finished_at``. ``key`` is
    None for a deadline, whose status stands in ``deadline``; ``data``, ``metadata`` and ``name`` are what the state
    gets then; ``only_in`` are the statuses that it is made in, None for any; ``error`` says why it was skipped or
    cancelled.
    """

    @classmethod
    def of(cls, job: Job) -> Timer:
        """Make the caller's view of a timer's job.

        :param job: a job of the kind timer.
        """
        told = job.payload or {}
        return cls(
            id=job.id,
            state_id=job.key.name,
            transition=job.topic,
            key=told.get("key"),
            deadline=told.get("deadline"),
            status=job.status,
            due_at=told.get("at"),
            data=copied(told.get("data")),
            metadata=copied(told.get("metadata")),
            name=told.get("name"),
            only_in=told.get("only_in"),
            actor=told.get("actor"),
            reason=told.get("reason"),
            error=job.error,
            created_at=iso(job.created_at),
            finished_at=None if job.finished_at is None else iso(job.finished_at),
        )

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"A timer has no {name!r}; it has {', '.join(self)}.") from None


class LifecycleScheduling(ABC):
    """The timer verbs of the lifecycle face. They are carried out by a worker, see ``STATEMANAGER_WORKER``."""

    @abstractmethod
    def _parts(self) -> Parts:
        """Return the running parts of the present app."""

    def schedule_transition(
        self,
        state_id: str,
        transition: str | StateTransition,
        *,
        at: datetime | None = None,
        after: float | timedelta | None = None,
        data: dict[str, Any] | None = None,
        key: str | None = None,
        only_in: str | Sequence[str] | None = None,
        actor: str | None = None,
        source: str | None = None,
        reason: str | None = None,
        session: Any = None,
        idempotency_key: str | None = None,
    ) -> Timer:
        """Have a transition made later, once, unless it is not allowed then.

        When its moment has come and the status does not allow the transition, a guard or validator refuses it, or the
        state is gone (or is another one under the same id), the timer is recorded as ``skipped``, with the reason.

        :param state_id: which state.
        :param transition: a transition of its machine; it need not be allowed yet.
        :param at: when, an aware datetime within ten years; a moment in the past means at once.
        :param after: or in how many seconds (or a timedelta), at most ten years.
        :param data: bare data or an envelope, merged then as ``update_state`` does.
        :param key: a name for it among the state's timers, 1 to 255 ASCII characters, letters, digits and
            ``._@/+=~-``; a pending timer of that name is replaced.
        :param only_in: make it only in this status, or one of these.
        :param actor: who asks; the history of the transition names them.
        :param source: the part of the system that asks.
        :param reason: why; the history of the transition has it.
        :param session: join this session's transaction.
        :param idempotency_key: answer a repetition of this call as before.
        :returns: the timer.
        :raises StateNotFound: when there is no such state.
        :raises StateValidationError: when the arguments are unusable, its machine has no such transition or status, or
            an envelope speaks of another state.
        :raises LimitExceeded: when the data is too large, or actor, source, reason or idempotency key are too long.
        :raises IdempotencyKeyReused: when ``idempotency_key`` belongs to another request.
        :raises StateConflict: when racers won every attempt.
        :raises ConfigurationError: when the backend cannot keep timers, remember requests or join a session, or
            ``session`` is no session of this database.
        :raises StorageError: when the storage fails; nothing is written then.
        """
        parts = self._parts()
        name, event = check_id(state_id), check_word(transition, "transition")
        envelope = open_envelope(data, parts.bucket.policy.max_value_bytes, "data")
        payload: JSONObject = {
            "key": _ids.new() if key is None else _checked_key(key),
            "data": envelope.data,
            "metadata": envelope.metadata,
            "name": envelope.name,
            "only_in": None if only_in is None else _only_in(only_in),
        }
        moment = moment_of(at, after)
        call = Call("schedule_transition", actor, source, reason, idempotency_key)
        asked = {"state_id": name, "transition": event, "at": at, "after": after, **payload, "key": key}
        origin, once = parts.asked(call, lambda: asked)
        payload |= {"actor": origin.actor, "source": origin.source, "reason": origin.reason}

        def perform(unit: Any) -> Timer:
            now, record = parts.bucket.clock.now(), _live(parts, unit, name)
            check_identity(envelope, name, record.type)
            job = self._timer(record, event, payload, now, moment(now))
            parts.bucket.jobs.enqueue(unit, [job])
            return Timer.of(parts.enqueues.jobs(unit, JobQuery(slots=(str(job.slot),)))[0])

        return Timer(parts.bucket.within(_repeatable(parts, once, perform), session, undone=True))

    def _timer(self, record: Record, event: str, payload: JSONObject, now: datetime, due_at: datetime) -> Job:
        machine = self._parts().definitions.get(record.type).machine
        machine.check_transition(event)
        for status in payload["only_in"] or ():
            if status not in machine.statuses:
                listed = ", ".join(machine.statuses)
                raise StateValidationError({"only_in": [f"There is no status {status!r} here; known are {listed}."]})
        return Job(
            TIMER,
            record.key,
            event,
            record.version,
            due_at=due_at,
            created_at=now,
            slot=f"{record.key}:timer:{payload['key']}",
            payload={**payload, "created": iso(record.created_at), "at": iso(due_at)},
            ordered=False,
        )

    def cancel_scheduled(
        self,
        state_id: str,
        *,
        key: str | None = None,
        transition: str | StateTransition | None = None,
        timer_id: int | None = None,
        actor: str | None = None,
        source: str | None = None,
        reason: str | None = None,
        session: Any = None,
        idempotency_key: str | None = None,
    ) -> int:
        """Cancel timers of a state that have not fired, all of them or some.

        Deadlines stay, except for dead ones and those that the state's type no longer declares.

        :param state_id: which state; one that is deleted may still have some.
        :param key: only the one of this name.
        :param transition: only those of this transition.
        :param timer_id: only the one with this ``id``.
        :param actor: who asks; kept in the timer's ``error``, as are source and reason.
        :param source: the part of the system that asks.
        :param reason: why.
        :param session: join this session's transaction.
        :param idempotency_key: answer a repetition of this call as before.
        :returns: how many were cancelled.
        :raises StateValidationError: when the arguments are unusable.
        :raises LimitExceeded: when actor, source, reason or idempotency key are too long.
        :raises IdempotencyKeyReused: when ``idempotency_key`` belongs to another request.
        :raises StateConflict: when racers won every attempt.
        :raises ConfigurationError: when the backend cannot keep timers, remember requests or join a session, or
            ``session`` is no session of this database.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts()
        record = Key(BUCKET, check_id(state_id))
        event = None if transition is None else check_word(transition, "transition")
        wanted = None if key is None else _checked_key(key)
        one = None if timer_id is None else _number(timer_id, "timer_id")
        call = Call("cancel_scheduled", actor, source, reason, idempotency_key)
        given = {"state_id": record.name, "key": wanted, "transition": event, "id": one}
        origin, once = parts.asked(call, lambda: given)
        by = origin.actor if source is None else f"{origin.actor} ({source})"
        why = f"cancelled by {by}" + (f": {reason}" if reason else "")

        def perform(unit: Any) -> int:
            _locked(parts, unit, record)
            query = JobQuery(TIMER, (PENDING, PAUSED, DEAD), record, event, id=one)
            found = _free(parts, unit, parts.enqueues.jobs(unit, query, lock=True), wanted)
            now = parts.bucket.clock.now()
            return sum(parts.enqueues.save(unit, job.ended(CANCELLED, now, why)) for job in found)

        return int(parts.bucket.within(_repeatable(parts, once, perform), session, undone=True))

    def list_timers(
        self,
        state_id: str | None = None,
        *,
        status: str | Sequence[str] | None = PENDING,
        limit: int = 50,
        after: int | None = None,
        due_until: datetime | None = None,
        newest_first: bool = False,
        session: Any = None,
    ) -> list[Timer]:
        """List timers and deadlines, the ones set first first.

        :param state_id: only this state's.
        :param status: only this status, or one of these (see :class:`Timer`); None for all.
        :param limit: the most of them.
        :param after: go on behind this id, in the order asked for.
        :param due_until: only those due by this moment, an aware datetime.
        :param newest_first: turn the order round.
        :param session: read inside this session's transaction.
        :raises StateValidationError: when the arguments are unusable.
        :raises ConfigurationError: when the backend cannot keep timers or join a session, or ``session`` is no session
            of this database.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts()
        key = None if state_id is None else Key(BUCKET, check_id(state_id))
        statuses = None if status is None else _known(status)
        behind = None if after is None else _number(after, "after")
        due = None if due_until is None else in_utc(due_until, "due_until")
        most, order = _number(limit, "limit"), newest_first
        query = JobQuery(TIMER, statuses, key, after=behind, newest_first=order, due_until=due, limit=most)
        with parts.bucket.reading(session) as unit:
            return [Timer.of(job) for job in parts.enqueues.jobs(unit, query)]

    def get_timer(self, timer_id: int) -> Timer:
        """Return one timer.

        :param timer_id: its ``id``.
        :raises JobNotFound: when there is none, or it has been forgotten since it ended.
        :raises StateValidationError: when the id is no number.
        :raises ConfigurationError: when the backend cannot keep timers.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts()
        with parts.bucket.reading() as unit:
            found = parts.enqueues.jobs(unit, JobQuery(TIMER, id=_number(timer_id, "timer_id"), limit=1))
        if not found:
            problem = (
                "there is none, or it has been forgotten since it ended; list_timers(status=None) shows those there are"
            )
            raise JobNotFound(f"The timer {shown(timer_id)}", problem)
        return Timer.of(found[0])


def _live(parts: Parts, unit: Any, name: str) -> Record:
    found = _locked(parts, unit, Key(BUCKET, name))
    if found is None or found.deleted:
        raise StateNotFound(name)
    return parts.bucket.present(found)


def _locked(parts: Parts, unit: Any, key: Key) -> Record | None:
    """Lock the state before its jobs, as every verb does: in another order two could wait for each other."""
    return parts.backend.read(unit, key, lock=True)


def _free(parts: Parts, unit: Any, found: list[Job], key: str | None) -> list[Job]:
    """Return the jobs that may be cancelled: timers, dead deadlines, and those that nothing declares any more."""
    wanted = [job for job in found if key in (None, (job.payload or {}).get("key"))]
    if not any("deadline" in (job.payload or {}) and job.status != DEAD for job in wanted):
        return wanted
    record = parts.backend.read(unit, wanted[0].key)
    return [job for job in wanted if job.status == DEAD or not _declared(parts, record, job)]


def _declared(parts: Parts, record: Record | None, job: Job) -> bool:
    status = (job.payload or {}).get("deadline")
    if status is None or record is None or record.deleted:
        return False
    return declares(parts.definitions, record.type, status, job.topic)


def _repeatable(parts: Parts, once: Request | None, work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the work, or, for a request that may come again, the work done once; what it comes to is JSON."""
    if once is None:
        return work

    def answer(unit: Any) -> Any:
        memory, now = parts.bucket.remembering(), parts.bucket.clock.now()
        return json.loads(repeated_text(memory, unit, once, now, lambda: json.dumps(work(unit))))

    return answer


def _checked_key(key: object) -> str:
    if isinstance(key, str) and _KEY.fullmatch(key):
        return check_text(key, "key", 255)
    raise StateValidationError(
        {"key": [f"{shown(key)} is no timer's key: 1 to 255 ASCII characters, letters, digits and ._@/+=~-."]}
    )


def _only_in(given: object) -> list[str]:
    words = _listed(given, "only_in")
    if not words:
        raise StateValidationError({"only_in": ["Name a status, or leave it out."]})
    return [check_word(word, "only_in") for word in words]


def _known(given: object) -> tuple[str, ...]:
    wanted = _listed(given, "status")
    if not all(word in STATUSES for word in wanted):
        raise StateValidationError({"status": [f"{shown(given)} is unknown; known are {', '.join(STATUSES)}."]})
    return tuple(wanted)


def _listed(given: object, field: str) -> list[str]:
    if not isinstance(given, str | list | tuple | set | frozenset):
        raise StateValidationError({field: [f"Must be a status or a sequence of them, not {shown(given)}."]})
    return [given] if isinstance(given, str) else list(given)


def _number(value: object, field: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise StateValidationError({field: [f"Must be a number from 0 on, not {shown(value)}."]})

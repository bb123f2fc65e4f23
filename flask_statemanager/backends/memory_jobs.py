"""Jobs and remembered requests in memory: the readable reference of the two powers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..core.codec import copied
from ..core.enqueues import Enqueues
from ..core.idempotency import Remembered, Request
from ..core.jobs import CANCELLED, DEAD, FINISHED, PAUSED, PENDING, Job, JobCounts, JobQuery
from ..core.powers import Idempotent
from .memory_unit import MemoryUnit

_SILENCE = timedelta(days=1)
"""After which a worker that says nothing is forgotten."""


class MemoryOutbox(Enqueues):
    """Keeps jobs in a dict of this process."""

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._slots: dict[str, int] = {}
        self._beats: dict[str, datetime] = {}
        self._drawn = 0

    def enqueue(self, unit: MemoryUnit, jobs: Sequence[Job]) -> None:
        """Store jobs; one whose slot is taken replaces what has it.

        :param unit: an open writing unit.
        :param jobs: new jobs.
        """
        for job in jobs:
            taken = None if job.slot is None else self._slots.get(job.slot)
            if taken is None:
                self._drawn += 1
                self._write(unit, replace(job, id=self._drawn, fence=0))
            else:
                self._write(unit, replace(job, id=taken, fence=self._jobs[taken].fence + 1))

    def claim(self, unit: MemoryUnit, *, now: datetime, until: datetime, worker: str, limit: int) -> list[Job]:
        """Lease pending jobs whose moment has come, the longest due first.

        :param unit: an open writing unit.
        :param now: the moment.
        :param until: the end of the lease.
        :param worker: who claims.
        :param limit: the most jobs.
        """
        pending = [job for job in self._jobs.values() if job.status == PENDING]
        first: dict[Hashable, int] = {}
        for job in pending:
            first[_line(job)] = min(job.version, first.get(_line(job), job.version))
        due = [job for job in pending if job.due_at <= now and (not job.ordered or job.version == first[_line(job)])]
        due.sort(key=lambda job: (job.due_at, job.id))
        claimed = [
            replace(job, due_at=until, worker=worker, attempts=job.attempts + 1, fence=job.fence + 1)
            for job in due[:limit]
        ]
        for job in claimed:
            self._write(unit, job)
        return [_isolated(job) for job in claimed]

    def renew(self, unit: MemoryUnit, jobs: Sequence[Job], until: datetime) -> None:
        """Prolong the leases of jobs whose fences are unchanged.

        :param unit: an open writing unit.
        :param jobs: as :meth:`claim` gave them.
        :param until: the new end.
        """
        for job in jobs:
            stored = self._jobs.get(job.id)
            if stored is not None and stored.fence == job.fence:
                self._write(unit, replace(stored, due_at=until))

    def save(self, unit: MemoryUnit, job: Job, *, wait: bool = True) -> bool:
        """Write what may change of a job, if nobody else has.

        :param unit: an open writing unit.
        :param job: the job, with the fence that it was read with.
        :param wait: without effect here: a writing unit has the whole backend to itself.
        :returns: whether it was written.
        """
        stored = self._jobs.get(job.id)
        if stored is None or stored.fence != job.fence:
            return False
        fixed = {name: getattr(stored, name) for name in ("kind", "key", "topic", "version", "created_at", "ordered")}
        self._write(unit, replace(job, fence=job.fence + 1, **fixed))
        return True

    def withdraw(self, unit: MemoryUnit, slots: Sequence[str], status: str, now: datetime) -> int:
        """Pause pending jobs that have one of these slots, or cancel pending and paused ones.

        :param unit: an open writing unit.
        :param slots: the slots.
        :param status: paused or cancelled.
        :param now: the moment.
        :returns: how many jobs it was.
        """
        sources = (PENDING, PAUSED) if status == CANCELLED else (PENDING,)
        having = [self._jobs[self._slots[slot]] for slot in dict.fromkeys(slots) if slot in self._slots]
        found = [job for job in having if job.status in sources]
        for job in found:
            left = replace(job, status=status, worker=None, fence=job.fence + 1, finished_at=now)
            self._write(unit, replace(left, slot=None, due_at=now) if status == CANCELLED else left)
        return len(found)

    def jobs(self, unit: MemoryUnit, query: JobQuery, *, lock: bool = False) -> list[Job]:
        """List jobs by id.

        :param unit: an open unit.
        :param query: which ones.
        :param lock: without effect here: a writing unit has the whole backend to itself.
        """
        found = [self._jobs[id_] for id_ in sorted(self._jobs, reverse=query.newest_first)]
        return [_isolated(job) for job in [job for job in found if _listed(job, query)][: query.limit]]

    def count_jobs(self, unit: MemoryUnit, now: datetime) -> JobCounts:
        """Return how the jobs stand.

        :param unit: an open unit.
        :param now: the moment that decides what is due.
        """
        pending = [job.due_at for job in self._jobs.values() if job.status == PENDING]
        due = [moment for moment in pending if moment <= now]
        dead = sum(job.status == DEAD for job in self._jobs.values())
        return JobCounts(len(pending), len(due), dead, min(due, default=None))

    def next_due(self, unit: MemoryUnit, after: datetime) -> datetime | None:
        """Return the first moment behind another at which a pending job falls due, or None.

        :param unit: an open unit.
        :param after: the other moment.
        """
        pending = (job.due_at for job in self._jobs.values() if job.status == PENDING)
        return min((moment for moment in pending if moment > after), default=None)

    def forget_jobs(self, unit: MemoryUnit, before: datetime, limit: int) -> int:
        """Remove jobs that ended well before a moment.

        :param unit: an open writing unit.
        :param before: the moment.
        :param limit: the most jobs.
        :returns: how many were removed.
        """
        ended = [(job, job.finished_at) for job in self._jobs.values() if job.status in FINISHED]
        found = [job for job, moment in ended if moment is not None and moment < before][:limit]
        for job in found:
            self._take(unit, job)
        return len(found)

    def beat(self, unit: MemoryUnit, worker: str, now: datetime, *, leaving: bool = False) -> None:
        """Note that a worker is alive; others that have long been silent are forgotten.

        :param unit: an open writing unit.
        :param worker: its name.
        :param now: the moment.
        :param leaving: it ends now.
        """
        before = self._beats
        beats = {name: seen for name, seen in before.items() if seen >= now - _SILENCE and name != worker}
        self._beats = beats if leaving else {**beats, worker: now}
        unit.undo.append(lambda: setattr(self, "_beats", before))

    def last_beat(self, unit: MemoryUnit) -> datetime | None:
        """Return when a worker was last known to be alive, or None.

        :param unit: an open unit.
        """
        return max(self._beats.values(), default=None)

    def _write(self, unit: MemoryUnit, job: Job) -> None:
        before = self._jobs.get(job.id)
        self._put(job.id, _isolated(job))
        unit.undo.append(lambda: self._put(job.id, before))

    def _take(self, unit: MemoryUnit, job: Job) -> None:
        self._put(job.id, None)
        unit.undo.append(lambda: self._put(job.id, job))

    def _put(self, id_: int, job: Job | None) -> None:
        before = self._jobs.pop(id_, None)
        if before is not None and before.slot is not None:
            del self._slots[before.slot]
        if job is not None:
            self._jobs[id_] = job
            if job.slot is not None:
                self._slots[job.slot] = id_


class _Request(Struct, frozen=True):
    """What is kept of a request; the outcome is None until it is remembered."""

    fingerprint: str
    outcome: str | None
    expires_at: datetime


class MemoryIdempotency(Idempotent):
    """Remembers outcomes in a dict of this process."""

    def __init__(self) -> None:
        self._requests: dict[Hashable, _Request] = {}

    def recall(self, unit: MemoryUnit, request: Request, now: datetime) -> Remembered | None:
        """Return what an earlier request in the same scope came to, or take the scope.

        Another unit that has taken it has the whole backend to itself, so there is nobody to wait for.

        :param unit: an open writing unit.
        :param request: the request.
        :param now: the moment.
        """
        stored = self._requests.get(_scope(request))
        if stored is not None and stored.outcome is not None and stored.expires_at > now:
            return Remembered(stored.fingerprint, stored.outcome)
        self._keep(unit, _scope(request), _Request(request.fingerprint, None, now + request.ttl))
        return None

    def remember(self, unit: MemoryUnit, request: Request, outcome: str) -> None:
        """Keep the outcome of a request whose scope was taken in this unit.

        :param unit: the unit.
        :param request: the request.
        :param outcome: any text.
        """
        self._keep(unit, _scope(request), replace(self._requests[_scope(request)], outcome=outcome))

    def forget_requests(self, unit: MemoryUnit, now: datetime, limit: int) -> int:
        """Remove what is older than its ttl.

        :param unit: an open writing unit.
        :param now: the moment.
        :param limit: the most of them.
        :returns: how many were removed.
        """
        found = [scope for scope, stored in self._requests.items() if stored.expires_at <= now][:limit]
        for scope in found:
            self._keep(unit, scope, None)
        return len(found)

    def _keep(self, unit: MemoryUnit, scope: Hashable, kept: _Request | None) -> None:
        before = self._requests.get(scope)
        self._put_request(scope, kept)
        unit.undo.append(lambda: self._put_request(scope, before))

    def _put_request(self, scope: Hashable, kept: _Request | None) -> None:
        self._requests.pop(scope, None)
        if kept is not None:
            self._requests[scope] = kept


def _scope(request: Request) -> Hashable:
    return request.actor, request.verb, request.key


def _line(job: Job) -> Hashable:
    """What an ordered job waits in."""
    return job.kind, job.key, job.topic


def _isolated(job: Job) -> Job:
    return replace(job, payload=copied(job.payload))


def _listed(job: Job, query: JobQuery) -> bool:
    wanted: list[tuple[Any, Any]] = [
        (query.kind, job.kind),
        (query.key, job.key),
        (query.topic, job.topic),
        (query.id, job.id),
    ]
    chosen = [(query.statuses, job.status), (query.slots, job.slot)]
    if any(value is not None and value != actual for value, actual in wanted):
        return False
    if any(values is not None and value not in values for values, value in chosen):
        return False
    return _is_due(job, query) and _is_behind(job, query)


def _is_due(job: Job, query: JobQuery) -> bool:
    return query.due_until is None or job.due_at <= query.due_until


def _is_behind(job: Job, query: JobQuery) -> bool:
    if query.after is None:
        return True
    return job.id < query.after if query.newest_first else job.id > query.after

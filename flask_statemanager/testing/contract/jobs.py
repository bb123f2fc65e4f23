"""Short verbs on a backend's jobs, in which the tests of the contract are written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from ...core.enqueues import Enqueues
from ...core.jobs import EFFECT, Job, JobCounts, JobQuery
from ...core.ports import Backend
from ...core.powers import require
from ...core.record import Key
from ..clock import START
from .store import BUCKET

A, B = Key(BUCKET, "a"), Key(BUCKET, "b")
LEASE = timedelta(seconds=30)
TICK = timedelta(microseconds=1)


def minute(number: int) -> datetime:
    """Return a moment of the contract.

    :param number: minutes from its start.
    """
    return START + timedelta(minutes=number)


def new_job(topic: str = "mail", **fields: Any) -> Job:
    """Return a job that is due at once, as a change would leave it.

    :param topic: the effect.
    :param fields: what else differs from the fixed values.
    """
    plain = Job(kind=EFFECT, key=A, topic=topic, version=1, due_at=START, created_at=START)
    return replace(plain, **fields)


class Queue:
    """The jobs of a backend with short verbs; each opens a unit of its own.

    :param backend: one that keeps jobs.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.power = require(backend, Enqueues, "The job contract")  # type: ignore[type-abstract]

    def put(self, *jobs: Job) -> None:
        """Store jobs.

        :param jobs: the jobs.
        """
        with self.backend.writing() as unit:
            self.power.enqueue(unit, jobs)

    def claim(
        self, now: datetime = START, *, until: datetime | None = None, worker: str = "w", limit: int = 99
    ) -> list[Job]:
        """Lease jobs.

        :param now: the moment.
        :param until: the end; half a minute later by default.
        :param worker: who claims.
        :param limit: the most.
        """
        with self.backend.writing() as unit:
            return self.power.claim(unit, now=now, until=until or now + LEASE, worker=worker, limit=limit)

    def claimed(self, now: datetime = START, *, worker: str = "w") -> Job:
        """Lease the only job that can be leased.

        :param now: the moment.
        :param worker: who claims.
        """
        (job,) = self.claim(now, worker=worker)
        return job

    def topics(self, now: datetime = START, *, until: datetime | None = None, limit: int = 99) -> list[str]:
        """Lease jobs, and name their topics.

        :param now: the moment.
        :param until: the end; half a minute later by default.
        :param limit: the most.
        """
        return [job.topic for job in self.claim(now, until=until, limit=limit)]

    def renew(self, jobs: Sequence[Job], until: datetime) -> None:
        """Prolong leases.

        :param jobs: of these jobs.
        :param until: the new end.
        """
        with self.backend.writing() as unit:
            self.power.renew(unit, jobs, until)

    def save(self, job: Job) -> bool:
        """Write a job back.

        :param job: the job.
        """
        with self.backend.writing() as unit:
            return self.power.save(unit, job)

    def withdraw(self, slots: Sequence[str], status: str, now: datetime) -> int:
        """Pause or cancel jobs.

        :param slots: of these slots.
        :param status: which of the two.
        :param now: the moment.
        """
        with self.backend.writing() as unit:
            return self.power.withdraw(unit, slots, status, now)

    def listed(self, **asked: Any) -> list[Job]:
        """List jobs.

        :param asked: the fields of a :class:`JobQuery`.
        """
        with self.backend.reading() as unit:
            return self.power.jobs(unit, JobQuery(**asked))

    def only(self) -> Job:
        """Return the only job there is."""
        (job,) = self.listed()
        return job

    def counts(self, now: datetime) -> JobCounts:
        """Return how the jobs stand.

        :param now: the moment.
        """
        with self.backend.reading() as unit:
            return self.power.count_jobs(unit, now)

    def following(self, after: datetime) -> datetime | None:
        """Return when the next pending job falls due.

        :param after: behind this moment.
        """
        with self.backend.reading() as unit:
            return self.power.next_due(unit, after)

    def forget(self, before: datetime, *, limit: int = 99) -> int:
        """Remove jobs that ended well.

        :param before: a moment.
        :param limit: the most.
        """
        with self.backend.writing() as unit:
            return self.power.forget_jobs(unit, before, limit)

    def beat(self, worker: str, now: datetime, *, leaving: bool = False) -> None:
        """Note that a worker is alive.

        :param worker: its name.
        :param now: the moment.
        :param leaving: whether it ends.
        """
        with self.backend.writing() as unit:
            self.power.beat(unit, worker, now, leaving=leaving)

    def last_beat(self) -> datetime | None:
        """Return when a worker was last alive."""
        with self.backend.reading() as unit:
            return self.power.last_beat(unit)

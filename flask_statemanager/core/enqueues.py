"""The power to keep jobs: what a change leaves to be done later."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from .jobs import Job, JobCounts, JobQuery


class Enqueues(ABC):
    """Power: keeps jobs beside the records, stored with the change that causes them and leased to workers."""

    @abstractmethod
    def enqueue(self, unit: Any, jobs: Sequence[Job]) -> None:
        """Store jobs, in one statement where there are few.

        One whose slot is taken replaces all of what has it, its ``fence`` excepted, which goes up: a worker that had
        the earlier one cannot write any more.

        :param unit: an open writing unit.
        :param jobs: new jobs, no two with the same slot.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def claim(self, unit: Any, *, now: datetime, until: datetime, worker: str, limit: int) -> list[Job]:
        """Lease pending jobs whose ``due_at`` has come, the longest due first: raise their attempts and fence.

        An ordered job is passed over while an ordered or unordered pending one of the same kind, record and topic has a
        lower version. Where workers meet, each passes over what the others are claiming.

        :param unit: an open writing unit.
        :param now: the moment.
        :param until: the end of the lease, their new ``due_at``.
        :param worker: who claims.
        :param limit: the most jobs.
        :returns: the jobs as they are now.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def renew(self, unit: Any, jobs: Sequence[Job], until: datetime) -> None:
        """Prolong the leases of jobs whose fences are unchanged; the fences stay.

        It never waits for another unit that has a job locked, and passes that one over: it is being written, and
        nobody claims it meanwhile.

        :param unit: an open writing unit.
        :param jobs: as :meth:`claim` gave them.
        :param until: the new end.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def save(self, unit: Any, job: Job, *, wait: bool = True) -> bool:
        """Write a job's ``status, due_at, slot, payload, attempts, worker, error, trace, finished_at`` back.

        :param unit: an open writing unit.
        :param job: the job, with the fence that it was read with; the stored fence goes up.
        :param wait: whether to wait for another unit that has the job locked, where the storage can lock one job.
        :returns: False when somebody else has written it since, or has it locked and is not waited for; nothing is
            changed then.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def withdraw(self, unit: Any, slots: Sequence[str], status: str, now: datetime) -> int:
        """Pause pending jobs that have one of these slots, or cancel pending and paused ones, in one statement.

        ``finished_at`` is set (for a cancelled one ``due_at`` too) and the worker cleared; a paused job keeps its slot,
        a cancelled one gives it up. What is paused already is not paused again: from its ``finished_at`` the time is
        counted that was left.

        :param unit: an open writing unit.
        :param slots: the slots.
        :param status: :data:`~flask_statemanager.core.jobs.PAUSED` or
            :data:`~flask_statemanager.core.jobs.CANCELLED`.
        :param now: the moment.
        :returns: how many jobs it was; their fences go up.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def jobs(self, unit: Any, query: JobQuery, *, lock: bool = False) -> list[Job]:
        """List jobs by id.

        :param unit: an open unit.
        :param query: which ones.
        :param lock: keep others from changing them until the unit ends, where the storage can.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def count_jobs(self, unit: Any, now: datetime) -> JobCounts:
        """Return how the jobs stand.

        :param unit: an open unit.
        :param now: the moment that decides what is due.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def next_due(self, unit: Any, after: datetime) -> datetime | None:
        """Return the first moment behind another at which a pending job falls due, a lease's end included, or None.

        :param unit: an open unit.
        :param after: the other moment.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def forget_jobs(self, unit: Any, before: datetime, limit: int) -> int:
        """Remove jobs that ended well before a moment; dead letters stay.

        :param unit: an open writing unit.
        :param before: the moment.
        :param limit: the most jobs.
        :returns: how many were removed.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def beat(self, unit: Any, worker: str, now: datetime, *, leaving: bool = False) -> None:
        """Note that a worker is alive.

        :param unit: an open writing unit.
        :param worker: its name.
        :param now: the moment.
        :param leaving: it ends now, and is forgotten.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def last_beat(self, unit: Any) -> datetime | None:
        """Return when a worker was last known to be alive, or None.

        :param unit: an open unit.
        :raises StorageError: when the storage fails.
        """

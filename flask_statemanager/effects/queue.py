"""The queue of jobs, as one worker sees it: each call is a short transaction of its own."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from ..core.clock import Clock
from ..core.enqueues import Enqueues
from ..core.jobs import Job, JobCounts
from ..core.ports import Backend
from ..core.retry import retried

Result = TypeVar("Result")


def worker_name() -> str:
    """Return a name for a worker that no other has: host, process, and something random."""
    return f"{socket.gethostname()[:100]}:{os.getpid()}:{secrets.token_hex(4)}"


class JobQueue:
    """Takes jobs from a store for one worker; what loses a race against others is done again.

    :param backend: opens the transactions.
    :param enqueues: the backend's power.
    :param clock: tells what is due.
    :param lease: for how many seconds a job is the worker's.
    :param worker: the worker's name.
    """

    def __init__(self, backend: Backend, enqueues: Enqueues, clock: Clock, lease: float, worker: str) -> None:
        self._backend = backend
        self._enqueues = enqueues
        self._clock = clock
        self.lease = lease
        self.worker = worker

    def now(self) -> datetime:
        """Return the present moment, by the clock that decides what is due."""
        return self._clock.now()

    def claim(self, limit: int, due: datetime | None = None, held: Sequence[Job] = ()) -> list[Job]:
        """Lease jobs, the longest due first.

        :param limit: the most jobs.
        :param due: only those that were due at this moment; now by default.
        :param held: what the worker holds, to have the leases prolonged first, so that it does not lease that again.
        :returns: the jobs as they are now.
        :raises StorageError: when the storage fails.
        """
        now = self.now()
        until = now + timedelta(seconds=self.lease)

        def work(unit: Any) -> list[Job]:
            if held:
                self._enqueues.renew(unit, held, until)
            return self._enqueues.claim(unit, now=due or now, until=until, worker=self.worker, limit=limit)

        return self._written(work)

    def renew(self, jobs: Sequence[Job]) -> None:
        """Prolong the leases of jobs that are this worker's still.

        :param jobs: as :meth:`claim` gave them.
        :raises StorageError: when the storage fails.
        """
        if jobs:
            until = self.now() + timedelta(seconds=self.lease)
            self._written(lambda unit: self._enqueues.renew(unit, jobs, until))

    def beat(self, *, leaving: bool = False) -> None:
        """Note that the worker is alive.

        :param leaving: it ends now, and is forgotten.
        :raises StorageError: when the storage fails.
        """
        self._written(lambda unit: self._enqueues.beat(unit, self.worker, self.now(), leaving=leaving))

    def counts(self, now: datetime | None = None) -> JobCounts:
        """Return how the jobs stand.

        :param now: the moment that decides what is due; the present one by default.
        :raises StorageError: when the storage fails.
        """
        with self._backend.reading() as unit:
            return self._enqueues.count_jobs(unit, now or self.now())

    def next_due(self, after: datetime | None = None) -> datetime | None:
        """Return the first moment at which another job falls due, or None.

        :param after: later than this; than now by default.
        :raises StorageError: when the storage fails.
        """
        with self._backend.reading() as unit:
            return self._enqueues.next_due(unit, after or self.now())

    def _written(self, work: Callable[[Any], Result]) -> Result:
        def own() -> Result:
            with self._backend.writing() as unit:
                return work(unit)

        return retried(own)

"""The desk: hands each job to what can do it, makes workers, and notices when nobody works."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct

from ..core.clock import Clock
from ..core.enqueues import Enqueues
from ..core.jobs import DEAD, Job, JobCounts
from ..core.ports import Backend
from ..core.waking import Alarm
from ..errors import StorageError
from .chores import Chore
from .queue import JobQueue, worker_name
from .recording import recorded
from .worker import Context, Worker

logger = logging.getLogger("flask_statemanager.effects")

GRACE = timedelta(seconds=60)
"""How long due work may wait, and a worker be silent, before something is wrong."""

SPARE = 3
"""Connections that a worker may need beside one for each thread: to claim, to keep its leases, to listen."""

TIMEOUT = 60.0
"""Seconds in which a job that nobody knows is put aside."""

_LOOK_EVERY = 60.0


class Runner(Protocol):
    """Does the jobs of one kind, and records how they end."""

    def run(self, job: Job) -> None:
        """Make one attempt.

        :param job: a claimed job.
        """
        ...  # pragma: no cover - a protocol has no body

    def timed_out(self, job: Job) -> None:
        """Record that an attempt takes too long.

        :param job: the claimed job.
        """
        ...  # pragma: no cover - a protocol has no body

    def timeout_of(self, job: Job) -> float:
        """Return how many seconds an attempt may take.

        :param job: the job.
        """
        ...  # pragma: no cover - a protocol has no body


class _Stranger:
    """Makes dead letters of the jobs that nobody knows how to do."""

    def __init__(self, backend: Backend, enqueues: Enqueues, clock: Clock) -> None:
        self._backend = backend
        self._enqueues = enqueues
        self._clock = clock

    def run(self, job: Job) -> None:
        error = f"No code knows jobs of the kind {job.kind!r}: update the package where this worker runs."
        dead = job.ended(DEAD, self._clock.now(), error)

        def save() -> bool:
            with self._backend.writing() as unit:
                return self._enqueues.save(unit, dead)

        if recorded(save):
            logger.error("The job %d of %s is a dead letter: %s", job.id, job.key, error)

    def timed_out(self, _job: Job) -> None:
        """Leave it to its lease."""

    def timeout_of(self, _job: Job) -> float:
        return TIMEOUT


class Attendance(Struct, frozen=True):
    """Whether the jobs of a store are attended to.

    :param counts: how they stand.
    :param worker: ``alive``, ``missing`` (though there is work that waits), or ``none``.
    :param waiting: for how many seconds the longest due job has been waiting.
    """

    counts: JobCounts
    worker: str
    waiting: float


class Desk:
    """The jobs of one app.

    :param backend: where they are.
    :param enqueues: the backend, as one that keeps jobs.
    :param clock: the time.
    :param runners: what does the jobs, by kind.
    :param chores: what workers do beside the jobs.
    :param lease: seconds.
    :param poll: seconds.
    :param threads: how many a worker has.
    :param listening: makes what hears of new jobs and rings an alarm, entered while a worker runs.
    :param connections: returns how many connections to the storage there can be at once; None for no bound.
    """

    def __init__(
        self,
        backend: Backend,
        enqueues: Enqueues,
        clock: Clock,
        *,
        runners: Mapping[str, Runner],
        chores: Sequence[Chore],
        lease: float,
        poll: float,
        threads: int,
        listening: Callable[[Alarm], Context],
        connections: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.backend = backend
        self.enqueues = enqueues
        self.clock = clock
        self._runners = runners
        self._chores = tuple(chores)
        self._lease = lease
        self._poll = poll
        self._threads = threads
        self._listening = listening
        self._connections = connections
        self._stranger = _Stranger(backend, enqueues, clock)
        self._crowded = False
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._warned = False

    def make_worker(self, context: Context, threads: int | None = None) -> Worker:
        """Return a worker, which does nothing before it is run.

        :param context: opened round everything that it does, for example ``app.app_context``.
        :param threads: how many; as configured by default.
        """
        alarm, number = Alarm(), threads or self._threads
        self._check_connections(number)
        queue = JobQueue(self.backend, self.enqueues, self.clock, self._lease, worker_name())
        return Worker(
            queue,
            lambda job: self._runner(job).run(job),
            timeout_of=lambda job: self._runner(job).timeout_of(job),
            timed_out=lambda job: self._runner(job).timed_out(job),
            chores=self._chores,
            context=context,
            threads=number,
            poll=self._poll,
            wakeups=alarm,
            listening=self._listening(alarm),
        )

    def _runner(self, job: Job) -> Runner:
        return self._runners.get(job.kind, self._stranger)

    def _check_connections(self, threads: int) -> None:
        bound, needed = self._connections(), threads + SPARE
        if bound is None or needed <= bound or self._crowded:
            return
        self._crowded = True
        logger.warning(
            "A worker of %d threads may need %d database connections and the engine gives at most %d, so leases may "
            "run out while it waits for one: give the engine a larger pool, or the worker fewer threads.",
            threads,
            needed,
            bound,
        )

    def attendance(self) -> Attendance:
        """Return whether the jobs are attended to, and warn once when they are not.

        :raises StorageError: when the storage fails.
        """
        now = self.clock.now()
        with self.backend.reading() as unit:
            counts = self.enqueues.count_jobs(unit, now)
        alive = self._is_alive(now)
        waiting = timedelta(0) if counts.oldest_due is None else max(timedelta(0), now - counts.oldest_due)
        missing = not alive and waiting > GRACE
        self._warn(counts, waiting) if missing else self._well()
        return Attendance(counts, "alive" if alive else "missing" if missing else "none", waiting.total_seconds())

    def _is_alive(self, now: datetime) -> bool:
        with self.backend.reading() as unit:
            beat = self.enqueues.last_beat(unit)
        return beat is not None and now - beat <= max(GRACE, timedelta(seconds=3 * self._lease))

    def look(self) -> None:
        """Take a look now and then, called after jobs were stored; never raises."""
        with self._lock:
            if time.monotonic() - self._looked < _LOOK_EVERY:
                return
            self._looked = time.monotonic()
        try:
            self._well() if self._is_alive(self.clock.now()) else self.attendance()
        except StorageError:
            logger.debug("Nobody could look whether a worker is there.", exc_info=True)

    def _warn(self, counts: JobCounts, waiting: timedelta) -> None:
        with self._lock:
            warned, self._warned = self._warned, True
        if not warned:
            logger.warning(
                "%d effects and timers are due, the first for %d seconds, and no worker is there: "
                "run 'flask state worker', or set STATEMANAGER_WORKER = \"embedded\".",
                counts.due,
                waiting.total_seconds(),
            )

    def _well(self) -> None:
        with self._lock:
            self._warned = False

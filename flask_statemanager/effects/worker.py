"""The worker: takes due jobs from the queue and has them done in its threads, until it is told to stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Any

from ..core.jobs import Job
from ..core.outage import Outage
from ..core.waking import Alarm
from ..errors import StateConflict, StorageError
from .chores import Chore, Rota
from .hands import Hands, Held
from .queue import JobQueue
from .recording import Patience, patient

logger = logging.getLogger("flask_statemanager.worker")

FAILED = 70
"""The exit code of a worker that gave up: sysexits.h calls it an internal software error."""

_PASSING = (StorageError, StateConflict)
"""What another attempt may cure: the storage is away, or others were faster. All else is logged with its traceback."""

_RENEWALS = 3
"""How often a lease is prolonged before it would end."""

_JOIN = 5.0

Context = Callable[[], AbstractContextManager[Any]]


class Worker:
    """Claims jobs for its free threads, keeps their leases, and waits for more.

    A job is performed at least once: a worker that dies leaves it to the end of its lease. Nothing starts at
    construction, so a worker may be made before a fork and run behind it.

    :param queue: gives the jobs.
    :param perform: does a job and records how it went, in a transaction of its own.
    :param timeout_of: how many seconds a job may take; must not raise.
    :param timed_out: records that a job took too long, under its fence, so that a late result cannot be written.
    :param chores: what else is to be done again and again.
    :param context: pushed round each job, chore and access to the queue.
    :param threads: how many jobs are done at once; as many threads may be left behind with jobs that do not end.
    :param poll: the most seconds between two looks into the queue.
    :param wakeups: what interrupts the waiting; whoever knows of new jobs rings it.
    :param listening: entered while :meth:`run_forever` runs, for what rings the wake-ups.
    """

    def __init__(
        self,
        queue: JobQueue,
        perform: Callable[[Job], None],
        *,
        timeout_of: Callable[[Job], float],
        timed_out: Callable[[Job], None],
        chores: Sequence[Chore] = (),
        context: Context = nullcontext,
        threads: int = 1,
        poll: float = 5.0,
        wakeups: Alarm | None = None,
        listening: Context = nullcontext,
    ) -> None:
        self.queue = queue
        self.exit_code = 0
        self._do = perform
        self._timeout_of = timeout_of
        self._timed_out = timed_out
        self._context = context
        self._poll = poll
        self._wakeups = wakeups or Alarm()
        self._listening = listening
        self._rota = Rota(chores, context)
        self._hands = Hands(self._perform, threads=threads, freed=self.wake)
        self._outage = Outage(logger, "Taking jobs from the storage")
        self._silence = Outage(logger, "Renewing leases and the sign of life")
        self._failed_at = float("-inf")
        self._renewed_at = 0.0
        self._stopping = False
        self._kept = False
        self._keeper_alarm = Alarm()
        self._renew_at = 0.0

    @property
    def threads(self) -> int:
        """How many jobs are done at once."""
        return self._hands.threads

    @property
    def done(self) -> int:
        """How many attempts at jobs were begun."""
        return self._hands.done

    def wake(self) -> None:
        """Have the queue looked at now; never waits, and may be called from anywhere."""
        self._wakeups.ring()

    def stop(self) -> None:
        """Take nothing new, finish what is in hand, and end; may be called from anywhere, a signal handler too."""
        self._stopping = True
        self._wakeups.ring()

    def run_forever(self) -> None:
        """Work until :meth:`stop`; then ``exit_code`` is 0, or 70 when too many jobs did not end.

        A storage that is away is waited for, as is whatever else keeps the worker from its jobs.
        """
        with self._listening(), self._at_work():
            while not self._stopping:
                self._wakeups.wait(self._round())
        self._beat(leaving=True)

    def run_once(self) -> None:
        """Do every chore and what is due at the beginning, a job that fails not again.

        :raises StorageError: when the storage fails.
        """
        with self._at_work():
            more = self._rota.run(all_of_them=True)
            while more and not self._stopping:
                more = self._rota.run()
            self._drain(due=self.queue.now())

    def run_burst(self, within: float | None = None) -> datetime | None:
        """Do the chores that are due, and jobs until none is due; a long chore and the jobs take turns.

        :param within: begin nothing new after so many seconds.
        :returns: the moment at which nothing was due; None when it ended before.
        :raises StorageError: when the storage fails.
        """
        ends = None if within is None else time.monotonic() + within
        with self._at_work():
            more = self._rota.run()
            idle_at = self._drain(ends=ends)
            while more and idle_at is not None:
                more = self._rota.run()
                idle_at = self._drain(ends=ends)
            return idle_at

    # -- the main thread -------------------------------------------------------------------------------------------

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        self._hands.start()
        self._kept = True
        self._renewed_at = time.monotonic()
        self._renew_at = self._renewed_at + self.queue.lease / _RENEWALS
        keeper = threading.Thread(target=self._keep, name="statemanager-keeper", daemon=True)
        keeper.start()
        try:
            self._beat()
            yield
        finally:
            while self._finishing(keeper):
                self._wakeups.wait(1.0)
            self._kept = False
            self._keeper_alarm.ring()
            keeper.join(_JOIN)
            self._hands.dismiss()

    def _finishing(self, keeper: threading.Thread) -> bool:
        """Tell whether to wait for what is in hand: for its timeout, and a while for the keeper to leave it behind."""
        now = time.monotonic() - (_JOIN if keeper.is_alive() else 0.0)
        return any(held.until > now for held in self._hands.held())

    def _round(self) -> float:
        """Do what is to be done now, and return how many seconds there is nothing more to do."""
        self._rota.run()
        try:
            looked_at = self.queue.now()
            self._take()
            pauses = [self._poll, self._rota.pause(), self._until_due(looked_at)]
        except Exception as error:  # noqa: BLE001 - logged by the outage; one bad job must not end the worker
            return self._failed(self._outage, error)
        self._outage.over()
        return min(pause for pause in pauses if pause is not None)

    def _take(self, due: datetime | None = None) -> int:
        free = self._hands.free
        if not free or self._stopping:
            return 0
        with self._context():
            jobs = self.queue.claim(free, due, self._lapsing())
        for job in jobs:
            self._hands.give(job, self._timeout_of(job))
        if jobs:
            self._keeper_alarm.ring()
        return len(jobs)

    def _lapsing(self) -> list[Job]:
        """Return what is in hand if its leases were not renewed in time, so that the worker does not claim it anew."""
        late = time.monotonic() - self._renewed_at > 2 * self.queue.lease / _RENEWALS
        return [held.job for held in self._hands.held()] if late else []

    def _until_due(self, looked_at: datetime) -> float | None:
        if not self._hands.free:  # a thread that becomes free wakes this one
            return None
        with self._context():
            due = self.queue.next_due(looked_at)
        return None if due is None else max(0.0, (due - self.queue.now()).total_seconds())

    def _drain(self, *, due: datetime | None = None, ends: float | None = None) -> datetime | None:
        while not self._stopping and (ends is None or time.monotonic() < ends):
            # Asked before the claim: a job that ends after it may be what another one was waiting for.
            idle, looked_at = self._hands.idle, self.queue.now()
            if self._take(due):
                continue
            if idle:
                return looked_at
            self._wakeups.wait(self._poll)
        return None

    def _beat(self, *, leaving: bool = False) -> None:
        error = self._tried(lambda: self.queue.beat(leaving=leaving))
        if error is not None:
            self._failed(self._silence, error)

    def _tried(self, act: Callable[[], None]) -> Exception | None:
        try:
            with self._context():
                act()
        except Exception as error:  # noqa: BLE001 - logged by the outage
            return error
        return None

    def _failed(self, outage: Outage, error: Exception) -> float:
        self._failed_at = time.monotonic()
        return outage.failed(error, trace=not isinstance(error, _PASSING))

    # -- the threads that do the jobs ------------------------------------------------------------------------------

    def _perform(self, job: Job) -> None:
        patience = Patience(
            job.identity,
            self.queue.lease,
            keep=self._hands.keep,
            failed_at=lambda: self._failed_at,
            stopping=lambda: self._stopping,
        )
        try:
            with patient(patience), self._context():
                self._do(job)
        except _PASSING as error:
            logger.warning("%s is left to the end of its lease, as its result was not stored: %s", job.identity, error)
        except BaseException:
            # SystemExit too: it would end the thread and nothing else.
            logger.exception("%s is left to the end of its lease, as doing it went wrong.", job.identity)

    # -- the thread that keeps the leases --------------------------------------------------------------------------

    def _keep(self) -> None:
        try:
            while self._kept:
                self._keeper_alarm.wait(self._look_after())
        except BaseException:
            logger.exception("The worker stops, as it cannot look after its leases.")
            self._give_up()

    def _look_after(self) -> float:
        """Leave behind what takes too long, renew the other leases, and return the seconds until the next time."""
        for held in self._hands.held():
            if held.until <= time.monotonic():
                self._leave_behind(held)
        if self._renew_at <= time.monotonic():
            self._renew_at = time.monotonic() + self._renew()
        ends = [self._renew_at, *(held.until for held in self._hands.held())]
        return min(ends) - time.monotonic()

    def _renew(self) -> float:
        """Give a sign of life and prolong the leases, and return the seconds until the next time."""
        began, usual = time.monotonic(), self.queue.lease / _RENEWALS
        silent = self._tried(self.queue.beat)
        lapsing = self._tried(lambda: self.queue.renew([held.job for held in self._hands.held()]))
        if lapsing is None:
            self._renewed_at = began
        error = lapsing or silent
        if error is not None:
            return min(usual, self._failed(self._silence, error))
        self._silence.over()
        return usual

    def _leave_behind(self, held: Held) -> None:
        if not self._hands.abandon(held, replace=not self._stopping):
            return
        job = held.job
        logger.warning("%s takes longer than its timeout; its thread is left behind.", job.identity)
        try:
            with self._context():
                self._timed_out(job)
        except Exception:
            logger.exception("%s is left to the end of its lease, as its timeout was not stored.", job.identity)
        if self._hands.abandoned > self.threads:
            logger.error("The worker stops, as more than %d jobs do not end: it has to be restarted.", self.threads)
            self._give_up()
        self.wake()

    def _give_up(self) -> None:
        self.exit_code = FAILED
        self.stop()

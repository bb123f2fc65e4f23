"""The worker: what it takes, how it keeps leases, how it ends, and what it survives."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app
from sqlalchemy import MetaData

from flask_statemanager.backends.memory import MemoryBackend
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.engine import make_engine
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.clock import Clock, SystemClock
from flask_statemanager.core.jobs import DEAD, DONE, EFFECT, PENDING, Job, JobQuery
from flask_statemanager.core.record import Key
from flask_statemanager.core.waking import Alarm, Coalesced, PerProcess
from flask_statemanager.effects.chores import Chore
from flask_statemanager.effects.embedded import AppContext, EmbeddedWorker
from flask_statemanager.effects.queue import JobQueue, worker_name
from flask_statemanager.effects.recording import recorded
from flask_statemanager.effects.worker import Context, Worker
from flask_statemanager.errors import StateConflict, StorageUnavailable
from flask_statemanager.testing.clock import FakeClock
from tests.worlds import World

PATIENCE = 30.0


class Desk:
    """A store with jobs, and workers that note what they do."""

    def __init__(self, backend: Any, clock: Clock, lease: float = 30.0) -> None:
        self.backend = backend
        self.clock = clock
        self.queue = JobQueue(backend, backend, clock, lease, worker_name())
        self.did: list[str] = []
        self.late: list[str] = []
        self.saved: list[bool] = []
        self.work: Callable[[Job], Any] = lambda job: None

    def put(self, name: str, *, version: int = 1, after: float = 0.0, topic: str = "mail") -> None:
        """Store a job that falls due in so many seconds."""
        now = self.clock.now()
        job = Job(EFFECT, Key("states", name), topic, version, due_at=now + timedelta(seconds=after), created_at=now)
        with self.backend.writing() as unit:
            self.backend.enqueue(unit, [job])

    def perform(self, job: Job) -> None:
        """Do a job and record it, under the fence."""
        self.work(job)
        with self.backend.writing() as unit:
            self.saved.append(self.backend.save(unit, job.ended(DONE, self.clock.now())))
        self.did.append(f"{job.key.name}:{job.version}")

    def timed_out(self, job: Job) -> None:
        """Record a timeout, under the fence."""
        with self.backend.writing() as unit:
            assert self.backend.save(unit, job.ended(DEAD, self.clock.now(), "It took too long."))
        self.late.append(job.key.name)

    def worker(self, **options: Any) -> Worker:
        """Make a worker of this desk."""
        timeout = options.pop("timeout", PATIENCE)
        perform = options.pop("perform", self.perform)
        return Worker(self.queue, perform, timeout_of=lambda job: timeout, timed_out=self.timed_out, **options)

    def jobs(self) -> dict[str, Job]:
        """Return the jobs by the name of their record."""
        with self.backend.reading() as unit:
            return {job.key.name: job for job in self.backend.jobs(unit, JobQuery())}

    def last_beat(self) -> datetime | None:
        """Return when a worker was last known to be alive."""
        with self.backend.reading() as unit:
            found: datetime | None = self.backend.last_beat(unit)
        return found


def threads() -> set[threading.Thread]:
    """Return the threads of the package that there are."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("statemanager")}


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Whatever a test has started ends, soon after it at the latest."""
    before = threads()
    yield
    until(lambda: not threads() - before)


@contextmanager
def at_work(worker: Worker) -> Iterator[threading.Thread]:
    """Run a worker in a thread for the block."""
    thread = threading.Thread(target=worker.run_forever)
    thread.start()
    try:
        yield thread
    finally:
        worker.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.005)


def together(act: Callable[[], None]) -> None:
    """Do the same in eight threads, and wait for them."""
    racers = [threading.Thread(target=act) for _ in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(PATIENCE)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    if request.param == "memory":
        yield Desk(MemoryBackend(), FakeClock())
        return
    postgres = request.param == "postgresql"
    url = request.getfixturevalue("postgres_url") if postgres else f"sqlite:///{tmp_path / 'jobs.db'}"
    backend = SqlBackend(make_engine(url), declare(MetaData()), owned=True)
    backend.create_tables()
    yield Desk(backend, FakeClock())
    backend.close()


@pytest.fixture
def memory() -> Desk:
    return Desk(MemoryBackend(), FakeClock())


@pytest.fixture
def real() -> Desk:
    """In memory and in real time, with a lease of half a second."""
    return Desk(MemoryBackend(), SystemClock(), lease=0.5)


# -- the queue -----------------------------------------------------------------------------------------------------


def test_a_claim_takes_what_was_due_at_a_moment_and_leases_it_from_now(desk: Desk) -> None:
    desk.put("a")
    desk.put("b", after=5)
    then = desk.clock.now()
    assert isinstance(desk.clock, FakeClock)
    now = desk.clock.advance(10)
    [job] = desk.queue.claim(5, then)
    assert (job.key.name, job.worker, job.due_at) == ("a", desk.queue.worker, now + timedelta(seconds=30))


def test_the_next_due_moment_is_a_later_one(desk: Desk) -> None:
    assert desk.queue.next_due() is None
    desk.put("a")
    assert desk.queue.next_due() is None
    desk.put("b", after=5)
    assert desk.queue.next_due() == desk.clock.now() + timedelta(seconds=5)
    assert desk.queue.next_due(desk.clock.now() + timedelta(seconds=5)) is None


def test_every_worker_has_a_name_of_its_own_that_tells_the_process() -> None:
    names = {worker_name() for _ in range(100)}
    assert len(names) == 100
    assert all(name.split(":")[1] == str(os.getpid()) for name in names)


# -- a burst, and once ---------------------------------------------------------------------------------------------


def test_a_burst_does_what_is_due_and_leaves_the_rest(desk: Desk) -> None:
    for name in "abcde":
        desk.put(name)
    desk.put("later", after=60)
    worker = desk.worker(threads=2)
    assert worker.run_burst() == desk.clock.now()
    assert sorted(desk.did) == [f"{name}:1" for name in "abcde"]
    assert worker.done == 5
    assert desk.jobs()["later"].attempts == 0
    assert desk.last_beat() == desk.clock.now()


def test_a_burst_does_the_jobs_of_one_state_one_after_the_other_whatever_the_threads(desk: Desk) -> None:
    busy: list[int] = []

    def alone(job: Job) -> None:
        busy.append(job.version)
        assert len(busy) == 1
        busy.clear()

    desk.work = alone
    for version in (3, 1, 4, 2):
        desk.put("a", version=version)
    desk.worker(threads=4).run_burst()
    assert desk.did == ["a:1", "a:2", "a:3", "a:4"]


def test_a_burst_without_time_begins_nothing(memory: Desk) -> None:
    memory.put("a")
    assert memory.worker().run_burst(within=0.0) is None
    assert memory.did == []


def test_a_worker_runs_burst_after_burst(memory: Desk) -> None:
    worker = memory.worker(threads=2)
    for number in range(3):
        memory.put(f"s{number}")
        worker.run_burst()
    assert memory.did == ["s0:1", "s1:1", "s2:1"]


def test_once_does_what_is_due_at_the_beginning_and_no_job_twice(memory: Desk) -> None:
    assert isinstance(memory.clock, FakeClock)
    clock, tried = memory.clock, []

    def fail(job: Job) -> None:
        tried.append(job.key.name)
        now = clock.advance(1)
        memory.put("new")
        with memory.backend.writing() as unit:
            memory.backend.save(unit, job.again(now, "It failed."))

    memory.put("a")
    memory.put("b")
    memory.worker(perform=fail).run_once()
    assert tried == ["a", "b"]
    assert {name: job.attempts for name, job in memory.jobs().items()} == {"a": 1, "b": 1, "new": 0}


def test_once_does_every_chore_and_a_burst_those_that_are_due(memory: Desk) -> None:
    done: list[str] = []
    worker = memory.worker(chores=[Chore("sweep", 3600, lambda: done.append("sweep"))])
    worker.run_burst()
    worker.run_burst()
    assert done == ["sweep"]
    worker.run_once()
    assert done == ["sweep", "sweep"]


def test_a_long_chore_and_the_jobs_take_turns_and_a_stopped_worker_does_not_end_the_chore(memory: Desk) -> None:
    pieces: list[int] = []
    when_done: list[int] = []

    def chore() -> bool:
        pieces.append(1)
        memory.put(f"s{len(pieces)}")
        return len(pieces) < 5

    memory.work = lambda job: when_done.append(len(pieces))
    memory.worker(chores=[Chore("sweep", 3600, chore)]).run_burst()
    assert (len(pieces), when_done) == (5, [1, 2, 3, 4, 5])
    pieces.clear()
    memory.worker(chores=[Chore("sweep", 3600, chore)]).run_once()
    assert len(pieces) == 5
    endless = memory.worker(chores=[Chore("sweep", 3600, lambda: not pieces.append(1))], poll=PATIENCE * 10)
    with at_work(endless):
        until(lambda: len(pieces) > 50)
        memory.put("a")
        until(lambda: memory.did[-1] == "a:1")
    assert memory.worker(chores=[Chore("sweep", 3600, lambda: True)]).run_burst(within=0.05) is None


def test_threads_work_at_the_same_time(memory: Desk) -> None:
    together = threading.Barrier(3)
    memory.work = lambda job: together.wait(PATIENCE)
    for name in "abc":
        memory.put(name)
    memory.worker(threads=3).run_burst()
    assert memory.saved == [True, True, True]


# -- for ever ------------------------------------------------------------------------------------------------------


def test_a_worker_waits_until_it_is_woken_and_leaves_when_it_is_stopped(desk: Desk) -> None:
    worker = desk.worker(poll=PATIENCE * 10)
    with at_work(worker):
        until(lambda: desk.last_beat() is not None)
        desk.put("a")
        worker.wake()
        until(lambda: desk.did == ["a:1"])
    assert worker.exit_code == 0
    assert desk.last_beat() is None


def test_a_worker_wakes_by_itself_when_a_job_falls_due(real: Desk) -> None:
    real.put("a", after=0.3)
    with at_work(real.worker(poll=PATIENCE * 10)):
        until(lambda: real.did == ["a:1"])


def test_a_worker_polls(real: Desk) -> None:
    first = threading.Event()
    real.work = lambda job: first.set()
    with at_work(real.worker(poll=0.05)):
        real.put("a")
        until(first.is_set)
        real.put("b")
        until(lambda: real.did == ["a:1", "b:1"])


def test_what_waits_for_an_earlier_job_does_not_keep_the_worker_busy(memory: Desk) -> None:
    claims: list[int] = []
    claim = memory.backend.claim

    def counted(*given: Any, **named: Any) -> Any:
        claims.append(1)
        return claim(*given, **named)

    memory.backend.claim = counted
    memory.put("a", version=2)
    memory.put("a", version=1, after=60)
    memory.put("b")
    with at_work(memory.worker(poll=PATIENCE * 10)):
        until(lambda: memory.did == ["b:1"])
        until(lambda: len(claims) >= 2)
        # Whoever looks again and again does so thousands of times in this time.
        assert not threading.Event().wait(0.2)
    assert len(claims) <= 4


def test_a_stopped_worker_finishes_what_it_holds_and_takes_nothing_new(memory: Desk) -> None:
    held, release = threading.Event(), threading.Event()

    def hold(job: Job) -> None:
        held.set()
        assert release.wait(PATIENCE)

    memory.work = hold
    memory.put("a")
    memory.put("b")
    worker = memory.worker()
    with at_work(worker) as thread:
        assert held.wait(PATIENCE)
        worker.stop()
        assert thread.is_alive()
        release.set()
    assert (memory.did, memory.saved) == (["a:1"], [True])
    assert memory.jobs()["b"].attempts == 0


def test_chores_are_done_again_and_again_and_a_failing_one_hurts_nobody(
    memory: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    done: dict[str, int] = {"good": 0, "bad": 0, "away": 0}

    def do(title: str, error: Exception | None) -> None:
        done[title] += 1
        if error is not None:
            raise error

    errors = {"bad": RuntimeError("boom"), "away": StorageUnavailable("nobody there"), "good": None}
    chores = [Chore(title, 0.01, lambda title=title, error=error: do(title, error)) for title, error in errors.items()]
    with at_work(memory.worker(chores=chores, poll=PATIENCE * 10)):
        until(lambda: min(done.values()) >= 4)
        memory.put("a")
        until(lambda: memory.did == ["a:1"])
    assert caplog.text.count("The chore 'bad' failed.") >= 4
    assert caplog.text.count("nobody there") == 1


def test_jobs_chores_and_the_queue_are_used_inside_the_context(memory: Desk) -> None:
    app = Flask("shop")
    seen: list[str] = []

    def note(*_given: Any) -> None:
        seen.append(current_app.name)

    memory.work = note
    claim = memory.backend.claim
    memory.backend.claim = lambda *given, **named: note() or claim(*given, **named)
    memory.put("a")
    memory.worker(context=app.app_context, chores=[Chore("sweep", 60, note)]).run_burst()
    assert seen == ["shop"] * 4


# -- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("boom"), StorageUnavailable("boom"), SystemExit("boom")])
def test_a_job_whose_doing_raises_is_left_to_its_lease_and_the_thread_goes_on(
    memory: Desk, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def fail(job: Job) -> None:
        if job.key.name == "a":
            raise error

    memory.work = fail
    memory.put("a")
    memory.put("b")
    memory.worker().run_burst()
    assert memory.did == ["b:1"]
    job = memory.jobs()["a"]
    assert (job.status, job.attempts, job.worker) == (PENDING, 1, memory.queue.worker)
    assert "states:a:1:mail" in caplog.text
    assert "boom" in caplog.text


def test_a_storage_that_is_away_is_waited_for_and_logged_once(memory: Desk, caplog: pytest.LogCaptureFixture) -> None:
    claim, failures = memory.backend.claim, [StorageUnavailable("nobody there")] * 3

    def failing(*given: Any, **named: Any) -> Any:
        if failures:
            raise failures.pop()
        return claim(*given, **named)

    memory.backend.claim = failing
    memory.put("a")
    with at_work(memory.worker(poll=PATIENCE * 10)):
        until(lambda: memory.did == ["a:1"])
    assert caplog.text.count("nobody there") == 1
    assert caplog.text.count("works again") == 1


def test_no_error_ends_a_worker_and_each_is_logged_once_with_its_traceback(
    real: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("claim", "beat"):
        failing(real, name, [RuntimeError(f"no {name}")] * 3)
    tried: list[int] = []
    real.work = lambda job: until(lambda: caplog.text.count("works again") == 2)
    real.put("a")
    with at_work(real.worker(poll=0.05, chores=[Chore("count", 0.05, lambda: tried.append(1))])) as thread:
        until(lambda: real.did == ["a:1"])
        assert thread.is_alive()
    assert real.saved == [True]
    assert [caplog.text.count(f"RuntimeError: no {name}") for name in ("claim", "beat")] == [1, 1]
    assert caplog.text.count("Traceback") == 2


def failing(desk: Desk, name: str, errors: list[Exception]) -> None:
    """Have a method of a desk's backend raise these errors first."""
    method = getattr(desk.backend, name)

    def fail(*given: Any, **named: Any) -> Any:
        if errors:
            raise errors.pop()
        return method(*given, **named)

    setattr(desk.backend, name, fail)


def test_once_and_a_burst_raise_when_the_storage_is_away(memory: Desk) -> None:
    def failing(*given: Any, **named: Any) -> Any:
        raise StorageUnavailable("nobody there")

    memory.backend.claim = failing
    for run in (memory.worker().run_once, memory.worker().run_burst):
        with pytest.raises(StorageUnavailable):
            run()


def test_the_lease_of_a_job_in_hand_is_prolonged(real: Desk) -> None:
    renewals: list[int] = []
    enough = threading.Event()
    renew = real.backend.renew

    def counted(unit: Any, jobs: Sequence[Job], until: datetime) -> None:
        renew(unit, jobs, until)
        renewals.append(len(jobs))
        if len(renewals) == 5:  # at a third of the lease each: it would have ended
            enough.set()

    real.backend.renew = counted
    other = JobQueue(real.backend, real.backend, real.clock, 30.0, worker_name())
    stolen: list[Job] = []

    def hold(job: Job) -> None:
        assert enough.wait(PATIENCE)
        stolen.extend(other.claim(1))

    real.work = hold
    real.put("a")
    real.worker().run_burst()
    assert stolen == []
    assert real.saved == [True]
    assert renewals == [1] * len(renewals)


def test_a_job_that_takes_too_long_is_recorded_once_its_thread_replaced_and_its_late_result_refused(
    memory: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    def hang(job: Job) -> None:
        if job.key.name == "a":
            assert release.wait(PATIENCE)

    memory.work = hang
    memory.put("a")
    worker = memory.worker(timeout=0.1)
    with at_work(worker):
        until(lambda: memory.late == ["a"])
        memory.put("b")
        worker.wake()
        until(lambda: memory.did == ["b:1"])
        release.set()
        until(lambda: len(memory.did) == 2)
    assert (memory.late, memory.saved, worker.exit_code) == (["a"], [True, False], 0)
    assert memory.jobs()["a"].status == DEAD
    assert caplog.text.count("takes longer than its timeout") == 1


def test_a_worker_whose_jobs_do_not_end_gives_up_with_exit_code_70(
    memory: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    memory.work = lambda job: release.wait(PATIENCE)
    for name in "abc":
        memory.put(name)
    worker = memory.worker(timeout=0.05)
    thread = threading.Thread(target=worker.run_forever)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert (memory.late, worker.exit_code) == (["a", "b"], 70)
    assert "has to be restarted" in caplog.text
    release.set()


def test_a_timeout_that_cannot_be_recorded_leaves_the_job_to_its_lease(
    memory: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    memory.work = lambda job: release.wait(PATIENCE)

    def fail(job: Job) -> None:
        release.set()
        raise StorageUnavailable("nobody there")

    memory.put("a")
    worker = Worker(memory.queue, memory.perform, timeout_of=lambda job: 0.05, timed_out=fail)
    worker.run_burst()
    until(lambda: memory.did == ["a:1"])
    assert "its timeout was not stored" in caplog.text


def test_a_worker_that_cannot_look_after_its_leases_gives_up(real: Desk, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*given: Any) -> None:
        raise SystemExit("boom")

    worker = real.worker()
    with at_work(worker) as thread:
        real.backend.renew = broken
        real.work = lambda job: until(lambda: worker.exit_code == 70)
        real.put("a")
        worker.wake()
        thread.join(PATIENCE)
    assert worker.exit_code == 70
    assert real.did == ["a:1"]
    assert "cannot look after its leases" in caplog.text


def test_a_worker_ends_although_its_keeper_hangs(memory: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_statemanager.effects.worker._JOIN", 0.1)
    hanging, release = threading.Event(), threading.Event()

    def hang(job: Job) -> None:
        hanging.set()
        release.wait(PATIENCE)

    memory.work = lambda job: release.wait(PATIENCE)
    memory.put("a")
    memory.put("b")
    worker = Worker(memory.queue, memory.perform, threads=2, timeout_of=lambda job: 0.05, timed_out=hang)
    try:
        with at_work(worker):
            assert hanging.wait(PATIENCE)
    finally:
        release.set()


def test_an_attempt_counts_from_its_beginning(memory: Desk) -> None:
    release = threading.Event()
    memory.work = lambda job: release.wait(PATIENCE)
    memory.put("a")
    worker = memory.worker(timeout=0.05)
    worker.run_burst()
    assert (worker.done, memory.did) == (1, [])
    release.set()


# -- recording what was done ---------------------------------------------------------------------------------------


def recording(desk: Desk) -> Callable[[Job], None]:
    """Return what does a job and records it as the effects do."""

    def perform(job: Job) -> None:
        desk.did.append(f"{job.key.name}:{job.version}")

        def save() -> bool:
            with desk.backend.writing() as unit:
                stored: bool = desk.backend.save(unit, job.ended(DONE, desk.clock.now()))
                return stored

        desk.saved.append(recorded(save))

    return perform


def test_what_is_done_is_not_done_again_because_the_storage_was_away(
    real: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor because that took longer than its timeout, which is one for the work."""
    monkeypatch.setattr("flask_statemanager.effects.recording._LONGEST_PAUSE", 0.2)
    real.queue.lease = 5.0
    failing(real, "save", [StorageUnavailable("nobody there")] * 4)
    real.put("a")
    real.worker(perform=recording(real), timeout=0.1).run_burst()
    assert (real.did, real.saved, real.late) == (["a:1"], [True], [])
    assert (real.jobs()["a"].status, real.jobs()["a"].attempts) == (DONE, 1)
    assert caplog.text.count("Recording how states:a:1:mail ended fails (nobody there)") == 1
    assert caplog.text.count("Recording how states:a:1:mail ended works again") == 1


def test_a_result_that_is_refused_while_all_else_works_is_given_up(
    real: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    failing(real, "save", [StorageUnavailable("too odd")] * 999)
    real.put("a")
    real.worker(perform=recording(real)).run_burst(within=0.1)
    assert (real.did, real.saved) == (["a:1"], [])
    assert real.jobs()["a"].status == PENDING
    assert "left to the end of its lease" in caplog.text


def test_a_worker_that_is_stopped_does_not_wait_for_the_storage_for_long(
    memory: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_statemanager.effects.recording._LAST", 0.0)
    failing(memory, "save", [StorageUnavailable("nobody there")] * 999)
    memory.put("a")
    with at_work(memory.worker(perform=recording(memory))):
        until(lambda: "nobody there" in caplog.text)
    assert (memory.did, memory.saved, memory.jobs()["a"].status) == (["a:1"], [], PENDING)


def test_a_lost_race_is_run_again_everywhere_and_an_outage_only_in_a_worker() -> None:
    errors = [StateConflict("The record", None, None)]

    def save() -> bool:
        if errors:
            raise errors.pop()
        return True

    assert recorded(save)
    errors.append(StorageUnavailable("nobody there"))
    with pytest.raises(StorageUnavailable):
        recorded(save)


def test_lost_races_of_the_queue_are_run_again(memory: Desk) -> None:
    for name in ("claim", "beat"):
        failing(memory, name, [StateConflict("The record", None, None)] * 2)
    memory.put("a")
    memory.worker().run_once()
    assert memory.did == ["a:1"]


def test_a_worker_does_not_claim_what_it_holds_although_the_lease_has_run_out(real: Desk) -> None:
    renew, claim = real.backend.renew, real.backend.claim
    claims: list[float] = []

    def only_with_a_claim(*given: Any) -> None:
        if threading.current_thread().name == "statemanager-keeper":
            raise StorageUnavailable("nobody there")
        renew(*given)

    def counted(*given: Any, **named: Any) -> Any:
        claims.append(time.monotonic())
        return claim(*given, **named)

    real.backend.renew, real.backend.claim = only_with_a_claim, counted
    real.work = lambda job: until(lambda: claims[-1] - claims[0] > 3 * real.queue.lease)
    real.put("a")
    with at_work(real.worker(threads=2, poll=0.05)):
        until(lambda: real.did == ["a:1"])
    assert (real.saved, real.jobs()["a"].attempts) == ([True], 1)


# -- rows that somebody has locked ---------------------------------------------------------------------------------


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Desk]:
    """On PostgreSQL and in real time, with a lease of half a second."""
    backend = SqlBackend(make_engine(postgres_url), declare(MetaData()), owned=True)
    backend.create_tables()
    yield Desk(backend, SystemClock(), lease=0.5)
    backend.close()


def promptly(act: Callable[[], Any]) -> Any:
    """Do something that must not wait, and return what it returned."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(act()), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    return answers[0]


def test_a_locked_job_is_passed_over_and_not_waited_for(postgres: Desk) -> None:
    backend, far = postgres.backend, postgres.clock.now() + timedelta(days=1)
    for name in "ab":
        postgres.put(name)
    jobs = postgres.queue.claim(2)
    [locked] = [job for job in jobs if job.key.name == "a"]

    def renew() -> None:
        with backend.writing() as unit:
            backend.renew(unit, jobs, far)

    def save() -> bool:
        with backend.writing() as unit:
            return bool(backend.save(unit, locked.ended(DONE, far), wait=False))

    with backend.writing() as unit:
        backend.jobs(unit, JobQuery(id=locked.id), lock=True)
        promptly(renew)
        assert not promptly(save)
    found = postgres.jobs()
    assert (found["a"].due_at, found["b"].due_at) == (locked.due_at, far)
    assert promptly(save)
    assert postgres.jobs()["a"].status == DONE


def test_a_job_that_locks_its_row_costs_others_neither_their_leases_nor_the_sign_of_life(postgres: Desk) -> None:
    backend, renewed, locked = postgres.backend, threading.Semaphore(0), threading.Event()
    renew = backend.renew

    def counted(*given: Any) -> None:
        renew(*given)
        if locked.is_set():
            renewed.release()

    def hold(job: Job) -> None:
        locked.wait(PATIENCE)
        for _ in range(6):  # a third of the lease each
            assert renewed.acquire(timeout=PATIENCE)
        stolen.extend(other.claim(5))
        beats.append(postgres.last_beat())
        release.set()

    def perform(job: Job) -> None:
        if job.key.name == "other":
            hold(job)
            postgres.perform(job)
            return
        with backend.writing() as unit:
            assert backend.save(unit, job.ended(DONE, postgres.clock.now()))
            locked.set()
            assert release.wait(PATIENCE)

    release, stolen, beats = threading.Event(), list[Job](), list[Any]()
    backend.renew = counted
    other = JobQueue(backend, backend, postgres.clock, 30.0, worker_name())
    postgres.put("slow")
    postgres.put("other")
    started = postgres.clock.now()
    postgres.worker(perform=perform, threads=2).run_burst()
    assert (stolen, postgres.saved) == ([], [True])
    assert beats[0] > started + timedelta(seconds=postgres.queue.lease)
    assert {job.status for job in postgres.jobs().values()} == {DONE}


def test_an_effect_whose_row_is_locked_does_not_hold_up_whoever_notes_its_timeout(postgres_world: World) -> None:
    states, backend = postgres_world.states, postgres_world.runtime.backend
    states.register_callback("user", lambda *call: None, durable=True, name="mail")
    states.register_state("u1", "user")
    with backend.writing() as unit:
        [job] = backend.jobs(unit, JobQuery(), lock=True)
        promptly(lambda: postgres_world.runtime.workshop.effects.timed_out(job))
    assert states.get_effect(job.id).status == PENDING
    assert states.get_effect(job.id).error is None


def test_a_worker_ends_although_the_hook_of_a_timer_does_not(
    postgres_world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("flask_statemanager.lifecycle.timers.TIMEOUT", 0.2)
    entered, release = threading.Event(), threading.Event()

    def hang(_state_id: str, _old: Any, _new: Any, transition: str) -> None:
        if transition == "suspend":
            entered.set()
            assert release.wait(PATIENCE)

    states = postgres_world.states
    states.register_callback("user", hang, when="before")
    states.register_state("u1", "user")
    states.schedule_transition("u1", "suspend", after=0)
    worker = postgres_world.runtime.workshop.make_worker(threads=1)
    with at_work(worker):
        assert entered.wait(PATIENCE)
    assert "takes longer than its timeout" in caplog.text
    release.set()
    # Nobody else could have had it, and what it has done in the end is one with its record.
    until(lambda: states.get_state("u1").status == "suspended")


STOPPED = """
import sys
from sqlalchemy import MetaData
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.engine import make_engine
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.clock import SystemClock
from flask_statemanager.effects.queue import JobQueue, worker_name
from flask_statemanager.effects.worker import Worker

backend = SqlBackend(make_engine(sys.argv[1]), declare(MetaData()), owned=True)
clock = SystemClock()

def perform(job):
    print("holding", flush=True)
    sys.stdin.readline()
    with backend.writing() as unit:
        print(backend.save(unit, job.ended("done", clock.now())), flush=True)

queue = JobQueue(backend, backend, clock, 1.0, worker_name())
Worker(queue, perform, timeout_of=lambda job: 600.0, timed_out=print).run_burst()
"""


def test_a_process_that_was_stopped_and_resumed_does_not_get_its_lease_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    backend = SqlBackend(make_engine(url), declare(MetaData()), owned=True)
    backend.create_tables()
    desk = Desk(backend, SystemClock(), lease=600.0)
    desk.put("a")
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == "holding\n"
            os.kill(other.pid, signal.SIGSTOP)
            taken: list[Job] = []
            until(lambda: bool(taken) or bool(taken.extend(desk.queue.claim(1))))
            os.kill(other.pid, signal.SIGCONT)
            other.stdin.write("\n")
            other.stdin.flush()
            assert other.stdout.readline() == "False\n"
            assert other.wait(PATIENCE) == 0
        finally:
            other.kill()
    [job] = taken
    assert desk.jobs()["a"] == job
    backend.close()


# -- the embedded worker -------------------------------------------------------------------------------------------


def embedded(desk: Desk, made: list[Worker] | None = None) -> EmbeddedWorker:
    def make(context: Context) -> Worker:
        worker = desk.worker(context=context, poll=PATIENCE * 10)
        if made is not None:
            made.append(worker)
        return worker

    return EmbeddedWorker(make)


def test_the_embedded_worker_starts_with_the_first_request_and_once(memory: Desk) -> None:
    app, made = Flask("shop"), []
    worker = embedded(memory, made)
    worker.wake()
    assert not worker.running
    requests = threading.Barrier(8)

    def request() -> None:
        requests.wait(PATIENCE)
        worker.ensure(app)

    together(request)
    assert len(made) == 1
    assert worker.running
    names: list[str] = []
    memory.work = lambda job: names.append(current_app.name)
    memory.put("a")
    worker.wake()
    until(lambda: memory.did == ["a:1"])
    assert names == ["shop"]
    assert worker.stop()
    worker.ensure(app)
    assert not worker.running


def test_the_embedded_worker_ends_with_its_app(memory: Desk) -> None:
    app = Flask("shop")
    worker = embedded(memory)
    worker.ensure(app)
    context = AppContext(app)
    with context():
        assert current_app.name == "shop"
    del app
    gc.collect()
    until(lambda: not worker.running)
    with context():
        assert not current_app


def test_an_embedded_worker_that_holds_a_job_is_waited_for_with_patience(memory: Desk) -> None:
    held, release = threading.Event(), threading.Event()

    def hold(job: Job) -> None:
        held.set()
        assert release.wait(PATIENCE)

    memory.work = hold
    memory.put("a")
    app = Flask("shop")
    worker = embedded(memory)
    worker.ensure(app)
    assert held.wait(PATIENCE)
    assert not worker.stop(patience=0.01)
    release.set()
    assert worker.stop(patience=PATIENCE)
    assert memory.saved == [True]


def test_an_embedded_worker_that_dies_is_logged_and_started_anew_after_a_while(
    memory: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def deaf() -> Iterator[None]:
        if len(made) == 1:
            raise RuntimeError("boom")
        yield

    def make(context: Context) -> Worker:
        made.append(memory.worker(context=context, listening=deaf))
        return made[-1]

    made: list[Worker] = []
    app, worker = Flask("shop"), EmbeddedWorker(make)
    worker.ensure(app)
    until(lambda: not worker.running)
    assert "The embedded worker has died" in caplog.text
    worker.ensure(app)
    assert len(made) == 1
    monkeypatch.setattr("flask_statemanager.effects.embedded.AGAIN", 0.0)
    worker.ensure(app)
    assert (worker.running, len(made)) == (True, 2)
    assert worker.stop()
    worker.ensure(app)
    assert not worker.running


def test_an_embedded_worker_that_has_given_up_is_not_started_anew(
    memory: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_statemanager.effects.embedded.AGAIN", 0.0)
    made: list[Worker] = []
    app, worker = Flask("shop"), embedded(memory, made)
    worker.ensure(app)
    made[0].stop()
    until(lambda: not worker.running)
    worker.ensure(app)
    assert len(made) == 1


SCRIPT = """
import atexit, os, sys, threading, time
from flask import Flask
from flask_statemanager.backends.memory import MemoryBackend
from flask_statemanager.core.clock import SystemClock
from flask_statemanager.core.jobs import EFFECT, Job
from flask_statemanager.core.record import Key
from flask_statemanager.core.waking import Coalesced
from flask_statemanager.effects.embedded import EmbeddedWorker
from flask_statemanager.effects.queue import JobQueue, worker_name
from flask_statemanager.effects.worker import Worker

backend, clock, app = MemoryBackend(), SystemClock(), Flask("shop")

def put(name):
    with backend.writing() as unit:
        backend.enqueue(unit, [Job(EFFECT, Key("states", name), "mail", 1, clock.now(), clock.now())])

def make(context):
    queue = JobQueue(backend, backend, clock, 30.0, worker_name())
    return Worker(queue, perform, timeout_of=lambda job: 60.0, timed_out=print, context=context)
"""

FORKED = (
    SCRIPT
    + """
import logging
did, sent = threading.Semaphore(0), threading.Semaphore(0)

def perform(job):
    with backend.writing() as unit:
        backend.save(unit, job.ended("done", clock.now()))
    did.release()

embedded = EmbeddedWorker(make)
waker = Coalesced(sent.release, title="Sending", logger=logging.getLogger())

def work(name):
    put(name)
    embedded.ensure(app)
    embedded.wake()
    waker.wake()
    assert did.acquire(timeout=30) and sent.acquire(timeout=30)
    print(name, flush=True)

work("parent")
child = os.fork()
if child == 0:
    work("child")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
work("parent again")
"""
)

ENDING = (
    SCRIPT
    + """
held, ending = threading.Event(), threading.Event()

def perform(job):
    held.set()
    assert ending.wait(30)
    time.sleep(0.3)  # an interpreter that does not wait is gone by then
    print("finished", flush=True)

atexit.register(ending.set)
put("a")
worker = EmbeddedWorker(make)
worker.ensure(app)
assert held.wait(30)
"""
)


def run(script: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE * 2, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_fork_gets_threads_of_its_own() -> None:
    assert run(FORKED).splitlines() == ["parent", "child", "parent again"]


def test_the_end_of_the_process_waits_for_the_job_in_hand() -> None:
    assert run(ENDING) == "finished\n"


# -- waking --------------------------------------------------------------------------------------------------------


def test_an_alarm_that_rang_before_is_heard_once() -> None:
    alarm = Alarm()
    assert not alarm.wait(0.0)
    alarm.ring()
    alarm.ring()
    assert alarm.wait(0.0)
    assert not alarm.wait(0.0)


def test_what_many_ask_for_meanwhile_is_done_once_more() -> None:
    begun, release, sent = threading.Event(), threading.Event(), []

    def send() -> None:
        sent.append(1)
        begun.set()
        assert release.wait(PATIENCE)

    waker = Coalesced(send, title="Sending", logger=logging.getLogger("flask_statemanager"))
    waker.wake()
    assert begun.wait(PATIENCE)
    for _ in range(100):
        waker.wake()
    release.set()
    until(lambda: len(sent) == 2)
    waker.close()
    waker.wake()
    assert len(sent) == 2


def test_what_fails_is_done_again_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    tried: list[int] = []

    def send() -> None:
        tried.append(1)
        if len(tried) < 3:
            raise OSError("no broker")

    waker = Coalesced(send, title="Sending", logger=logging.getLogger("flask_statemanager"))
    waker.wake()
    until(lambda: len(tried) == 3)
    waker.close()
    assert caplog.text.count("Sending fails (no broker)") == 1


def test_a_process_that_gets_no_thread_any_more_is_not_hurt_by_waking(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sent = threading.Event()
    waker = Coalesced(sent.set, title="Sending", logger=logging.getLogger("flask_statemanager"))
    with monkeypatch.context() as ending:
        ending.setattr(threading.Thread, "start", refuse)
        waker.wake()
    assert not sent.is_set()
    waker.wake()
    assert sent.wait(PATIENCE)
    waker.close()


def test_threads_that_meet_get_the_same_object_of_their_process() -> None:
    meeting, found = threading.Barrier(8), []

    def make() -> object:
        return object()

    shared = PerProcess(make)
    assert shared.present is None

    def get() -> None:
        meeting.wait(PATIENCE)
        found.append(shared.get())

    together(get)
    assert len(set(map(id, found))) == 1
    assert len(found) == 8

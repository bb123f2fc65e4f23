"""Wake-ups by NOTIFY: who hears them, and what happens when the connections break."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, create_engine, event, text

from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.notify import CHANGES, CHANNEL, Listener, Notifier, _heard, channel_for, speaks
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.clock import SystemClock
from flask_statemanager.core.jobs import DONE, EFFECT, Job
from flask_statemanager.core.record import Key
from flask_statemanager.core.waking import Alarm
from flask_statemanager.effects.queue import JobQueue, worker_name
from flask_statemanager.effects.worker import Worker
from tests.servers.postgres_server import PostgresServer

PATIENCE = 30.0


class Ear:
    """Counts wake-ups."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.woken = 0

    def wake(self) -> None:
        with self._changed:
            self.woken += 1
            self._changed.notify_all()

    def wait_for(self, number: int) -> None:
        """Wait until there were so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.woken >= number, PATIENCE)


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    # A pool of one: a connection that counted would block the next.
    engine = create_engine(postgres_url, pool_size=1, max_overflow=0, pool_timeout=5)
    yield engine
    engine.dispose()


@pytest.fixture
def notifier(engine: Engine) -> Iterator[Notifier]:
    notifier = Notifier(engine)
    yield notifier
    notifier.close()


def test_a_channel_tells_schemas_apart_in_at_most_63_bytes() -> None:
    assert channel_for(None) == CHANNEL
    assert channel_for("tenant") == f"{CHANNEL}_tenant"
    assert channel_for("tenant", CHANGES) not in (channel_for("tenant"), channel_for(None, CHANGES))
    long = [channel_for("ä" * 40 + end) for end in ("x", "y")]
    assert len(set(long)) == 2
    assert all(len(name.encode()) <= 63 for name in long)


def test_only_postgresql_speaks(engine: Engine) -> None:
    assert speaks(engine)
    assert not speaks(create_engine("sqlite://"))


def test_a_listener_is_woken_at_its_start_and_by_each_notification(engine: Engine, notifier: Notifier) -> None:
    ear = Ear()
    with Listener(engine, ear.wake):
        ear.wait_for(1)
        for number in (2, 3, 4):
            notifier.wake()
            ear.wait_for(number)
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT 1")) == 1
    assert ear.woken == 4


def test_one_schema_does_not_wake_the_workers_of_another(engine: Engine) -> None:
    odd = 'we "quote" it'
    ears, notifiers = [Ear(), Ear()], [Notifier(engine, "one"), Notifier(engine, odd)]
    with Listener(engine, ears[0].wake, "one"), Listener(engine, ears[1].wake, odd):
        for ear in ears:
            ear.wait_for(1)
        for _ in range(3):
            before = ears[0].woken
            notifiers[0].wake()
            ears[0].wait_for(before + 1)
        notifiers[1].wake()
        # Notifications arrive in the order of their commits, so the others would have come before.
        ears[1].wait_for(2)
    assert (ears[0].woken, ears[1].woken) == (4, 2)
    for notifier in notifiers:
        notifier.close()


def test_who_follows_changes_is_not_woken_for_jobs(engine: Engine, notifier: Notifier) -> None:
    ears, changed = [Ear(), Ear()], Notifier(engine, topic=CHANGES)
    with Listener(engine, ears[0].wake), Listener(engine, ears[1].wake, topic=CHANGES):
        for ear in ears:
            ear.wait_for(1)
        for _ in range(3):
            before = ears[0].woken
            notifier.wake()
            ears[0].wait_for(before + 1)
        changed.wake()
        # Notifications arrive in the order of their commits, so the others would have come before.
        ears[1].wait_for(2)
    assert (ears[0].woken, ears[1].woken) == (4, 2)
    changed.close()


def test_broken_connections_are_made_again_and_the_listener_looks_for_what_it_missed(
    engine: Engine,
    notifier: Notifier,
    postgres_url: str,
    postgres_server: PostgresServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ear = Ear()
    with Listener(engine, ear.wake):
        ear.wait_for(1)
        notifier.wake()
        ear.wait_for(2)
        assert postgres_server.disconnect(postgres_url) >= 2
        ear.wait_for(3)
        notifier.wake()
        ear.wait_for(4)
    assert caplog.text.count("Listening for new jobs fails") == 1
    assert caplog.text.count("Listening for new jobs works again") == 1
    assert caplog.text.count("Waking the workers by NOTIFY fails") <= 1


@pytest.mark.slow
def test_a_restart_of_the_server_is_waited_for(
    engine: Engine, notifier: Notifier, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    ear = Ear()
    with Listener(engine, ear.wake):
        ear.wait_for(1)
        notifier.wake()
        ear.wait_for(2)
        postgres_server.stop()
        notifier.wake()
        until(lambda: "Waking the workers by NOTIFY fails" in caplog.text)
        postgres_server.start()
        # One for the new connection, one for what was to be sent meanwhile, in either order or at once.
        until(lambda: caplog.text.count("works again") == 2)
        ear.wait_for(3)
        heard = ear.woken
        notifier.wake()
        ear.wait_for(heard + 1)
    assert caplog.text.count("Waking the workers by NOTIFY fails") == 1


def test_a_server_that_is_away_hurts_nobody_who_wakes(caplog: pytest.LogCaptureFixture) -> None:
    before = set(threading.enumerate())
    engine = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    notifier = Notifier(engine)
    for _ in range(100):
        notifier.wake()
    with Listener(engine, lambda: pytest.fail("There is nothing to hear.")):
        until(lambda: caplog.text.count(" fails (") == 2)
    notifier.close()
    assert not {thread for thread in threading.enumerate() if thread.name.startswith("statemanager")} - before


def test_what_is_closed_leaves_no_connection_behind(engine: Engine, notifier: Notifier) -> None:
    open_ones = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    def number() -> int:
        with engine.connect() as connection:
            return int(connection.scalar(open_ones) or 0)

    ear = Ear()
    with Listener(engine, ear.wake):
        ear.wait_for(1)
        notifier.wake()
        ear.wait_for(2)
        assert number() == 2
    notifier.close()
    until(lambda: number() == 0)


def test_a_connection_on_which_the_application_has_said_something_is_taken_as_well(engine: Engine) -> None:
    @event.listens_for(engine, "checkout")
    def greet(connection: Any, *_rest: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    notifier, ear = Notifier(engine), Ear()
    with Listener(engine, ear.wake):
        ear.wait_for(1)
        notifier.wake()
        ear.wait_for(2)
    notifier.close()


def test_a_silent_connection_is_asked_whether_it_is_alive(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_statemanager.backends.sql.notify._QUIET", 0.0)
    monkeypatch.setattr("flask_statemanager.backends.sql.notify._BOUND", 0.01)
    ear = Ear()
    with Listener(engine, ear.wake):
        ear.wait_for(4)


def test_a_process_with_more_than_a_thousand_descriptors_hears_too(
    engine: Engine, notifier: Notifier, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond 1024, which select() cannot take."""
    with contextlib.ExitStack() as taken:
        while not (number := os.open(os.devnull, os.O_RDONLY)) > 1100:
            taken.callback(os.close, number)
        taken.callback(os.close, number)
        ear = Ear()
        with Listener(engine, ear.wake) as listener:
            ear.wait_for(1)
            assert listener._line.connection.fileno() > 1024
            notifier.wake()
            ear.wait_for(2)
    assert "Listening for new jobs fails" not in caplog.text


def test_psycopg2_is_heard_too() -> None:
    polled: list[str] = []
    connection = SimpleNamespace(notifies=[], poll=lambda: polled.append("poll"))
    assert not _heard(connection)
    connection.notifies = ["one", "two"]
    assert _heard(connection)
    assert not _heard(connection)
    assert len(polled) == 3


def test_a_worker_of_another_process_does_a_new_job_at_once(
    engine: Engine, postgres_url: str, notifier: Notifier, caplog: pytest.LogCaptureFixture
) -> None:
    backend = SqlBackend(engine, declare(MetaData()), owned=True)
    backend.create_tables()
    theirs = SqlBackend(create_engine(postgres_url), declare(MetaData()), owned=True)
    clock, alarm, did = SystemClock(), Alarm(), threading.Semaphore(0)

    def perform(job: Job) -> None:
        with theirs.writing() as unit:
            theirs.save(unit, job.ended(DONE, clock.now()))
        did.release()

    worker = Worker(
        JobQueue(theirs, theirs, clock, 30.0, worker_name()),
        perform,
        timeout_of=lambda job: PATIENCE,
        timed_out=lambda job: None,
        poll=PATIENCE * 10,
        wakeups=alarm,
        listening=lambda: Listener(theirs.engine, alarm.ring),
    )
    thread = threading.Thread(target=worker.run_forever)
    thread.start()
    try:
        for name in "abc":
            now = clock.now() - timedelta(seconds=1)
            with backend.writing() as unit:
                backend.enqueue(unit, [Job(EFFECT, Key("states", name), "mail", 1, due_at=now, created_at=now)])
            notifier.wake()
            assert did.acquire(timeout=PATIENCE)
    finally:
        worker.stop()
        thread.join(PATIENCE)
        theirs.close()
    assert not thread.is_alive()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []

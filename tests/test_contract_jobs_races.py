"""Jobs and requests where several meet: threads that claim, sessions that join, transactions that lose."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import MetaData, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from flask_statemanager.backends.memory import MemoryBackend
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.idempotency import Remembered
from flask_statemanager.core.jobs import DONE, Job, JobQuery
from flask_statemanager.errors import StateConflict, StorageError, StorageTimeout
from flask_statemanager.testing.clock import START
from flask_statemanager.testing.contract.idempotent import FOUND, REQUEST, Memory
from flask_statemanager.testing.contract.jobs import B, Queue, minute, new_job
from tests.worlds import World

THREADS, JOBS, LIMIT, PATIENCE = 8, 120, 3, 60


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'states.db'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


def made(url: str, **options: Any) -> Iterator[SqlBackend]:
    patient = {"connect_args": {"timeout": PATIENCE}} if url.startswith("sqlite") else {"pool_size": THREADS}
    backend = SqlBackend(create_engine(url, **patient, **options), declare(MetaData()), owned=True)
    backend.create_tables()
    yield backend
    backend.close()


@pytest.fixture
def backend(url: str) -> Iterator[SqlBackend]:
    yield from made(url)


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[SqlBackend]:
    yield from made(postgres_url)


@pytest.fixture
def careful(postgres_url: str) -> Iterator[SqlBackend]:
    yield from made(postgres_url, isolation_level="REPEATABLE READ")


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SqlBackend]:
    engine = create_engine(f"sqlite:///{tmp_path / 'states.db'}", connect_args={"timeout": 0})
    backend = SqlBackend(engine, declare(MetaData()), owned=True)
    backend.create_tables()
    yield backend
    backend.close()


# -- threads that claim --------------------------------------------------------------------------------------------


def test_no_job_is_claimed_twice_and_nobody_gets_more_than_asked_for(backend: SqlBackend) -> None:
    queue = Queue(backend)
    queue.put(*(new_job(f"t{number}", due_at=minute(-number % 7)) for number in range(JOBS)))
    start, claims = threading.Barrier(THREADS), []

    def claim(worker: str) -> None:
        start.wait(PATIENCE)
        while jobs := queue.claim(minute(9), until=minute(99), worker=worker, limit=LIMIT):
            claims.append(jobs)

    threads = [threading.Thread(target=claim, args=(f"w{number}",), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    claimed = [job for jobs in claims for job in jobs]
    assert max(map(len, claims)) == LIMIT
    assert sorted(job.topic for job in claimed) == sorted(f"t{number}" for number in range(JOBS))
    assert {(job.attempts, job.fence) for job in claimed} == {(1, 1)}


def test_workers_pass_over_what_others_are_claiming(postgres: SqlBackend) -> None:
    queue = Queue(postgres)
    queue.put(*(new_job(f"t{number}") for number in range(5)))
    with postgres.writing() as unit:
        lease = {"now": START, "until": minute(1)}
        assert [job.topic for job in postgres.claim(unit, worker="w1", limit=2, **lease)] == ["t0", "t1"]
        assert queue.topics(limit=2) == ["t2", "t3"]
    assert queue.topics(limit=2) == ["t4"]


def test_an_ordered_job_waits_while_its_predecessor_is_being_claimed(postgres: SqlBackend) -> None:
    queue = Queue(postgres)
    queue.put(new_job(version=1), new_job(version=2))
    with postgres.writing() as unit:
        assert len(postgres.claim(unit, now=START, until=minute(1), worker="w1", limit=9)) == 1
        assert queue.claim() == []


def test_one_of_two_that_read_the_same_is_told_that_it_lost(postgres: SqlBackend) -> None:
    queue = Queue(postgres)
    queue.put(new_job())
    held = queue.claimed()
    results: list[bool] = []
    second = threading.Thread(target=lambda: results.append(queue.save(replace(held, error="second"))), daemon=True)
    with postgres.writing() as unit:
        assert postgres.save(unit, held.ended(DONE, START))
        second.start()
    second.join(PATIENCE)
    assert results == [False]
    assert queue.only().status == DONE


def test_claims_are_not_prepared_by_psycopg(postgres: SqlBackend) -> None:
    """After five runs psycopg would prepare them, and a generic plan knows nothing of how much is due."""
    queue = Queue(postgres)
    for number in range(10):
        queue.put(new_job(f"t{number}"))
        queue.claim()
        queue.counts(START)
    with postgres.reading() as unit:
        cursor = unit.connection.cursor()
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        texts = [row[0] for row in cursor.fetchall()]
    assert [text for text in texts if "SKIP LOCKED" in text or "count(*)" in text] == []


def test_a_worker_that_has_been_silent_for_a_day_is_forgotten(backend: SqlBackend) -> None:
    memory = MemoryBackend()
    for queue in (Queue(backend), Queue(memory)):
        queue.beat("crashed", START)
        queue.beat("other", START + timedelta(days=1))
        queue.beat("other", START + timedelta(days=1), leaving=True)
        assert queue.last_beat() == START
        queue.beat("third", START + timedelta(days=1, seconds=1))
        queue.beat("third", START + timedelta(days=1, seconds=1), leaving=True)
        assert queue.last_beat() is None
    memory.close()


# -- how many statements -------------------------------------------------------------------------------------------


@pytest.fixture
def counted(backend: SqlBackend, caplog: pytest.LogCaptureFixture) -> Callable[[Callable[[Any], Any]], int]:
    def count(call: Callable[[Any], Any]) -> int:
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "flask_statemanager.sql"), backend.writing() as unit:
            call(unit)
        return len([record for record in caplog.records if record.name == "flask_statemanager.sql"])

    return count


def test_each_act_sends_no_more_statements_than_it_needs(backend: SqlBackend, counted: Any) -> None:
    lease = {"now": START, "until": minute(1), "worker": "w"}
    held: list[Job] = []
    assert (
        counted(lambda unit: backend.enqueue(unit, [new_job(f"t{number}", slot=f"s{number}") for number in range(3)]))
        == 1
    )
    assert counted(lambda unit: backend.enqueue(unit, [])) == 0
    choosing = 0 if backend.engine.dialect.name == "postgresql" else 1
    assert counted(lambda unit: held.extend(backend.claim(unit, limit=2, **lease))) == 1 + choosing
    assert counted(lambda unit: backend.save(unit, held[0])) == 1
    assert counted(lambda unit: backend.withdraw(unit, ["s1", "s2"], "cancelled", START)) == 1
    assert counted(lambda unit: backend.claim(unit, limit=2, **lease)) == 1
    assert counted(lambda unit: backend.count_jobs(unit, START)) == 1
    assert counted(lambda unit: backend.recall(unit, REQUEST, START)) == 1
    assert counted(lambda unit: backend.remember(unit, REQUEST, "done")) == 1
    assert counted(lambda unit: backend.recall(unit, REQUEST, START)) == 2


# -- sessions that join --------------------------------------------------------------------------------------------


def test_jobs_ride_in_the_sessions_transaction(backend: SqlBackend) -> None:
    queue = Queue(backend)
    queue.put(new_job("held"))
    held = queue.claimed()
    with Session(backend.engine) as session:
        for commit in (False, True):
            unit = backend.joined(session, write=True)
            backend.enqueue(unit, [new_job("before")])
            savepoint = session.begin_nested()
            backend.enqueue(unit, [new_job("inside")])
            savepoint.rollback()
            assert backend.save(unit, held.ended(DONE, START))
            assert [job.topic for job in backend.jobs(unit, JobQuery(statuses=("pending",)))] == ["before"]
            session.commit() if commit else session.rollback()
            assert [job.topic for job in queue.listed()] == (["held", "before"] if commit else ["held"])
    assert queue.listed()[0].status == DONE


def test_a_scope_is_taken_in_the_sessions_transaction(backend: SqlBackend) -> None:
    memory = Memory(backend)
    with Session(backend.engine) as session:
        for commit in (False, True):
            unit = backend.joined(session, write=True)
            savepoint = session.begin_nested()
            assert memory.within(unit, REQUEST, "failed") is None
            savepoint.rollback()
            assert memory.within(unit, REQUEST, "done") is None
            session.commit() if commit else session.rollback()
    assert memory.answer(REQUEST, "again") == FOUND


def test_a_thread_does_not_wait_for_the_key_of_its_own_session(postgres: SqlBackend) -> None:
    memory = Memory(postgres)
    with Session(postgres.engine) as session:
        memory.within(postgres.joined(session, write=True), REQUEST, "done")
        with pytest.raises(StorageError, match="Commit the session first"):
            memory.answer(REQUEST, "second")
        assert memory.answer(replace(REQUEST, key="another"), "other") is None
        session.commit()
    assert memory.answer(REQUEST, "again") == FOUND


Act = Callable[[SqlBackend, Any, Job], Any]
LOCKING: dict[str, Act] = {
    "enqueue": lambda backend, unit, job: backend.enqueue(unit, [replace(job, id=0)]),
    "withdraw": lambda backend, unit, job: backend.withdraw(unit, [str(job.slot)], "paused", START),
    "save": lambda backend, unit, job: backend.save(unit, job.again(minute(1))),
    "lock by slot": lambda backend, unit, job: backend.jobs(unit, JobQuery(slots=(str(job.slot),)), lock=True),
    "lock by id": lambda backend, unit, job: backend.jobs(unit, JobQuery(id=job.id), lock=True),
    "lock by record": lambda backend, unit, job: backend.jobs(unit, JobQuery(key=job.key), lock=True),
}


@pytest.fixture
def impatient(postgres_url: str) -> Iterator[SqlBackend]:
    yield from made(postgres_url, connect_args={"options": "-c lock_timeout=20s"})


@pytest.mark.parametrize("own", LOCKING)
@pytest.mark.parametrize("joined", LOCKING)
def test_a_thread_does_not_wait_for_a_job_of_its_own_session(impatient: SqlBackend, joined: str, own: str) -> None:
    queue = Queue(impatient)
    queue.put(new_job(slot="s"), new_job("free", slot="t", key=B))
    job, free = queue.listed()
    with Session(impatient.engine) as session:
        LOCKING[joined](impatient, impatient.joined(session, write=True), job)
        with pytest.raises(StorageError, match="Commit the session first"), impatient.writing() as unit:
            LOCKING[own](impatient, unit, job)
        with impatient.writing() as unit:
            LOCKING[own](impatient, unit, free)
        session.rollback()
        with impatient.writing() as unit:
            LOCKING[own](impatient, unit, job)


def test_a_job_that_somebody_else_has_written_is_not_held(impatient: SqlBackend) -> None:
    queue = Queue(impatient)
    queue.put(new_job(slot="s"))
    held = queue.claimed()
    assert queue.save(held.again(START))
    with Session(impatient.engine) as session:
        assert not impatient.save(impatient.joined(session, write=True), held.again(minute(1)))  # type: ignore[arg-type]
        assert queue.save(queue.claimed().again(minute(2)))


def test_a_snapshot_that_cannot_see_who_took_the_key_is_a_conflict(careful: SqlBackend) -> None:
    memory = Memory(careful)
    with Session(careful.engine) as session:
        unit = careful.joined(session, write=True)
        assert careful.jobs(unit, JobQuery()) == []
        memory.answer(REQUEST, "done")
        with pytest.raises(StateConflict):
            memory.within(unit, REQUEST, "second")
        session.rollback()
        assert memory.within(careful.joined(session, write=True), REQUEST, "second") == FOUND


class Vanishing:
    """A unit in which every row that is in the way is gone at the next look, a number of times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.looks = 0

    def run(self, statement: Any, values: Any) -> list[Any]:
        self.looks += 1
        return [] if self.looks <= 2 * self.times else [("update_state",)]


def test_a_row_that_vanishes_between_two_looks_is_looked_for_again(backend: SqlBackend) -> None:
    unit = Vanishing(3)
    assert backend.recall(unit, REQUEST, START) is None  # type: ignore[arg-type]
    assert unit.looks == 7
    with pytest.raises(StorageTimeout, match="try again"):
        backend.recall(Vanishing(99), REQUEST, START)  # type: ignore[arg-type]


# -- sessions of our own, and races that they lose -----------------------------------------------------------------


def test_a_new_session_is_of_the_same_database_and_nobody_elses(backend: SqlBackend) -> None:
    with backend.new_session() as session, backend.new_session() as other:
        assert session is not other
        backend.enqueue(backend.joined(session, write=True), [new_job()])
        session.commit()
    assert len(Queue(backend).listed()) == 1


def test_a_new_session_of_an_app_is_of_the_apps_own_kind(sql_world: World) -> None:
    backend = sql_world.runtime.backend
    with backend.new_session() as session:
        assert session is not sql_world.db.session()
        assert type(session) is type(sql_world.db.session())
        session.add(sql_world.note(text="from elsewhere"))
        session.flush()
        session.commit()
    assert [note.text for note in sql_world.db.session.scalars(sql_world.db.select(sql_world.note))] == [
        "from elsewhere"
    ]


def refused(act: Callable[[], Any]) -> DBAPIError:
    with pytest.raises(DBAPIError) as found:
        act()
    return found.value


def test_a_serialization_failure_is_a_lost_race_and_a_mistake_is_none(careful: SqlBackend) -> None:
    Queue(careful).put(new_job())
    change = text("UPDATE statemanager_outbox SET attempts = attempts + 1")
    with careful.new_session() as slow, careful.new_session() as fast:
        slow.execute(text("SELECT count(*) FROM statemanager_outbox"))
        fast.execute(change)
        fast.commit()
        assert careful.lost_race(refused(lambda: slow.execute(change)))
        slow.rollback()
        mistake = refused(lambda: slow.execute(text("SELECT nothing")))
    assert isinstance(mistake, ProgrammingError)
    assert not careful.lost_race(mistake)
    assert not careful.lost_race(ValueError("40001"))
    assert not careful.lost_race(StateConflict("x", None, None))


def test_an_outdated_snapshot_of_sqlite_is_a_lost_race_and_a_locked_file_is_none(sqlite: SqlBackend) -> None:
    with sqlite.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    Queue(sqlite).put(new_job())
    change = text("UPDATE statemanager_outbox SET attempts = attempts + 1")
    with sqlite.new_session() as slow, sqlite.new_session() as fast:
        slow.connection().exec_driver_sql("BEGIN")
        slow.execute(text("SELECT count(*) FROM statemanager_outbox"))
        fast.execute(change)
        locked = refused(lambda: slow.execute(change))
        fast.commit()
        outdated = refused(lambda: slow.execute(change))
        known = hasattr(sqlite3, "SQLITE_BUSY_SNAPSHOT")  # from Python 3.11 on an error tells its code
        assert sqlite.lost_race(outdated) is known
        with pytest.raises(StateConflict if known else StorageError):
            sqlite.enqueue(sqlite.joined(slow, write=True), [new_job()])  # type: ignore[arg-type]
    assert isinstance(locked, OperationalError)
    assert not sqlite.lost_race(locked)


@pytest.mark.parametrize("table", ["outbox", "idempotency", "worker"])
def test_a_database_of_an_older_version_names_the_command(backend: SqlBackend, table: str) -> None:
    with backend.engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TABLE statemanager_{table}")
    acts: dict[str, Callable[[], Any]] = {
        "outbox": lambda: Queue(backend).put(new_job()),
        "idempotency": lambda: Memory(backend).answer(REQUEST, "done"),
        "worker": lambda: Queue(backend).last_beat(),
    }
    with pytest.raises(StorageError, match="flask state db upgrade"):
        acts[table]()


def test_requests_that_are_being_taken_over_are_not_forgotten(postgres: SqlBackend) -> None:
    memory = Memory(postgres)
    memory.answer(REQUEST, "old")
    memory.answer(replace(REQUEST, key="other"), "old")
    end = START + REQUEST.ttl
    with postgres.writing() as unit:
        assert memory.within(unit, REQUEST, "new", end) is None
        with postgres.writing() as cleaner:
            assert postgres.forget_requests(cleaner, end, 9) == 1
    assert memory.answer(REQUEST, "again", now=end) == Remembered(REQUEST.fingerprint, "new")

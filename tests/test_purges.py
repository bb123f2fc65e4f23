"""Tombstones and the history: what holds them, what goes with them, and how little the floor costs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, create_engine, text
from sqlalchemy.orm import Session

from flask_statemanager.backends.memory import MemoryBackend
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.jobs import CANCELLED, DEAD, DONE, EFFECT, PAUSED, PENDING, SKIPPED, TIMER, Job
from flask_statemanager.core.query import ChangeQuery
from flask_statemanager.core.record import Key
from flask_statemanager.errors import ConfigurationError, StateConflict
from flask_statemanager.testing.clock import START
from flask_statemanager.testing.contract import Store
from flask_statemanager.testing.contract.purging import Graves
from flask_statemanager.testing.contract.store import BUCKET, change_of, fail

LATER = START + timedelta(days=1)
MINUTE = START + timedelta(minutes=1)


def sql_backend(kind: str, request: pytest.FixtureRequest, folder: Path) -> SqlBackend:
    url = f"sqlite:///{folder / 'states.db'}" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    backend = SqlBackend(create_engine(url), declare(MetaData()), owned=True)
    backend.create_tables()
    return backend


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    kind = request.param
    backend = MemoryBackend() if kind == "memory" else sql_backend(kind, request, tmp_path)
    yield backend
    backend.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def sql(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlBackend]:
    backend = sql_backend(request.param, request, tmp_path)
    yield backend
    backend.close()


def log_of(backend: Any, name: str) -> list[int]:
    with backend.reading() as unit:
        return [change.version for change in backend.changes(unit, ChangeQuery(BUCKET, Key(BUCKET, name)))]


def forget_changes(backend: Any) -> list[int]:
    with backend.writing() as unit:
        found: list[int] = backend.forget_changes(unit, LATER, 100)
        return found


@pytest.mark.parametrize("kind", [EFFECT, TIMER])
def test_a_tombstone_waits_for_its_jobs(backend: Any, kind: str) -> None:
    """For those that are to be done, and those that somebody has to decide about."""
    graves = Graves(backend)
    for status in (PENDING, PAUSED, DEAD, DONE, SKIPPED, CANCELLED):
        graves.bury(status, at=MINUTE)
        ended = None if status in (PENDING, PAUSED) else MINUTE
        job = Job(kind, Key(BUCKET, status), "t", 2, due_at=LATER, created_at=START, status=status, finished_at=ended)
        with backend.writing() as unit:
            backend.enqueue(unit, [job])
    assert graves.forget(LATER) == 3
    left = [status for status in (PENDING, PAUSED, DEAD, DONE, SKIPPED, CANCELLED) if graves.store.read(status)]
    assert left == [PENDING, PAUSED, DEAD]


def test_the_history_of_what_was_removed_may_be_forgotten_to_the_end(backend: Any) -> None:
    """Of all others the newest change stays; what begins anew has a history of its own."""
    graves = Graves(backend)
    graves.bury("a", at=MINUTE)
    graves.bury("b", at=MINUTE)
    graves.store.recreate("b", at=MINUTE)
    assert graves.forget(LATER) == 1
    assert log_of(backend, "a") == [1, 2]
    assert len(forget_changes(backend)) == 4
    assert (log_of(backend, "a"), log_of(backend, "b")) == ([], [3])
    graves.store.apply(graves.first("a", 3, at=MINUTE))
    graves.store.update("a")
    assert log_of(backend, "a") == [3, 4]
    assert len(forget_changes(backend)) == 1


def test_a_new_record_follows_nothing_although_its_history_goes_on(backend: Any) -> None:
    """The tombstone is still in the log, one version below."""
    graves = Graves(backend)
    graves.bury("a", at=MINUTE)
    graves.forget(LATER)
    graves.store.apply(graves.first("a", 3, at=MINUTE))
    with backend.reading() as unit:
        changes = backend.changes(unit, ChangeQuery(BUCKET, Key(BUCKET, "a")))
    assert [(change.version, change.before and change.before.version) for change in changes] == [
        (1, None),
        (2, 1),
        (3, None),
    ]


def test_what_is_remembered_of_a_name_can_never_be_met_again(backend: Any) -> None:
    """Whoever knew version 2 of the first life writes over nothing in the second."""
    graves, store = Graves(backend), Graves(backend).store
    known = store.create("a")
    store.delete("a", at=MINUTE)
    graves.forget(LATER)
    store.apply(graves.first("a", 3, at=MINUTE))
    with pytest.raises(StateConflict):
        store.apply(change_of(known, known, "update"))
    assert store.found("a").version == 3


def test_tombstones_are_not_removed_in_somebody_elses_transaction(sql: SqlBackend) -> None:
    Graves(sql).bury("a", at=MINUTE)
    with Session(sql.engine) as session, pytest.raises(ConfigurationError, match="leave session= out"):
        sql.forget_tombstones(sql.joined(session, write=True), BUCKET, LATER, 10)  # type: ignore[arg-type]


def test_a_tombstone_that_somebody_makes_anew_at_this_moment_is_left_alone(sql: SqlBackend) -> None:
    """On PostgreSQL nobody waits for its row; SQLite has one writer at a time."""
    graves = Graves(sql)
    for name in "abc":
        graves.bury(name, at=MINUTE)
    if sql.engine.dialect.name == "postgresql":
        with sql.writing() as unit:
            assert sql.read(unit, Key(BUCKET, "b"), lock=True) is not None
            assert graves.forget(LATER) == 2
        assert graves.store.found("b").deleted
    assert graves.forget(LATER) == (1 if sql.engine.dialect.name == "postgresql" else 3)


def test_a_rolled_back_removal_leaves_the_floor_to_the_next_one(sql: SqlBackend) -> None:
    graves = Graves(sql)
    graves.bury("a", at=MINUTE, versions=9)
    graves.bury("b", at=MINUTE + timedelta(minutes=1), versions=3)
    with suppress(ZeroDivisionError), sql.writing() as unit:
        assert sql.forget_tombstones(unit, BUCKET, LATER, 10) == 2
        fail()
    assert graves.floor("c") == 0
    assert graves.forget(MINUTE + timedelta(seconds=1)) == 1
    assert graves.floor("c") == 9


def test_tombstones_are_found_by_an_index_and_not_by_a_walk_through_the_living(sql: SqlBackend) -> None:
    verb = "EXPLAIN" if sql.engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    store = Store(sql)
    store.fill({f"k{number}": {} for number in range(2000)})
    store.delete("k7", at=MINUTE)
    with sql.engine.begin() as connection:
        connection.execute(text("ANALYZE"))
    with sql.writing() as unit:
        values = {"k_bucket": BUCKET, "k_moment": sql._dialect.bound_time(LATER), "k_limit": 100}
        plan = "\n".join(str(row) for row in unit.run(sql._tombstones.behind(verb), values, planned=False))
    assert "ix_statemanager_state_deleted" in plan


def test_a_first_version_costs_no_statement_more_above_a_floor(
    sql: SqlBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """Once the floor was asked for, as nobody has to look for a tombstone then."""
    graves = Graves(sql)
    graves.bury("a", at=MINUTE)
    graves.forget(LATER)

    def counted(*, asking: bool, name: str) -> int:
        with caplog.at_level(logging.DEBUG, "flask_statemanager.sql"), sql.writing() as unit:
            if asking:
                assert sql.floor(unit, Key(BUCKET, name)) == 2
            caplog.clear()
            sql.apply(unit, graves.first(name, 3))
            return len([record for record in caplog.records if record.name == "flask_statemanager.sql"])

    postgres = sql.engine.dialect.name == "postgresql"
    assert counted(asking=True, name="b") == (1 if postgres else 2)
    assert counted(asking=False, name="c") == (2 if postgres else 3)

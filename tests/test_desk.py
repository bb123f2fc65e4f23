"""Attendance: whether somebody does the due work, and who hears of it when nobody does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from flask_statemanager import StorageUnavailable
from flask_statemanager.backends.registry import connections_of
from flask_statemanager.core.jobs import DEAD, Job, JobQuery
from flask_statemanager.core.record import Key
from flask_statemanager.effects import desk
from tests.worlds import World, build, entered

WARNING = "no worker is there"


def with_work(world: World) -> None:
    world.states.register_callback("user", lambda *call: None, durable=True, name="mail")
    world.states.register_state("u1", "user")


def effects_of(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.states.get_health_status()["effects"]
    return found


@pytest.fixture
def memory() -> Iterator[World]:
    """An application in memory, for what is the same on every backend."""
    yield from entered(build("memory", "sqlite://"))


def test_due_work_without_a_worker_is_unhealthy_after_a_minute(world: World) -> None:
    assert effects_of(world) == {"pending": 0, "due": 0, "dead": 0, "waiting": 0.0, "worker": "none"}
    with_work(world)
    world.clock.advance(60)
    report = world.states.get_health_status()
    assert report["status"] == "healthy"
    assert report["effects"] == {"pending": 1, "due": 1, "dead": 0, "waiting": 60.0, "worker": "none"}
    world.clock.advance(0.5)
    report = world.states.get_health_status()
    assert report["status"] == "unhealthy"
    assert report["effects"] == {"pending": 1, "due": 1, "dead": 0, "waiting": 60.5, "worker": "missing"}
    assert report["error"] == "Effects or timers are due and no worker is there: run 'flask state worker'."
    assert report["state_count"] == 1


def test_a_worker_makes_it_well_again(world: World) -> None:
    with_work(world)
    world.clock.advance(61)
    assert effects_of(world)["worker"] == "missing"
    world.states.run_worker()
    report = world.states.get_health_status()
    assert (report["status"], "error" in report) == ("healthy", False)
    assert report["effects"] == {"pending": 0, "due": 0, "dead": 0, "waiting": 0.0, "worker": "alive"}


def test_work_that_waits_is_no_matter_while_a_worker_is_alive(world: World) -> None:
    backend = world.runtime.backend
    with_work(world)
    world.clock.advance(600)
    with backend.writing() as unit:
        backend.beat(unit, "w1", world.clock.now())
    assert world.states.get_health_status()["status"] == "healthy"
    world.clock.advance(90)
    assert (effects_of(world)["worker"], effects_of(world)["waiting"]) == ("alive", 690.0)
    world.clock.advance(1)
    assert effects_of(world)["worker"] == "missing"


def test_a_silent_worker_without_work_is_no_failure(world: World) -> None:
    world.states.run_worker()
    world.clock.advance(9999)
    assert (world.states.get_health_status()["status"], effects_of(world)["worker"]) == ("healthy", "none")


def test_work_of_the_future_and_dead_letters_do_not_wait(world: World) -> None:
    world.states.register_state("u1", "user")
    world.states.schedule_transition("u1", "suspend", after=9999)
    world.clock.advance(600)
    assert effects_of(world) == {"pending": 1, "due": 0, "dead": 0, "waiting": 0.0, "worker": "none"}


def test_a_missing_worker_is_warned_of_once_and_again_after_a_recovery(
    memory: World, caplog: pytest.LogCaptureFixture
) -> None:
    with_work(memory)
    memory.clock.advance(61)
    with caplog.at_level(logging.WARNING, "flask_statemanager.effects"):
        for _ in range(3):
            memory.states.get_health_status()
        assert caplog.text.count(WARNING) == 1
        assert "1 effects and timers are due, the first for 61 seconds" in caplog.text
        memory.states.run_worker()
        memory.states.get_health_status()
        memory.states.register_state("u2", "user")
        memory.clock.advance(9999)
        memory.states.get_health_status()
        memory.states.get_health_status()
    assert caplog.text.count(WARNING) == 2


def test_storing_more_work_looks_for_a_worker_now_and_then(
    memory: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_work(memory)  # looks, and nothing has waited yet
    memory.clock.advance(61)
    with caplog.at_level(logging.WARNING, "flask_statemanager.effects"):
        memory.states.register_state("u2", "user")
        assert WARNING not in caplog.text
        monkeypatch.setattr(desk, "_LOOK_EVERY", 0.0)
        memory.states.register_state("u3", "user")
    assert caplog.text.count(WARNING) == 1


def test_a_look_that_finds_a_worker_makes_the_next_absence_worth_a_warning(
    memory: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "_LOOK_EVERY", 0.0)
    backend = memory.runtime.backend
    with_work(memory)
    with caplog.at_level(logging.WARNING, "flask_statemanager.effects"):
        for number in (2, 3):
            memory.clock.advance(9999)
            memory.states.register_state(f"u{number}", "user")
            assert caplog.text.count(WARNING) == number - 1
            with backend.writing() as unit:
                backend.beat(unit, "w1", memory.clock.now())
            memory.states.update_state(f"u{number}", {"a": 1})


def test_looking_for_a_worker_never_hurts_a_write(memory: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Any:
        raise StorageUnavailable("It is away.")

    monkeypatch.setattr(memory.runtime.workshop.desk, "attendance", away)
    with_work(memory)
    assert memory.states.get_state("u1") is not None


def test_a_worker_has_the_threads_that_are_configured_or_asked_for() -> None:
    for world in entered(build("memory", "sqlite://", STATEMANAGER_WORKER_THREADS=3)):
        assert world.runtime.workshop.make_worker().threads == 3
        assert world.runtime.workshop.make_worker(threads=5).threads == 5


def test_a_job_of_an_unknown_kind_is_a_dead_letter_and_hurts_nobody(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    backend, now, mailed = world.runtime.backend, world.clock.now(), list[str]()
    strange = Job("parcel", Key("state", "u1"), "post", 1, due_at=now, created_at=now)
    with backend.writing() as unit:
        backend.enqueue(unit, [strange])
    world.states.register_callback("user", lambda *call: mailed.append(call[0]), durable=True, name="mail")
    world.states.register_state("u1", "user")
    world.states.run_worker()
    with backend.reading() as unit:
        [found] = backend.jobs(unit, JobQuery(kind="parcel"))
    told = "No code knows jobs of the kind 'parcel': update the package where this worker runs."
    assert (found.status, found.error, mailed) == (DEAD, told, ["u1"])
    assert caplog.text.count(told) == 1


def test_a_worker_with_more_threads_than_the_pool_bears_is_warned_of_once(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"pool_size": 2, "max_overflow": 4}
    for world in entered(build("postgresql", postgres_url, SQLALCHEMY_ENGINE_OPTIONS=options)):
        workshop = world.runtime.workshop
        assert connections_of(world.runtime.backend) == 6
        workshop.make_worker(threads=3)
        assert caplog.text == ""
        for _ in range(2):
            workshop.make_worker(threads=4)
    assert caplog.text.count("A worker of 4 threads may need 7 database connections") == 1
    assert "gives at most 6" in caplog.text


def test_a_pool_without_a_bound_or_without_numbers_is_not_warned_of(
    postgres_world: World, memory: World, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    assert connections_of(memory.runtime.backend) is None
    backend = postgres_world.runtime.backend
    for options in ({"max_overflow": -1}, {"pool_size": 0}, {"poolclass": NullPool}):
        monkeypatch.setattr(backend, "engine", create_engine(postgres_url, **options))
        assert connections_of(backend) is None

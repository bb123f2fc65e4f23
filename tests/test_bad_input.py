"""Every refusal is an error of ours, says what to do, and leaves no row, no history, no cache entry, no signal."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import MetaData, create_engine

from flask_statemanager import (
    LimitExceeded,
    StateConflict,
    StateManagerError,
    StateValidationError,
    StorageError,
    StorageTimeout,
    StorageUnavailable,
)
from flask_statemanager.backends.registry import backend_of_manager
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.testing.capture import Captured
from tests.servers.postgres_server import PostgresServer
from tests.worlds import World, build, cached_by, entered


def cycle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def doubling() -> list[Any]:
    value: list[Any] = []
    for _ in range(90):
        value = [value, value]
    return value


NOT_JSON: dict[str, Any] = {
    "nan": float("nan"),
    "infinity": float("inf"),
    "bytes": b"x",
    "a set": {1},
    "a cycle": cycle(),
    "an endless unfolding": doubling(),
    "a long member name": {"k" * 1_000_000: 1},
    "a lone surrogate": "\ud800",
    "a surrogate as name": {"\udfff": 1},
    "a NUL": "a\x00b",
    "more than 64 bits": 2**63,
    "less than 64 bits": -(2**63) - 1,
    "a datetime": datetime(2026, 1, 1),  # noqa: DTZ001
    "an object": object(),
    "a number as name": {1: 2},
    "too deep": [[[[[]]]]] and eval("[" * 101 + "]" * 101),  # noqa: S307
    "too large": "x" * 2**20,
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_what_is_not_json_is_refused_and_leaves_nothing(world: World, name: str, captured_states: Captured) -> None:
    value = NOT_JSON[name]
    for verb in (
        lambda: world.states.register_state("u1", "user", {"deep": [value]}),
        lambda: world.states.register_state("u1", "user", {"data": {}, "metadata": {"m": value}}),
    ):
        with pytest.raises((StateValidationError, LimitExceeded)) as caught:
            verb()
        assert len(str(caught.value)) < 300
    assert world.states.get_state("u1") is None
    assert world.states.get_state_history("u1") == []
    before = world.states.register_state("u1", "user", {"a": 1})
    with pytest.raises((StateValidationError, LimitExceeded)):
        world.states.update_state("u1", {"b": value}, "suspend")
    assert world.states.get_state("u1") == before
    assert captured_states.names == ["state-registered", "state-changed"]


@pytest.mark.parametrize(
    "value",
    [1e308, -1e308, 5e-324, 0.1, 2**63 - 1, -(2**63), 1e16, 12345678901234567890.0, "", "ä😀\u2028", [], {}, {"": 1}],
)
def test_what_json_allows_comes_back_as_it_was(world: World, value: Any) -> None:
    world.states.register_state("u1", "user", {"v": value})
    state = world.states.get_state("u1")
    assert state is not None
    assert state.data == {"v": value}
    assert world.states.update_state("u1", {"w": 1}).data == {"v": value, "w": 1}


def test_the_size_is_that_of_the_whole_state_after_the_merge(world: World) -> None:
    half = "x" * (2**19)
    world.states.register_state("u1", "user", {"a": half})
    with pytest.raises(LimitExceeded, match="1,048,576") as caught:
        world.states.update_state("u1", {"b": half})
    assert caught.value.value > caught.value.limit == 2**20
    assert world.states.get_state("u1").version == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "arguments",
    [
        {"actor": ""},
        {"actor": "a" * 256},
        {"actor": 5},
        {"source": "a\x00"},
        {"reason": "r" * 10_001},
        {"owner": ""},
        {"owner": "o" * 256},
        {"initial_status": "suspended"},
        {"initial_status": "no word"},
        {"initial_data": ["a"]},
        {"initial_data": "a"},
        {"initial_data": {"data": {}, "metadata": []}},
        {"initial_data": {"name": "n" * 256, "data": {}}},
        {"initial_data": {"name": 5, "data": {}}},
    ],
)
def test_unusable_arguments_are_refused_and_leave_nothing(world: World, arguments: dict[str, Any]) -> None:
    with pytest.raises((StateValidationError, LimitExceeded)):
        world.states.register_state("u1", "user", **arguments)
    assert world.states.get_state_history("u1") == []


def test_a_refusal_leaves_no_cache_entry(tmp_path: Path, redis_url: str) -> None:
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", **cached_by(redis_url))):
        with pytest.raises(StateValidationError):
            world.states.register_state("u1", "user", {"a": {1}})
        world.states.register_validator("session", lambda state: False)
        with pytest.raises(StateValidationError):
            world.states.register_state("s1", "session")
        assert world.states.get_state("u1") is None
        with Redis.from_url(redis_url) as client:
            assert client.keys() == []


def test_two_writers_on_one_version_leave_one_winner(sql_world: World) -> None:
    world = sql_world
    version = world.states.register_state("u1", "user").version
    barrier, answers = threading.Barrier(6), []

    def race(number: int) -> None:
        with world.app.app_context():
            barrier.wait(30)
            try:
                answers.append(world.states.update_state("u1", {"winner": number}, expect=version).version)
            except StateConflict as error:
                answers.append(error.actual)

    racers = [threading.Thread(target=race, args=(number,)) for number in range(6)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    assert answers == [2] * 6
    assert len(world.states.get_state_history("u1")) == 2


def test_many_writers_of_different_fields_lose_nothing(sql_world: World) -> None:
    world = sql_world
    world.states.register_state("u1", "user")
    barrier, failures = threading.Barrier(8), []

    def work(number: int) -> None:
        with world.app.app_context():
            barrier.wait(30)
            for turn in range(5):
                try:
                    world.states.update_state("u1", {f"f{number}_{turn}": turn})
                except StateManagerError as error:
                    failures.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert failures == []
    assert len(world.states.get_state("u1").data) == 40  # type: ignore[union-attr]
    assert [e.version for e in world.states.get_state_history("u1")] == list(range(1, 42))


def test_many_registrations_of_one_id_make_one_state(sql_world: World) -> None:
    world = sql_world
    barrier, answers = threading.Barrier(6), []

    def work(number: int) -> None:
        with world.app.app_context():
            barrier.wait(30)
            answers.append(world.states.register_state("u1", "user", {"n": number}, if_exists="ignore").data["n"])

    workers = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(answers) == 6
    assert len(set(answers)) == 1
    assert len(world.states.get_state_history("u1")) == 1


def test_a_database_that_goes_away_mid_write_leaves_nothing_and_comes_back(
    postgres_world: World, postgres_server: PostgresServer
) -> None:
    world = postgres_world
    world.states.register_state("u1", "user")
    armed = [True]

    @world.states.register_callback("user", when="before")
    def pull_the_plug(*_call: Any) -> None:
        if armed:
            armed.clear()
            postgres_server.stop()

    with pytest.raises(StorageUnavailable):
        world.states.update_state("u1", {"a": 1})
    with pytest.raises(StorageUnavailable):
        world.states.get_state("u1")
    assert world.states.get_health_status()["status"] == "unhealthy"
    postgres_server.start()
    state = recovered(lambda: world.states.get_state("u1"))
    assert state.version == 1
    assert world.states.update_state("u1", {"a": 2}).version == 2


def recovered(read: Callable[[], Any]) -> Any:
    """Return what a read gives once the server is there again."""
    for _ in range(50):
        try:
            return read()
        except StorageUnavailable:
            threading.Event().wait(0.1)
    return read()


def test_a_statement_that_postgresql_cancels_is_a_timeout(postgres_world: World) -> None:
    world = postgres_world
    world.states.register_state("u1", "user")
    with world.db.engine.begin() as blocker:
        blocker.exec_driver_sql("SELECT 1 FROM statemanager_state FOR UPDATE")
        world.db.session.connection().exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
        with pytest.raises(StorageTimeout, match="gave up waiting"):
            world.states.update_state("u1", session=world.db.session)
        world.db.session.rollback()


def test_an_unreachable_server_is_named_and_not_waited_for() -> None:
    uri = "postgresql+psycopg://nobody@127.0.0.1:1/none?connect_timeout=2"
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        backend_of_manager(uri)
    backend = SqlBackend(create_engine(uri), declare(MetaData()))
    with pytest.raises(StorageUnavailable, match="cannot be reached"), backend.reading():
        pass


def test_a_broken_file_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "w.db"
    for world in entered(build("sqlite", f"sqlite:///{path}")):
        world.states.register_state("u1", "user")
        world.db.engine.dispose()
        path.write_bytes(b"this is no database" * 500)
        with pytest.raises(StorageError):
            world.states.get_state("u1")
        path.unlink()


def test_a_writer_killed_mid_write_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "w.db"
    for world in entered(build("sqlite", f"sqlite:///{path}")):
        before = world.states.register_state("u1", "user")
        world.states.register_callback("user", lambda *call: os.kill(os.getpid(), signal.SIGKILL), when="before")
        child = os.fork()
        if child == 0:  # pragma: no cover - the child is killed, and reports nothing
            world.states.update_state("u1", {"a": 1})
            os._exit(0)
        _pid, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert world.states.get_state("u1") == before
        with sqlite3.connect(path) as connection:
            assert connection.execute("SELECT count(*) FROM statemanager_history").fetchone() == (1,)
        connection.close()

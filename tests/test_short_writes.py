"""The shortest way of a single write: read, decide, write if nothing has changed; and when it is not taken."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_statemanager import Guard, Machine, StateConflict, StateExists, StateValidationError, Transition
from flask_statemanager.core.contention import COOLING, MOST, Contention
from flask_statemanager.core.record import Key
from tests.worlds import World, build, entered

PATIENCE = 30


@pytest.fixture
def sent(caplog: pytest.LogCaptureFixture) -> Callable[[Callable[[], Any]], list[str]]:
    """Return the first words of the statements that the backend sends during a call."""

    def count(call: Callable[[], Any]) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "flask_statemanager.sql"):
            call()
        texts = [record.getMessage() for record in caplog.records if record.name == "flask_statemanager.sql"]
        return [f"{text.split()[0]}{' locked' * ('FOR UPDATE' in text)}" for text in texts]

    return count


def test_a_write_is_two_round_trips(postgres_world: World, sent: Any) -> None:
    states = postgres_world.states
    states.register_state("u1", "user")
    assert sent(lambda: states.update_state("u1", {"a": 1})) == ["SELECT", "WITH"]
    assert sent(lambda: states.register_state("u2", "user")) == ["WITH"]


def test_nothing_is_in_a_transaction_while_it_is_decided(postgres_world: World) -> None:
    """PostgreSQL commits each statement by itself, so that nobody waits for validators."""
    world = postgres_world
    world.states.register_state("u1", "user")
    open_transactions: list[int] = []

    def look(_state: Any) -> bool:
        with world.runtime.backend.engine.connect() as connection:
            asked = (
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE state = 'idle in transaction' AND datname = current_database()"
            )
            open_transactions.append(connection.exec_driver_sql(asked).scalar_one())
        return True

    world.states.register_validator("user", look)
    world.states.update_state("u1", {"a": 1})
    assert open_transactions == [0]


def test_a_validator_that_reads_states_gets_a_transaction_and_is_not_asked_in_vain_again(
    postgres_world: World, sent: Any
) -> None:
    states = postgres_world.states
    states.register_state("plan", "user", {"limit": 5})
    states.register_state("u1", "user", {"n": 1})
    asked: list[int] = []

    def within_limit(state: Any) -> bool:
        asked.append(state.data.get("n", 0))
        return bool(asked[-1] <= states.get_state("plan").data["limit"])

    states.register_validator("user", within_limit)
    states.update_state("u1", {"n": 2})
    assert asked == [2, 2]  # once more, in a transaction
    assert sent(lambda: states.update_state("u1", {"n": 3})) == ["SELECT", "SELECT locked", "SELECT", "WITH"]
    assert asked == [2, 2, 3]
    with pytest.raises(StateValidationError):
        states.update_state("u1", {"n": 6})
    assert states.get_state("u1").data == {"n": 3}


def test_what_a_guard_writes_goes_with_the_write_that_it_refuses(sql_world: World) -> None:
    """A guard must not write; if one does, it writes in the transaction of the write that asks it."""
    states = sql_world.states

    def writes_and_refuses(_present: Any, _planned: Any) -> bool:
        states.register_state("left_behind", "user", if_exists="ignore")
        raise RuntimeError("no")

    machine = Machine(initial="here", transitions=[Transition("go", "here", "there", guards=Guard(writes_and_refuses))])
    states.define("thing", machine)
    states.register_state("t1", "thing")
    with pytest.raises(Exception, match="no"):
        states.update_state("t1", transition="go")
    assert states.get_state("left_behind") is None
    assert states.get_state("t1").status == "here"


def test_a_lost_race_is_run_again_under_a_lock_and_so_are_the_next_ones(postgres_world: World, sent: Any) -> None:
    world = postgres_world
    world.states.register_state("u1", "user", {})
    rivals = iter([{"theirs": 1}])

    def overtaken(state: Any) -> bool:
        patch = next(rivals, None)
        if patch is not None:  # another thread is faster, once
            overtake(world, patch)
        return True

    world.states.register_validator("user", overtaken)
    assert sent(lambda: world.states.update_state("u1", {"ours": 1})).count("SELECT locked") == 1
    assert world.states.get_state("u1").data == {"theirs": 1, "ours": 1}
    assert world.states.get_state("u1").version == 3
    assert sent(lambda: world.states.update_state("u1", {"more": 1})) == ["SELECT locked", "WITH"]


def overtake(world: World, patch: dict[str, Any]) -> None:
    def write() -> None:
        with world.app.app_context():
            world.states.update_state("u1", patch)

    rival = threading.Thread(target=write)
    rival.start()
    rival.join(PATIENCE)
    assert not rival.is_alive()


def test_an_expectation_that_a_racer_breaks_is_a_conflict_with_what_is_stored(postgres_world: World) -> None:
    world = postgres_world
    world.states.register_state("u1", "user", {})
    rivals = iter([{"theirs": 1}])

    def overtaken(state: Any) -> bool:
        patch = next(rivals, None)
        if patch is not None:
            overtake(world, patch)
        return True

    world.states.register_validator("user", overtaken)
    with pytest.raises(StateConflict) as lost:
        world.states.update_state("u1", {"ours": 1}, expect=1)
    assert (lost.value.expected, lost.value.actual) == (1, 2)
    assert world.states.get_state("u1").data == {"theirs": 1}


def test_registering_what_exists_is_refused_as_ever(sql_world: World) -> None:
    states = sql_world.states
    states.register_state("u1", "user", {"n": 1})
    with pytest.raises(StateExists):
        states.register_state("u1", "user", {"n": 2})
    states.delete_state("u1")
    assert states.register_state("u1", "user", {"n": 3}).version == 3
    assert states.get_state("u1").data == {"n": 3}


@pytest.fixture
def near_world(postgres_url: str, redis_url: str, tmp_path: Path) -> Iterator[World]:
    config = {"STATEMANAGER_CACHE_URL": redis_url, "STATEMANAGER_NEAR_CACHE_BYTES": 1_000_000}
    yield from entered(build("postgresql", postgres_url, **config))


def near(world: World, name: str, version: int) -> None:
    """Read until the process has a version at hand."""
    ready = threading.Event()
    for _ in range(600):
        world.states.get_state(name)
        entry = world.runtime.cache.at_hand(str(Key("state", name)))
        if entry is not None and entry.version == version:
            return
        ready.wait(0.05)
    raise AssertionError("The near cache does not keep it.")


def test_an_expected_version_at_hand_makes_it_one_round_trip(near_world: World, sent: Any) -> None:
    states = near_world.states
    states.register_state("u1", "user", {})
    near(near_world, "u1", 1)
    assert sent(lambda: states.update_state("u1", {"a": 1}, expect=1)) == ["WITH"]
    assert states.get_state("u1", consistency="strong").data == {"a": 1}


def test_an_expected_version_at_hand_that_is_not_stored_any_more_is_a_conflict(near_world: World) -> None:
    states = near_world.states
    states.register_state("u1", "user", {})
    near(near_world, "u1", 1)
    with near_world.runtime.backend.writing() as unit:  # nobody tells the cache
        unit.connection.cursor().execute("UPDATE statemanager_state SET version = 5 WHERE name = 'u1'")
    with pytest.raises(StateConflict) as lost:
        states.update_state("u1", {"a": 1}, expect=1)
    assert (lost.value.expected, lost.value.actual) == (1, 5)


def test_what_is_refused_by_a_version_at_hand_is_decided_anew_by_what_is_stored(near_world: World) -> None:
    states = near_world.states
    states.register_state("u1", "user", {})
    near(near_world, "u1", 1)
    with near_world.runtime.backend.writing() as unit:
        unit.connection.cursor().execute("UPDATE statemanager_state SET version = 5 WHERE name = 'u1'")
    with pytest.raises(StateConflict):  # by the version at hand it would be TransitionNotAllowed
        states.update_state("u1", transition="resume", expect=1)


def test_a_state_that_exists_is_said_to_exist_whatever_else_is_wrong(sql_world: World) -> None:
    states = sql_world.states
    states.register_state("u1", "user", {"n": 1})
    states.register_validator("user", lambda state: False)
    with pytest.raises(StateExists):
        states.register_state("u1", "user", {"n": 2})


# -- what is fought over -----------------------------------------------------------------------------------------------


def test_a_lost_race_is_remembered_for_a_while() -> None:
    now = [100.0]
    contention = Contention(lambda: now[0])
    key = Key("state", "a")
    assert not contention.hot(key)
    contention.heat(key)
    assert contention.hot(key)
    assert not contention.hot(Key("state", "b"))
    now[0] += COOLING
    assert not contention.hot(key)


def test_the_memory_of_lost_races_is_bounded() -> None:
    contention = Contention(lambda: 0.0)
    for number in range(MOST + 1):
        contention.heat(Key("state", str(number)))
    assert contention.hot(Key("state", str(MOST)))
    assert sum(contention.hot(Key("state", str(number))) for number in range(MOST + 1)) <= MOST

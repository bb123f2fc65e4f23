"""The shortest way of a single write: read, decide, write if nothing has changed; and when it is not taken."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy.exc import OperationalError

from flask_statemanager import (
    Guard,
    Machine,
    StateConflict,
    StateExists,
    StateValidationError,
    StorageUnavailable,
    Transition,
)
from flask_statemanager.backends.sql.lending import Loan
from flask_statemanager.core.contention import COOLING, MOST, Contention
from flask_statemanager.core.record import Key
from flask_statemanager.signals import state_changed
from tests.processes.child import until
from tests.worlds import World, build, cached_by, entered, uri_for

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


@pytest.mark.parametrize("how", ["what tells it", "everything"])
def test_a_hook_that_catches_all_it_can_is_asked_again_in_a_transaction(postgres_world: World, how: str) -> None:
    states = postgres_world.states
    states.register_state("plan", "user", {"limit": 5})
    states.register_state("u1", "user", {"n": 1})

    def within_limit(state: Any) -> bool:
        try:
            return bool(state.data.get("n", 0) <= states.get_state("plan").data["limit"])
        except BaseException:  # noqa: BLE001 - what must not be done
            if how == "everything":
                return True
            raise RuntimeError("The plan cannot be read.") from None

    states.register_validator("user", within_limit)
    with pytest.raises(StateValidationError):
        states.update_state("u1", {"n": 6})
    assert states.update_state("u1", {"n": 4}).data == {"n": 4}


def test_what_a_guard_writes_is_announced_before_the_write_that_asks_it(sql_world: World) -> None:
    states, told = sql_world.states, list[tuple[str, int]]()

    def writes(_present: Any, _planned: Any) -> bool:
        states.register_state("note", "user", if_exists="ignore")
        return True

    ways = [Transition("go", "here", "there", guards=Guard(writes)), Transition("back", "there", "here")]
    states.define("thing", Machine(initial="here", transitions=ways))
    states.register_state("t1", "thing")

    def hear(_sender: Any, change: Any) -> None:
        told.append((change.key.name, change.version))
        if change.key.name == "note":
            states.update_state("t1", transition="back")

    with state_changed.connected_to(hear):
        states.update_state("t1", transition="go")
    assert told == [("note", 1), ("t1", 2), ("t1", 3)]


def test_what_expires_while_a_write_waits_for_others_has_expired(
    sql_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment of a write is the one at which it has the state in its hands."""
    world, backend = sql_world, sql_world.runtime.backend
    world.states.register_state("u1", "user", ttl=60)
    read = backend.read

    def waits(*call: Any, **options: Any) -> Any:
        world.clock.advance(61)
        return read(*call, **options)

    with monkeypatch.context() as patch:
        patch.setattr(backend, "read", waits)
        world.states.update_state("u1", transition="delete")
    assert [entry.transition_type for entry in world.states.get_state_history("u1")] == ["create", "expire", "delete"]


class Interrupted(Exception):
    """What a signal handler raises, as a task queue's soft time limit does."""


def test_a_write_that_is_interrupted_while_it_waits_does_not_happen_later(postgres_world: World) -> None:
    world = postgres_world
    engine = world.runtime.backend.engine
    world.states.register_state("u1", "user", {"n": 0})

    def interrupt() -> None:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        with engine.connect() as watching:
            until(lambda: watching.exec_driver_sql(asked).scalar_one() == 1, "the write waits")
        os.kill(os.getpid(), signal.SIGUSR1)

    def handler(*_what: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, handler)
    interrupter = threading.Thread(target=interrupt)
    try:
        with engine.connect() as rival:
            rival.exec_driver_sql("SELECT * FROM statemanager_state WHERE name = 'u1' FOR UPDATE")
            interrupter.start()
            with pytest.raises(Interrupted):
                world.states.update_state("u1", {"n": 1})
            rival.rollback()
    finally:
        interrupter.join(PATIENCE)
        signal.signal(signal.SIGUSR1, before)
    with engine.connect() as watching:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND datname = current_database()"
        until(lambda: watching.exec_driver_sql(asked).scalar_one() == 1, "nothing but this question is at work")
    assert world.states.get_state("u1").data == {"n": 0}
    assert world.states.update_state("u1", {"n": 2}).version == 2


@pytest.fixture
def cached_world(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[World]:
    yield from entered(build(request.param, uri_for(request.param, tmp_path, request), **cached_by(redis_url)))


@contextmanager
def losing_answers(error: BaseException) -> Iterator[None]:
    """Let nobody hear of the commits of the block."""
    leave = Loan._give_back

    def lost(loan: Any, end: Any, raised: Any = None) -> None:
        wrote = hasattr(loan, "_unit") and bool(loan._unit.acts)  # a single read has no unit
        leave(loan, end, raised)
        if wrote and raised is None:
            raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loan, "_give_back", lost)
        with pytest.raises(type(error)):
            yield


@pytest.mark.parametrize("cached_world", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("once", [None, "k1"])
@pytest.mark.parametrize("error", [StorageUnavailable("The answer is lost."), Interrupted(), KeyboardInterrupt()])
def test_after_a_write_of_which_nobody_knows_the_cache_is_not_believed(
    cached_world: World, once: str | None, error: BaseException
) -> None:
    states = cached_world.states
    states.register_state("u1", "user", {"n": 0})
    assert states.get_state("u1").data == {"n": 0}
    with losing_answers(error):
        states.update_state("u1", {"n": 1}, idempotency_key=once)
    assert states.get_state("u1").data == {"n": 1}


@pytest.mark.parametrize("cached_world", ["sqlite", "postgresql"], indirect=True)
def test_after_a_bulk_write_of_which_nobody_knows_the_cache_is_not_believed(cached_world: World) -> None:
    states = cached_world.states
    states.register_state("u1", "user")
    assert states.get_state("u1").version == 1
    with losing_answers(KeyboardInterrupt()):
        states.transition_many(["u1"], "suspend")
    assert states.get_state("u1").version == 2


@pytest.mark.parametrize("cached_world", ["sqlite", "postgresql"], indirect=True)
def test_what_a_hook_wrote_into_a_write_of_which_nobody_knows_is_doubted_too(cached_world: World) -> None:
    states = cached_world.states
    for name in ("u1", "journal"):
        states.register_state(name, "user", {"n": 0})
        assert states.get_state(name).data == {"n": 0}

    def journals(state: Any) -> bool:
        if state["state_id"] == "u1":
            states.update_state("journal", {"n": 1})
        return True

    states.register_validator("user", journals)
    with losing_answers(StorageUnavailable("The answer is lost.")):
        states.update_state("u1", {"n": 1})
    assert [states.get_state(name).data for name in ("u1", "journal")] == [{"n": 1}, {"n": 1}]


@pytest.mark.parametrize("cached_world", ["sqlite", "postgresql"], indirect=True)
def test_after_a_session_s_commit_of_which_nobody_knows_the_cache_is_not_believed(
    cached_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, session, dialect = cached_world.states, cached_world.db.session, cached_world.db.engine.dialect
    states.register_state("u1", "user", {"n": 0})
    assert states.get_state("u1").data == {"n": 0}
    commit = dialect.do_commit

    def lost(connection: Any) -> None:
        commit(connection)
        raise dialect.loaded_dbapi.OperationalError("The answer is lost.")

    states.update_state("u1", {"n": 1}, session=session)
    with monkeypatch.context() as patch:
        patch.setattr(dialect, "do_commit", lost)
        with pytest.raises(OperationalError):
            session.commit()
    session.rollback()
    assert states.get_state("u1").data == {"n": 1}


@pytest.mark.parametrize("cached_world", ["sqlite", "postgresql"], indirect=True)
def test_what_is_announced_after_a_session_s_commit_may_be_interrupted(
    cached_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, session = cached_world.states, cached_world.db.session
    states.register_state("u1", "user", {"n": 0})
    assert states.get_state("u1").data == {"n": 0}

    def interrupted(*_call: Any) -> None:
        raise KeyboardInterrupt

    states.update_state("u1", {"n": 1}, session=session)
    with monkeypatch.context() as patch:
        patch.setattr(cached_world.runtime.bucket.publisher, "line_up", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.commit()
    assert states.get_state("u1").data == {"n": 1}


@pytest.fixture
def renewed(redis_url: str) -> Iterator[Callable[[], int]]:
    """Tell how often slots were given a new generation."""
    with Redis.from_url(redis_url) as client:
        yield lambda: sum(not client.get(key).startswith(b"0-") for key in client.keys("*generation"))


@pytest.mark.parametrize("cached_world", ["sqlite", "postgresql"], indirect=True)
def test_a_session_that_commits_or_rolls_back_leaves_nothing_in_doubt(cached_world: World, renewed: Any) -> None:
    states, session = cached_world.states, cached_world.db.session
    states.register_state("u1", "user", {"n": 0})
    states.update_state("u1", {"n": 1}, session=session)
    session.commit()
    states.update_state("u1", {"n": 2}, session=session)
    session.rollback()
    states.transition_many(["nobody"], "suspend", session=session)
    session.commit()
    assert states.get_state("u1").data == {"n": 1}
    assert renewed() == 0


def test_a_lost_race_leaves_nothing_in_doubt(near_world: World, renewed: Any) -> None:
    """It is known that nothing was written; else contention would cost a sixteenth of the cache."""
    world = near_world
    world.states.register_state("u1", "user", {})
    rivals = iter([{"theirs": 1}])

    def overtaken(state: Any) -> bool:
        patch = next(rivals, None)
        if patch is not None:
            overtake(world, patch)
        return True

    world.states.register_validator("user", overtaken)
    assert world.states.update_state("u1", {"ours": 1}).version == 3
    assert world.states.get_state("u1").data == {"theirs": 1, "ours": 1}
    assert renewed() == 0


@pytest.mark.parametrize("cached_world", ["sqlite", "postgresql"], indirect=True)
def test_the_cache_knows_a_change_before_a_worker_is_woken_for_it(
    cached_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, seen = cached_world.states, list[Any]()
    states.register_callback("user", lambda *call: None, durable=True, name="mail")
    states.register_state("u1", "user", {"n": 0})
    jobs = cached_world.runtime.bucket.jobs
    monkeypatch.setattr(jobs, "wake", lambda: seen.append(states.get_state("u1").data))
    states.update_state("u1", {"n": 1})
    assert seen == [{"n": 1}]


@pytest.mark.parametrize("happening", ["restore", "end", "begin"])
def test_a_connection_in_an_unknown_mode_is_not_given_back(
    postgres_world: World, happening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised there: the application's next transaction would commit each of its statements."""
    world = postgres_world
    world.states.register_state("u1", "user", {})
    dialect = world.runtime.backend._dialect
    act = getattr(dialect, happening)

    def fails(connection: Any, *rest: Any, **options: Any) -> Any:
        act(connection, *rest, **options)
        connection.autocommit = True
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dialect, happening, fails)
        with pytest.raises(KeyboardInterrupt):
            world.states.update_state("u1", {"n": 1})
    with world.runtime.backend.engine.connect() as connection:
        assert not connection.connection.driver_connection.autocommit


def test_what_is_committed_is_not_reported_as_failed_for_a_connection_that_cannot_be_used_again(
    postgres_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = postgres_world
    world.states.register_state("u1", "user", {})
    dialect = world.runtime.backend._dialect

    def fails(*_call: Any) -> None:
        raise dialect.errors("It is gone.")

    with monkeypatch.context() as patch:
        patch.setattr(dialect, "restore", fails)
        assert world.states.update_state("u1", {"n": 1}).version == 2
    assert world.states.get_state("u1").data == {"n": 1}


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

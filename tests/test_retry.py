"""Trying again after a lost race."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from flask_statemanager.core.retry import ATTEMPTS, retried, retry_conflicts
from flask_statemanager.errors import StateConflict, StateValidationError, StorageTimeout
from tests.worlds import World, build, entered

LOST = StateConflict("key", None, 2)


def losing(times: int, error: Exception = LOST) -> tuple[Callable[[], str], list[int]]:
    calls: list[int] = []

    def work() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "won"

    return work, calls


def test_work_that_wins_runs_once_without_a_pause() -> None:
    work, calls = losing(0)
    pauses: list[float] = []
    assert retried(work, sleep=pauses.append) == "won"
    assert (len(calls), pauses) == (1, [])


def test_work_that_loses_is_run_again_after_pauses_within_growing_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_statemanager.core.retry.random.uniform", lambda low, high: high)
    work, calls = losing(ATTEMPTS - 1)
    pauses: list[float] = []
    assert retried(work, sleep=pauses.append) == "won"
    assert len(calls) == ATTEMPTS
    assert pauses == sorted(pauses)
    assert pauses[:3] == [0.004, 0.008, 0.016]
    assert max(pauses) == 0.25


def test_a_pause_is_anything_from_nothing_to_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[tuple[float, float]] = []
    monkeypatch.setattr(
        "flask_statemanager.core.retry.random.uniform", lambda low, high: bounds.append((low, high)) or 0.0
    )
    work, _ = losing(2)
    retried(work, sleep=lambda seconds: None)
    assert [low for low, _ in bounds] == [0, 0]


def test_who_loses_every_attempt_gets_the_conflict() -> None:
    work, calls = losing(ATTEMPTS)
    with pytest.raises(StateConflict) as lost:
        retried(work, sleep=lambda seconds: None)
    assert lost.value is LOST
    assert len(calls) == ATTEMPTS


def test_one_attempt_is_one_attempt() -> None:
    work, calls = losing(1)
    with pytest.raises(StateConflict):
        retried(work, attempts=1, sleep=pytest.fail)
    assert len(calls) == 1


def test_any_other_error_goes_through_at_once() -> None:
    work, calls = losing(1, StorageTimeout("locked"))
    with pytest.raises(StorageTimeout):
        retried(work, sleep=pytest.fail)
    assert len(calls) == 1


def test_an_expectation_that_failed_is_not_tried_again() -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        raise StateConflict("key", 1, 2)

    with pytest.raises(StateConflict):
        retried(work, sleep=calls.append)
    assert calls == [1]


# -- the caller's unit of work -----------------------------------------------------------------------------------------

PATIENCE = 60.0


def repeat(work: Callable[[], Any], **options: Any) -> tuple[Any, list[str]]:
    """Run it without pauses, and tell what was done between the attempts."""
    told: list[str] = []
    options = {"lost_race": lambda error: isinstance(error, KeyError), **options}
    answer = retry_conflicts(work, undo=lambda: told.append("undo"), sleep=lambda s: told.append("pause"), **options)
    return answer, told


def test_a_unit_of_work_that_wins_runs_once_and_its_value_comes_back() -> None:
    work, calls = losing(0)
    assert repeat(work) == ("won", [])
    assert len(calls) == 1


def test_a_unit_of_work_is_undone_and_run_again_after_any_conflict_and_any_lost_race_of_the_database() -> None:
    for lost in (LOST, StateConflict("key", 1, 2), KeyError()):
        work, calls = losing(2, lost)
        assert repeat(work) == ("won", ["undo", "pause"] * 2)
        assert len(calls) == 3


def test_the_attempts_at_a_unit_of_work_are_bounded_and_the_last_is_undone_too() -> None:
    for attempts in (1, 3, ATTEMPTS):
        work, calls = losing(attempts)
        undone: list[int] = []
        with pytest.raises(StateConflict) as lost:
            retry_conflicts(
                work,
                attempts=attempts,
                undo=lambda undone=undone: undone.append(1),
                lost_race=lambda error: False,
                sleep=lambda seconds: None,
            )
        assert lost.value is LOST
        assert len(calls) == len(undone) == attempts


def test_another_error_of_a_unit_of_work_reaches_the_caller_at_once_undone() -> None:
    work, calls = losing(1, StorageTimeout("locked"))
    undone: list[int] = []
    with pytest.raises(StorageTimeout):
        retry_conflicts(work, undo=lambda: undone.append(1), lost_race=lambda error: False, sleep=pytest.fail)
    assert len(calls) == len(undone) == 1


@pytest.mark.parametrize("attempts", [0, -1, True, 1.5, "3", None])
def test_attempts_that_are_no_number_from_one_on_are_refused_and_nothing_is_run(world: World, attempts: Any) -> None:
    with pytest.raises(StateValidationError, match="attempts"):
        world.states.retry_conflicts(pytest.fail, attempts=attempts)


def test_a_unit_of_work_that_expects_a_version_reads_anew_and_wins(world: World) -> None:
    world.states.register_state("u1", "user", {"credits": 5})
    seen: list[int] = []

    def spend() -> int:
        state = world.states.get_state("u1")
        assert state is not None
        seen.append(state.version)
        if len(seen) < 3:
            world.states.update_state("u1", {"other": len(seen)})
        world.states.update_state("u1", {"credits": state.data["credits"] - 1}, expect=state.version)
        return int(state.data["credits"]) - 1

    assert world.states.retry_conflicts(spend) == 4
    assert seen == [1, 2, 3]
    assert world.states.get_state("u1").data == {"credits": 4, "other": 2}  # type: ignore[union-attr]


def test_a_session_is_rolled_back_between_the_attempts_and_after_a_failure(sql_world: World) -> None:
    world = sql_world
    session = world.db.session
    world.states.register_state("u1", "user")
    for last in (StateConflict("key", 1, 2), ZeroDivisionError()):
        calls: list[int] = []

        def work(last: Exception = last, calls: list[int] = calls) -> None:
            assert not session().in_transaction()
            calls.append(1)
            session.add(world.note(text="mine"))
            session.flush()
            world.states.update_state("u1", {"a": 1}, session=session)
            raise StateConflict("key", 1, 2) if len(calls) < 3 else last

        with pytest.raises(type(last)):
            world.states.retry_conflicts(work, attempts=3, session=session)
        assert len(calls) == 3
        assert not session().in_transaction()
        assert session.query(world.note).count() == 0
        session.rollback()
        assert world.states.get_state("u1").version == 1  # type: ignore[union-attr]


def test_a_session_that_has_committed_is_left_alone(sql_world: World) -> None:
    world = sql_world
    session = world.db.session

    def work() -> int:
        session.add(world.note(text="mine"))
        world.states.register_state("u1", "user", session=session)
        session.commit()
        return 7

    assert world.states.retry_conflicts(work, session=session) == 7
    assert session.query(world.note).count() == 1


# -- races of real databases -------------------------------------------------------------------------------------------


def serializable(world: World) -> Session:
    return Session(world.db.engine.execution_options(isolation_level="SERIALIZABLE"))


def test_a_serialization_failure_of_a_verb_is_a_conflict_and_tried_again(postgres_world: World) -> None:
    world = postgres_world
    world.states.register_state("u1", "user", {"n": 1})
    seen: list[int] = []
    with serializable(world) as session:

        def add() -> int:
            state = world.states.get_state("u1", session=session)
            assert state is not None
            seen.append(state.data["n"])
            if len(seen) == 1:
                world.states.update_state("u1", {"n": 10})
            found = world.states.update_state("u1", {"n": state.data["n"] + 1}, session=session)
            session.commit()
            return found.version

        assert world.states.retry_conflicts(add, session=session) == 3
    assert seen == [1, 10]
    assert world.states.get_state("u1").data == {"n": 11}  # type: ignore[union-attr]


def test_a_serialization_failure_of_the_sessions_own_commit_is_tried_again(postgres_world: World) -> None:
    """Write skew: two transactions read both states, and each writes the other one."""
    world = postgres_world
    for name in ("u1", "u2"):
        world.states.register_state(name, "user", {"on_call": True})
    failures: list[str] = []

    def leave(session: Session, name: str) -> bool:
        others = [
            world.states.get_state(other, session=session).data["on_call"]  # type: ignore[union-attr]
            for other in ("u1", "u2")
            if other != name
        ]
        if any(others):
            world.states.update_state(name, {"on_call": False}, session=session)
        return any(others)

    with serializable(world) as first, serializable(world) as second:

        def work() -> bool:
            left = leave(first, "u1")
            if not failures:
                assert leave(second, "u2")
                second.commit()
            try:
                first.commit()
            except OperationalError as error:
                failures.append(type(error.orig).__name__)
                raise
            return left

        assert world.states.retry_conflicts(work, session=first) is False
    assert failures == ["SerializationFailure"]
    assert world.states.get_state("u1").data == {"on_call": True}  # type: ignore[union-attr]


def test_two_sessions_that_lock_two_states_crosswise_both_get_through(postgres_world: World) -> None:
    world = postgres_world
    for name in ("u1", "u2"):
        world.states.register_state(name, "user")
    both_hold_one = threading.Barrier(2)
    attempts: list[str] = []
    answers: list[str] = []

    def move(first: str, second: str) -> None:
        with world.app.app_context(), Session(world.db.engine) as session:

            def work() -> str:
                attempts.append(first)
                world.states.update_state(first, {first: True}, session=session)
                if attempts.count(first) == 1:
                    both_hold_one.wait(PATIENCE)
                world.states.update_state(second, {first: True}, session=session)
                session.commit()
                return first

            answers.append(world.states.retry_conflicts(work, session=session))

    movers = [threading.Thread(target=move, args=names) for names in (("u1", "u2"), ("u2", "u1"))]
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join(PATIENCE)
    assert sorted(answers) == ["u1", "u2"]
    assert len(attempts) == 3, "one of them was the victim, once"
    for name in ("u1", "u2"):
        state = world.states.get_state(name)
        assert state is not None
        assert (state.version, state.data) == (3, {"u1": True, "u2": True})


def test_what_sqlite_has_read_before_another_wrote_is_a_conflict_and_tried_again(tmp_path: Path) -> None:
    """Only where the application begins its transactions itself, on a file with write-ahead logging."""
    known = hasattr(sqlite3, "SQLITE_BUSY_SNAPSHOT")  # from Python 3.11 on an error tells its code
    uri = f"sqlite:///{tmp_path / 'w.sqlite'}"
    options = {"SQLALCHEMY_ENGINE_OPTIONS": {"connect_args": {"timeout": 0.1}}}
    for world in entered(build("sqlite", uri, STATEMANAGER_SQLITE_WAL=True, **options)):
        world.states.register_state("u1", "user", {"n": 1})
        engine, session = world.db.engine, world.db.session
        engine.dispose()
        event.listen(engine, "connect", lambda connection, record: setattr(connection, "isolation_level", None))
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        seen: list[int] = []

        def add(world: World = world, session: Any = session, seen: list[int] = seen) -> None:
            state = world.states.get_state("u1", session=session)
            assert state is not None
            seen.append(state.data["n"])
            if len(seen) == 1:
                world.states.update_state("u1", {"n": 10})
            world.states.update_state("u1", {"n": state.data["n"] + 1}, session=session)
            session.commit()

        if known:
            world.states.retry_conflicts(add, session=session)
            assert seen == [1, 10]
            assert world.states.get_state("u1").data == {"n": 11}  # type: ignore[union-attr]
        else:
            with pytest.raises(StorageTimeout):
                world.states.retry_conflicts(add, session=session)
            assert seen == [1]

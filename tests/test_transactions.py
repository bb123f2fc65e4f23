"""Own transactions and joined ones, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session

from flask_statemanager import (
    ConfigurationError,
    StateConflict,
    StateExists,
    StateNotFound,
    StateValidationError,
    StorageError,
    StorageTimeout,
    TransitionNotAllowed,
)
from flask_statemanager.testing.capture import Captured
from tests.worlds import World, build, entered


def notes(world: World) -> list[str]:
    return [note.text for note in world.db.session.query(world.note).order_by(world.note.id)]


def test_an_own_write_leaves_the_applications_session_alone(sql_world: World) -> None:
    world = sql_world
    world.states.register_state("u1", "user")
    world.db.session.add(world.note(text="pending"))
    world.states.update_state("u1", {"a": 1})
    assert len(world.db.session.new) == 1
    world.db.session.rollback()
    assert notes(world) == []
    assert world.states.get_state("u1").version == 2  # type: ignore[union-attr]


def test_a_joined_write_commits_with_the_application(sql_world: World, captured_states: Captured) -> None:
    world = sql_world
    with world.states.transaction(world.db.session):
        world.db.session.add(world.note(text="kept"))
        world.states.register_state("u1", "user", {"a": 1})
        assert world.states.get_state("u1").version == 1  # type: ignore[union-attr]
        assert world.states.search_states("user").count() == 1
        assert len(world.states.get_state_history("u1")) == 1
    assert world.states.get_state("u1", session=world.db.session) is not None
    assert captured_states.names == []
    world.db.session.commit()
    assert captured_states.names == ["state-registered", "state-changed"]
    assert world.states.get_state("u1").data == {"a": 1}  # type: ignore[union-attr]
    assert notes(world) == ["kept"]


def test_a_joined_write_is_undone_with_the_application(sql_world: World, captured_states: Captured) -> None:
    world = sql_world
    world.states.register_state("u1", "user", session=world.db.session)
    world.db.session.add(world.note(text="lost"))
    world.db.session.rollback()
    assert captured_states.names == []
    assert world.states.get_state("u1") is None
    assert world.states.get_state_history("u1") == []
    assert notes(world) == []
    assert world.states.register_state("u1", "user").version == 1


def test_closing_the_session_without_a_commit_announces_nothing(sql_world: World, captured_states: Captured) -> None:
    world = sql_world
    world.states.register_state("u1", "user", session=world.db.session)
    world.db.session.close()
    world.db.session.add(world.note(text="later"))
    world.db.session.commit()
    assert captured_states.names == []
    assert world.states.get_state("u1") is None


def test_a_released_savepoint_still_goes_with_the_outer_rollback(sql_world: World, captured_states: Captured) -> None:
    world = sql_world
    with world.states.transaction(world.db.session):
        with world.db.session.begin_nested():
            world.states.register_state("u1", "user")
        assert captured_states.names == []
    world.db.session.rollback()
    assert captured_states.names == []
    assert world.states.get_state("u1") is None


def test_a_rolled_back_savepoint_takes_its_own_changes_and_only_those(
    sql_world: World, captured_states: Captured
) -> None:
    world = sql_world
    session = world.db.session
    with world.states.transaction(session):
        world.states.register_state("outer", "user")
        savepoint = session.begin_nested()
        world.states.register_state("inner", "user")
        savepoint.rollback()
        with session.begin_nested():
            world.states.register_state("kept", "user")
            savepoint = session.begin_nested()
            world.states.register_state("innermost", "user")
            savepoint.rollback()
    session.commit()
    assert [change.key.name for change in captured_states.changes] == ["outer", "kept"]
    assert [state.state_id for state in world.states.search_states("user", order_by="state_id")] == ["kept", "outer"]


def test_a_first_join_inside_a_savepoint_is_safe_or_refused(sql_world: World, captured_states: Captured) -> None:
    world = sql_world
    session = world.db.session
    if world.kind == "sqlite":
        with pytest.raises(ConfigurationError, match=r"transaction\(session\)"), session.begin_nested():
            world.states.register_state("u1", "user", session=session)
    else:
        with session.begin_nested():
            world.states.register_state("u1", "user", session=session)
    session.rollback()
    assert world.states.get_state("u1") is None
    with world.states.transaction(session), session.begin_nested():
        world.states.register_state("u1", "user")
    session.commit()
    assert captured_states.names == ["state-registered", "state-changed"]


def test_sqlite_with_explicit_begin_joins_inside_a_savepoint(tmp_path: Any) -> None:
    """The recipe of SQLAlchemy's documentation: the driver never begins by itself, a listener does."""
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.sqlite'}")):
        engine = world.db.engine
        engine.dispose()
        event.listen(engine, "connect", lambda connection, record: setattr(connection, "isolation_level", None))
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        world.states.register_state("own", "user")
        with world.db.session.begin_nested():
            world.states.register_state("u1", "user", session=world.db.session)
        world.db.session.rollback()
        assert world.states.get_state("u1") is None
        assert world.states.get_state("own") is not None


def test_a_refused_verb_leaves_the_transaction_usable(sql_world: World, captured_states: Captured) -> None:
    world = sql_world
    world.states.register_state("u1", "user")
    with world.states.transaction(world.db.session):
        world.db.session.add(world.note(text="kept"))
        world.db.session.flush()
        for error, refused in (
            (TransitionNotAllowed, lambda: world.states.update_state("u1", transition="resume")),
            (StateNotFound, lambda: world.states.update_state("nobody")),
            (StateConflict, lambda: world.states.update_state("u1", expect=9)),
            (StateExists, lambda: world.states.register_state("u1", "user")),
            (StateValidationError, lambda: world.states.update_state("u1", {"a": {1}})),
        ):
            with pytest.raises(error):
                refused()
        world.states.update_state("u1", transition="suspend")
    world.db.session.commit()
    assert world.states.get_state("u1").status == "suspended"  # type: ignore[union-attr]
    assert notes(world) == ["kept"]


def test_a_block_left_by_an_exception_neither_commits_nor_rolls_back(sql_world: World) -> None:
    world = sql_world
    with pytest.raises(ZeroDivisionError), world.states.transaction(world.db.session):
        world.states.register_state("u1", "user", {"a": 1 / len(world.states.register_state("u2", "user").data)})
    assert world.states.get_state("u2", session=world.db.session) is not None
    world.db.session.commit()
    assert world.states.get_state("u2") is not None


def test_a_callback_after_a_joined_commit_can_use_the_session(sql_world: World) -> None:
    world = sql_world
    found: list[Any] = []

    @world.states.register_callback("user_created")
    def note(state_id: str, *_rest: Any) -> None:
        found.append(len(notes(world)))
        world.db.session.add(world.note(text=f"welcome {state_id}"))
        world.db.session.commit()
        world.states.update_state(state_id, transition="activate", session=world.db.session)
        world.db.session.commit()

    world.db.session.add(world.note(text="first"))
    world.states.register_state("u1", "user", session=world.db.session)
    world.db.session.commit()
    assert found == [1]
    assert notes(world) == ["first", "welcome u1"]
    assert world.states.get_state("u1").status == "active"  # type: ignore[union-attr]


def test_a_session_of_another_database_is_refused(sql_world: World) -> None:
    with Session(create_engine("sqlite://")) as other, pytest.raises(ConfigurationError, match="another database"):
        sql_world.states.register_state("u1", "user", session=other)
    with pytest.raises(ConfigurationError, match="takes an SQLAlchemy session"):
        sql_world.states.register_state("u1", "user", session=object())


def test_a_plain_session_on_a_connection_is_joined_within_its_outer_transaction(sql_world: World) -> None:
    world = sql_world
    with world.db.engine.connect() as connection:
        outer = connection.begin()
        connection.execute(world.note.__table__.insert().values(text="lost"))
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            world.states.register_state("u1", "user", session=session)
            session.commit()
        outer.rollback()
    assert world.states.get_state("u1") is None
    assert notes(world) == []


def test_memory_cannot_join() -> None:
    for world in entered(build("memory", "sqlite://")):
        with pytest.raises(ConfigurationError, match="cannot join"):
            world.states.register_state("u1", "user", session=world.db.session)


def test_an_open_write_of_the_application_locks_the_file_with_a_clear_error(tmp_path: Any) -> None:
    options = {"SQLALCHEMY_ENGINE_OPTIONS": {"connect_args": {"timeout": 0.1}}}
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.sqlite'}", **options)):
        world.states.register_state("u1", "user")
        world.db.session.add(world.note(text="mine"))
        world.db.session.flush()
        with pytest.raises(StorageTimeout, match="session="):
            world.states.update_state("u1", {"a": 1})
        world.states.update_state("u1", {"a": 1}, session=world.db.session)
        world.db.session.commit()
        assert notes(world) == ["mine"]
        assert world.states.get_state("u1").version == 2  # type: ignore[union-attr]


def test_in_memory_sqlite_never_touches_the_applications_open_rows(memory_sqlite_world: World) -> None:
    world = memory_sqlite_world
    world.states.register_state("u1", "user")
    assert notes(world) == []
    world.states.update_state("u1", {"a": 1})
    world.db.session.add(world.note(text="mine"))
    world.db.session.flush()
    with pytest.raises(StorageError, match="session="):
        world.states.update_state("u1", {"a": 2})
    assert world.states.get_state("u1").version == 2  # type: ignore[union-attr]
    world.db.session.rollback()
    assert notes(world) == []
    assert world.states.update_state("u1", {"a": 3}).version == 3
    with pytest.raises(StateNotFound):
        world.states.update_state("nobody")
    assert world.states.update_state("u1").version == 4


def test_a_racer_that_loses_the_creation_gets_a_conflict_and_a_usable_transaction(postgres_world: World) -> None:
    """Two transactions create one state: the second waits for the first and then changes nothing.

    PostgreSQL only: SQLite lets no second writer in before the first has committed.
    """
    world = postgres_world
    first = Session(world.db.engine)
    world.states.register_state("u1", "user", {"who": 1}, session=first)
    answers: list[Any] = []

    def race() -> None:
        with world.app.app_context(), Session(world.db.engine) as second:
            try:
                world.states.register_state("u1", "user", {"who": 2}, session=second)
            except StateConflict as error:
                answers.append(error)
            answers.append(world.states.get_state("u1", session=second).data)  # type: ignore[union-attr]

    racer = threading.Thread(target=race)
    racer.start()
    with world.db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as look:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        for _ in range(2000):
            if look.exec_driver_sql(waiting).scalar():
                break
            threading.Event().wait(0.01)
    first.commit()
    racer.join(30)
    assert isinstance(answers[0], StateConflict)
    assert answers[1] == {"who": 1}
    first.close()

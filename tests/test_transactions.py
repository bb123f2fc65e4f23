"""Own transactions and joined ones, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from flask_statemanager import (
    BulkInterrupted,
    ConfigurationError,
    IdempotencyKeyReused,
    Machine,
    StateConflict,
    StateExists,
    StateManager,
    StateManagerError,
    StateNotFound,
    StateValidationError,
    StorageError,
    StorageTimeout,
    Transition,
    TransitionNotAllowed,
)
from flask_statemanager.testing.capture import Captured
from tests.worlds import World, build, entered, uri_for


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


@pytest.mark.parametrize(
    "broken",
    [
        "ALTER TABLE statemanager_outbox RENAME TO gone",
        "CREATE TRIGGER refuse BEFORE UPDATE ON statemanager_state BEGIN SELECT RAISE(ABORT, 'no'); END",
    ],
    ids=["outbox", "state"],
)
def test_a_verb_that_fails_in_the_middle_leaves_nothing_for_the_session_to_commit(
    sqlite_world: World, broken: str, captured_states: Captured
) -> None:
    world = sqlite_world
    world.states.register_callback("user", lambda *call: None, durable=True, name="mail")
    world.states.register_state("u1", "user")
    with world.db.engine.begin() as connection:
        connection.execute(text(broken))
    session = world.db.session
    with world.states.transaction(session):
        with pytest.raises(StorageError), session.begin_nested():
            world.states.update_state("u1", transition="suspend")
        session.add(world.note(text="kept"))
    session.commit()
    with world.states.transaction(session):
        session.add(world.note(text="lost"))
        with pytest.raises(StorageError):
            world.states.update_state("u1", transition="suspend")
        session.begin_nested()
        with pytest.raises(StorageError, match="roll the session back"):
            session.commit()
    session.rollback()
    with world.states.transaction(session):
        session.begin_nested()
        with pytest.raises(StorageError):
            world.states.update_state("u1", transition="suspend")
        with pytest.raises(StorageError, match="roll the session back"):
            session.commit()
    session.rollback()
    assert notes(world) == ["kept"]
    assert world.states.get_state("u1").version == len(world.states.get_state_history("u1")) == 1  # type: ignore[union-attr]
    assert [change.event for change in captured_states.changes] == ["create"]


@pytest.mark.parametrize(
    ("kind", "failing"),
    [("postgresql", "SELECT 1 / 0"), ("sqlite", "INSERT OR ROLLBACK INTO note (id, text) VALUES (1, 'twice')")],
    ids=["postgresql", "sqlite"],
)
def test_a_commit_that_would_be_none_is_refused_and_announces_nothing(
    kind: str, failing: str, tmp_path: Path, request: pytest.FixtureRequest, captured_states: Captured
) -> None:
    for world in entered(build(kind, uri_for(kind, tmp_path, request))):
        session = world.db.session
        session.add(world.note(id=1, text="once"))
        session.commit()
        world.states.register_state("u1", "user", session=session)
        with pytest.raises(DBAPIError):
            session.execute(text(failing))
        with pytest.raises(StorageError, match="roll the session back"):
            session.commit()
        session.rollback()
        assert captured_states.changes == []
        world.states.register_state("u1", "user", session=session)
        session.commit()
        assert [change.event for change in captured_states.changes] == ["create"]
        assert world.states.get_state("u1") is not None


def test_on_in_memory_sqlite_another_session_may_have_committed_before(memory_sqlite_world: World) -> None:
    world = memory_sqlite_world
    world.states.register_state("u1", "user", session=world.db.session)
    with Session(world.db.engine) as other:
        other.add(world.note(text="other"))
        other.commit()
    world.db.session.commit()
    assert world.states.get_state("u1") is not None


def test_a_failure_that_a_savepoint_has_undone_is_in_no_commits_way(postgres_world: World) -> None:
    session = postgres_world.db.session
    postgres_world.states.register_state("u1", "user", session=session)
    with pytest.raises(DBAPIError), session.begin_nested():
        session.execute(text("SELECT 1 / 0"))
    session.commit()
    assert postgres_world.states.get_state("u1") is not None


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


# -- everything that belongs to a change rides together ----------------------------------------------------------------

TABLES = ("state", "history", "outbox", "idempotency")


def mailing(world: World) -> list[int]:
    """Give users a durable effect, and return a list that grows with every wake-up of the workers."""
    woken: list[int] = []
    world.states.register_callback("user", lambda *call: None, durable=True, name="mail")
    world.runtime.bucket.jobs.wake = lambda: woken.append(len(woken))
    return woken


def rows(world: World) -> dict[str, set[str]]:
    """Return whose rows are in each table, as another connection sees them."""
    columns = {"idempotency": "key"}
    with world.db.engine.connect() as connection:
        found = {
            table: connection.execute(text(f"SELECT {columns.get(table, 'name')} FROM statemanager_{table}"))  # noqa: S608
            for table in TABLES
        }
        return {table: set(names.scalars()) for table, names in found.items()}


def everywhere(*names: str) -> dict[str, set[str]]:
    return {table: set(names) for table in TABLES}


def register(world: World, name: str) -> None:
    world.states.register_state(name, "user", idempotency_key=name)


def register_and_fail(world: World, name: str) -> None:
    world.db.session.add(world.note(text=name))
    register(world, name)
    raise ZeroDivisionError


def test_state_history_effects_and_requests_ride_in_the_applications_transaction(sql_world: World) -> None:
    world = sql_world
    woken, session = mailing(world), world.db.session
    with world.states.transaction(session):
        register(world, "lost")
    session.rollback()
    assert rows(world) == everywhere()
    with world.states.transaction(session):
        register(world, "u1")
        register(world, "u2")
        assert woken == []
    assert woken == []
    session.commit()
    assert rows(world) == everywhere("u1", "u2")
    assert woken == [0], "once for the whole transaction"


def test_a_released_savepoint_takes_effects_and_requests_into_the_outer_rollback(
    sql_world: World, captured_states: Captured
) -> None:
    world = sql_world
    woken, session = mailing(world), world.db.session
    with world.states.transaction(session), session.begin_nested():
        register(world, "u1")
        with session.begin_nested():
            register(world, "u2")
    session.rollback()
    assert rows(world) == everywhere()
    assert (captured_states.names, woken) == ([], [])
    register(world, "u1")
    assert rows(world) == everywhere("u1")


@pytest.mark.parametrize("middle", ["commit", "rollback"])
@pytest.mark.parametrize("inner", ["commit", "rollback"])
def test_what_stays_of_nested_savepoints_is_what_was_released_all_the_way(
    sql_world: World, captured_states: Captured, inner: str, middle: str
) -> None:
    world = sql_world
    woken, session = mailing(world), world.db.session
    with world.states.transaction(session):
        register(world, "outer")
        first = session.begin_nested()
        register(world, "middle")
        second = session.begin_nested()
        register(world, "inner")
        getattr(second, inner)()
        register(world, "middle2")
        getattr(first, middle)()
        register(world, "outer2")
    assert (captured_states.names, woken) == ([], [])
    session.commit()
    kept = ["outer", "outer2"]
    if middle == "commit":
        kept = ["outer", "middle", *(["inner"] if inner == "commit" else []), "middle2", "outer2"]
    assert rows(world) == everywhere(*kept)
    assert [change.key.name for change in captured_states.changes] == kept
    assert len(woken) == 1


def test_a_transaction_of_which_only_a_rolled_back_savepoint_wrote_wakes_nobody(
    sql_world: World, captured_states: Captured
) -> None:
    world = sql_world
    woken, session = mailing(world), world.db.session
    with world.states.transaction(session):
        savepoint = session.begin_nested()
        register(world, "u1")
        savepoint.rollback()
        session.add(world.note(text="kept"))
    session.commit()
    assert (captured_states.names, woken) == ([], [])
    assert rows(world) == everywhere()
    assert notes(world) == ["kept"]


def test_an_exception_in_a_savepoint_undoes_it_and_the_rest_goes_on(
    sql_world: World, captured_states: Captured
) -> None:
    world = sql_world
    woken, session = mailing(world), world.db.session
    with world.states.transaction(session):
        register(world, "before")
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            register_and_fail(world, "within")
        register(world, "after")
    session.commit()
    assert rows(world) == everywhere("before", "after")
    assert [change.key.name for change in captured_states.changes] == ["before", "after"]
    assert notes(world) == []
    assert len(woken) == 1


def test_an_exception_in_the_block_leaves_it_to_the_owner_to_roll_everything_back(
    sql_world: World, captured_states: Captured
) -> None:
    world = sql_world
    woken = mailing(world)
    session = world.db.session
    with pytest.raises(ZeroDivisionError), world.states.transaction(session):
        register_and_fail(world, "u1")
    assert world.states.get_state("u1") is None, "outside the block the transaction is not seen"
    assert world.states.get_state("u1", session=session) is not None
    session.rollback()
    assert rows(world) == everywhere()
    assert notes(world) == []
    assert (captured_states.names, woken) == ([], [])


def test_a_request_is_remembered_within_the_transaction_and_forgotten_with_its_savepoint(sql_world: World) -> None:
    world = sql_world
    session = world.db.session
    with world.states.transaction(session):
        savepoint = session.begin_nested()
        first = world.states.register_state(None, "user", {"a": 1}, idempotency_key="k")
        assert world.states.register_state(None, "user", {"a": 1}, idempotency_key="k") == first
        savepoint.rollback()
        second = world.states.register_state(None, "user", {"a": 2}, idempotency_key="k")
        with pytest.raises(IdempotencyKeyReused):
            world.states.register_state(None, "user", {"a": 1}, idempotency_key="k")
    session.commit()
    assert second.state_id != first.state_id
    assert world.states.register_state(None, "user", {"a": 2}, idempotency_key="k") == second
    assert [state.state_id for state in world.states.search_states("user")] == [second.state_id]


# -- own transactions --------------------------------------------------------------------------------------------------


def test_no_verb_without_session_begins_flushes_or_ends_anything_in_the_applications_session(sql_world: World) -> None:
    world = sql_world
    world.states.register_callback("user", lambda *call: None, durable=True, name="mail")
    session = world.db.session()
    touched: list[str] = []
    for name in ("after_begin", "before_flush", "after_commit", "after_rollback", "do_orm_execute"):
        event.listen(session, name, lambda *call, name=name: touched.append(name))
    session.add(world.note(text="pending"))
    before = session.get_transaction()
    states = world.states
    states.register_state("u1", "user", {"a": 1}, idempotency_key="k")
    states.register_state("u1", "user", {"a": 1}, idempotency_key="k")
    states.update_state("u1", {"b": 1}, "activate", expect=1)
    states.rollback_state("u1", 1)
    with pytest.raises(StateConflict):
        states.update_state("u1", expect=1)
    states.schedule_transition("u1", "update", after=0)
    assert states.run_worker() == 5, "four changes with an effect each, and a timer"
    assert states.cancel_scheduled("u1") == 0
    states.get_state("u1")
    states.get_state_history("u1")
    states.search_states("user").count()
    states.list_effects()
    states.get_health_status()
    states.delete_state("u1")
    assert touched == []
    assert session.get_transaction() is before
    assert [note.text for note in session.new] == ["pending"]
    session.commit()
    assert notes(world) == ["pending"]


# -- two managers ------------------------------------------------------------------------------------------------------


@contextmanager
def second_manager(world: World) -> Iterator[tuple[Flask, StateManager]]:
    """A second app with metadata, engine and manager of its own, on the database of the first."""
    StateManager.reset_instance()
    app, db = Flask("other"), SQLAlchemy()
    app.config["SQLALCHEMY_DATABASE_URI"] = world.app.config["SQLALCHEMY_DATABASE_URI"]
    if world.kind == "postgresql":  # so that a wait for itself would end
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"connect_args": {"options": "-c lock_timeout=20s"}}
    db.init_app(app)
    states = StateManager(app, db=db)
    assert states is not world.states
    try:
        yield app, states
    finally:
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def other(sql_world: World) -> Iterator[tuple[Flask, StateManager]]:
    with second_manager(sql_world) as made:
        yield made


@pytest.fixture
def other_postgres(postgres_world: World) -> Iterator[tuple[Flask, StateManager]]:
    with second_manager(postgres_world) as made:
        yield made


def test_two_managers_work_in_one_transaction(
    sql_world: World, other: tuple[Flask, StateManager], captured_states: Captured
) -> None:
    """The session is a plain one, as Flask-SQLAlchemy's serves one app only."""
    world, (app, second) = sql_world, other
    woken = mailing(world)
    session = Session(world.db.engine)

    def both(name: str) -> None:
        with world.states.transaction(session):
            register(world, f"{name}1")
            with app.app_context(), second.transaction(session):
                savepoint = session.begin_nested()
                second.register_state(f"{name}x", "user")
                savepoint.rollback()
                second.register_state(f"{name}2", "session", idempotency_key=f"{name}2")
                assert second.get_state(f"{name}1") is not None
            assert world.states.get_state(f"{name}2") is not None

    both("lost")
    session.rollback()
    assert rows(world) == everywhere()
    both("kept")
    assert (captured_states.names, woken) == ([], [])
    session.commit()
    assert rows(world) == everywhere("kept1", "kept2") | {"outbox": {"kept1"}}
    assert [change.key.name for change in captured_states.changes] == ["kept1", "kept2"]
    assert woken == [0]
    session.close()
    expected = world.states.get_state("kept1")
    with app.app_context():
        assert second.get_state("kept1") == expected


def test_a_thread_never_waits_for_its_own_session_that_another_manager_has_written_with(
    postgres_world: World, other_postgres: tuple[Flask, StateManager]
) -> None:
    """PostgreSQL only: SQLite's file is locked as a whole, which the driver's timeout ends."""
    world, (app, second) = postgres_world, other_postgres
    world.states.register_state("u1", "user")
    with Session(world.db.engine) as session:
        world.states.update_state("u1", {"a": 1}, session=session, idempotency_key="k")
        with app.app_context():
            with pytest.raises(StorageError, match="session="):
                second.update_state("u1", {"b": 1})
            with pytest.raises(StorageError, match="session="):
                second.update_state("u2", {"b": 1}, idempotency_key="k")
            session.commit()
            assert second.update_state("u1", {"b": 1}).data == {"a": 1, "b": 1}


ITSELF = "Commit the session first, or join it with session="
HELD: dict[str, tuple[Callable[[StateManager, Any], Any], Callable[[StateManager], Any]]] = {
    "a refusal in a batch": (
        lambda states, session: states.transition_many(["a", "b"], "revive", session=session),
        lambda states: states.update_state("b", {"n": 1}),
    ),
    "a refusal in a batch with data": (
        lambda states, session: states.transition_many(["a", "b"], "revive", {"n": 1}, session=session),
        lambda states: states.update_state("b", {"n": 1}),
    ),
    "a move": (
        lambda states, session: states.transition_many(["a", "b"], "suspend", session=session),
        lambda states: states.update_state("a", {"n": 1}),
    ),
    "a batch that waits": (
        lambda states, session: states.update_state("b", session=session),
        lambda states: states.transition_many(["a", "b"], "suspend", {"n": 1}),
    ),
    "a refusal": (
        lambda states, session: refuse(lambda: states.update_state("a", transition="revive", session=session)),
        lambda states: states.delete_state("a"),
    ),
    "a creation": (
        lambda states, session: states.register_state("c", "account", session=session),
        lambda states: states.register_state("c", "account"),
    ),
    "a timer that is replaced": (
        lambda states, session: states.schedule_transition("a", "suspend", after=100, key="k", session=session),
        lambda states: states.schedule_transition("a", "suspend", after=200, key="k"),
    ),
    "a timer that is cancelled": (
        lambda states, session: states.cancel_scheduled("b", session=session),
        lambda states: states.cancel_scheduled("b"),
    ),
    "a timer that is replaced once it was cancelled": (
        lambda states, session: states.cancel_scheduled("b", session=session),
        lambda states: states.schedule_transition("b", "suspend", after=200, key="k"),
    ),
    "a timer that is cancelled once it was replaced": (
        lambda states, session: states.schedule_transition("b", "suspend", after=100, key="k", session=session),
        lambda states: states.cancel_scheduled("b"),
    ),
}


def refuse(act: Callable[[], Any]) -> None:
    with pytest.raises(TransitionNotAllowed):
        act()


@pytest.fixture
def impatient(postgres_url: str) -> Iterator[World]:
    """Two states, one of which has a timer, on a database where a wait for itself would end.

    PostgreSQL only: SQLite's file is locked as a whole, which the driver's timeout ends.
    """
    options = {"connect_args": {"options": "-c lock_timeout=20s"}}
    for world in entered(build("postgresql", postgres_url, SQLALCHEMY_ENGINE_OPTIONS=options)):
        machine = Machine(
            initial="open",
            transitions=[Transition("suspend", ["open"], "suspended"), Transition("revive", ["suspended"], "open")],
        )
        world.states.define("account", machine)
        for name in "ab":
            world.states.register_state(name, "account")
        world.states.schedule_transition("b", "suspend", after=50, key="k")
        yield world


@pytest.mark.parametrize("what", HELD)
def test_a_thread_never_waits_for_what_its_own_session_has_locked(impatient: World, what: str) -> None:
    states, session = impatient.states, impatient.db.session
    joined, own = HELD[what]
    joined(states, session)
    with pytest.raises(StateManagerError) as raised:
        own(states)
    told = raised.value.__cause__ if isinstance(raised.value, BulkInterrupted) else raised.value
    assert ITSELF in str(told)
    session.rollback()
    own(states)


def test_what_the_session_has_not_locked_is_free(impatient: World) -> None:
    states, session = impatient.states, impatient.db.session
    states.update_state("a", {"n": 1}, session=session)
    states.schedule_transition("a", "suspend", after=1, key="k", session=session)
    states.cancel_scheduled("nobody", session=session)
    states.transition_many(["nobody"], "suspend", session=session)
    assert states.update_state("b", {"n": 1}).version == 2
    assert states.cancel_scheduled("b") == 1
    assert states.register_state("nobody", "account").version == 1
    session.commit()


def test_locks_stay_with_a_released_savepoint_and_go_with_one_that_is_rolled_back(impatient: World) -> None:
    states, session = impatient.states, impatient.db.session
    states.update_state("b", session=session)
    with session.begin_nested():
        refuse(lambda: states.update_state("a", transition="revive", session=session))
    with pytest.raises(StorageError, match=ITSELF):
        states.update_state("a")
    session.rollback()
    states.update_state("b", session=session)
    savepoint = session.begin_nested()
    for name in "ab":
        refuse(lambda name=name: states.update_state(name, transition="revive", session=session))
    savepoint.rollback()
    assert states.update_state("a").version == 2
    with pytest.raises(StorageError, match=ITSELF):
        states.update_state("b")
    session.commit()
    assert states.update_state("b").version == 3


def test_what_a_refused_verb_has_locked_goes_with_the_verbs_own_savepoint(impatient: World) -> None:
    states, session = impatient.states, impatient.db.session
    states.update_state("b", session=session)
    for name in "ab":
        asked = {"transition": "revive", "idempotency_key": name, "session": session}
        refuse(lambda name=name, asked=asked: states.update_state(name, **asked))
    assert states.update_state("a", {"n": 1}, idempotency_key="a").version == 2
    with pytest.raises(StorageError, match=ITSELF):
        states.update_state("b")
    session.rollback()

"""Many records at once where racers meet: what is logged is what is stored, and nobody waits for a ring of others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import MetaData, create_engine
from sqlalchemy.orm import Session

from flask_statemanager import StateConflict
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.connection import SqlUnit
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.testing.contract.many import WAY, Many
from flask_statemanager.testing.contract.store import change_of, new_record
from tests.worlds import World

PATIENCE = 60
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
STUCK = {
    "sqlite": ["CREATE TRIGGER stuck BEFORE UPDATE ON statemanager_state {when} BEGIN SELECT RAISE(IGNORE); END"],
    "postgresql": [
        "CREATE FUNCTION stuck() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER stuck BEFORE UPDATE ON statemanager_state FOR EACH ROW {when} EXECUTE FUNCTION stuck()",
    ],
}


@pytest.fixture
def backend(postgres_url: str) -> Iterator[SqlBackend]:
    backend = SqlBackend(create_engine(postgres_url), declare(MetaData()), owned=True)
    backend.create_tables()
    yield backend
    backend.close()


def until_waiting(engine: Any, number: int = 1) -> None:
    """Return once this many transactions wait for a lock."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as look:
        for _ in range(PATIENCE * 100):
            if look.exec_driver_sql(WAITING).scalar() == number:
                return
            threading.Event().wait(0.01)
    raise AssertionError("nobody waits")


def started(act: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def ended(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def agree(many: Many, *names: str) -> dict[str, int]:
    """See that the log of each record ends with what is stored; return the versions."""
    for name, record in many.read(*names).items():
        log = many.log(name)
        assert [change.version for change in log] == list(range(1, record.version + 1))
        assert log[-1].after == record
    return many.versions(*names)


# -- moves -------------------------------------------------------------------------------------------------------------


def test_a_move_that_has_waited_for_a_racer_moves_what_the_racer_has_left(backend: SqlBackend) -> None:
    """PostgreSQL only: on SQLite nobody else writes meanwhile."""
    many = Many(backend)
    many.store.fill({"a": {"n": 1}, "b": {"n": 1}, "c": {"n": 1}})
    moved: list[Any] = []
    with Session(backend.engine) as racer:
        unit = backend.joined(racer, write=True)
        backend.apply_many(unit, [many.next("b", data={"n": 2}), many.next("c", status="parked")])  # type: ignore[arg-type]
        mover = started(lambda: moved.extend(many.move(WAY, "a", "b", "c")))
        until_waiting(backend.engine)
        racer.commit()
    ended(mover)
    assert [(each.name, each.version) for each in moved] == [("a", 2), ("b", 3)]
    assert agree(many, "a", "b", "c") == {"a": 2, "b": 3, "c": 2}
    assert many.store.found("b").data == {"n": 2}
    assert many.store.update("b", data={"n": 3}).version == 4


def test_what_appears_once_the_others_are_locked_is_left_alone(
    backend: SqlBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not locked, so a racer might change it while it is moved."""
    many = Many(backend)
    many.store.fill({"a": {}})
    run = SqlUnit.run

    def run_and_create(unit: SqlUnit, *given: Any, **options: Any) -> list[Any]:
        found = run(unit, *given, **options)
        monkeypatch.setattr(SqlUnit, "run", run)
        many.store.fill({"b": {}})
        return found

    monkeypatch.setattr(SqlUnit, "run", run_and_create)
    assert [each.name for each in many.move(WAY, "a", "b")] == ["a"]
    assert agree(many, "a", "b") == {"a": 2, "b": 1}


def test_a_state_that_does_not_follow_its_log_is_a_lost_race_and_leaves_no_log(sql_world: World) -> None:
    many = Many(sql_world.runtime.backend)
    many.store.fill({"a": {}, "b": {}})
    with sql_world.db.engine.begin() as connection:
        for statement in STUCK[sql_world.kind]:
            connection.exec_driver_sql(statement.format(when="WHEN (old.name = 'b')"))
    with pytest.raises(StateConflict) as raised:
        many.move(WAY, "a", "b")
    assert raised.value.expected is None
    assert agree(many, "a", "b") == {"a": 1, "b": 1}


# -- creations ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[1, 1000])
def copied(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """From how many changes on COPY is used: from the first, or never."""
    number: int = request.param
    monkeypatch.setattr("flask_statemanager.backends.sql.many.COPIED", number)
    return number


@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize("turned", [False, True])
def test_two_that_create_the_same_states_in_different_orders_do_not_wait_for_each_other(
    postgres_world: World, turned: bool
) -> None:
    """Somebody keeps both busy in the middle, until each would have what the other wants next."""
    world, told = postgres_world, []

    def create(names: str) -> None:
        with world.app.app_context(), Session(world.db.engine) as session:
            try:
                items = [{"state_id": name} for name in names]
                told.append(world.states.register_many("user", items, session=session).done)
                session.commit()
            except StateConflict as conflict:
                told.append(str(conflict.key))

    orders = ["cba", "abc"] if turned else ["abc", "cba"]
    with Session(world.db.engine) as keeper:
        world.states.register_state("b", "user", session=keeper)
        threads = []
        for number, names in enumerate(orders, start=1):
            threads.append(started(lambda names=names: create(names)))  # type: ignore[misc]
            until_waiting(world.db.engine, number)
        keeper.rollback()
        ended(*threads)
    assert told in ([3, "state:a"], ["state:a", 3])


@pytest.mark.usefixtures("copied")
def test_bulk_and_single_registrations_wait_for_each_other_and_in_no_ring(postgres_world: World) -> None:
    """Both write a state before its log, so that they meet at the state."""
    world = postgres_world
    ends: list[str] = []

    def register() -> None:
        with world.app.app_context():
            ends.extend(type(each.error).__name__ for each in world.states.register_many("user", items).refused)

    items = [{"state_id": name} for name in "abc"]
    with Session(world.db.engine) as single:
        world.states.register_state("b", "user", session=single)
        many = started(register)
        until_waiting(world.db.engine)
        single.commit()
    ended(many)
    assert ends == ["StateExists"]
    assert [len(world.states.get_state_history(name)) for name in "abc"] == [1, 1, 1]


@pytest.mark.usefixtures("copied")
def test_revisions_come_in_the_order_of_the_changes(sql_world: World) -> None:
    many = Many(sql_world.runtime.backend)
    changes = [change_of(None, new_record(name), "create") for name in ("b", "c", "a")]
    revisions = many.apply(*changes)
    assert revisions == [many.store.found(change.key.name).revision for change in changes]


def test_states_registered_together_are_logged_and_announced_in_the_same_order(world: World) -> None:
    heard: list[str] = []
    world.states.register_callback("create", lambda state_id, *_: heard.append(state_id))
    result = world.states.register_many("user", [{"state_id": name} for name in ("b", "c", "a")])
    assert result.ids == ("b", "c", "a")
    revisions = [world.states.get_state(name).revision for name in heard]  # type: ignore[union-attr]
    assert heard == ["a", "b", "c"]
    assert revisions == sorted(revisions)

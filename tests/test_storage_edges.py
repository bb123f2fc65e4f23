"""What the storage does in the corners: engines that commit by themselves, full pools, other metadata."""

from __future__ import annotations

import getpass
import sqlite3
import threading
from pathlib import Path
from typing import Any

import click
import pytest
from sqlalchemy import MetaData, create_engine
from sqlalchemy.pool import Pool, QueuePool, SingletonThreadPool, StaticPool

from flask_statemanager import ConfigurationError, StorageError, StorageTimeout, StorageUnavailable
from flask_statemanager.backends.memory import MemoryBackend
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.engine import make_engine, switch_wal_on
from flask_statemanager.backends.sql.sqlite_dialect import SqliteDialect
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.config import Settings
from flask_statemanager.core.ports import Backend
from flask_statemanager.core.powers import ALL, Counts, JoinsTransaction, KeepsHistory, Searches, powers_of, require
from flask_statemanager.core.record import Key
from flask_statemanager.effects.callbacks import Registered
from flask_statemanager.effects.durable import Durability
from flask_statemanager.runtime import Declarations, Runtime
from flask_statemanager.security.actor import ActorSource
from tests.worlds import World, build, entered


def test_an_engine_that_commits_by_itself_still_gets_whole_writes(postgres_url: str) -> None:
    options = {"SQLALCHEMY_ENGINE_OPTIONS": {"isolation_level": "AUTOCOMMIT"}}
    for world in entered(build("postgresql", postgres_url, **options)):
        world.states.register_state("u1", "user")

        def fail(*_call: Any) -> None:
            raise ZeroDivisionError

        world.states.register_callback("user_suspended", fail, when="before")
        with pytest.raises(ZeroDivisionError):
            world.states.update_state("u1", transition="suspend")
        assert len(world.states.get_state_history("u1")) == 1
        with world.db.engine.connect() as connection:
            assert connection.connection.driver_connection.autocommit is True


def test_reads_and_writes_leave_pooled_connections_as_they_were(postgres_world: World) -> None:
    world = postgres_world
    world.states.register_state("u1", "user")
    world.states.get_state("u1")
    with pytest.raises(ZeroDivisionError), world.runtime.backend.reading() as unit:
        unit.connection.cursor().execute(f"SELECT {1 / 0}")
    with world.db.engine.connect() as connection:
        assert connection.connection.driver_connection.autocommit is False
    assert world.db.engine.pool.checkedout() == 0


@pytest.mark.parametrize("pool", [StaticPool, SingletonThreadPool])
@pytest.mark.parametrize("url", ["sqlite:///states.db", "postgresql+psycopg://localhost/states"])
def test_a_pool_that_lends_what_the_application_has_in_use_is_refused(url: str, pool: type[Pool]) -> None:
    """A commit there would be one of the application's open rows."""
    with pytest.raises(ConfigurationError, match=f"{pool.__name__}.*QueuePool"):
        SqlBackend(create_engine(url, poolclass=pool), declare(MetaData()))


@pytest.mark.parametrize("name", ["", "/:memory:", "/file::memory:?uri=true", "/file:states?mode=memory&uri=true"])
def test_in_memory_the_connection_of_the_application_is_shared_as_there_is_no_other(name: str) -> None:
    backend = SqlBackend(create_engine(f"sqlite://{name}", poolclass=StaticPool), declare(MetaData()), owned=True)
    assert not backend.shareable
    backend.create_tables()
    with backend.reading() as unit:
        assert backend.read(unit, Key("states", "u1")) is None
    backend.close()


def test_in_memory_tables_are_made_on_another_connection_where_the_pool_has_several() -> None:
    url = "sqlite:///file:several?mode=memory&cache=shared&uri=true"
    backend = SqlBackend(create_engine(url, poolclass=QueuePool), declare(MetaData()), owned=True)
    backend.create_tables()
    with backend.reading() as unit:
        assert backend.read(unit, Key("states", "u1")) is None
    backend.close()


def test_a_full_pool_is_a_timeout(tmp_path: Path) -> None:
    engine = create_engine(
        f"sqlite:///{tmp_path / 'w.db'}", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.05
    )
    backend = SqlBackend(engine, declare(MetaData()), owned=True)
    backend.create_tables()
    with backend.reading(), pytest.raises(StorageTimeout, match="larger pool"), backend.reading():
        pass
    backend.close()


def race(world: World, number: int) -> None:
    with world.app.app_context():
        world.states.update_state("u1", {f"f{number}": 1})


def test_a_serialization_failure_is_tried_again(postgres_url: str) -> None:
    options = {"SQLALCHEMY_ENGINE_OPTIONS": {"isolation_level": "REPEATABLE READ"}}
    for world in entered(build("postgresql", postgres_url, **options)):
        world.states.register_state("u1", "user")
        racers = [threading.Thread(target=race, args=(world, number)) for number in range(6)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(60)
        assert len(world.states.get_state("u1").data) == 6  # type: ignore[union-attr]


def test_tables_may_stand_in_a_schema_of_their_own(postgres_url: str) -> None:
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql('CREATE SCHEMA "apart"')
    backend = SqlBackend(engine, declare(MetaData(schema="apart")))
    backend.create_tables()
    with backend.reading() as unit:
        assert backend.read(unit, Key("state", "u1")) is None
    plain = SqlBackend(engine, declare(MetaData()))
    with pytest.raises(StorageError, match="missing"), plain.reading() as unit:
        plain.read(unit, Key("state", "u1"))
    engine.dispose()


def test_a_lock_is_told_without_the_drivers_code(tmp_path: Path) -> None:
    """As on Python 3.10, whose sqlite3 gives no error code."""
    path = tmp_path / "w.db"
    engine = create_engine(f"sqlite:///{path}")
    dialect = SqliteDialect(engine)
    declare(metadata := MetaData())
    metadata.create_all(engine)
    holder, other = sqlite3.connect(path), sqlite3.connect(path, timeout=0)
    bare = sqlite3.OperationalError("no code")
    assert isinstance(dialect.wrapped(bare, other, "statemanager_state"), StorageUnavailable)
    assert "missing" in str(dialect.wrapped(bare, other, "statemanager_other"))
    holder.execute("BEGIN IMMEDIATE")
    assert isinstance(dialect.wrapped(bare, other, "statemanager_state"), StorageTimeout)
    assert isinstance(dialect.wrapped(bare, holder, "statemanager_state"), StorageUnavailable)
    assert "refused" in str(dialect.wrapped(sqlite3.IntegrityError("x"), other, "statemanager_state"))
    holder.close()
    other.close()
    engine.dispose()


def test_an_engine_of_our_own_is_tuned_and_an_unusable_one_refused(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'own.db'}")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
    engine.dispose()
    with pytest.raises(ConfigurationError, match="not installed"):
        make_engine("postgresql+pg8000://nobody@127.0.0.1/none")
    with pytest.raises(StorageUnavailable, match="STATEMANAGER_SQLITE_WAL"):
        switch_wal_on(create_engine(f"sqlite:///{tmp_path / 'no' / 'folder' / 'x.db'}"))


def test_wal_is_no_matter_of_other_databases(postgres_url: str) -> None:
    engine = create_engine(postgres_url)
    switch_wal_on(engine)
    assert engine.pool.checkedout() == 0
    engine.dispose()


def test_a_missing_power_is_named_with_the_face_and_the_backend() -> None:
    backend = MemoryBackend()
    with pytest.raises(ConfigurationError, match=r"The orders face .* JoinsTransaction, which the memory backend"):
        require(backend, JoinsTransaction, "The orders face")  # type: ignore[type-abstract]
    assert powers_of(backend) == {power.__name__ for power in ALL} - {"JoinsTransaction", "LooksBack", "Tells"}
    assert powers_of(Plain()) == {"KeepsHistory", "Searches", "Counts"}
    backend.close()


def handed_on(name: str) -> Any:
    if isinstance(getattr(MemoryBackend, name), property):
        return property(lambda self: getattr(self.inner, name))
    return lambda self, *given, **named: getattr(self.inner, name)(*given, **named)


NEEDED = (Backend, KeepsHistory, Searches, Counts)
Plain: Any = type(
    "Plain",
    NEEDED,
    {"title": "plain", "__init__": lambda self: setattr(self, "inner", MemoryBackend())}
    | {name: handed_on(name) for power in NEEDED for name in power.__abstractmethods__},
)
"""A backend with the powers that the lifecycle face needs, and no other."""


@pytest.fixture
def plain() -> Runtime:
    """The running parts on a backend that can do no more than it must."""
    return Runtime(Settings(), Declarations(), Plain())


def test_a_backend_that_remembers_nothing_refuses_idempotency_keys(plain: Runtime) -> None:
    states = plain.lifecycle
    states.register_state("u1", "user", {"a": 1})
    before = states.get_recent_changes(limit=100)
    verbs: tuple[Any, ...] = (
        lambda **more: states.register_state(None, "user", **more),
        lambda **more: states.update_state("u1", {"a": 2}, **more),
        lambda **more: states.delete_state("u1", **more),
        lambda **more: states.rollback_state("u1", to_version=1, **more),
    )
    for verb in verbs:
        with pytest.raises(ConfigurationError, match="plain backend cannot remember requests"):
            verb(idempotency_key="k")
    assert states.get_recent_changes(limit=100) == before


def test_a_backend_that_keeps_no_jobs_refuses_effects_and_timers(plain: Runtime) -> None:
    states = plain.lifecycle
    states.register_state("u1", "user")
    calls: tuple[Any, ...] = (
        lambda: states.schedule_transition("u1", "suspend", after=5),
        lambda: states.cancel_scheduled("u1"),
        states.list_timers,
        lambda: states.get_timer(1),
        plain.workshop.make_worker,
        lambda: plain.workshop.outbox,
    )
    for call in calls:
        with pytest.raises(ConfigurationError, match="plain backend keeps no durable effects and timers"):
            call()
    assert plain.health()["effects"] is None
    assert plain.workshop.desk is None


def test_a_change_whose_effect_cannot_be_kept_is_not_made(plain: Runtime) -> None:
    plain.declarations.callbacks.add(Registered("*", print, "durable", None, Durability("mail")))
    with pytest.raises(ConfigurationError, match="plain backend keeps no durable effects"):
        plain.lifecycle.register_state("u1", "user")
    assert plain.lifecycle.get_state("u1") is None


def test_on_the_command_line_the_user_of_the_system_is_the_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ActorSource()

    def act() -> Any:
        return source(actor=None, source=None, reason=None)

    with click.Context(click.Command("retire"), info_name="retire"):
        monkeypatch.setattr(getpass, "getuser", lambda: "ann")
        assert (act().actor, act().source) == ("ann", "retire")

        def nobody() -> str:
            raise KeyError("uid not found")

        monkeypatch.setattr(getpass, "getuser", nobody)
        assert act().actor == "cli"
    assert (act().actor, act().source) == ("system", None)

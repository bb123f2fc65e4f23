"""The database itself refuses to change or remove history, and only the retention gets past it."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import BigInteger, Column, Engine, MetaData, Table, create_engine, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from flask_statemanager.backends.sql import triggers
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.query import ChangeQuery
from flask_statemanager.core.record import Key
from flask_statemanager.errors import ConfigurationError, StorageError
from flask_statemanager.testing.clock import START
from flask_statemanager.testing.contract import Store
from flask_statemanager.testing.contract.store import BUCKET
from tests.worlds import World

PATIENCE = 60
LATER = START + timedelta(days=1)
WORDS = "append-only: write a new version of the state instead, and remove old entries with 'flask state prune'"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'states.db'}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """An engine of the application's, as it comes."""
    made = create_engine(url)
    yield made
    made.dispose()


@pytest.fixture
def backend(engine: Engine) -> SqlBackend:
    """A backend with its tables."""
    made = SqlBackend(engine, declare(MetaData()))
    made.create_tables()
    return made


@pytest.fixture
def store(backend: SqlBackend) -> Store:
    """Two records with three versions each, which it takes to have something to remove."""
    made = Store(backend)
    fill(made, "a", "b")
    return made


def fill(store: Store, *names: str) -> None:
    for name in names:
        store.create(name, {"n": 1})
        store.update(name, data={"n": 2})
        store.update(name, data={"n": 3})


def rows(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT * FROM statemanager_history ORDER BY revision")))


def versions(engine: Engine) -> list[tuple[str, int]]:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT name, version FROM statemanager_history ORDER BY revision"))
        return [(row.name, row.version) for row in found]


def guards(engine: Engine, schema: str | None = None) -> list[str]:
    """The triggers that are missing."""
    with engine.connect() as connection:
        return triggers.missing(connection, schema)


def functions(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT proname FROM pg_proc WHERE proname LIKE 'statemanager%'")))


def refused(engine: Engine, statement: str) -> None:
    """Run a statement, which must fail, say why, and change nothing."""
    before = rows(engine)
    with engine.connect() as connection, pytest.raises(IntegrityError) as error:
        connection.execute(text(statement))
    assert WORDS in str(error.value.orig)
    assert rows(engine) == before
    assert before


CHANGES = {
    "update": "UPDATE statemanager_history SET actor = 'nobody' WHERE version = 1",
    "update of everything": "UPDATE statemanager_history SET actor = 'nobody'",
    "delete": "DELETE FROM statemanager_history WHERE version = 1",
    "delete of everything": "DELETE FROM statemanager_history",
    "upsert": (
        "INSERT INTO statemanager_history SELECT * FROM statemanager_history WHERE version = 1 "
        "ON CONFLICT (bucket, name, version) DO UPDATE SET actor = 'nobody'"
    ),
}
ON_SQLITE = {
    "replace by version": (
        "REPLACE INTO statemanager_history SELECT 99, bucket, name, version, 'forged', NULL, to_status, label, type, "
        "owner, schema_version, data, metadata, record_created_at, NULL, NULL, 'nobody', NULL, NULL, NULL, NULL, "
        "created_at, NULL FROM statemanager_history WHERE version = 1"
    ),
    "replace by drawn revision": (
        "INSERT OR REPLACE INTO statemanager_history SELECT NULL, bucket, name, version, 'forged', NULL, to_status, "
        "label, type, owner, schema_version, data, metadata, record_created_at, NULL, NULL, 'nobody', NULL, NULL, "
        "NULL, NULL, created_at, NULL FROM statemanager_history WHERE version = 1"
    ),
    "replace by revision": (
        "INSERT OR REPLACE INTO statemanager_history SELECT revision, bucket, 'z', version, 'forged', NULL, to_status, "
        "label, type, owner, schema_version, data, metadata, record_created_at, NULL, NULL, 'nobody', NULL, NULL, "
        "NULL, NULL, created_at, NULL FROM statemanager_history WHERE version = 1"
    ),
    "update or replace": "UPDATE OR REPLACE statemanager_history SET version = 2 WHERE version = 1",
    "update or ignore": "UPDATE OR IGNORE statemanager_history SET actor = 'nobody'",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_statement_that_changes_or_removes_history_is_refused(engine: Engine, store: Store, change: str) -> None:
    refused(engine, CHANGES[change])


@pytest.mark.parametrize("change", ON_SQLITE)
def test_sqlites_ways_round_a_conflict_are_refused(tmp_path: Path, change: str) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'states.db'}")
    backend = SqlBackend(engine, declare(MetaData()))
    backend.create_tables()
    fill(Store(backend), "a")
    refused(engine, ON_SQLITE[change])
    engine.dispose()


@pytest.mark.parametrize("statement", ["TRUNCATE statemanager_history", "TRUNCATE statemanager_history CASCADE"])
def test_truncate_is_refused(postgres_url: str, statement: str) -> None:
    engine = create_engine(postgres_url)
    backend = SqlBackend(engine, declare(MetaData()))
    backend.create_tables()
    fill(Store(backend), "a")
    refused(engine, statement)
    engine.dispose()


@pytest.mark.parametrize("attempt", ["update", "delete", "object"])
def test_the_applications_session_cannot_do_it_either(sql_world: World, attempt: str) -> None:
    world = sql_world
    world.states.register_state("u1", "user")
    world.states.update_state("u1", {"n": 1})
    before = world.states.get_state_history("u1")
    table, session = world.db.metadata.tables["statemanager_history"], world.db.session

    class Entry(world.db.Model):  # type: ignore[name-defined,misc]
        __table__ = table

    entry = session.scalars(world.db.select(Entry).limit(1)).one()
    if attempt == "object":
        entry.actor = "nobody"
    act = {"update": table.update().values(actor="nobody"), "delete": table.delete(), "object": world.db.select(Entry)}
    with pytest.raises(IntegrityError, match="append-only"):
        session.execute(act[attempt])
    session.rollback()
    assert world.states.get_state_history("u1") == before
    world.states.update_state("u1", {"n": 2})
    assert len(world.states.get_state_history("u1")) == len(before) + 1


def test_appending_is_not_in_the_guards_way(engine: Engine, store: Store) -> None:
    store.delete("a")
    store.recreate("a", {"n": 4}, at=LATER)
    assert [version for name, version in versions(engine) if name == "a"] == [1, 2, 3, 4, 5]


# -- there, whichever way the table came -------------------------------------------------------------------------------


def test_create_all_makes_it_and_drop_all_leaves_nothing(engine: Engine) -> None:
    metadata = MetaData()
    declare(metadata)
    for _ in range(2):
        metadata.create_all(engine)
        assert guards(engine) == []
        metadata.drop_all(engine)
        assert inspect(engine).get_table_names() == []
        if engine.dialect.name == "postgresql":
            assert functions(engine) == []


def test_an_operation_of_alembic_makes_and_removes_it(engine: Engine) -> None:
    with engine.begin() as connection:
        operations = Operations(MigrationContext.configure(connection))
        columns = [Column(name, BigInteger) for name in ("revision", "bucket", "name", "version")]
        operations.create_table("statemanager_history", *columns)
    assert guards(engine) == []
    with engine.begin() as connection:
        Operations(MigrationContext.configure(connection)).drop_table("statemanager_history")
    if engine.dialect.name == "postgresql":
        assert functions(engine) == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_migration_that_is_only_written_down_has_it(kind: str) -> None:
    written = io.StringIO()
    context = MigrationContext.configure(dialect_name=kind, opts={"as_sql": True, "output_buffer": written})
    Operations(context).create_table("statemanager_history", Column("revision", BigInteger))
    for name in triggers.TRIGGERS[kind]:
        assert f"CREATE TRIGGER {name} BEFORE" in written.getvalue()


def test_other_tables_and_other_databases_get_none(engine: Engine) -> None:
    metadata = MetaData()
    Table("history", metadata, Column("revision", BigInteger))
    metadata.create_all(engine)
    kinds = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT * FROM pg_trigger",
    }
    with engine.connect() as connection:
        assert connection.execute(text(kinds[engine.dialect.name])).all() == []
    written = io.StringIO()
    context = MigrationContext.configure(dialect_name="mysql", opts={"as_sql": True, "output_buffer": written})
    Operations(context).create_table("statemanager_history", Column("revision", BigInteger))
    assert "TRIGGER" not in written.getvalue()


def test_in_a_schema_the_guard_is_that_schemas(postgres_url: str) -> None:
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text('CREATE SCHEMA "Apart"'))
    metadata = MetaData(schema="Apart")
    backend = SqlBackend(engine, declare(metadata))
    plain = SqlBackend(engine, declare(MetaData()))
    for each in (backend, plain):
        each.create_tables()
    fill(Store(backend), "a")
    assert (guards(engine, "Apart"), guards(engine)) == ([], [])
    with engine.connect() as connection, pytest.raises(IntegrityError, match="append-only"):
        connection.execute(text('DELETE FROM "Apart".statemanager_history'))
    with backend.writing() as unit:
        assert len(backend.forget_changes(unit, LATER, 10)) == 2
    metadata.drop_all(engine)
    assert functions(engine) == ["statemanager_history_guard"]
    assert guards(engine) == []
    engine.dispose()


def test_in_an_attached_file_the_guard_is_that_files(tmp_path: Path) -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    with engine.connect() as connection:
        connection.exec_driver_sql(f"ATTACH '{tmp_path / 'other.db'}' AS other")
    metadata = MetaData(schema="other")
    backend = SqlBackend(engine, declare(metadata))
    backend.create_tables()
    fill(Store(backend), "a")
    assert guards(engine, "other") == []
    with engine.connect() as connection, pytest.raises(IntegrityError, match="append-only"):
        connection.execute(text("DELETE FROM other.statemanager_history"))
    with backend.writing() as unit:
        assert len(backend.forget_changes(unit, LATER, 10)) == 2
    assert guards(engine, "other") == []
    backend.close()
    engine.dispose()


# -- the retention -----------------------------------------------------------------------------------------------------


def test_the_retention_passes_and_closes_the_guard_behind_it(engine: Engine, backend: SqlBackend, store: Store) -> None:
    with backend.writing() as unit:
        assert len(backend.forget_changes(unit, LATER, 10)) == 4
        assert guards_of(unit) == "closed"
    assert versions(engine) == [("a", 3), ("b", 3)]
    assert guards(engine) == []
    refused(engine, "DELETE FROM statemanager_history")


def guards_of(unit: Any) -> str:
    """Whether a unit's own transaction can delete after the retention."""
    try:
        with unit.savepoint():
            cursor = unit.connection.cursor()
            cursor.execute("DELETE FROM statemanager_history")
            cursor.close()
    except unit.dialect.engine.dialect.loaded_dbapi.Error:
        return "closed"
    return "open"


@pytest.mark.parametrize("setting", ["statemanager.retention"])
def test_on_postgresql_nothing_is_changed_even_where_deleting_is_allowed(postgres_url: str, setting: str) -> None:
    engine = create_engine(postgres_url)
    backend = SqlBackend(engine, declare(MetaData()))
    backend.create_tables()
    fill(Store(backend), "a")
    for statement in (CHANGES["update"], "TRUNCATE statemanager_history"):
        with engine.connect() as connection:
            connection.execute(text("SELECT set_config(:name, 'on', true)"), {"name": setting})
            with pytest.raises(IntegrityError, match="append-only"):
                connection.execute(text(statement))
    engine.dispose()


def test_a_retention_that_fails_leaves_the_guard_and_the_unit_usable(
    engine: Engine, backend: SqlBackend, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(engine)
    with backend.writing() as unit:
        with pytest.raises((StorageError, OverflowError)):
            backend.forget_changes(unit, LATER, 2**70)
        assert guards_of(unit) == "closed"
    assert guards(engine) == []
    assert rows(engine) == before


def test_the_retention_is_refused_in_somebody_elses_transaction(
    engine: Engine, backend: SqlBackend, store: Store
) -> None:
    before = rows(engine)
    with Session(engine) as session:
        unit = backend.joined(session, write=True)
        with pytest.raises(ConfigurationError, match="leave session= out"):
            backend.forget_changes(unit, LATER, 10)  # type: ignore[arg-type]
        session.commit()
    assert rows(engine) == before


def test_other_connections_feel_the_guard_after_a_retention(engine: Engine, backend: SqlBackend, store: Store) -> None:
    """Their prepared statements are from before it."""
    statement = text("DELETE FROM statemanager_history WHERE version = 3")
    with engine.connect() as other:
        for _ in range(6):
            with suppress(IntegrityError):
                other.execute(statement)
            other.rollback()
        with backend.writing() as unit:
            assert backend.forget_changes(unit, LATER, 10)
        with pytest.raises(IntegrityError, match="append-only"):
            other.execute(statement)


def test_on_in_memory_sqlite_the_retention_passes_beside_a_session_that_has_read() -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    backend = SqlBackend(engine, declare(MetaData()))
    backend.create_tables()
    fill(Store(backend), "a", "b")
    with engine.connect() as connection:
        reading = connection.execution_options(yield_per=1).execute(text("SELECT name FROM statemanager_state"))
        reading.fetchone()
        with backend.writing() as unit:
            assert len(backend.forget_changes(unit, LATER, 10)) == 4
        reading.close()
    assert guards(engine) == []
    backend.close()
    engine.dispose()


def die(url: str, point: str) -> None:  # pragma: no cover - the process is killed
    """Remove history and be killed on the way."""
    backend = SqlBackend(create_engine(url), declare(MetaData()))
    with backend.writing() as unit:
        plain = unit.run

        def run(statement: Any, *arguments: Any, **options: Any) -> Any:
            found = plain(statement, *arguments, **options)
            if point in statement.sql:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        unit.run = run  # type: ignore[method-assign]
        backend.forget_changes(unit, LATER, 10)
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    "point", ["SAVEPOINT", "DROP TRIGGER", "set_config", "DELETE FROM", "CREATE TRIGGER", "RELEASE", "commit"]
)
def test_a_kill_in_the_middle_of_a_retention_leaves_history_and_guard(
    url: str, engine: Engine, store: Store, point: str
) -> None:
    before = rows(engine)
    engine.dispose()
    child = multiprocessing.get_context("spawn").Process(target=die, args=(url, point))
    child.start()
    child.join(PATIENCE)
    assert child.exitcode == -signal.SIGKILL
    assert rows(engine) == before
    assert guards(engine) == []
    refused(engine, "DELETE FROM statemanager_history")


def forget_in_batches(backend: SqlBackend, size: int) -> list[int]:
    removed: list[int] = []
    while True:
        with backend.writing() as unit:
            gone = backend.forget_changes(unit, LATER, size, removed[-1] if removed else 0)
        removed += gone
        if len(gone) < size:
            return removed


def test_many_batches_remove_everything_in_order(engine: Engine, backend: SqlBackend, store: Store) -> None:
    fill(store, *(f"r{number}" for number in range(20)))
    removed = forget_in_batches(backend, 7)
    assert removed == sorted(set(removed))
    assert len(removed) == 2 * 22
    assert {version for _, version in versions(engine)} == {3}


def test_two_retentions_at_once_remove_everything_once(url: str, engine: Engine, store: Store) -> None:
    fill(store, *(f"r{number}" for number in range(20)))
    barrier = Barrier(2)

    def forget(backend: SqlBackend) -> list[int]:
        barrier.wait(PATIENCE)
        return forget_in_batches(backend, 3)

    backends = [SqlBackend(create_engine(url), declare(MetaData()), owned=True) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        removed = [number for found in pool.map(forget, backends, timeout=PATIENCE) for number in found]
    for each in backends:
        each.close()
    assert sorted(removed) == sorted(set(removed))
    assert len(removed) == 2 * 22
    assert guards(engine) == []


def test_writers_go_on_while_history_is_removed(url: str, backend: SqlBackend, store: Store) -> None:
    barrier = Barrier(2)
    writer = SqlBackend(create_engine(url), declare(MetaData()), owned=True)

    def write() -> None:
        barrier.wait(PATIENCE)
        for number in range(30):
            Store(writer).update("a", data={"n": number})

    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write)
        barrier.wait(PATIENCE)
        for _ in range(15):
            with backend.writing() as unit:
                backend.forget_changes(unit, LATER, 2)
        written.result(PATIENCE)
    writer.close()
    with backend.reading() as unit:
        left = [change.version for change in backend.changes(unit, ChangeQuery(BUCKET, Key(BUCKET, "a")))]
    assert left[0] >= 3
    assert left == list(range(left[0], 34))

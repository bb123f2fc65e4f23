"""What a database's refusals and failures become: errors of the package, the driver's behind them, nothing written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, create_engine, event
from sqlalchemy.pool import QueuePool

from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.dialects import dialect_of
from flask_statemanager.backends.sql.engine import make_engine, switch_wal_on
from flask_statemanager.backends.sql.postgresql_dialect import PostgresDialect
from flask_statemanager.backends.sql.sqlite_dialect import SqliteDialect
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.record import Key
from flask_statemanager.errors import (
    ConfigurationError,
    StateConflict,
    StorageError,
    StorageTimeout,
    StorageUnavailable,
)
from flask_statemanager.testing.contract.store import BUCKET, Store, change_of, new_record

TABLE = "statemanager_state"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "states.db"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
    yield engine
    engine.dispose()


def backend_on(engine: Engine) -> SqlBackend:
    backend = SqlBackend(engine, declare(MetaData()))
    backend.create_tables()
    return backend


@pytest.fixture
def holder(path: Path, engine: Engine) -> Iterator[sqlite3.Connection]:
    """Somebody else's open write on the file."""
    backend_on(engine)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


def test_a_locked_file_is_a_timeout_that_names_the_cure(engine: Engine, holder: sqlite3.Connection) -> None:
    store = Store(backend_on(engine))
    with pytest.raises(StorageTimeout, match="commit it first, or join it") as refused:
        store.apply(change_of(None, new_record("a"), "create"))
    assert isinstance(refused.value.__cause__, sqlite3.OperationalError)
    holder.execute("ROLLBACK")
    assert store.create("a").version == 1


def test_a_lock_is_recognised_without_an_error_code(path: Path, engine: Engine, holder: sqlite3.Connection) -> None:
    dialect = SqliteDialect(engine)
    plain = sqlite3.OperationalError("Python 3.10 gives no code")
    ours = sqlite3.connect(path, isolation_level=None, timeout=0)
    assert isinstance(dialect.wrapped(plain, ours, TABLE), StorageTimeout)
    holder.execute("ROLLBACK")
    assert isinstance(dialect.wrapped(plain, ours, TABLE), StorageUnavailable)
    ours.execute("BEGIN IMMEDIATE")
    assert isinstance(dialect.wrapped(plain, ours, TABLE), StorageUnavailable)
    assert ours.in_transaction
    ours.close()


def test_missing_tables_are_an_error_that_names_the_command(engine: Engine) -> None:
    store = Store(SqlBackend(engine, declare(MetaData())))
    with pytest.raises(StorageError, match="flask state db upgrade"):
        store.read("a")


def test_a_connection_too_broken_to_look_closer_is_unavailable(engine: Engine) -> None:
    broken = sqlite3.connect(":memory:")
    broken.close()
    plain = sqlite3.OperationalError("disk I/O error")
    plain.sqlite_errorcode = 10  # type: ignore[attr-defined]
    assert isinstance(SqliteDialect(engine).wrapped(plain, broken, TABLE), StorageUnavailable)


def test_any_other_refusal_of_sqlite_is_a_storage_error(engine: Engine) -> None:
    store = Store(backend_on(engine))
    with pytest.raises(StorageError) as refused:
        store.apply(change_of(None, new_record("a", label=None), "create"))
    assert isinstance(refused.value.__cause__, sqlite3.IntegrityError)
    assert store.read("a") is None


def test_a_folder_that_is_missing_is_unavailable(tmp_path: Path) -> None:
    backend = SqlBackend(make_engine(f"sqlite:///{tmp_path / 'nowhere' / 'states.db'}"), declare(MetaData()))
    for act in (backend.create_tables, lambda: Store(backend).read("a")):
        with pytest.raises(StorageUnavailable):
            act()


def test_a_transaction_that_a_listener_began_is_not_in_the_way(engine: Engine) -> None:
    backend = backend_on(engine)

    @event.listens_for(engine, "checkout")
    def begin(connection: sqlite3.Connection, *_: Any) -> None:
        connection.execute("BEGIN")

    assert Store(backend).create("a").version == 1


def test_a_pool_without_a_free_connection_is_a_timeout(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0)
    backend = backend_on(engine)
    with backend.reading(), pytest.raises(StorageTimeout, match="larger pool"):
        Store(backend).read("a")
    assert Store(backend).read("a") is None
    engine.dispose()


def test_a_record_without_its_history_is_a_conflict_and_not_overwritten(engine: Engine) -> None:
    backend = backend_on(engine)
    store = Store(backend)
    stored = store.create("a", {"n": 1})
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE statemanager_history")
    backend.create_tables()
    with pytest.raises(StateConflict):
        store.apply(change_of(None, new_record("a", {"n": 2}), "create"))
    assert store.read("a") == stored


def test_an_unsupported_database_is_a_configuration_error() -> None:
    class Stranger:
        class dialect:  # noqa: N801 - an engine's attribute
            name = "oracle"

    with pytest.raises(ConfigurationError, match=r"'oracle' is not supported"):
        dialect_of(Stranger())  # type: ignore[arg-type]


def test_an_old_sqlite_is_a_configuration_error(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(ConfigurationError, match="RETURNING"):
        dialect_of(engine)


@pytest.mark.parametrize("url", ["nonsense", "nosuchdatabase://x", "sqlite+nosuchdriver://", "postgresql+pg8000://h/d"])
def test_an_unusable_url_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError):
        make_engine(url)


@pytest.mark.parametrize("url", ["nosuchdatabase://me:s3cret@host/x", "postgresql+pg8000://me:s3cret@host/x"])
def test_an_error_about_a_url_does_not_tell_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        make_engine(url)
    assert "s3cret" not in str(refused.value)


def test_a_file_is_put_into_write_ahead_mode_on_demand(path: Path, engine: Engine) -> None:
    switch_wal_on(engine)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    switch_wal_on(create_engine("postgresql+psycopg://nobody@nowhere/nothing"))


def test_a_file_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="STATEMANAGER_SQLITE_WAL"):
        switch_wal_on(create_engine(f"sqlite:///{tmp_path}"))


class DriverError(Exception):
    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("42P01", StorageError),
        ("3F000", StorageError),
        ("40001", StateConflict),
        ("40P01", StateConflict),
        ("55P03", StorageTimeout),
        ("57014", StorageTimeout),
        ("08006", StorageUnavailable),
        ("53300", StorageUnavailable),
        ("57P01", StorageUnavailable),
        ("22001", StorageError),
        ("", StorageError),
    ],
)
def test_a_sqlstate_of_postgresql_becomes_the_error_that_says_what_to_do(sqlstate: str, kind: type) -> None:
    dialect = PostgresDialect(create_engine("postgresql+psycopg://nobody@nowhere/nothing"))
    assert type(dialect.wrapped(DriverError(sqlstate), None, TABLE)) is kind


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[SqlBackend]:
    engine = create_engine(postgres_url)
    yield backend_on(engine)
    engine.dispose()


def test_a_row_that_somebody_else_holds_too_long_is_a_timeout(postgres: SqlBackend) -> None:
    store = Store(postgres)
    store.create("a")

    def impatient() -> None:
        with postgres.writing() as unit:
            unit.connection.execute("SET LOCAL lock_timeout = '1ms'")
            postgres.read(unit, Key(BUCKET, "a"), lock=True)

    with postgres.writing() as holder:
        postgres.read(holder, Key(BUCKET, "a"), lock=True)
        with pytest.raises(StorageTimeout):
            impatient()
    assert store.update("a").version == 2


def test_after_a_broken_connection_the_next_write_has_a_new_one(postgres: SqlBackend, postgres_server: Any) -> None:
    store = Store(postgres)
    store.create("a")
    url = postgres.engine.url.render_as_string(hide_password=False)

    def cut() -> None:
        with postgres.writing() as unit:
            postgres.apply(unit, change_of(None, new_record("b"), "create"))
            postgres_server.disconnect(url)
            postgres.read(unit, Key(BUCKET, "a"))

    with pytest.raises(StorageUnavailable):
        cut()
    assert store.read("b") is None
    assert store.update("a").version == 2


def test_a_role_without_the_right_to_make_tables_is_told_so(postgres_url: str) -> None:
    owner, guest = create_engine(postgres_url), create_engine(postgres_url)

    def become_guest(connection: Any, _record: Any) -> None:
        connection.execute("SET ROLE statemanager_guest")

    with owner.begin() as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS statemanager_guest")
        connection.exec_driver_sql("CREATE ROLE statemanager_guest")
        connection.exec_driver_sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    event.listen(guest, "connect", become_guest)
    try:
        with pytest.raises(StorageError, match=r"permission denied.*grant the role that right"):
            SqlBackend(guest, declare(MetaData())).create_tables()
    finally:
        guest.dispose()
        with owner.begin() as connection:
            connection.exec_driver_sql("DROP ROLE statemanager_guest")
        owner.dispose()

"""The contract suite on every backend of the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from sqlalchemy import Engine, MetaData, create_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import StaticPool

from flask_statemanager.backends.memory import MemoryBackend
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.engine import make_engine
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.ports import Backend
from flask_statemanager.errors import ConfigurationError, StorageError, StorageTimeout
from flask_statemanager.testing.contract import (
    AuditContract,
    BackendContract,
    CountContract,
    EnqueueContract,
    ExpiryContract,
    HistoryContract,
    IdempotencyContract,
    JoinContract,
    ListContract,
    MultiKeyContract,
    PurgeContract,
    SearchContract,
    SnapshotContract,
    Store,
    TellContract,
    WatchContract,
)
from flask_statemanager.testing.contract.joining import Joins

OWN = {
    "Audits",
    "MultiKey",
    "Enqueues",
    "Idempotent",
    "KeepsHistory",
    "Searches",
    "Counts",
    "Expires",
    "Lists",
    "Purges",
    "Watches",
    "Snapshots",
}


class TestMemory(
    AuditContract,
    WatchContract,
    EnqueueContract,
    IdempotencyContract,
    MultiKeyContract,
    HistoryContract,
    SearchContract,
    CountContract,
    ExpiryContract,
    SnapshotContract,
    ListContract,
    PurgeContract,
    BackendContract,
):
    powers: ClassVar[set[str]] = OWN

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        backend = MemoryBackend()
        yield backend
        backend.close()

    def test_no_other_process_sees_it(self, backend: Backend) -> None:
        assert not backend.shareable
        assert backend.identity != MemoryBackend().identity


class SqlContract(
    AuditContract,
    TellContract,
    WatchContract,
    EnqueueContract,
    IdempotencyContract,
    MultiKeyContract,
    HistoryContract,
    SearchContract,
    CountContract,
    ExpiryContract,
    SnapshotContract,
    ListContract,
    PurgeContract,
    JoinContract,
    BackendContract,
):
    powers: ClassVar[set[str]] = {*OWN, "JoinsTransaction", "Tells"}

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        raise NotImplementedError

    @pytest.fixture
    def backend(self, engine: Engine) -> Iterator[Backend]:
        backend = SqlBackend(engine, declare(MetaData()), owned=True)
        backend.create_tables()
        yield backend
        backend.close()

    @pytest.fixture
    def session(self, engine: Engine) -> Iterator[Session]:
        with Session(engine) as session:
            yield session

    def test_a_session_of_another_database_is_refused(self, backend: Backend) -> None:
        elsewhere = make_engine("sqlite://")
        with Session(elsewhere) as session, pytest.raises(ConfigurationError, match="another database"):
            Joins(backend, session).create("a")
        elsewhere.dispose()

    def test_a_session_on_another_engine_of_the_same_pool_is_welcome(self, backend: Backend, engine: Engine) -> None:
        with Session(engine.execution_options(logging_token="mine")) as session:
            Joins(backend, session).create("a")
            session.commit()
        assert Store(backend).read("a") is not None

    def test_a_scoped_session_is_the_session_behind_it(self, backend: Backend, engine: Engine) -> None:
        scoped = scoped_session(sessionmaker(engine))
        joins = Joins(backend, scoped)
        joins.create("a")
        scoped.commit()
        scoped.remove()
        assert joins.told == ["a"]


class TestSqliteFile(SqlContract):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> Engine:
        return make_engine(f"sqlite:///{tmp_path / 'states.db'}")

    def test_the_file_is_in_write_ahead_mode(self, engine: Engine) -> None:
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"

    def test_other_processes_see_it(self, backend: Backend) -> None:
        assert backend.shareable


class TestSqliteFileWithRollbackJournal(SqlContract):
    """The application's own engine, as it comes."""

    @pytest.fixture
    def engine(self, tmp_path: Path) -> Engine:
        return create_engine(f"sqlite:///{tmp_path / 'states.db'}")

    def meanwhile(self, store: Store) -> None:
        assert isinstance(store.backend, SqlBackend)
        impatient = create_engine(store.backend.engine.url, connect_args={"timeout": 0.1})
        other = SqlBackend(impatient, declare(MetaData()), owned=True)
        with pytest.raises(StorageTimeout):
            super().meanwhile(Store(other))
        other.close()


class TestSqliteInMemory(SqlContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})

    def meanwhile(self, store: Store) -> None:
        with pytest.raises(StorageError, match="shared"):
            super().meanwhile(store)

    def test_no_other_process_sees_it(self, backend: Backend) -> None:
        assert not backend.shareable


class TestPostgres(SqlContract):
    @pytest.fixture
    def engine(self, postgres_url: str) -> Iterator[Engine]:
        engine = create_engine(postgres_url)
        yield engine
        engine.dispose()

    def test_the_identity_holds_no_password(self, backend: Backend) -> None:
        url = "postgresql+psycopg://somebody:secret@nowhere/states"
        assert "secret" not in SqlBackend(create_engine(url), declare(MetaData())).identity


class TestTheContractItself:
    def test_a_subclass_without_a_backend_is_told_what_to_do(self) -> None:
        fixture = BackendContract.backend
        function = getattr(fixture, "_fixture_function", None) or fixture.__wrapped__  # type: ignore[attr-defined]
        with pytest.raises(NotImplementedError, match="Override the fixture"):
            function(BackendContract())

    def test_a_forgotten_power_fails(self) -> None:
        class Forgetful(HistoryContract, BackendContract):
            powers: ClassVar[set[str]] = {"KeepsHistory", "Searches"}

        with pytest.raises(AssertionError):
            Forgetful().test_every_power_is_held_to_its_contract()
        with pytest.raises(AssertionError):
            Forgetful().test_exactly_the_declared_powers_are_there(MemoryBackend())

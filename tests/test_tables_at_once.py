"""Processes that start at once on an empty database: every one of them has the tables then, and none fails."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, MetaData, create_engine, event, inspect, text
from sqlalchemy.pool import StaticPool

from flask_statemanager.backends.sql import migration
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.engine import make_engine, switch_wal_on
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.errors import StorageError, StorageTimeout, StorageUnavailable
from tests.processes.child import LONG, PATIENCE
from tests.processes.crew import Crew

MAKERS, ROUNDS = (4, 10) if LONG else (3, 1)

Make = Callable[[SqlBackend], Any]


@pytest.fixture
def engines() -> Iterator[Callable[..., Engine]]:
    """Make engines that are disposed of at the end."""
    made: list[Engine] = []

    def make(url: str, **options: Any) -> Engine:
        if url.startswith("sqlite"):
            options = {"connect_args": {"timeout": PATIENCE, "check_same_thread": False}} | options
        made.append(create_engine(url, **options))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


def on(engine: Engine) -> SqlBackend:
    return SqlBackend(engine, declare(MetaData()))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'states.db'}"


# -- processes ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def makers() -> Iterator[Crew]:
    with Crew(MAKERS, "maker") as makers:
        yield makers


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    """The URLs of empty databases, one for each round."""
    if request.param == "sqlite":
        # SQLite's waiting is not fair: of several, one may wait longer than the driver's 5 seconds.
        yield [f"sqlite:///{tmp_path / f'{number}.db'}?timeout={PATIENCE:.0f}" for number in range(ROUNDS)]
        return
    server = request.getfixturevalue("postgres_server")
    server.start()
    urls = [server.lend_database() for _ in range(ROUNDS)]
    yield urls
    for each in urls:
        server.take_back(each)


def made_by(makers: Crew, act: str, url: str) -> list[Any]:
    """Let all of them do something on an empty database, and return what they say."""
    makers.open(url)
    [fared] = makers.race(act, 1)
    assert all(each["won"] for each in fared), fared
    return [each["answer"] for each in fared]


@pytest.mark.slow
def test_one_of_several_processes_upgrades_and_the_others_find_it_done(makers: Crew, databases: list[str]) -> None:
    for url in databases:
        said = made_by(makers, "upgrade", url)
        assert sorted(each.partition(" ")[0] for each in said) == ["Nothing"] * (MAKERS - 1) + ["Upgraded"], said


@pytest.mark.slow
@pytest.mark.parametrize("act", ["tables", "tables_or_upgrade", "manager", "stores"])
def test_of_several_processes_every_one_has_the_tables(
    makers: Crew, databases: list[str], act: str, engines: Callable[..., Engine]
) -> None:
    for url in databases:
        made_by(makers, act, url)
        assert migration.check(on(engines(url))) == []


# -- the schedule, held ------------------------------------------------------------------------------------------------


def plain(engine: Engine) -> Engine:
    return engine


def with_begin(engine: Engine) -> Engine:
    """As SQLAlchemy's documentation has applications begin on SQLite, and one that asks for something at once."""
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    event.listen(engine, "engine_connect", lambda connection: connection.exec_driver_sql("SELECT 1"))
    return engine


def with_listeners(engine: Engine) -> Engine:
    """Listeners that leave a transaction open: one of which SQLAlchemy knows nothing, and one of which it knows."""
    event.listen(engine, "checkout", lambda connection, *_rest: connection.cursor().execute("SELECT 1"))
    event.listen(engine, "engine_connect", lambda connection: connection.exec_driver_sql("SELECT 1"))
    return engine


ENGINES: dict[str, tuple[str, dict[str, Any], Callable[[Engine], Engine]]] = {
    "sqlite": ("sqlite", {}, plain),
    "sqlite, autocommit": ("sqlite", {"isolation_level": "AUTOCOMMIT"}, plain),
    "sqlite, begin": ("sqlite", {"isolation_level": "AUTOCOMMIT"}, with_begin),
    "postgresql": ("postgresql", {}, plain),
    "postgresql, autocommit": ("postgresql", {"isolation_level": "AUTOCOMMIT"}, plain),
    "postgresql, repeatable read": ("postgresql", {"isolation_level": "REPEATABLE READ"}, plain),
    "postgresql, listeners": ("postgresql", {}, with_listeners),
}


@pytest.fixture(params=list(ENGINES))
def two(request: pytest.FixtureRequest, tmp_path: Path, engines: Callable[..., Engine]) -> list[Engine]:
    """Two engines of one empty database."""
    kind, options, prepared = ENGINES[request.param]
    sqlite = f"sqlite:///{tmp_path / 'states.db'}"
    url = sqlite if kind == "sqlite" else request.getfixturevalue("postgres_url")
    return [prepared(engines(url, **options)) for _ in range(2)]


def told_of(engine: Engine, sent: Callable[[str], None]) -> None:
    """Hear each statement before it is carried out, those too that SQLAlchemy does not see."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _record: connection.set_trace_callback(sent), insert=True)
    else:
        event.listen(engine, "before_cursor_execute", lambda _c, _cursor, statement, *_rest: sent(statement))


def one_behind_the_other(engines: list[Engine], first: Make, second: Make) -> list[Any]:
    """Let the second look when the first has looked and made nothing yet, and hold the first until it has looked.

    That is when it asks for the lock, or makes a table itself.
    """
    making, looked = threading.Event(), threading.Event()

    def hold(statement: str) -> None:
        if statement.strip().startswith("CREATE TABLE") and not making.is_set():
            making.set()
            looked.wait(PATIENCE)

    def note(statement: str) -> None:
        if "advisory" in statement or statement.strip().startswith(("BEGIN IMMEDIATE", "CREATE TABLE")):
            looked.set()

    told_of(engines[0], hold)
    told_of(engines[1], note)
    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(first, on(engines[0]))
        assert making.wait(PATIENCE)
        other = threads.submit(second, on(engines[1]))
        found = [one.result(PATIENCE), other.result(PATIENCE)]
    assert looked.is_set()
    return found


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (SqlBackend.create_tables, SqlBackend.create_tables),
        (SqlBackend.create_tables, migration.upgrade),
        (migration.upgrade, SqlBackend.create_tables),
    ],
    ids=["tables, tables", "tables, upgrade", "upgrade, tables"],
)
def test_who_has_looked_before_the_tables_were_there_looks_again(two: list[Engine], first: Make, second: Make) -> None:
    one_behind_the_other(two, first, second)
    assert migration.check(on(two[0])) == []


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "REPEATABLE READ"])
def test_a_connection_is_given_back_at_the_level_of_its_engine(
    postgres_url: str, engines: Callable[..., Engine], level: str
) -> None:
    engine = engines(postgres_url, isolation_level=level, pool_size=1, max_overflow=0)
    with engine.connect() as connection:
        found = level_of(connection)
    on(engine).create_tables()
    with engine.connect() as connection:
        assert level_of(connection) == found
    assert found == (level == "AUTOCOMMIT", "READ COMMITTED" if level == "AUTOCOMMIT" else level)


def level_of(connection: Connection) -> tuple[bool, str]:
    """Return whether a connection commits by itself, which has no name of its own, and its level."""
    driver: Any = connection.connection.driver_connection
    return driver.autocommit, connection.get_isolation_level()


# -- where all is there ------------------------------------------------------------------------------------------------


def test_where_all_tables_are_there_nobody_is_waited_for(url: str, engines: Callable[..., Engine]) -> None:
    holder = engines(url)
    on(holder).create_tables()
    impatient = {"connect_args": {"timeout": 0}} if url.startswith("sqlite") else {}
    backend = on(engines(url, **impatient))
    with on(holder).connected("the test", alone=True):
        backend.create_tables()


def test_who_waits_too_long_for_another_one_is_told_so(url: str, engines: Callable[..., Engine]) -> None:
    impatient = {"timeout": 0} if url.startswith("sqlite") else {"options": "-c lock_timeout=100ms"}
    backend = on(engines(url, connect_args=impatient))
    with on(engines(url)).connected("the test", alone=True), pytest.raises(StorageTimeout, match="lock"):
        backend.create_tables()
    backend.create_tables()
    assert migration.check(backend) == []


def test_a_refusal_leaves_no_table_behind(url: str, engines: Callable[..., Engine]) -> None:
    engine = engines(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE thing (id INTEGER)"))
        connection.execute(text("CREATE INDEX ix_statemanager_state_expires ON thing (id)"))
    with pytest.raises(StorageError, match="refused the tables"):
        on(engine).create_tables()
    assert inspect(engine).get_table_names() == ["thing"]


def test_an_open_write_of_the_application_in_memory_is_refused_and_not_committed(
    engines: Callable[..., Engine],
) -> None:
    engine = engines("sqlite://", poolclass=StaticPool)
    backend = on(engine)
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE invoice (id INTEGER PRIMARY KEY)"))
        connection.execute(text("INSERT INTO invoice VALUES (1)"))
        with pytest.raises(StorageError, match="open write"):
            backend.create_tables()
        connection.rollback()
        assert connection.scalar(text("SELECT count(*) FROM invoice")) == 0
    backend.create_tables()
    assert migration.check(backend) == []


def test_other_threads_wait_in_memory_until_the_tables_are_made(engines: Callable[..., Engine]) -> None:
    engine = engines("sqlite://", poolclass=StaticPool)
    backend = on(engine)
    wrote: list[Future[None]] = []

    def write() -> None:
        with backend.writing():
            pass

    def meanwhile(_connection: Connection, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.strip().startswith("CREATE TABLE") and not wrote:
            wrote.append(threads.submit(write))
            wait(wrote, 0.2)  # it is not done before this has gone on

    with ThreadPoolExecutor(1) as threads:
        event.listen(engine, "before_cursor_execute", meanwhile)
        backend.create_tables()
        wrote[0].result(PATIENCE)
    assert migration.check(backend) == []


# -- write-ahead logging -----------------------------------------------------------------------------------------------


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that writes to a new file."""
    connection = sqlite3.connect(tmp_path / "states.db", check_same_thread=False)
    connection.execute("CREATE TABLE thing (id INTEGER)")
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


@pytest.mark.parametrize("own", [True, False], ids=["our own engine", "the application's"])
def test_who_switches_write_ahead_logging_on_waits_for_a_writer(
    writer: sqlite3.Connection, tmp_path: Path, engines: Callable[..., Engine], own: bool
) -> None:
    """SQLite does not wait there, whatever the driver's timeout is: of several that start at once, one failed."""
    url = f"sqlite:///{tmp_path / 'states.db'}"
    engine = make_engine(f"{url}?timeout={PATIENCE:.0f}") if own else engines(url)

    def note(statement: str) -> None:
        if statement == "BEGIN IMMEDIATE":
            writer.rollback()

    told_of(engine, note)
    if not own:
        switch_wal_on(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()


def test_who_cannot_switch_it_on_is_told_so(writer: sqlite3.Connection, tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'states.db'}?timeout=0")
    with pytest.raises(StorageUnavailable, match="database is locked"):
        on(engine).create_tables()
    engine.dispose()

"""The floor: what a verb does to the database, by the bare driver, with parameters that lie ready."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any

import orjson
import psycopg
from sqlalchemy import MetaData, create_engine

from benchmarks.ground import Store
from benchmarks.work import DOCUMENT, LISTED, PAGE, SEEN, VERSIONS
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.backends.sql.triggers import GUARDED, TRIGGERS

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)

COLUMNS = (
    "bucket, name, label, type, status, owner, version, revision, schema_version, data, metadata, created_at, "
    "updated_at, expires_at, deleted_at"
)
SELECT = f"SELECT {COLUMNS} FROM statemanager_state WHERE bucket = ? AND name = ?"
INSERT = (
    "INSERT INTO statemanager_state (bucket, name, label, type, status, version, revision, schema_version, data, "
    "metadata, created_at, updated_at) VALUES (?, ?, ?, 'account', ?, 1, ?, 1, ?, '{}', ?, ?)"
)
LOG = (
    "INSERT INTO statemanager_history (bucket, name, label, type, from_status, to_status, version, schema_version, "
    "data, metadata, record_created_at, created_at, event, actor) "
    "VALUES (?, ?, ?, 'account', ?, ?, ?, 1, ?, '{}', ?, ?, ?, 'system')"
)
FOLLOW = (
    "UPDATE statemanager_state SET status = ?, version = ?, revision = ?, data = ?, updated_at = ? "
    "WHERE bucket = ? AND name = ? AND version = ?"
)
JOB = (
    "INSERT INTO statemanager_outbox (kind, bucket, name, topic, version, slot, ordered, status, due_at, attempts, "
    "fence, created_at) VALUES ('effect', ?, ?, 'bench', ?, ?, ?, 'pending', ?, 0, 0, ?)"
)
FOUND = (
    f"SELECT {COLUMNS} FROM statemanager_state WHERE bucket = ? AND type = 'account' AND status = 'active' "
    f"AND deleted_at IS NULL ORDER BY created_at, name LIMIT {PAGE + 1}"
)
LOGGED = (
    "SELECT revision, version, event, from_status, to_status, label, type, owner, schema_version, data, metadata, "
    "record_created_at, expires_at, deleted_at, actor, source, reason, request_id, idempotency_key, created_at "
    "FROM statemanager_history WHERE bucket = ? AND name = ? ORDER BY version DESC"
)


class Floor(ABC):
    """The verbs' statements on a driver's connection.

    :param bucket: what tells its rows from those of another floor.
    """

    now: Any
    """A moment as the driver takes it."""

    def __init__(self, bucket: str = "floor") -> None:
        self.bucket = bucket
        self.versions = [1] * SEEN

    def seen(self) -> None:
        """Register the states that are read and updated."""
        for number in range(SEEN):
            self.register(number, f"seen_{number}")

    @abstractmethod
    def register(self, number: int, name: str = "") -> None:
        """Look whether the id is free, append to the history, insert the state, and commit.

        :param number: makes the id.
        :param name: the id itself.
        """

    @abstractmethod
    def update(self, number: int, *, effect: bool = False) -> None:
        """Read the state, append to the history, update the state, and commit.

        :param number: says which state.
        :param effect: leave a job for an effect, too.
        """

    @abstractmethod
    def rows(self, statement: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Run a single statement that reads.

        :param statement: with question marks.
        :param parameters: for the marks.
        """

    @abstractmethod
    def write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """Write many rows and commit.

        :param statement: with question marks.
        :param rows: the parameters of each.
        """

    def get(self, number: int) -> Any:
        """Read a state and its document.

        :param number: says which state.
        """
        return orjson.loads(self.rows(self.select, (self.bucket, f"seen_{number % SEEN}"))[0][9])

    def search(self, _number: int) -> list[Any]:
        """Read a page and its documents."""
        return [orjson.loads(row[9]) for row in self.rows(self.page, (self.bucket,))]

    def history(self, _number: int) -> list[Any]:
        """Read the versions of a state and their documents."""
        return [orjson.loads(row[9]) for row in self.rows(self.versions_of, (self.bucket, "long"))]

    def fill(self) -> None:
        """Write what :meth:`search` and :meth:`history` read."""
        now = self.now
        statuses = [("active", "suspended")[i % 2] for i in range(LISTED)]
        listed = [(self.bucket, f"listed_{i}", "x", status, i, DOCUMENT, now, now) for i, status in enumerate(statuses)]
        self.write(INSERT, listed)
        versions = range(1, VERSIONS + 1)
        self.write(
            LOG, [(self.bucket, "long", "x", "active", "active", each, DOCUMENT, now, now, "x") for each in versions]
        )

    select = SELECT
    page = FOUND
    versions_of = LOGGED


class SqliteFloor(Floor):
    """With ``sqlite3``.

    :param path: a file with the tables.
    :param durable: whether a commit waits for the disk.
    :param bucket: as for :class:`Floor`.
    """

    now = NOW.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")

    def __init__(self, path: str, *, durable: bool = False, bucket: str = "floor") -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=60, check_same_thread=False)
        self.connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        super().__init__(bucket)

    def register(self, number: int, name: str = "") -> None:
        """Look whether the id is free, append to the history, insert the state, and commit.

        :param number: makes the id.
        :param name: the id itself.
        """
        execute, bucket, now = self.connection.execute, self.bucket, self.now
        name = name or f"new_{number}"
        execute("BEGIN IMMEDIATE")
        execute(SELECT, (bucket, name)).fetchone()
        logged = (bucket, name, name, None, "active", 1, DOCUMENT, now, now, "create")
        revision = execute(LOG, logged).lastrowid
        execute(INSERT, (bucket, name, name, "active", revision, DOCUMENT, now, now))
        execute("COMMIT")

    def update(self, number: int, *, effect: bool = False) -> None:
        """Read the state, append to the history, update the state, and commit.

        :param number: says which state.
        :param effect: leave a job for an effect, too.
        """
        execute, bucket, now = self.connection.execute, self.bucket, self.now
        name = f"seen_{number % SEEN}"
        execute("BEGIN IMMEDIATE")
        seen = execute(SELECT, (bucket, name)).fetchone()[6]
        logged = (bucket, name, name, "active", "active", seen + 1, DOCUMENT, now, now, "suspend")
        revision = execute(LOG, logged).lastrowid
        execute(FOLLOW, ("active", seen + 1, revision, DOCUMENT, now, bucket, name, seen))
        if effect:
            execute(JOB, (bucket, name, seen + 1, f"{bucket}:{name}:{seen + 1}:bench", True, now, now))
        execute("COMMIT")

    def rows(self, statement: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Run a single statement that reads.

        :param statement: with question marks.
        :param parameters: for the marks.
        """
        return self.connection.execute(statement, parameters).fetchall()

    def write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """Write many rows and commit.

        :param statement: with question marks.
        :param rows: the parameters of each.
        """
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany(statement, rows)
        self.connection.execute("COMMIT")


def _marked(statement: str) -> str:
    """Return a statement for psycopg, with JSON as the text that is stored."""
    columns = statement.replace(" data, metadata,", " data::text, metadata::text,")
    return (columns if statement.startswith("SELECT") else statement).replace("?", "%s")


class PostgresFloor(Floor):
    """With psycopg.

    :param url: the SQLAlchemy URL of a database with the tables.
    :param bucket: as for :class:`Floor`.
    """

    now = NOW
    select, page, versions_of = _marked(SELECT), _marked(FOUND), _marked(LOGGED)
    select_locked = f"{select} FOR UPDATE"
    insert, log, follow, job = _marked(INSERT), f"{_marked(LOG)} RETURNING revision", _marked(FOLLOW), _marked(JOB)
    together = (
        f"WITH logged AS ({log}), followed AS (UPDATE statemanager_state SET status = %s, version = %s, "
        "revision = (SELECT revision FROM logged), data = %s, updated_at = %s "
        "WHERE bucket = %s AND name = %s AND version = %s RETURNING revision) SELECT revision FROM followed"
    )

    def __init__(self, url: str, *, bucket: str = "floor") -> None:
        address = url.replace("+psycopg", "", 1)
        self.connection = psycopg.connect(address)
        self.cursor = self.connection.cursor()
        self.single = psycopg.connect(address, autocommit=True)
        self.single_cursor = self.single.cursor()
        super().__init__(bucket)

    def register(self, number: int, name: str = "") -> None:
        """Look whether the id is free, append to the history, insert the state, and commit.

        :param number: makes the id.
        :param name: the id itself.
        """
        cursor, bucket, now = self.cursor, self.bucket, self.now
        name = name or f"new_{number}"
        cursor.execute(self.select, (bucket, name))
        cursor.fetchone()
        cursor.execute(self.log, (bucket, name, name, None, "active", 1, DOCUMENT, now, now, "create"))
        revision = cursor.fetchone()[0]
        cursor.execute(self.insert, (bucket, name, name, "active", revision, DOCUMENT, now, now))
        self.connection.commit()

    def update(self, number: int, *, effect: bool = False) -> None:
        """Read the state, append to the history, update the state, and commit.

        :param number: says which state.
        :param effect: leave a job for an effect, too.
        """
        self._update(self.select, f"seen_{number % SEEN}", effect)

    def update_hot(self, _number: int) -> None:
        """Do the same to the one state that everybody wants, after locking it."""
        self._update(self.select_locked, "hot", False)

    def _update(self, select: str, name: str, effect: bool) -> None:
        cursor, bucket, now = self.cursor, self.bucket, self.now
        cursor.execute(select, (bucket, name))
        seen = cursor.fetchone()[6]
        cursor.execute(self.log, (bucket, name, name, "active", "active", seen + 1, DOCUMENT, now, now, "suspend"))
        revision = cursor.fetchone()[0]
        cursor.execute(self.follow, ("active", seen + 1, revision, DOCUMENT, now, bucket, name, seen))
        if effect:
            cursor.execute(self.job, (bucket, name, seen + 1, f"{bucket}:{name}:{seen + 1}:bench", True, now, now))
        self.connection.commit()

    def update_at_once(self, number: int) -> None:
        """Append to the history and update the state by one statement, which knows the version.

        :param number: says which state.
        """
        cursor, bucket, now, name = self.single_cursor, self.bucket, self.now, f"seen_{number % SEEN}"
        seen = self.versions[number % SEEN]
        logged = (bucket, name, name, "active", "active", seen + 1, DOCUMENT, now, now, "suspend")
        cursor.execute(self.together, (*logged, "active", seen + 1, DOCUMENT, now, bucket, name, seen))
        cursor.fetchone()
        self.versions[number % SEEN] = seen + 1

    def rows(self, statement: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Run a single statement that reads.

        :param statement: with question marks.
        :param parameters: for the marks.
        """
        return self.single_cursor.execute(statement, parameters).fetchall()

    def write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """Write many rows and commit.

        :param statement: with question marks.
        :param rows: the parameters of each.
        """
        self.cursor.executemany(_marked(statement), rows)
        self.connection.commit()


def floor_in(store: Store, url: str, stack: ExitStack, bucket: str = "floor") -> SqliteFloor | PostgresFloor:
    """Return a floor in a database that has the tables, but no states yet.

    :param store: what kind of database it is.
    :param url: its SQLAlchemy URL.
    :param stack: closes it.
    :param bucket: as for :class:`Floor`.
    """
    if store.short == "postgresql":
        found: SqliteFloor | PostgresFloor = PostgresFloor(url, bucket=bucket)
        stack.callback(found.single.close)
    else:
        found = SqliteFloor(url.removeprefix("sqlite:///"), durable=store.durable, bucket=bucket)
    stack.callback(found.connection.close)
    return found


def with_tables(store: Store) -> str:
    """Return the URL of a database of a floor's own: the extension's tables, without the guard of its history.

    :param store: where to make it.
    """
    url, metadata = store.fresh(), MetaData()
    declare(metadata)
    engine = create_engine(url)
    metadata.create_all(engine)
    on = f" ON {GUARDED}" if engine.name == "postgresql" else ""
    with engine.begin() as connection:
        for trigger in TRIGGERS[engine.name]:
            connection.exec_driver_sql(f"DROP TRIGGER {trigger}{on}")
    engine.dispose()
    return url

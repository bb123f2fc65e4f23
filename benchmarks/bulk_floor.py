"""The floor of bulk work: the same rows by the bare driver, in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg

from benchmarks.floor import DOCUMENT, NOW
from benchmarks.rounds import Operation

STATE = "bucket, name, label, type, status, version, revision, schema_version, data, metadata, created_at, updated_at"
HISTORY = (
    "bucket, name, label, type, from_status, to_status, version, schema_version, data, metadata, record_created_at, "
    "created_at, event, actor"
)
LOG = (
    f"INSERT INTO statemanager_history ({HISTORY}) SELECT bucket, name, label, type, status, 'next', version + 1, "
    "schema_version, data, metadata, created_at, updated_at, 'x', 'system' FROM statemanager_state "
    "WHERE bucket = 'floor'"
)
LOG_GIVEN = (
    f"INSERT INTO statemanager_history ({HISTORY}) SELECT bucket, name, label, type, status, 'next', version + 1, "
    "schema_version, given.data, metadata, created_at, updated_at, 'x', 'system' FROM statemanager_state "
    "JOIN given USING (name) WHERE bucket = 'floor'"
)
FOLLOW = "UPDATE statemanager_state SET status = 'next', version = version + 1 WHERE bucket = 'floor'"


class BulkFloor:
    """Registrations and transitions of many states on one driver connection.

    :param connection: the driver's connection, in autocommit mode.
    :param transaction: opens a writing transaction.
    :param number: how many states.
    :param now: a moment as the driver takes it.
    """

    def __init__(
        self, connection: Any, transaction: Callable[[], AbstractContextManager[object]], number: int, now: Any
    ) -> None:
        self.connection = connection
        self.transaction = transaction
        self.number = number
        self.now = now
        self.version = 1
        self.write_rows("floor")

    def rows(self, bucket: str) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        """Return the rows of new states, and of their history.

        :param bucket: where to put them.
        """
        names = [f"f{i}" for i in range(self.number)]
        head = [(bucket, name, name, "user") for name in names]
        tail = (DOCUMENT, "{}", self.now, self.now)
        return (
            [(*each, "created", 1, 0, 1, *tail) for each in head],
            [(*each, None, "created", 1, 1, *tail, "create", "system") for each in head],
        )

    def write_rows(self, bucket: str) -> None:
        """Insert new states with their history.

        :param bucket: where to put them.
        """
        raise NotImplementedError

    def replace_rows(self) -> None:
        """Give every state another document, with its history."""
        raise NotImplementedError

    def move_rows(self, _number: int) -> None:
        """Move all states by two statements, without looking at them."""
        self.version += 1
        with self.transaction():
            self.connection.execute(LOG)
            self.connection.execute(FOLLOW)

    def register(self, number: int) -> None:
        """Insert new states."""
        self.write_rows(f"floor_{number}")

    def merge(self, _number: int) -> None:
        """Write new documents."""
        self.version += 1
        self.replace_rows()

    def operations(self) -> dict[str, Operation]:
        """Return what is measured, by the name of the work."""
        return {"register": self.register, "transition": self.move_rows, "transition with data": self.merge}


class SqliteBulkFloor(BulkFloor):
    """With ``executemany``."""

    def write_rows(self, bucket: str) -> None:
        """Insert new states with their history.

        :param bucket: where to put them.
        """
        states, logged = self.rows(bucket)
        with self.transaction():
            self._insert("statemanager_history", HISTORY, logged)
            self._insert("statemanager_state", STATE, states)

    def replace_rows(self) -> None:
        """Give every state another document, with its history."""
        _states, logged = self.rows("floor")
        with self.transaction():
            self._insert("statemanager_history", HISTORY, [(*row[:6], self.version, *row[7:]) for row in logged])
            self.connection.executemany(
                "UPDATE statemanager_state SET data = ?, status = 'next', version = ? WHERE bucket = 'floor' "
                "AND name = ? AND version = ?",
                [(DOCUMENT, self.version, row[1], self.version - 1) for row in logged],
            )

    def _insert(self, table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" for _ in rows[0])
        self.connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)


class PostgresBulkFloor(BulkFloor):
    """With COPY, into the tables or into a temporary one."""

    def write_rows(self, bucket: str) -> None:
        """Insert new states with their history.

        :param bucket: where to put them.
        """
        states, logged = self.rows(bucket)
        with self.transaction():
            self._copy(f"statemanager_history ({HISTORY})", logged)
            self._copy(f"statemanager_state ({STATE})", states)

    def replace_rows(self) -> None:
        """Give every state another document, with its history."""
        with self.transaction():
            self.connection.execute("CREATE TEMPORARY TABLE given (name text, data jsonb) ON COMMIT DROP")
            self._copy("given (name, data)", [(f"f{i}", DOCUMENT) for i in range(self.number)])
            self.connection.execute(LOG_GIVEN)
            self.connection.execute(
                "UPDATE statemanager_state s SET status = 'next', version = version + 1, data = given.data FROM given "
                "WHERE s.bucket = 'floor' AND s.name = given.name"
            )

    def _copy(self, target: str, rows: list[tuple[Any, ...]]) -> None:
        with self.connection.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


def sqlite_bulk_floor(path: str, number: int) -> BulkFloor:
    """Return the floor of an SQLite file that has the tables.

    :param path: the file.
    :param number: how many states.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=NORMAL")

    @contextmanager
    def transaction() -> Any:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")

    return SqliteBulkFloor(connection, transaction, number, NOW.replace(tzinfo=None).isoformat(sep=" "))


def postgres_bulk_floor(url: str, number: int) -> BulkFloor:
    """Return the floor of a PostgreSQL database that has the tables.

    :param url: its SQLAlchemy URL.
    :param number: how many states.
    """
    connection = psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True)
    return PostgresBulkFloor(connection, connection.transaction, number, NOW)

"""The floor of bulk work: the same rows by the bare driver, in one transaction."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import psycopg

from benchmarks.floor import NOW, with_tables
from benchmarks.ground import Store
from benchmarks.work import DOCUMENT

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


class BulkFloor(ABC):
    """Registrations and transitions of many states on one driver connection.

    :param connection: the driver's connection, in autocommit mode.
    :param transaction: opens a writing transaction.
    :param number: how many states are moved.
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
        self.write_rows("floor", number)

    def rows(self, bucket: str, number: int) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        """Return the rows of new states, and of their history.

        :param bucket: where to put them.
        :param number: how many.
        """
        names = [f"f{i}" for i in range(number)]
        head = [(bucket, name, name, "user") for name in names]
        tail = (DOCUMENT, "{}", self.now, self.now)
        return (
            [(*each, "created", 1, 0, 1, *tail) for each in head],
            [(*each, None, "created", 1, 1, *tail, "create", "system") for each in head],
        )

    @abstractmethod
    def write_rows(self, bucket: str, number: int) -> None:
        """Insert new states with their history.

        :param bucket: where to put them.
        :param number: how many.
        """

    @abstractmethod
    def replace_rows(self, _number: int) -> None:
        """Give every state another document, with its history."""

    def move_rows(self, _number: int) -> None:
        """Move all states by two statements, without looking at them."""
        self.version += 1
        with self.transaction():
            self.connection.execute(LOG)
            self.connection.execute(FOLLOW)


class SqliteBulkFloor(BulkFloor):
    """With ``executemany``."""

    def write_rows(self, bucket: str, number: int) -> None:
        """Insert new states with their history.

        :param bucket: where to put them.
        :param number: how many.
        """
        states, logged = self.rows(bucket, number)
        with self.transaction():
            self._insert("statemanager_history", HISTORY, logged)
            self._insert("statemanager_state", STATE, states)

    def replace_rows(self, _number: int) -> None:
        """Give every state another document, with its history."""
        self.version += 1
        _states, logged = self.rows("floor", self.number)
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

    def write_rows(self, bucket: str, number: int) -> None:
        """Insert new states with their history.

        :param bucket: where to put them.
        :param number: how many.
        """
        states, logged = self.rows(bucket, number)
        with self.transaction():
            self._copy(f"statemanager_history ({HISTORY})", logged)
            self._copy(f"statemanager_state ({STATE})", states)

    def replace_rows(self, _number: int) -> None:
        """Give every state another document, with its history."""
        self.version += 1
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


def bulk_floor(store: Store, stack: ExitStack, number: int) -> BulkFloor:
    """Return the floor in a database of its own.

    :param store: where.
    :param stack: closes it.
    :param number: how many states are moved.
    """
    url = with_tables(store)
    if store.short == "postgresql":
        connection: Any = psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True)
        stack.callback(connection.close)
        return PostgresBulkFloor(connection, connection.transaction, number, NOW)
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    stack.callback(connection.close)
    connection.execute(f"PRAGMA synchronous={'FULL' if store.durable else 'NORMAL'}")

    @contextmanager
    def transaction() -> Iterator[None]:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")

    return SqliteBulkFloor(connection, transaction, number, NOW.replace(tzinfo=None).isoformat(sep=" "))

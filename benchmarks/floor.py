"""The floor: the statements that a verb runs, on the bare driver, with parameters that lie ready."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timezone
from typing import Any

import psycopg
from sqlalchemy import MetaData, Table

from benchmarks.rounds import Operation
from flask_statemanager.backends.sql.tables import declare

TABLES = declare(MetaData())
SEEN = 64
"""How many states the reads and transitions go round."""

CHANGED = ("status", "version", "revision", "data", "updated_at")
DOCUMENT = json.dumps({"email": "a@example.com", "plan": "pro", "notes": "x" * 220})
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Floor:
    """The verbs' statements on one driver connection.

    :param connection: the driver's connection, in autocommit mode.
    :param mark: writes a parameter of this name into a statement.
    :param transaction: opens a writing transaction.
    :param now: a moment as the driver takes it.
    :param postgres: whether it is PostgreSQL.
    :param bucket: what tells its rows from those of another floor.
    """

    def __init__(
        self,
        connection: Any,
        *,
        mark: Callable[[str], str],
        transaction: Callable[[], AbstractContextManager[object]],
        now: Any,
        postgres: bool,
        bucket: str = "floor",
    ) -> None:
        self.connection = connection
        self.bucket = bucket
        self.transaction = transaction
        self.now = now
        key = f"bucket = {mark('bucket')} AND name = {mark('name')}"
        columns = ", ".join(column.name for column in TABLES.state.columns)
        self.read = f"SELECT {columns} FROM statemanager_state WHERE {key}"
        self.lock = f"{self.read} FOR UPDATE" if postgres else self.read
        self.insert_state = _insert(TABLES.state, mark, {})
        drawn = {"revision": None, "xid": "pg_current_xact_id()::text::bigint" if postgres else None}
        self.insert_job = _insert(TABLES.outbox, mark, {"id": None})
        self.insert_history = f"{_insert(TABLES.history, mark, drawn)} RETURNING revision"
        changed = ", ".join(
            f"{name} = {mark(name)}" for name in ("status", "version", "revision", "data", "updated_at")
        )
        self.update = f"UPDATE statemanager_state SET {changed} WHERE {key} AND version = {mark('seen')}"
        for number in range(SEEN):
            self.register(number, f"seen_{number}")

    def values(self, name: str, version: int, status: str) -> dict[str, Any]:
        """Return the parameters of a state row and a history row."""
        names = [column.name for table in (TABLES.state, TABLES.history) for column in table.columns]
        now = dict.fromkeys(("created_at", "updated_at", "record_created_at"), self.now)
        given = {
            "bucket": self.bucket,
            "name": name,
            "label": name,
            "type": "user",
            "status": status,
            "to_status": status,
        }
        given |= {"version": version, "data": DOCUMENT, "metadata": "{}", "event": "x", "actor": "system"}
        return dict.fromkeys(names) | now | given | {"schema_version": 1, "seen": version - 1, "revision": 0}

    def register(self, number: int, name: str = "") -> None:
        """Look whether the id is free, append to the history, insert the state."""
        values = self.values(name or f"new_{number}", 1, "created")
        with self.transaction():
            self.connection.execute(self.lock, values).fetchone()
            values["revision"] = self.connection.execute(self.insert_history, values).fetchone()[0]
            self.connection.execute(self.insert_state, values)

    def transition(self, number: int, *, effect: bool = False) -> None:
        """Read the state, append to the history, update the state, and leave a job for an effect where asked for."""
        name = {"bucket": self.bucket, "name": f"seen_{number % SEEN}"}
        with self.transaction():
            version = self.connection.execute(self.lock, name).fetchone()[6]
            values = self.values(name["name"], version + 1, "active")
            values["revision"] = self.connection.execute(self.insert_history, values).fetchone()[0]
            self.connection.execute(self.update, values)
            if effect:
                self.connection.execute(self.insert_job, self.job(name["name"], version + 1))

    def job(self, name: str, version: int) -> dict[str, Any]:
        """Return the parameters of a job."""
        slot = f"{self.bucket}:{name}:{version}:bench"
        values = dict.fromkeys(column.name for column in TABLES.outbox.columns)
        return values | {
            "kind": "effect", "bucket": self.bucket, "name": name, "topic": "bench", "version": version, "slot": slot,
            "ordered": True, "status": "pending", "due_at": self.now, "attempts": 0, "fence": 0, "created_at": self.now,
        }  # fmt: skip

    def get(self, number: int) -> None:
        """Read a state."""
        self.connection.execute(self.read, {"bucket": self.bucket, "name": f"seen_{number % SEEN}"}).fetchone()

    def operations(self) -> dict[str, Operation]:
        """Return what is measured, by name."""
        return {"transition with history": self.transition, "register": self.register, "get_state": self.get}


def _insert(table: Table, mark: Callable[[str], str], drawn: dict[str, str | None]) -> str:
    values = {c.name: drawn.get(c.name, mark(c.name)) for c in table.columns}
    given = {name: value for name, value in values.items() if value is not None}
    return f"INSERT INTO {table.name} ({', '.join(given)}) VALUES ({', '.join(given.values())})"


def sqlite_floor(path: str, bucket: str = "floor") -> Floor:
    """Return the floor of an SQLite file that has the tables.

    :param path: the file.
    :param bucket: as for :class:`Floor`.
    """
    connection = sqlite3.connect(path, isolation_level=None, timeout=60, check_same_thread=False)
    connection.execute("PRAGMA synchronous=NORMAL")

    @contextmanager
    def transaction() -> Any:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")

    now = NOW.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    return Floor(
        connection, mark=lambda name: f":{name}", transaction=transaction, now=now, postgres=False, bucket=bucket
    )


def postgres_floor(url: str, bucket: str = "floor") -> Floor:
    """Return the floor of a PostgreSQL database that has the tables.

    :param url: its SQLAlchemy URL.
    :param bucket: as for :class:`Floor`.
    """
    connection = psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True)
    return Floor(
        connection,
        mark=lambda name: f"%({name})s",
        transaction=connection.transaction,
        now=NOW,
        postgres=True,
        bucket=bucket,
    )

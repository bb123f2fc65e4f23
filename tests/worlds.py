"""Applications for tests: one with Flask-SQLAlchemy on each real database, one in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.pool import Pool

from flask_statemanager import StateManager
from flask_statemanager.testing.clock import FakeClock

KV_KINDS = ("memory", "sqlite", "postgresql", "redis")
"""Where keys and values live, of ``memory``, ``sqlite``, ``postgresql`` and ``redis``."""

SHARED_KV_KINDS = tuple(kind for kind in KV_KINDS if kind != "memory")
"""Those of them that several processes can share."""

_opened: list[sqlite3.Connection] = []


@event.listens_for(Pool, "connect")
def _remember(connection: Any, _record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        _opened.append(connection)
        # No test cuts the power: without waiting for the disk a file with the tables is there five times sooner.
        connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture(autouse=True)
def closed_connections() -> Iterator[None]:
    """Close what engines of the test have left open: Python 3.13 warns of SQLite connections that nobody closed."""
    yield
    while _opened:
        with suppress(sqlite3.ProgrammingError):  # of another thread
            _opened.pop().close()


@dataclass
class World:
    """An application, its database and its state manager, inside an app context.

    :param app: the application.
    :param db: its Flask-SQLAlchemy object, with one table of the application's own.
    :param states: the state manager.
    :param clock: what tells the time.
    :param kind: ``memory``, ``sqlite`` or ``postgresql``; of keys and values ``redis`` too.
    """

    app: Flask
    db: SQLAlchemy
    states: StateManager
    clock: FakeClock
    kind: str

    @property
    def runtime(self) -> Any:
        """The running parts of the app."""
        return self.app.extensions["statemanager"]

    @property
    def note(self) -> Any:
        """The model of the application's own table."""
        return self.app.extensions["note"]


def build(kind: str, uri: str, **config: Any) -> World:
    """Put an application together; its tables are made with ``create_all``.

    :param kind: how to name it; ``memory`` keeps the states in memory.
    :param uri: the database of the application.
    :param config: further config keys.
    """
    StateManager.reset_instance()
    app = Flask("world")
    app.config.update(SQLALCHEMY_DATABASE_URI=uri, TESTING=True, **config)
    if kind == "memory":
        app.config["STATEMANAGER_BACKEND"] = "memory"
    db = SQLAlchemy()

    class Note(db.Model):  # type: ignore[name-defined,misc]
        id = db.Column(db.Integer, primary_key=True)
        text = db.Column(db.String(200), nullable=False)

    db.init_app(app)
    states, clock = StateManager(app, db=db), FakeClock()
    states.use_clock(clock)
    app.extensions["note"] = Note
    with app.app_context():
        db.create_all()
    return World(app, db, states, clock, kind)


def cached_by(redis_url: str) -> dict[str, Any]:
    """Return the config of a read cache, in front of SQLite too.

    :param redis_url: the Redis.
    """
    return {"STATEMANAGER_CACHE": "on", "STATEMANAGER_CACHE_URL": redis_url}


def kept_by(redis_url: str) -> dict[str, Any]:
    """Return the config of keys and values in a Redis.

    :param redis_url: the Redis.
    """
    return {"STATEMANAGER_KV_BACKEND": "redis", "STATEMANAGER_REDIS_URL": redis_url}


def uri_for(kind: str, folder: Path, request: pytest.FixtureRequest) -> str:
    """Return the URI of a fresh database.

    :param kind: ``memory``, ``postgresql``, or anything else for a file.
    :param folder: where a file may lie.
    :param request: finds the server.
    """
    if kind == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return "sqlite://" if kind == "memory" else f"sqlite:///{folder / 'world.sqlite'}"


def entered(world: World) -> Iterator[World]:
    """Hand a world over inside its app context, and take it down afterwards.

    :param world: the world.
    """
    with world.app.app_context():
        try:
            yield world
        finally:
            world.db.session.remove()
            world.runtime.close()
            for engine in world.db.engines.values():
                engine.dispose()
    StateManager.reset_instance()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application whose states live in memory, in an SQLite file, in PostgreSQL."""
    yield from entered(build(request.param, uri_for(request.param, tmp_path, request)))


@pytest.fixture(params=["sqlite", "postgresql"])
def sql_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application whose states live in an SQLite file, in PostgreSQL."""
    yield from entered(build(request.param, uri_for(request.param, tmp_path, request)))


@pytest.fixture(params=KV_KINDS)
def kv_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application whose keys and values live in memory, in an SQLite file, in PostgreSQL, in Redis."""
    kind = request.param
    config = kept_by(request.getfixturevalue("redis_url")) if kind == "redis" else {}
    yield from entered(build(kind, uri_for(kind, tmp_path, request), **config))


@pytest.fixture
def sqlite_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application whose states live in an SQLite file."""
    yield from entered(build("sqlite", uri_for("sqlite", tmp_path, request)))


@pytest.fixture
def postgres_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application whose states live in PostgreSQL."""
    yield from entered(build("postgresql", uri_for("postgresql", tmp_path, request)))


@pytest.fixture
def memory_sqlite_world() -> Iterator[World]:
    """An application on in-memory SQLite, where everything shares one connection."""
    yield from entered(build("memory-sqlite", "sqlite://"))

"""From settings to a backend."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from flask import Flask
from sqlalchemy import MetaData
from sqlalchemy.pool import QueuePool

from ..config import Settings
from ..core.ports import Backend
from .memory import MemoryBackend
from .sql.backend import SqlBackend
from .sql.engine import from_manager
from .sql.flask_binding import ORDER, bind
from .sql.notify import Listener, Notifier, speaks
from .sql.tables import declare

__all__ = [
    "ORDER",
    "Notifier",
    "backend_of_app",
    "backend_of_manager",
    "connections_of",
    "listening_to",
    "notifier_of",
]


def backend_of_app(app: Flask, settings: Settings, db: Any) -> Backend:
    """Return the backend that an app's settings ask for.

    :param app: the app.
    :param settings: its settings.
    :param db: the Flask-SQLAlchemy object the caller named, or None.
    :raises ConfigurationError: when they cannot be followed.
    """
    return MemoryBackend() if settings.backend == "memory" else bind(app, settings, db)


def backend_of_manager(database_manager: Any) -> Backend:
    """Return the backend of a manager that no app was given: the database named, or memory.

    Without an app there is no command that makes the tables, so they are made here where they are missing.

    :param database_manager: what the caller passed, or None.
    :raises ConfigurationError: when it offers no database.
    """
    if database_manager is None:
        return MemoryBackend()
    engine, owned = from_manager(database_manager)
    metadata = MetaData()
    backend = SqlBackend(engine, declare(metadata), owned=owned)
    backend.create_tables()
    return backend


def notifier_of(backend: Backend) -> Notifier | None:
    """Return what tells workers in other processes of new jobs, or None where they have to look for themselves.

    :param backend: where the jobs are.
    """
    if not isinstance(backend, SqlBackend) or not speaks(backend.engine):
        return None
    return Notifier(backend.engine, backend.tables.outbox.schema)


def listening_to(backend: Backend, wake: Callable[[], None]) -> Callable[[], AbstractContextManager[Any]]:
    """Return what hears of new jobs while it is entered.

    :param backend: where the jobs are.
    :param wake: called at each.
    """
    if not isinstance(backend, SqlBackend) or not speaks(backend.engine):
        return nullcontext
    engine, schema = backend.engine, backend.tables.outbox.schema
    return lambda: Listener(engine, wake, schema)


def connections_of(backend: Backend) -> int | None:
    """Return how many connections a backend may have open at once, or None where that has no bound or is not known.

    :param backend: where the jobs are.
    """
    if not isinstance(backend, SqlBackend):
        return None
    pool = backend.engine.pool
    if not isinstance(pool, QueuePool):
        return None
    # SQLAlchemy offers no public name for it. Both numbers have one that stands for no bound: 0 and -1.
    size, overflow = pool.size(), getattr(pool, "_max_overflow", -1)
    return None if size == 0 or overflow < 0 else size + overflow

"""From settings to a backend, each of which is imported when it is the one that is used."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any, Protocol

from flask import Flask

from ..config import Settings
from ..core.ports import Backend
from ..core.powers import JoinsTransaction

ORDER = "Call db.init_app(app) before state_manager.init_app(app)."


class Notifier(Protocol):
    """Tells workers in other processes of new jobs."""

    def wake(self) -> None:
        """Have those who listen woken soon. Never waits and never raises."""
        ...  # pragma: no cover - a protocol has no body

    def close(self) -> None:
        """End this process's thread and connection for good."""
        ...  # pragma: no cover - a protocol has no body


def backend_of_app(app: Flask, settings: Settings, db: Any) -> Backend:
    """Return the backend that an app's settings ask for.

    :param app: the app.
    :param settings: its settings.
    :param db: the Flask-SQLAlchemy object the caller named, or None.
    :raises ConfigurationError: when they cannot be followed.
    """
    if settings.backend == "memory":
        return memory_backend()
    backend: Backend = _part("sql.flask_binding").bind(app, settings, db)
    return backend


def backend_of_manager(database_manager: Any) -> Backend:
    """Return the backend of a manager that no app was given: the database named, or memory.

    Without an app there is no command that makes the tables, so they are made here where they are missing.

    :param database_manager: what the caller passed, or None.
    :raises ConfigurationError: when it offers no database.
    """
    if database_manager is None:
        return memory_backend()
    backend: Backend = _part("sql.flask_binding").bind_manager(database_manager)
    return backend


def check_database_manager(manager: Any) -> None:
    """Refuse what is no database manager.

    :param manager: what the caller passed.
    :raises ConfigurationError: when it offers no database.
    """
    _part("sql.engine").check_manager(manager)


def same_manager(one: Any, other: Any) -> bool:
    """Tell whether two managers are the same: one object, or one URL.

    :param one: a manager.
    :param other: another.
    """
    return one is other or (isinstance(one, str) and isinstance(other, str) and one == other)


def memory_backend() -> Backend:
    """Return a new backend in memory."""
    backend: Backend = _part("memory").MemoryBackend()
    return backend


def notifier_of(backend: Backend) -> Notifier | None:
    """Return what tells workers in other processes of new jobs, or None where they have to look for themselves.

    :param backend: where the jobs are.
    """
    if not isinstance(backend, JoinsTransaction):
        return None
    found: Notifier | None = _part("sql.workers").notifier_of(backend)
    return found


def listening_to(backend: Backend, wake: Callable[[], None]) -> Callable[[], AbstractContextManager[Any]]:
    """Return what hears of new jobs while it is entered.

    :param backend: where the jobs are.
    :param wake: called at each.
    """
    if not isinstance(backend, JoinsTransaction):
        return nullcontext
    found: Callable[[], AbstractContextManager[Any]] = _part("sql.workers").listening_to(backend, wake)
    return found


def connections_of(backend: Backend) -> int | None:
    """Return how many connections a backend may have open at once, or None where that has no bound or is not known.

    :param backend: where the jobs are.
    """
    if not isinstance(backend, JoinsTransaction):
        return None
    found: int | None = _part("sql.workers").connections_of(backend)
    return found


def _part(name: str) -> Any:
    return import_module(f"{__package__}.{name}")

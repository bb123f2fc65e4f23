"""Engines of our own, for apps without Flask-SQLAlchemy, and engines out of what an application calls its manager."""

from __future__ import annotations

import os
import re
import sqlite3
from typing import Any
from weakref import WeakSet

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import StaticPool

from ...errors import ConfigurationError, StorageUnavailable, shown


def make_engine(uri: str, *, wal: bool = True) -> Engine:
    """Make an engine of our own.

    :param uri: an SQLAlchemy URL.
    :param wal: SQLite files: write-ahead logging and ``synchronous=NORMAL`` (a power cut may lose the last commits,
        never the file).
    :raises ConfigurationError: when the URL is unusable or its driver is not installed.
    """
    try:
        url = make_url(uri)
        options: dict[str, Any] = {}
        memory = url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")
        if memory:
            options = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
        engine = create_engine(url, **options)
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigurationError(_hidden(f"The database URL {uri!r} is unusable: {error}.")) from error
    except ImportError as error:
        hint = " (pip install 'Flask-StateManager[postgresql]')" if "psycopg" in str(error) else ""
        raise ConfigurationError(_hidden(f"The driver for {uri!r} is not installed: {error}{hint}.")) from error
    if not memory:
        forget_in_children(engine)
    if wal and not memory and engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _tune)
    return engine


def forget_in_children(engine: Engine) -> None:
    """Let a forked child open connections of its own: two processes on one socket read each other's answers.

    Those that are lent at the fork stay where they are, as do the parent's.

    :param engine: an engine of our own, or the application's, whose database does not live in its connection.
    """
    _known.add(engine)


_known: WeakSet[Engine] = WeakSet()


def _forget() -> None:
    for engine in list(_known):
        engine.dispose(close=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _hidden(message: str) -> str:
    """Take user and password out of a message, as no log should hold them."""
    return re.sub(r"://\S*@", "://***@", message)


CHECKPOINT = 4000
"""Pages, of 4 KiB by default, after which the write-ahead log of our own engine is written back: what a page gathers
meanwhile is written once."""


SWITCHES = 10
"""How often a connection tries to switch write-ahead logging on: once more for each that was faster, at the most."""


def _tune(connection: sqlite3.Connection, _record: object) -> None:
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT}")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Put the file into write-ahead logging; of several that do so at once, SQLite refuses some without a wait."""
    for _ in range(SWITCHES - 1):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            connection.execute("BEGIN IMMEDIATE")  # waits for whoever was faster, and fails where it is not that
            connection.execute("ROLLBACK")
    connection.execute("PRAGMA journal_mode=WAL")


def switch_wal_on(engine: Engine) -> None:
    """Put the application's SQLite file into write-ahead logging, which the file remembers.

    :param engine: the application's engine.
    :raises StorageUnavailable: when the file cannot be opened.
    """
    if engine.dialect.name != "sqlite":
        return
    try:
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            _write_ahead(driver)
    except Exception as error:
        raise StorageUnavailable(f"STATEMANAGER_SQLITE_WAL cannot be switched on: {error}") from error


_NAMES = ("engine", "db", "database_url", "database_uri", "url")


def check_manager(manager: Any) -> None:
    """Refuse a database manager that names no database, without connecting or needing an app context.

    :param manager: what the caller passed.
    :raises ConfigurationError: when it is of no use.
    """
    if not isinstance(manager, Engine | str) and not any(name in dir(manager) for name in _NAMES):
        raise _useless(manager)


def _useless(manager: Any) -> ConfigurationError:
    return ConfigurationError(
        f"database_manager={shown(manager)} offers no database: pass an engine, a URL, a Flask-SQLAlchemy object, "
        "or an object with .engine, .db, .database_url or .url."
    )


def from_manager(manager: Any) -> tuple[Engine, bool]:
    """Return an engine from what an application calls its database manager.

    :param manager: an engine, a URL, a Flask-SQLAlchemy object, or an object with one of these as ``engine``, ``db``,
        ``database_url``, ``database_uri`` or ``url``.
    :returns: the engine, and whether it was made here.
    :raises ConfigurationError: when there is none of these.
    """
    if isinstance(manager, Engine):
        return manager, False
    if isinstance(manager, str):
        return make_engine(manager), True
    for name in _NAMES:
        try:
            found = getattr(manager, name, None)
        except RuntimeError as error:  # Flask-SQLAlchemy finds its engine through the app context
            raise ConfigurationError(
                "database_manager is a Flask-SQLAlchemy object, which needs an app context: call init_app(app) "
                "on the state manager instead, or use it inside 'with app.app_context()'."
            ) from error
        if isinstance(found, Engine):
            return found, False
        if isinstance(found, str):
            return make_engine(found), True
        if name == "db" and found is not None:
            return from_manager(found)
    raise _useless(manager)

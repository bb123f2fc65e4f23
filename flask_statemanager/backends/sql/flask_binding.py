"""Finding the application's database: its Flask-SQLAlchemy, or an engine of our own where it has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import MetaData

from ...config import Settings
from ...errors import ConfigurationError, StorageUnavailable
from ..registry import ORDER
from .backend import SqlBackend
from .engine import forget_in_children, from_manager, make_engine, switch_wal_on
from .tables import declare


def bind(app: Flask, settings: Settings, db: Any) -> SqlBackend:
    """Return the SQL backend of an app, its tables declared where ``create_all`` and Flask-Migrate look.

    :param app: the app.
    :param settings: its settings.
    :param db: the Flask-SQLAlchemy object the caller named, or None to find it.
    :raises ConfigurationError: when it is not initialised on the app yet, or the settings contradict it.
    """
    found = app.extensions.get("sqlalchemy")
    if db is not None and not isinstance(db, SQLAlchemy):
        raise ConfigurationError(f"db= takes the Flask-SQLAlchemy object, not {type(db).__name__}.")
    if db is not None and db is not found:
        raise ConfigurationError(f"The Flask-SQLAlchemy object given as db= is not initialised on this app. {ORDER}")
    if found is None:
        if settings.bind_key is not None:
            raise ConfigurationError(f"STATEMANAGER_BIND_KEY needs Flask-SQLAlchemy. {ORDER}")
        return _own(app, settings)
    if settings.database_uri is not None:
        raise ConfigurationError(
            "This app has Flask-SQLAlchemy, so STATEMANAGER_DATABASE_URI would make a second database: "
            "leave it out, or put the states on a bind with STATEMANAGER_BIND_KEY."
        )
    return _bound(app, found, settings)


def bind_manager(manager: Any) -> SqlBackend:
    """Return the SQL backend on what an application calls its database manager, its missing tables made.

    :param manager: what the caller passed.
    :raises ConfigurationError: when it offers no database.
    :raises StorageError: when the tables cannot be made.
    """
    engine, owned = from_manager(manager)
    backend = _safe_in_children(SqlBackend(engine, declare(MetaData()), owned=owned))
    backend.create_tables()
    return backend


def _safe_in_children(backend: SqlBackend) -> SqlBackend:
    """Have the children of a server that loads the app before it forks open connections of their own.

    :param backend: the backend on an engine of the application's.
    """
    if backend.shareable:
        forget_in_children(backend.engine)
    return backend


def _bound(app: Flask, db: SQLAlchemy, settings: Settings) -> SqlBackend:
    key = settings.bind_key
    with app.app_context():
        engine = db.engines.get(key)
    if engine is None:
        where = "SQLALCHEMY_DATABASE_URI" if key is None else f"SQLALCHEMY_BINDS[{key!r}]"
        raise ConfigurationError(f"The states have no database: set {where}, or another STATEMANAGER_BIND_KEY.")
    metadata = db.metadatas.setdefault(key, MetaData(info={} if key is None else {"bind_key": key}))
    if settings.sqlite_wal:
        switch_wal_on(engine)
    return _safe_in_children(
        SqlBackend(engine, declare(metadata), sessions=db.session.session_factory, indexed=settings.indexed_fields)
    )


def _own(app: Flask, settings: Settings) -> SqlBackend:
    uri = settings.database_uri
    if uri is None:
        folder = Path(app.instance_path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageUnavailable(
                f"The instance folder for the default database cannot be made ({error}): set STATEMANAGER_DATABASE_URI."
            ) from error
        uri = f"sqlite:///{folder / 'statemanager.db'}"
    engine = make_engine(uri, wal=settings.sqlite_wal is not False)
    return SqlBackend(engine, declare(MetaData()), owned=True, indexed=settings.indexed_fields)

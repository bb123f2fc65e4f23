"""Which database an engine talks to. What only another one needs is not imported."""

from __future__ import annotations

import importlib

from sqlalchemy.engine import Engine

from ...errors import ConfigurationError
from .dialect import Dialect

_CLASSES = {"sqlite": "SqliteDialect", "postgresql": "PostgresDialect"}


def dialect_of(engine: Engine) -> Dialect:
    """Return the habits of an engine's database.

    :param engine: any engine.
    :raises ConfigurationError: when the database is not supported.
    """
    name = engine.dialect.name
    if name not in _CLASSES:
        raise ConfigurationError(
            f"The database {name!r} is not supported: use SQLite or PostgreSQL "
            "(STATEMANAGER_BIND_KEY or STATEMANAGER_DATABASE_URI)."
        )
    found: type[Dialect] = getattr(importlib.import_module(f"{__package__}.{name}_dialect"), _CLASSES[name])
    return found(engine)

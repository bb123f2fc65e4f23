"""Facts for whoever looks after the application: what it runs on, and how it is configured; no secret among them."""

from __future__ import annotations

import os
import platform
import re
import socket
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from msgspec import Struct, to_builtins

from ..config.declared import Declaration
from ..config.settings import PREFIX
from ..core.secrets import REDACTED
from ..errors import ConfigurationError, StorageError
from ..runtime import Runtime
from .wording import NOTHING

PACKAGES = ("Flask-StateManager", "Flask", "SQLAlchemy", "redis", "Werkzeug")
"""Whose versions are told."""

MOST_TEXT = 300
"""Characters of a setting's value that are shown."""

_SQL = "sql"
_MIGRATION = "flask_statemanager.backends.sql.migration"
_CREDENTIALS = re.compile(r"://.*@", re.DOTALL)
_QUERY = re.compile(r"(?<=[?&;])([^=&;\s]*)=[^&;\s]*")


class Setting(Struct, frozen=True):
    """A setting as it is shown.

    :param key: its key in the config.
    :param value: its value, written; no secret.
    :param default: whether it is as by default.
    :param doc: what it means.
    """

    key: str
    value: str
    default: bool
    doc: str


def settings_of(runtime: Runtime) -> list[Setting]:
    """Return all settings, as they may be shown.

    :param runtime: the app's running parts.
    """
    settings = runtime.settings
    return [
        Setting(f"{PREFIX}{name.upper()}", _shown(each, getattr(settings, name)), _same(settings, name, each), each.doc)
        for name, each in settings.declarations.items()
    ]


def _same(settings: Any, name: str, each: Declaration) -> bool:
    return bool(getattr(settings, name) == each.default)


def _shown(declaration: Declaration, value: Any) -> str:
    if value is None or value in ((), frozenset()):
        return NOTHING
    if declaration.secret:
        return f"{REDACTED}, {len(value)} of them" if isinstance(value, tuple) else REDACTED
    return covered_address(_written(value))[:MOST_TEXT]


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | set | frozenset):
        return ", ".join(sorted(_written(each) for each in value))
    if isinstance(value, Struct):
        return ", ".join(f"{name}: {_member(each)}" for name, each in to_builtins(value).items())
    return str(value)


def _member(value: Any) -> str:
    return " ".join(sorted(map(str, value))) or "nobody" if isinstance(value, list) else str(value)


def covered_address(text: str) -> str:
    """Return a text in which the logins and options of addresses are covered.

    >>> covered_address("postgresql://ada:s3cret@db.example/shop?sslpassword=s3cret")
    'postgresql://[redacted]@db.example/shop?sslpassword=[redacted]'

    :param text: any text.
    """
    if "://" not in text:
        return text
    return _QUERY.sub(rf"\1={REDACTED}", _CREDENTIALS.sub(f"://{REDACTED}@", text))


Facts = Mapping[str, str]
"""Names and values."""


def process() -> Facts:
    """Return what this process is."""
    return {
        "Host": socket.gethostname(),
        "Process": str(os.getpid()),
        "Python": f"{platform.python_version()} on {platform.system()}",
        **{name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def database(runtime: Runtime) -> Facts:
    """Return what the states live in.

    :param runtime: the app's running parts.
    """
    if runtime.backend.title != _SQL:
        return {"Kind": f"{runtime.backend.title}: nothing outlives the process"}
    backend: Any = runtime.backend
    engine = backend.engine
    try:
        with backend.reading() as unit:
            unit.run  # noqa: B018 - a unit is enough: the driver knows the server's version once it is connected
    except StorageError as error:
        return {"Kind": engine.dialect.name, "Error": str(error)}
    return {
        "Kind": f"{engine.dialect.name} {'.'.join(map(str, engine.dialect.server_version_info or ()))}".strip(),
        "Driver": engine.dialect.driver,
        "Address": covered_address(engine.url.render_as_string(hide_password=True)),
        "Connections of this process": engine.pool.status(),
        **_revision(backend),
    }


def _revision(backend: Any) -> Facts:
    # Not imported where nobody looks here: it brings alembic.
    migration = import_module(_MIGRATION)
    try:
        noted, newest = migration.current(backend), migration.newest()
    except StorageError as error:
        return {"Tables": str(error)}
    if noted is None:
        return {"Tables": "made by the application, no revision noted"}
    if noted == newest:
        return {"Tables": f"revision {noted}, the newest"}
    return {"Tables": f"revision {noted}, this version needs {newest}: run 'flask state db upgrade'"}


def differences(runtime: Runtime) -> list[str]:
    """Return what keeps the tables from being what this version needs, a sentence each.

    :param runtime: the app's running parts.
    :raises StorageError: when the database fails.
    """
    if runtime.backend.title != _SQL:
        return []
    found: list[str] = import_module(_MIGRATION).check(runtime.backend)
    return found


def redis(runtime: Runtime, cache: str) -> Facts:
    """Return what is kept in a Redis.

    :param runtime: the app's running parts.
    :param cache: ``on``, ``off`` or ``unavailable``.
    """
    settings = runtime.settings
    found = {"Read cache": cache}
    if cache != "off":
        found["Cached states live"] = f"{settings.cache_ttl:g} s"
    if settings.near_cache_bytes:
        found["Near cache of this process"] = f"{settings.near_cache_bytes:,} bytes at the most"
    if settings.redis_url:
        found |= {"Store for buckets": covered_address(settings.redis_url), "Keys begin with": settings.redis_prefix}
    return found


class BucketFacts(Struct, frozen=True):
    """A bucket, as it is declared.

    :param name: its name.
    :param backend: where it lives, or why it cannot be had.
    :param ttl: how long a key lives by default, in seconds; None for as long as nobody removes it.
    :param history: how long changes are kept, in seconds; None for ever.
    :param secrets: where its values hold secrets.
    """

    name: str
    backend: str
    ttl: float | None
    history: float | None
    secrets: tuple[str, ...]


def buckets(runtime: Runtime) -> list[BucketFacts]:
    """Return the declared buckets.

    :param runtime: the app's running parts.
    """
    return [
        BucketFacts(name, _backend_of(runtime, name), each.ttl, each.history, each.secrets)
        for name, each in sorted(runtime.declarations.buckets.buckets.items())
    ]


def _backend_of(runtime: Runtime, name: str) -> str:
    try:
        return str(runtime.shelves.kept(name).bucket.backend.title)
    except (ConfigurationError, StorageError) as error:
        return str(error)

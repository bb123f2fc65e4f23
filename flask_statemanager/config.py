"""Settings: every ``STATEMANAGER_`` key, read once, checked here. The docs page of keys is made from this class."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from .errors import ConfigurationError, shown

PREFIX = "STATEMANAGER_"

_LONGEST = 10 * 365 * 86400

ANY_TYPE = "*"
"""Stands for states of any type."""

_DEEPEST = 100
"""The most members of a path: no document is deeper, by ``core.codec.MAX_DEPTH``, which lies above this layer."""

_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}", re.ASCII)
_MEMBER = r"[^.%:\"\\\x00-\x1f\ud800-\udfff]+"
_WRITTEN = re.compile(
    rf"(?P<path>(?:data|metadata)(?:\.{_MEMBER})+)(?::(?P<kind>text|number|boolean))?"
    r"|(?P<document>data|metadata):gin"
)


class IndexedField(Struct, frozen=True):
    """A field that searches are to find by an index.

    :param type: the type of the states, or :data:`ANY_TYPE`.
    :param root: ``data`` or ``metadata``.
    :param path: the member names from there on; none for ``gin``.
    :param kind: ``text``, ``number`` or ``boolean``; ``gin`` for one index of the whole document, on PostgreSQL.
    """

    type: str
    root: str
    path: tuple[str, ...]
    kind: str

    @property
    def name(self) -> str:
        """The field as a filter names it."""
        return ".".join((self.root, *self.path))

    @classmethod
    def parse(cls, type_name: object, written: object) -> IndexedField:
        """Read a field such as ``data.amount:number``.

        :param type_name: a type, or :data:`ANY_TYPE`.
        :param written: a path as a filter has it, with a kind behind a colon where it is not text.
        :raises ValueError: when it is none; the message goes on from "it".
        """
        if not isinstance(type_name, str) or (type_name != ANY_TYPE and not _TYPE.fullmatch(type_name)):
            raise ValueError(f"has {shown(type_name)} for a type, which must be the name of one, or '*' for any")
        found = _WRITTEN.fullmatch(written) if isinstance(written, str) else None
        if found is None:
            raise ValueError(
                f"has {shown(written)} for a field, which must be like 'data.plan', 'data.amount:number', "
                "'metadata.paid:boolean' or 'data:gin'"
            )
        if found["document"]:
            return cls(type_name, found["document"], (), "gin")
        root, *members = found["path"].split(".")
        if len(members) > _DEEPEST:
            raise ValueError(f"has a path of {len(members)} members; no document has more than {_DEEPEST}")
        if "[POSTCOMPILE_" in found["path"]:  # SQLAlchemy would put a list of parameters there
            raise ValueError(f"has {shown(written)} for a field, where '[POSTCOMPILE_' must not be in a member's name")
        return cls(type_name, root, tuple(members), found["kind"] or "text")


def _text(value: Any) -> str:
    if isinstance(value, str) and value:
        return value
    raise ValueError("must be text and not empty")


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("1", "true", "yes", "on", "0", "false", "no", "off"):
        return value.lower() in ("1", "true", "yes", "on")
    raise ValueError("must be True or False")


def _bytes(value: Any) -> int:
    if not isinstance(value, bool) and str(value).isdigit() and int(value) > 0:
        return int(value)
    raise ValueError("must be a whole number of bytes above 0")


def _number_of(value: Any) -> float:
    try:
        return float("nan") if isinstance(value, bool) else float(value)
    except (ValueError, TypeError, OverflowError):
        return float("nan")


def _seconds(value: Any) -> float:
    seconds = _number_of(value)
    if 0 < seconds <= _LONGEST:
        return seconds
    raise ValueError("must be a number of seconds above 0, of at most ten years")


def _pace(value: Any) -> float:
    seconds = _number_of(value)
    if 0.05 <= seconds <= 3600:
        return seconds
    raise ValueError("must be a number of seconds from 0.05 to 3600")


def _redis_url(value: Any) -> str:
    parts = urlsplit(_text(value))
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("must be a URL such as redis://host:6379/0")
    if parts.port == 0:  # reading the port refuses what is no number, too
        raise ValueError("must name a port above 0")
    return str(value)


def _indexed_fields(value: Any) -> tuple[IndexedField, ...]:
    if not isinstance(value, Mapping) or not all(isinstance(names, list | tuple) for names in value.values()):
        raise ValueError("must be a dict of lists, such as {'user': ['data.plan', 'data.amount:number']}")
    return tuple(dict.fromkeys(IndexedField.parse(name, each) for name, names in value.items() for each in names))


def _one_of(*words: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value in words:
            return str(value)
        raise ValueError(f"must be {' or '.join(repr(word) for word in words)}")

    return read


def _count(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if not isinstance(value, bool) and str(value).isdigit() and least <= int(value) <= most:
            return int(value)
        raise ValueError(f"must be a whole number from {least} to {most}")

    return read


def _key(read: Callable[[Any], Any], default: Any, doc: str) -> Any:
    return field(default=default, metadata={"read": read, "doc": doc})


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one app; the key of each is its name in capitals behind ``STATEMANAGER_``."""

    backend: str = _key(
        _one_of("sql", "memory"),
        "sql",
        "Where states live: ``sql``, or ``memory`` for tests (nothing outlives the process).",
    )
    database_uri: str | None = _key(
        _text,
        None,
        "SQLAlchemy URL of the database, for an app without Flask-SQLAlchemy. Default: ``statemanager.db``, an SQLite "
        "file in the instance folder.",
    )
    bind_key: str | None = _key(
        _text, None, "The Flask-SQLAlchemy bind that the tables belong to. Default: the app's main database."
    )
    sqlite_wal: bool | None = _key(
        _flag,
        None,
        "Write-ahead logging for SQLite. Default: on for a database file of the extension's own, untouched for the "
        "application's; True switches it on there too.",
    )
    cache: str = _key(
        _one_of("auto", "on", "off"),
        "auto",
        "The read cache: ``auto`` has it where there is a Redis, but not in front of SQLite, which answers sooner than "
        "Redis; ``on`` there too; ``off`` never.",
    )
    cache_url: str | None = _key(
        _redis_url,
        None,
        "URL of a Redis for the read cache, used when the app's Flask-Caching is not on Redis. Default: no cache.",
    )
    cache_prefix: str | None = _key(
        _text,
        None,
        "What the cache keys of this store begin with. Default: made from the database's address; set it where one "
        "database has several addresses, or several databases the same.",
    )
    cache_ttl: float = _key(_seconds, 60.0, "Seconds that a cached state lives: the bound of staleness.")
    near_cache_bytes: int = _key(
        _count(0, 2**40),
        0,
        "The most bytes of the near cache, which keeps in each process what it has read from the cache in Redis (6 or "
        "later). 0: no near cache.",
    )
    near_cache_lease: float = _key(
        _pace, 1.0, "Seconds for which the near cache answers without having heard from Redis: how stale it can be."
    )
    idempotency_ttl: float = _key(
        _seconds, 72 * 3600.0, "Seconds that the answer to a call with an ``idempotency_key`` is remembered."
    )
    worker: str = _key(
        _one_of("embedded", "external"),
        "external",
        "Who carries out durable effects and timers: ``external``, a ``flask state worker`` beside the application (or "
        "Celery), or ``embedded``, a thread of every process that serves requests, started at its first one; for "
        "development and small applications.",
    )
    worker_threads: int = _key(_count(1, 256), 2, "Threads of a worker, each of which carries out one job at a time.")
    worker_lease: float = _key(
        _pace,
        30.0,
        "Seconds after which the jobs of a worker that has died are taken by another. It prolongs its leases itself.",
    )
    worker_poll: float = _key(
        _pace, 5.0, "Seconds after which a worker looks for due jobs at the latest, when nothing has woken it."
    )
    dispatch: str = _key(
        _one_of("worker", "celery"),
        "worker",
        "Who is told of due jobs: the ``worker``, or the application's ``celery`` app (the extra ``celery``).",
    )
    keep_finished: float = _key(
        _seconds, 7 * 86400.0, "Seconds that effects and timers which ended well stay in the list; dead letters stay."
    )
    indexed_fields: tuple[IndexedField, ...] = _key(
        _indexed_fields,
        (),
        'The fields of each type that searches find by an index: ``{"user": ["data.plan", "data.amount:number"]}``. '
        "A field holds text, or with ``:number`` or ``:boolean`` behind it one of these; ``*`` stands for any type. "
        "``data:gin`` is one index for equality of whatever is in the data, on PostgreSQL. ``flask state index sync`` "
        "makes them: :doc:`searching`.",
    )
    max_value_bytes: int = _key(_bytes, 2**20, "The most bytes that data and metadata of one state take as JSON.")

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> Settings:
        """Read the settings from an app's config; a key that is None counts as left out.

        :param config: ``app.config``, or any mapping.
        :raises ConfigurationError: for an unknown ``STATEMANAGER_`` key or an unusable value.
        """
        known = {f"{PREFIX}{each.name.upper()}": each for each in fields(cls)}
        given: dict[str, Any] = {}
        for key, value in config.items():
            if not key.startswith(PREFIX) or value is None:
                continue
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"was {near[0]} meant?" if near else f"known are {', '.join(sorted(known))}."
                raise ConfigurationError(f"The config key {key} is unknown: {hint}")
            try:
                given[known[key].name] = known[key].metadata["read"](value)
            except (ValueError, TypeError, OverflowError) as error:
                raise ConfigurationError(f"{key}={shown(value)} is unusable: it {error}.") from error
        return cls(**given)

    @classmethod
    def documented(cls) -> list[tuple[str, Any, str]]:
        """Return key, default and meaning of every setting, for the docs."""
        return [(f"{PREFIX}{each.name.upper()}", each.default, each.metadata["doc"]) for each in fields(cls)]

"""Settings: every ``STATEMANAGER_`` key, read once, checked here. The docs page of keys is made from this class."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from ..errors import ConfigurationError, shown
from .declared import Declaration, declared
from .indexed import IndexedField
from .stores import StoresSettings
from .values import (
    a_cache_url,
    a_count,
    a_flag,
    a_key_prefix,
    a_pace,
    a_redis_url,
    a_share,
    a_text,
    a_wait,
    one_of,
    some_bytes,
    some_fields,
    some_names,
    some_seconds,
)

PREFIX = "STATEMANAGER_"


class Settings(StoresSettings):
    """The settings of one app; the key of each is its name in capitals behind ``STATEMANAGER_``."""

    backend: str = declared(
        one_of("sql", "memory"),
        "sql",
        "Where states live: ``sql``, or ``memory`` for tests (nothing outlives the process).",
    )
    database_uri: str | None = declared(
        a_text,
        None,
        "SQLAlchemy URL of the database, for an app without Flask-SQLAlchemy. Default: ``statemanager.db``, an SQLite "
        "file in the instance folder.",
    )
    bind_key: str | None = declared(
        a_text, None, "The Flask-SQLAlchemy bind that the tables belong to. Default: the app's main database."
    )
    sqlite_wal: bool | None = declared(
        a_flag,
        None,
        "Write-ahead logging for SQLite. Default: on for a database file of the extension's own, untouched for the "
        "application's; True switches it on there too.",
    )
    cache: str = declared(
        one_of("auto", "on", "off"),
        "auto",
        "The read cache in Redis: ``auto`` has it where there is a Redis, but not in front of SQLite, which answers "
        "sooner than Redis; ``on`` there too; ``off`` never.",
    )
    cache_url: str | None = declared(
        a_cache_url,
        None,
        "URL of a Redis for the read cache, used when the app's Flask-Caching is not on Redis. Default: no cache.",
    )
    cache_prefix: str | None = declared(
        a_text,
        None,
        "What the cache keys of this store begin with. Default: made from the database's address; set it where one "
        "database has several addresses, or several databases the same.",
    )
    cache_ttl: float = declared(some_seconds, 60.0, "Seconds that a cached state lives: the bound of staleness.")
    near_cache_bytes: int = declared(
        a_count(0, 2**40),
        0,
        "The most bytes of the near cache, which keeps in each process what it has read: of the cache in Redis (6 or "
        "later), or of the database where there is no such cache. 0: no near cache.",
    )
    near_cache_lease: float = declared(
        a_pace,
        1.0,
        "Seconds for which the near cache answers without having heard what has changed: how stale it can be.",
    )
    idempotency_ttl: float = declared(
        some_seconds, 72 * 3600.0, "Seconds that the answer to a call with an ``idempotency_key`` is remembered."
    )
    idempotency_wait: float = declared(
        a_wait,
        5.0,
        "Seconds that a call waits for an earlier one with the same ``idempotency_key`` that has not ended yet, before "
        "it is refused (``RequestInProgress``; the API answers 409). A joined transaction waits as its owner wants.",
    )
    worker: str = declared(
        one_of("embedded", "external"),
        "external",
        "Who carries out durable effects and timers: ``external``, a ``flask state worker`` beside the application (or "
        "Celery), or ``embedded``, a thread of every process that serves requests, started at its first one; for "
        "development and small applications.",
    )
    worker_threads: int = declared(
        a_count(1, 256), 2, "Threads of a worker, each of which carries out one job at a time."
    )
    worker_lease: float = declared(
        a_pace,
        30.0,
        "Seconds after which the jobs of a worker that has died are taken by another. It prolongs its leases itself.",
    )
    worker_poll: float = declared(
        a_pace, 5.0, "Seconds after which a worker looks for due jobs at the latest, when nothing has woken it."
    )
    dispatch: str = declared(
        one_of("worker", "celery"),
        "worker",
        "Who is told of due jobs: the ``worker``, or the application's ``celery`` app (the extra ``celery``).",
    )
    keep_finished: float = declared(
        some_seconds,
        7 * 86400.0,
        "Seconds that effects and timers which ended well stay in the list; dead letters stay.",
    )
    indexed_fields: tuple[IndexedField, ...] = declared(
        some_fields,
        (),
        'The fields of each type that searches find by an index: ``{"user": ["data.plan", "data.amount:number"]}``. '
        "A field holds text, or with ``:number`` or ``:boolean`` behind it one of these; ``*`` stands for any type. "
        "``data:gin`` is one index for equality of whatever is in the data, on PostgreSQL. ``flask state index sync`` "
        "makes them: :doc:`searching`.",
    )
    max_value_bytes: int = declared(
        some_bytes, 2**20, "The most bytes that data and metadata of one state, or of one key, take as JSON."
    )
    kv_backend: str | None = declared(
        one_of("sql", "redis", "memory"),
        None,
        "Where keys and values live whose bucket does not say it itself: ``sql``, ``redis`` or ``memory``. Default: "
        "where the states live.",
    )
    flows_backend: str | None = declared(
        one_of("sql", "redis", "memory"),
        None,
        "Where the conversations of flows live: ``sql``, ``redis`` (for production) or ``memory``. Default: where the "
        "states live.",
    )
    flows_ttl: float = declared(
        some_seconds, 300.0, "Seconds that a conversation lives without activity; each turn renews them."
    )
    flows_lease: float = declared(
        a_pace,
        30.0,
        "Seconds that one turn of a conversation may take. It commits nothing when it takes longer, and the next one "
        "waits so long for a process that has died.",
    )
    redis_url: str | None = declared(
        a_redis_url,
        None,
        "URL of the Redis that buckets with ``backend='redis'`` live in: ``redis://``, ``rediss://``, ``unix://``, "
        "``redis+sentinel://host:port,host:port/service/0`` or ``redis+cluster://host:port``; the last two with "
        "TLS as ``rediss+…``.",
    )
    redis_prefix: str = declared(
        a_key_prefix, "statemanager:", "What the keys of these buckets begin with in Redis, to tell applications apart."
    )
    broadcast_changes: bool = declared(
        a_flag,
        True,
        "Whether changes of keys can be watched and subscribed to.",
        alias="STATE_BROADCAST_CHANGES",
    )
    snapshots: str | None = declared(
        a_text,
        None,
        "Where snapshots are kept: a folder, or a URL such as ``s3://bucket/path`` (the extra ``snapshots``). Default: "
        "``snapshots`` in the instance folder.",
    )
    snapshot_interval: float = declared(
        some_seconds,
        300.0,
        "Seconds after which the worker makes a snapshot, if anything has changed and snapshots are switched on.",
        alias="STATE_SNAPSHOT_INTERVAL_SECS",
    )
    max_snapshots: int = declared(
        a_count(1, 100_000),
        100,
        "How many of the snapshots that the worker makes are kept.",
        alias="STATE_MAX_SNAPSHOTS",
    )
    persistence_enabled: bool = declared(
        a_flag,
        False,
        "Whether the worker makes snapshots by itself.",
        alias="STATE_PERSISTENCE_ENABLED",
    )
    track_requests: bool = declared(
        a_flag,
        False,
        "Whether requests and sessions are noted in a bucket of keys and values: :doc:`tracking`.",
    )
    track_bucket: str = declared(
        a_text,
        "tracking",
        "The bucket of these notes. One that the application does not declare itself keeps its changes for a minute.",
    )
    request_prefix: str = declared(a_text, "request:", "What the keys of requests begin with.")
    session_prefix: str = declared(a_text, "session:", "What the keys of sessions begin with.")
    request_state_ttl: float = declared(some_seconds, 300.0, "Seconds that the keys of a request are kept.")
    session_state_ttl: float = declared(
        some_seconds, 3600.0, "Seconds that the key of a session is kept behind the last request of its user."
    )
    track_sample: float = declared(
        a_share,
        1.0,
        "Which share of the requests is noted, from 0 to 1, by their correlation ids: all services that use the same "
        "share choose the same ones. Sessions are noted with each.",
    )
    track_headers: tuple[str, ...] = declared(
        some_names,
        ("Accept", "Content-Length", "Content-Type", "Host", "User-Agent"),
        "The headers of a request that are noted; none that carries secrets is accepted.",
    )
    track_query: tuple[str, ...] = declared(
        some_names,
        (),
        "The arguments of query strings whose values are noted; of the others only the names are.",
    )
    track_queue: int = declared(
        a_count(1, 1_000_000),
        1000,
        "How many notes may wait to be written in a process. What comes on top is dropped and counted.",
    )
    track_share: float = declared(
        a_share,
        0.05,
        "The share of its time, above 0 to 1, that each process writes notes at the most, so that the others keep "
        "theirs.",
    )
    keep_refusals: bool | None = declared(
        a_flag,
        None,
        "Whether the latest of what was refused is kept for operators: transitions, and whom the API and the admin "
        "pages turned away. Default: where the admin pages are on.",
    )
    refusals_ttl: float = declared(some_seconds, 7 * 86400.0, "Seconds that a refusal is kept.")

    @property
    def keeps_refusals(self) -> bool:
        """Whether refusals are kept."""
        return bool(self.admin_enabled if self.keep_refusals is None else self.keep_refusals)

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from an app's config; a key that is None counts as left out.

        Some have a second name, ``STATE_...``, in the config or in the environment; the ``STATEMANAGER_`` key goes
        before that, and the config before the environment.

        :param config: ``app.config``, or any mapping.
        :param environ: the environment variables; none by default.
        :raises ConfigurationError: for an unknown ``STATEMANAGER_`` key or an unusable value.
        """
        known = {f"{PREFIX}{name.upper()}": name for name in cls.declarations}
        _check_keys(config, known)
        given: dict[str, Any] = {}
        for key, field in known.items():
            each = cls.declarations[field]
            name, value = _found(key, each.alias, config, environ or {})
            if value is None:
                continue
            try:
                given[field] = each.read(value)
            except (ValueError, TypeError, OverflowError) as error:
                told = name if each.secret else f"{name}={shown(value)}"
                raise ConfigurationError(f"{told} is unusable: it {error}.") from error
        return cls(**given)

    @classmethod
    def documented(cls) -> list[tuple[str, Any, str]]:
        """Return key, default and meaning of every setting, for the docs."""
        return [(f"{PREFIX}{name.upper()}", each.default, _documented(each)) for name, each in cls.declarations.items()]


def _check_keys(config: Mapping[str, Any], known: Collection[str]) -> None:
    for key, value in config.items():
        if key.startswith(PREFIX) and value is not None and key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"was {near[0]} meant?" if near else f"known are {', '.join(sorted(known))}."
            raise ConfigurationError(f"The config key {key} is unknown: {hint}")


def _found(key: str, alias: str | None, config: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[str, Any]:
    """Return what a setting is given, and under which name; None where it is left out."""
    if alias is None or config.get(key) is not None:
        return key, config.get(key)
    return alias, environ.get(alias) if config.get(alias) is None else config.get(alias)


def _documented(each: Declaration) -> str:
    also = "" if each.alias is None else f" Also ``{each.alias}``, in the config or as an environment variable."
    return f"{each.doc}{also}"

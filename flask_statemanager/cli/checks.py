"""The checks of the set-up: each looks at one thing, and says what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

from ..backends.sql.backend import SqlBackend
from ..config.access import ANYBODY, Roles
from ..core.buckets import RESERVED
from ..core.ports import Backend
from ..errors import StateManagerError, StorageError
from ..runtime import Runtime
from .findings import FAILED, OFF, OK, WARNING, Finding
from .probe import Probe

DIALECTS = {"postgresql": "PostgreSQL", "sqlite": "SQLite", "mysql": "MySQL", "mariadb": "MariaDB"}

Config = Mapping[str, Any]
"""The config of the app."""


def look(runtime: Runtime, config: Config, *, writing: bool = True) -> Iterator[Finding]:
    """Look at everything.

    :param runtime: the app's running parts.
    :param config: the app's config.
    :param writing: whether a record may be written, to be read back.
    """
    database = _tried("database", lambda: _database(runtime))
    yield database
    yield _tried("migrations", lambda: _migrations(runtime))
    yield from _redis(runtime)
    behind: dict[str, Callable[[], Finding]] = {
        "cache": lambda: _cache(runtime, writing=writing),
        "writing": lambda: _writing(runtime, writing=writing),
        "worker": lambda: _worker(runtime),
    }
    for name, check in behind.items():
        stands = database.outcome != FAILED
        yield _tried(name, check) if stands else Finding(name, OFF, "Not looked at, as the database fails.")
    yield _api(runtime)
    yield from _admin(runtime, config)


def _tried(name: str, check: Callable[[], Finding]) -> Finding:
    """Return what a check finds; what it fails with is a finding too."""
    try:
        return check()
    except StateManagerError as error:
        said = str(error)
        return Finding(name, FAILED, said, None if "flask state" in said else _CURES.get(name))


_CURES = {
    "database": "Check STATEMANAGER_DATABASE_URI (or the app's own), and that the server is up.",
    "migrations": "Check that the server of the database is up.",
    "writing": "Check that the user of the database may write, and that the disk is not full.",
}
"""What to do about errors that do not say it themselves."""


def _database(runtime: Runtime) -> Finding:
    backend = runtime.backend
    number = runtime.lifecycle.search_states().count(estimate=True)
    states = f"{number:,} {'state' if number == 1 else 'states'}"
    if not isinstance(backend, SqlBackend):
        cure = "Leave STATEMANAGER_BACKEND out, for anything but tests."
        return Finding("database", WARNING, f"States live in {backend.title}, and nothing outlives the process.", cure)
    return Finding("database", OK, f"{_dialect(backend)} answers: {states}.")


def _dialect(backend: SqlBackend) -> str:
    name = backend.engine.dialect.name
    return DIALECTS.get(name, name)


def _migrations(runtime: Runtime) -> Finding:
    backend = runtime.backend
    if not isinstance(backend, SqlBackend):
        return Finding("migrations", OFF, "There are no tables.")
    # It imports alembic.
    differences = import_module("..backends.sql.migration", __package__).check(backend)
    if differences:
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        cure = "Run 'flask state db upgrade'; 'flask state db check' lists everything."
        return Finding("migrations", FAILED, f"{differences[0]}{more}", cure)
    return Finding("migrations", OK, "The tables are what they must be.")


def _redis(runtime: Runtime) -> Iterator[Finding]:
    """Look at the Redis that buckets live in, if any does."""
    names = [name for name in runtime.declarations.buckets.buckets if _in_redis(runtime, name)]
    if not names:
        yield Finding("redis", OFF, "No bucket lives in Redis.")
        return
    try:
        for name in names:
            runtime.shelves.kept(name).lists  # noqa: B018 - opens it
        sentences = runtime.shelves.warnings()
    except StateManagerError as error:
        cure = "Check STATEMANAGER_REDIS_URL, and that Redis is up and can be reached from here."
        yield Finding("redis", FAILED, str(error), cure)
        return
    yield Finding("redis", OK, f"Redis answers, for {', '.join(names)}.")
    yield from _durable([sentence for sentence in sentences if "maxmemory" not in sentence])
    yield from _evicting([sentence for sentence in sentences if "maxmemory" in sentence])


def _in_redis(runtime: Runtime, name: str) -> bool:
    settings, declared = runtime.settings, runtime.declarations.buckets.buckets[name]
    if declared.backend is not None:
        return declared.backend == "redis"
    if name in RESERVED:
        return (settings.flows_backend if name == "flows" else settings.stores_backend) == "redis"
    return settings.kv_backend == "redis"


def _durable(sentences: list[str]) -> Iterator[Finding]:
    if not sentences:
        yield Finding("redis keeps", OK, "What is written outlives a restart of Redis.")
        return
    outcome = FAILED if any("does not outlive" in sentence for sentence in sentences) else WARNING
    yield Finding("redis keeps", outcome, sentences[0], "In redis.conf: appendonly yes.")


def _evicting(sentences: list[str]) -> Iterator[Finding]:
    if sentences:
        yield Finding("redis evicts", FAILED, sentences[0], "In redis.conf: maxmemory-policy noeviction.")
    else:
        yield Finding("redis evicts", OK, "Redis throws nothing away when its memory is full.")


def _cache(runtime: Runtime, *, writing: bool) -> Finding:
    cache = runtime.cache
    if cache is None:
        return Finding("cache", OFF, "There is no read cache: each read asks the database.")
    if not cache.check():
        cure = "Check STATEMANAGER_CACHE_URL (or Flask-Caching's), or set STATEMANAGER_CACHE = 'off'."
        return Finding("cache", FAILED, "The read cache cannot be reached: reads are slower, and still right.", cure)
    if not writing:
        return Finding("cache", OK, "The read cache answers.")
    stale = Probe(runtime.backend, cache, runtime.declarations.clock).run()
    if stale == "cache":
        cure = "Give this store a STATEMANAGER_CACHE_PREFIX of its own, and look for another application in that Redis."
        return Finding("cache", FAILED, "The read cache answered what had been overwritten.", cure)
    return Finding("cache", OK, "The read cache answers, and tells what was just written.")


def _writing(runtime: Runtime, *, writing: bool) -> Finding:
    if not writing:
        return Finding("writing", OFF, "Nothing is written, as --no-write says.")
    backends = _backends(runtime)
    for backend in backends.values():
        stale = Probe(backend, None, runtime.declarations.clock).run()
        if stale is not None:
            cure = "Have it read from the server that it writes to, and not from a replica."
            return Finding("writing", FAILED, f"The store {backend.title} answered what had been overwritten.", cure)
    return Finding("writing", OK, f"What is written can be read at once: {', '.join(sorted(backends))}.")


def _backends(runtime: Runtime) -> dict[str, Backend]:
    found = {runtime.backend.title: runtime.backend}
    for name in runtime.declarations.buckets.buckets.keys() - RESERVED.keys():
        try:
            backend = runtime.shelves.kept(name).bucket.backend
        except (StateManagerError, StorageError):  # told by the check of Redis
            continue
        found[backend.title] = backend
    return found


def _worker(runtime: Runtime) -> Finding:
    desk = runtime.workshop.desk
    if desk is None:
        return Finding("worker", OFF, "This backend keeps no effects and timers.")
    attendance = desk.attendance()
    if attendance.counts.dead:
        cure = "Look at them with 'flask state effects list --status dead', then retry or discard them."
        return Finding("worker", WARNING, f"{attendance.counts.dead:,} effects or timers are dead letters.", cure)
    if attendance.worker == "alive":
        return Finding("worker", OK, f"A worker is there; {attendance.counts.pending:,} effects and timers wait.")
    cure = "Run 'flask state worker' beside the application, under whatever keeps it running."
    if attendance.worker == "missing":
        waiting = f"{attendance.counts.due:,} effects or timers are due, the first for {attendance.waiting:,.0f} s"
        return Finding("worker", FAILED, f"{waiting}, and no worker is there.", cure)
    if runtime.settings.worker == "embedded":
        return Finding("worker", OK, "The application brings its worker along, from its first request on.")
    return Finding("worker", WARNING, "No worker is there; nothing is due yet.", cure)


def _api(runtime: Runtime) -> Finding:
    settings, declared = runtime.settings, runtime.declarations
    if not settings.api_enabled:
        return Finding("api", OFF, "The API is switched off.")
    roles = settings.api_roles or Roles()
    for permission in ("admin", "write"):
        if ANYBODY in getattr(roles, permission):
            cure = f"Name roles in STATEMANAGER_API_ROLES: {{'{permission}': ['admin']}}."
            outcome = FAILED if permission == "admin" else WARNING
            return Finding("api", outcome, f"Whoever is known has the permission '{permission}'.", cure)
    if not settings.api_tokens and declared.identity.loader is None and declared.actor.loader is None:
        cure = "Declare an identity_loader, or configure STATEMANAGER_API_TOKENS: 'flask state token' makes one."
        return Finding("api", WARNING, "The API is on and knows nobody, so that it refuses everybody.", cure)
    return Finding("api", OK, f"Who may do what is configured, at {settings.api_prefix}.")


def _admin(runtime: Runtime, config: Config) -> Iterator[Finding]:
    if not runtime.settings.admin_enabled:
        yield Finding("admin", OFF, "The admin pages are switched off.")
        return
    declared = runtime.declarations
    if not config.get("SECRET_KEY"):
        cure = "Set SECRET_KEY to random bytes: python -c 'import secrets; print(secrets.token_hex())'."
        yield Finding("admin", FAILED, "The admin pages need a SECRET_KEY to sign their forms.", cure)
    elif declared.identity.loader is None and declared.actor.loader is None:
        cure = "Declare an identity_loader that names the users with the role 'admin'."
        yield Finding("admin", WARNING, "The admin pages know nobody, so that they refuse everybody.", cure)
    else:
        yield Finding("admin", OK, "Only who has the permission 'admin' sees the admin pages.")

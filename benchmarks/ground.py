"""The ground that everybody stands on: empty databases on SQLite and PostgreSQL, and a Redis, for one run."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psycopg
import redis
from msgspec import Struct
from psycopg import sql

from tests.servers import PostgresServer, RedisServer, ServerMissing
from tests.servers.process import Server

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
"""The cores that this process may use; none where the system does not tell."""

SETTINGS = {"checkpoint_timeout": "1h", "max_wal_size": "4GB"}
"""A checkpoint in the middle would hit whoever has his turn."""

NOWHERE = "none"
"""Stands for the store of what needs none."""


class Store(Struct, frozen=True):
    """A kind of database, or Redis.

    :param short: its name on the command line.
    :param name: its name in the results.
    :param fresh: makes an empty database and returns its SQLAlchemy URL; of Redis, which all share, its URL.
    """

    short: str
    name: str
    fresh: Callable[[], str]

    @property
    def durable(self) -> bool:
        """Whether a commit waits for the disk."""
        return self.short != "sqlite"


class Choice(Struct, frozen=True):
    """What the command line asks for.

    :param stores: short names of the stores to measure on.
    :param peers: whether other packages take part.
    :param quick: whether to be short rather than exact.
    :param apart: whether a single client and the servers keep to cores of their own.
    :param rounds: how many rounds count; None for what each suite needs.
    :param postgres: the URL of a PostgreSQL server on which databases may be made; None for a private one.
    :param large: whether lists of keys are measured among a million, too, and snapshots of as many.
    """

    stores: frozenset[str] = frozenset(("sqlite", "full", "postgresql", "redis", NOWHERE))
    peers: bool = True
    quick: bool = False
    apart: bool = False
    rounds: int | None = None
    postgres: str | None = None
    large: bool = False


class Ground:
    """The servers and folders of a run, started when first asked for.

    :param choice: what is asked for.
    :param stack: what is to be closed at the end.
    :ivar versions: the version of each server that was asked for.
    """

    def __init__(self, choice: Choice, stack: ExitStack) -> None:
        self.choice = choice
        self._stack = stack
        self.versions: dict[str, str] = {}
        self._servers: list[Server] = []
        self._apart = False
        self._folder = Path(stack.enter_context(TemporaryDirectory(prefix="statemanager-bench-")))
        stack.callback(_keep_to, 0, CORES)
        self._postgres = cache(self._find_postgres)
        self.redis = cache(self._find_redis)
        """Returns the URL of an empty Redis, or None where there is none."""

    def place(self, *, apart: bool) -> None:
        """Say who runs on which core, as far as the system lets us.

        A round trip to a server on the same core takes half as long as one to another core, and the scheduler changes
        its mind. So a single client and the servers can keep to cores of their own; but where others work on the
        machine, too, that takes away the way out.

        :param apart: whether there is a single client; otherwise everybody runs anywhere.
        """
        apart = self._apart = apart and self.choice.apart
        _keep_to(0, CORES[:1] if apart else CORES)
        for server in self._servers:
            self._place(server)

    def _place(self, server: Server) -> None:
        _keep_to(server.pid, CORES[1:] if self._apart else CORES)

    def _started(self, server: Server) -> None:
        server.start()
        self._stack.callback(server.close)
        self._servers.append(server)
        self._place(server)

    def stores(self, wanted: Iterable[str]) -> Iterator[Store]:
        """Yield the stores that are asked for, and there.

        :param wanted: short names.
        """
        for short in wanted:
            store = self._store(short) if short in self.choice.stores else None
            if store is not None:
                yield store

    def _store(self, short: str) -> Store | None:
        if short == NOWHERE:
            return Store(short, "", lambda: "")
        if short == "sqlite":
            return Store(short, "SQLite, WAL, NORMAL", lambda: self._file("normal"))
        if short == "full":
            return Store(short, "SQLite, WAL, FULL", lambda: self._file("full"))
        if short == "redis":
            url = self.redis()
            return None if url is None else Store(short, "Redis", lambda: url)
        create = self._postgres()
        return None if create is None else Store(short, "PostgreSQL, synchronous_commit on", create)

    def _file(self, name: str) -> str:
        path = self._folder / f"{name}-{uuid4().hex}.db"
        connection = sqlite3.connect(path)
        # The file remembers this; how a commit waits for the disk is the business of each connection.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
        return f"sqlite:///{path}"

    def _find_postgres(self) -> Callable[[], str] | None:
        if self.choice.postgres is not None:
            self._ask_postgres(self.choice.postgres)
            return self._databases_on(self.choice.postgres)
        server = PostgresServer(durable=True, settings=SETTINGS)
        try:
            self._started(server)
        except ServerMissing as missing:
            return _left_out("PostgreSQL", missing)
        self._ask_postgres(server.url)
        return server.create_database

    def _ask_postgres(self, url: str) -> None:
        with psycopg.connect(url.replace("+psycopg", "", 1)) as connection:
            self.versions["PostgreSQL"] = connection.execute("SHOW server_version").fetchone()[0].split()[0]

    def _databases_on(self, url: str) -> Callable[[], str]:
        def create() -> str:
            name = f"bench_{uuid4().hex}"
            self._stack.callback(run, "DROP DATABASE {} WITH (FORCE)", name)
            run("CREATE DATABASE {}", name)
            return f"{url.rpartition('/')[0]}/{name}"

        def run(statement: str, name: str) -> None:
            with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
                connection.execute(sql.SQL(statement).format(sql.Identifier(name)))

        return create

    def _find_redis(self) -> str | None:
        server = RedisServer()
        try:
            self._started(server)
        except ServerMissing as missing:
            return _left_out("Redis", missing)
        with redis.Redis.from_url(server.url) as client:
            self.versions["Redis"] = client.info("server")["redis_version"]
        return server.url


def _keep_to(pid: int, cores: list[int]) -> None:
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, cores)


def _left_out(what: str, why: Exception) -> None:
    print(f"{what} is left out: {why}", file=sys.stderr)

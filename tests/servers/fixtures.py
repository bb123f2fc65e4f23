"""The servers as pytest fixtures: started when first asked for, one of each per worker, stopped at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TypeVar

import pytest

from tests.servers.executables import ServerMissing
from tests.servers.postgres_server import PostgresServer
from tests.servers.process import Server
from tests.servers.proxy import TcpProxy
from tests.servers.redis_cluster import RedisCluster
from tests.servers.redis_server import RedisServer

AnyServer = TypeVar("AnyServer", bound=Server | RedisCluster)


def required() -> bool:
    """Whether a missing server is an error: with CI=true and in `make test`.

    :returns: what the environment says.
    """
    return "true" in os.environ.get("CI", "").lower() or os.environ.get("REQUIRE_SERVERS") == "1"


def serve(server: AnyServer) -> Iterator[AnyServer]:
    """Start a server, hand it over, stop it.

    :param server: the server.
    :returns: the running server, once.
    """
    try:
        server.start()
    except ServerMissing as missing:
        if required():
            raise
        pytest.skip(str(missing))
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A private Redis."""
    yield from serve(RedisServer())


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty Redis database."""
    redis_server.start()
    redis_server.flush()
    return redis_server.url


@pytest.fixture
def redis_proxy(redis_server: RedisServer, redis_url: str) -> Iterator[TcpProxy]:
    """A proxy in front of an empty Redis."""
    with TcpProxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A private PostgreSQL."""
    yield from serve(PostgresServer())


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The SQLAlchemy URL of an empty PostgreSQL database; afterwards whatever is connected to it is cut off."""
    postgres_server.start()
    url = postgres_server.lend_database()
    yield url
    postgres_server.start()
    postgres_server.take_back(url)


@pytest.fixture
def mortal_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of the test's own, to be killed: what it has acknowledged is on its way to the disk."""
    yield from serve(PostgresServer(durable=True))


@pytest.fixture
def mortal_redis() -> Iterator[RedisServer]:
    """A Redis of the test's own, to be killed; it comes back empty."""
    yield from serve(RedisServer())


@pytest.fixture
def durable_redis() -> Iterator[RedisServer]:
    """A Redis of the test's own, to be killed: what it has acknowledged is on the disk."""
    yield from serve(RedisServer(durable=True))


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """A private Redis Cluster of three nodes."""
    yield from serve(RedisCluster())


@pytest.fixture
def redis_cluster_url(redis_cluster: RedisCluster) -> str:
    """The URL of an empty Redis Cluster, ``redis+cluster://``."""
    redis_cluster.start()
    redis_cluster.flush()
    return redis_cluster.url

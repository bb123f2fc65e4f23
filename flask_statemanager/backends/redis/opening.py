"""Opening a Redis by its URL, with bounded waits and nothing repeated behind one's back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException
from redis.retry import Retry
from redis.sentinel import Sentinel

from ...errors import ConfigurationError, StorageUnavailable
from .lines import TIMEOUT

FORMS = (
    "redis://host:port/db, rediss://host:port/db, unix:///path?db=0, redis+cluster://host:port, or "
    "redis+sentinel://host:port,host:port/service/db"
)
"""The URLs that :func:`open_redis` understands."""

_SENTINEL_PORT = 26379


def open_redis(url: str, *, timeout: float = TIMEOUT) -> Any:
    """Return a redis-py client for a URL. Nothing is asked of a server yet; a cluster is asked for its nodes.

    :param url: one of :data:`FORMS`; ``rediss+cluster`` and ``rediss+sentinel`` as well, with TLS; user and password
        before the host.
    :param timeout: seconds to wait, for a connection and for an answer.
    :raises ConfigurationError: when it is no such URL.
    :raises StorageUnavailable: when no node of a cluster can be reached.
    """
    opener = _OPENERS.get(url.partition("://")[0])
    if opener is None:
        raise ConfigurationError(f"The URL of the Redis is unusable: write {FORMS}.")
    try:
        return opener(url, timeout)
    except ValueError as error:
        raise ConfigurationError(f"The URL of the Redis is unusable ({error}): write {FORMS}.") from error


def identity_of(client: Any) -> str:
    """Tell where a client leads, without secrets.

    :param client: a redis-py client.
    """
    if hasattr(client, "get_node_from_key"):
        return "redis+cluster://" + ",".join(sorted(node.name for node in client.get_nodes()))
    pool = client.connection_pool
    given = pool.connection_kwargs
    service = getattr(pool, "service_name", None)
    where = service or given.get("path") or f"{given.get('host', 'localhost')}:{given.get('port', 6379)}"
    return f"redis://{where}/{given.get('db') or 0}"


def _server(url: str, timeout: float) -> Any:
    return redis.Redis.from_url(url, **_bounds(timeout), retry=_once())


def _cluster(url: str, timeout: float) -> Any:
    plain = url.replace("+cluster", "", 1)
    if urlsplit(plain).path.strip("/") not in ("", "0"):
        raise ValueError("a cluster has no databases but 0")
    try:
        return RedisCluster.from_url(plain, **_bounds(timeout))
    except (RedisClusterException, redis.RedisError, OSError) as error:
        raise StorageUnavailable(
            f"No node of the Redis Cluster can be reached ({error}): check that it runs, and its URL."
        ) from error


def _sentinel(url: str, timeout: float) -> Any:
    parts = urlsplit(url)
    credentials, _mark, hosts = parts.netloc.rpartition("@")
    service, _mark, database = parts.path.strip("/").partition("/")
    if not hosts or not service:
        raise ValueError("Sentinels need their hosts, and the name of the service")
    user, _mark, password = credentials.partition(":")
    options: dict[str, Any] = {**_bounds(timeout), "db": int(database or 0)}
    if credentials:
        options |= {"username": unquote(user) or None, "password": unquote(password) or None}
    if parts.scheme.startswith("rediss"):
        options["ssl"] = True
    sentinels = [_address(host) for host in hosts.split(",")]
    watching: Any = Sentinel(sentinels, sentinel_kwargs=_bounds(timeout))  # type: ignore[no-untyped-call]
    return watching.master_for(service, retry=_once(), **options)


def _address(host: str) -> tuple[str, int]:
    name, _mark, port = host.rpartition(":") if ":" in host else (host, "", _SENTINEL_PORT)
    return name.strip("[]"), int(port)


def _bounds(timeout: float) -> dict[str, Any]:
    return {"socket_timeout": timeout, "socket_connect_timeout": timeout}


def _once() -> Retry:
    """Return what repeats nothing: whether an interrupted script has written is not known."""
    return Retry(NoBackoff(), 0)


_OPENERS: dict[str, Callable[[str, float], Any]] = {
    "redis": _server,
    "rediss": _server,
    "unix": _server,
    "redis+cluster": _cluster,
    "rediss+cluster": _cluster,
    "redis+sentinel": _sentinel,
    "rediss+sentinel": _sentinel,
}

"""Which Redis to use: the one of the application's Flask-Caching, or the one of ``STATEMANAGER_CACHE_URL``."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any

import redis

from ..config import Settings
from ..errors import ConfigurationError, shown

logger = logging.getLogger("flask_statemanager")

TIMEOUT = 0.5
"""Seconds to wait for a Redis of our own connection; the application's keeps its own timeouts."""


def from_url(url: str) -> Any:
    """Return a client for a URL.

    :param url: ``redis://``, ``rediss://`` or ``unix://``.
    :raises ConfigurationError: when it is no such URL.
    """
    try:
        return redis.Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
    except ValueError as error:
        raise ConfigurationError(
            f"STATEMANAGER_CACHE_URL is unusable ({error}): write redis://host:port/db."
        ) from error


def from_flask_caching(extensions: Mapping[str, Any]) -> tuple[Any, str] | None:
    """Return client and key prefix of the application's Flask-Caching if it stands on Redis, else None.

    Only its connection is used: its own ``get`` unpickles whatever lies in Redis.

    :param extensions: ``app.extensions``.
    """
    for backend in dict(extensions.get("cache") or {}).values():
        client = getattr(backend, "_write_client", None)
        if client is not None and hasattr(client, "register_script"):
            prefix = getattr(backend, "key_prefix", None)
            prefix = prefix() if callable(prefix) else prefix
            return client, prefix if isinstance(prefix, str) else ""
        logger.info(
            "The application's Flask-Caching backend %s is not on Redis, so states are not cached: "
            "a cache in one process would answer stale in the others.",
            type(backend).__name__,
        )
    return None


def from_manager(manager: Any) -> Any:
    """Return a client from what an application calls its Redis manager.

    :param manager: a redis-py client, a URL, or an object with one as ``redis_client``, ``client``, ``redis``,
        ``connection``, ``redis_url`` or ``url``.
    :raises ConfigurationError: when there is none of these.
    """
    if isinstance(manager, str):
        return from_url(manager)
    if _serves(manager):
        return manager
    for name in ("redis_client", "client", "redis", "connection", "redis_url", "url"):
        found = getattr(manager, name, None)
        if isinstance(found, str):
            return from_url(found)
        if _serves(found):
            return found
    raise ConfigurationError(
        f"redis_manager={shown(manager)} offers no Redis: pass a redis-py client, a URL, "
        "or an object with .redis_client, .client, .redis, .redis_url or .url."
    )


def _serves(client: Any) -> bool:
    """Tell whether something is a client that answers at once; those of redis.asyncio have to be awaited."""
    return hasattr(client, "register_script") and not inspect.iscoroutinefunction(
        getattr(client, "execute_command", None)
    )


def client_for(extensions: Mapping[str, Any], redis_manager: Any, settings: Settings) -> tuple[Any, str] | None:
    """Return the Redis of the read cache and what its keys begin with, or None when there is none.

    :param extensions: ``app.extensions``; empty without an app.
    :param redis_manager: what the caller passed for use without an app, or None.
    :param settings: the app's settings.
    :raises ConfigurationError: when what is configured cannot be used.
    """
    found = from_flask_caching(extensions)
    if found is not None:
        return found
    if redis_manager is not None:
        return from_manager(redis_manager), ""
    return None if settings.cache_url is None else (from_url(settings.cache_url), "")

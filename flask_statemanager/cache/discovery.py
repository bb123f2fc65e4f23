"""Which Redis to use: the one of the application's Flask-Caching, or the one of ``STATEMANAGER_CACHE_URL``.

What imports redis is loaded when there is a Redis, so that applications without one do not pay for it.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import logging
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from ..config import Settings
from ..core.hearing import Tells
from ..core.ports import Backend, ReadCache
from ..errors import ConfigurationError, shown

logger = logging.getLogger("flask_statemanager")

Redis = tuple[Any, str]
"""A redis-py client, and what its keys are to begin with."""


def from_url(url: str) -> Any:
    """Return a client for a URL.

    :param url: ``redis://``, ``rediss://`` or ``unix://``.
    :raises ConfigurationError: when it is no such URL.
    """
    return _loaded("client").from_url(url)


def from_flask_caching(extensions: Mapping[str, Any]) -> Redis | None:
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


def client_for(extensions: Mapping[str, Any], redis_manager: Any, settings: Settings) -> Redis | None:
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


def open_cache(
    extensions: Mapping[str, Any],
    redis_manager: Any,
    settings: Settings,
    backend: Backend,
    *,
    name: str,
    count: Callable[[str, int], None],
    follow: Callable[[str, Callable[[], int]], None],
) -> ReadCache | None:
    """Return the read cache in front of a store, or None where there is none.

    :param extensions: ``app.extensions``; empty without an app.
    :param redis_manager: what the caller passed for use without an app, or None.
    :param settings: the app's settings.
    :param backend: the store.
    :param name: what the keys of this extension are called.
    :param count: raises a counter by a number.
    :param follow: takes a counter from elsewhere.
    :raises ConfigurationError: when what is configured cannot be used.
    """
    found = _wanted(extensions, redis_manager, settings, backend)
    if found is None:
        return _near_only(settings, backend, count, follow) if settings.near_cache_bytes else None
    client, prefix = found
    store = settings.cache_prefix or hashlib.sha256(backend.identity.encode()).hexdigest()[:12]
    cache: ReadCache = _loaded("opening").opened((client, f"{prefix}{name}:{store}:"), settings, count, follow)
    return cache


def _near_only(
    settings: Settings,
    backend: Backend,
    count: Callable[[str, int], None],
    follow: Callable[[str, Callable[[], int]], None],
) -> ReadCache | None:
    """Return a near cache before a store that other processes share, and that tells what they change."""
    if not backend.shareable or not isinstance(backend, Tells):
        logger.warning(
            "STATEMANAGER_NEAR_CACHE_BYTES has no effect here: states that this process has to itself are near already."
        )
        return None
    cache: ReadCache = _loaded("near_reads").opened(backend, settings, count, follow)
    return cache


def _wanted(extensions: Mapping[str, Any], redis_manager: Any, settings: Settings, backend: Backend) -> Redis | None:
    """Return the Redis if a cache there is wanted, and makes sense."""
    if settings.cache == "off":
        return None
    if not backend.shareable:
        if settings.cache == "on":
            raise ConfigurationError(
                "STATEMANAGER_CACHE='on' cannot work with states that this process has to itself: "
                "leave it out, or use a database file or a server."
            )
        return None
    # Whoever passes a Redis by hand has asked for it.
    if backend.embedded and settings.cache == "auto" and redis_manager is None:
        return None
    found = client_for(extensions, redis_manager, settings)
    if found is None and settings.cache == "on":
        raise ConfigurationError("STATEMANAGER_CACHE='on' needs a Redis: set STATEMANAGER_CACHE_URL.")
    return found


def _loaded(module: str) -> ModuleType:
    return importlib.import_module(f"{__package__}.{module}")

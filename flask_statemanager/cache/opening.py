"""Putting a read cache together from its parts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ..config import Settings
from ..core.ports import ReadCache
from ..redis_line import PrivateLine, line_to
from .keys import CacheKeys
from .listener import Listener
from .near import NearCache
from .redis_cache import RedisReadCache
from .shared import SharedEntries
from .tracking import RedisTracking

logger = logging.getLogger("flask_statemanager")


def opened(
    redis: tuple[Any, str],
    settings: Settings,
    count: Callable[[str, int], None],
    follow: Callable[[str, Callable[[], int]], None],
) -> ReadCache:
    """Return the read cache on a Redis; nothing is asked of it yet.

    :param redis: a client, and what all keys of the store begin with.
    :param settings: the app's settings.
    :param count: raises a counter by a number.
    :param follow: takes a counter from elsewhere.
    """
    client, prefix = redis
    keys = CacheKeys(prefix)
    line = line_to(client)
    near: tuple[NearCache, Listener] | None = None
    if settings.near_cache_bytes and isinstance(line, PrivateLine):
        lease = settings.near_cache_lease
        kept = NearCache(settings.near_cache_bytes, ttl=settings.cache_ttl, lease=lease)
        near = kept, Listener(RedisTracking(line, keys, lease).hearing, kept, lease)
        follow("cache.near", lambda: kept.hits)
    elif settings.near_cache_bytes:
        logger.warning("STATEMANAGER_NEAR_CACHE_BYTES has no effect: this Redis is reached through a cluster client.")
    shared = SharedEntries(line, keys, settings.cache_ttl)
    return RedisReadCache(shared, ttl=settings.cache_ttl, count=count, near=near)

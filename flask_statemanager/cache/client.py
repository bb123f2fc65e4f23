"""The client of the read cache's own Redis."""

from __future__ import annotations

from typing import Any

import redis

from ..errors import ConfigurationError
from ..redis_line import TIMEOUT


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

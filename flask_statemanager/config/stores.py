"""The settings of the stores of user interfaces."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .admin import AdminSettings
from .declared import declared
from .values import a_flag, a_redis_url, a_text, one_of, some_bytes, some_names, some_percentages, some_seconds

MAX_VALUE = 64 * 2**20
"""Bytes of a value, by default."""

_BEGINNING = re.compile(r"[A-Za-z0-9._:@+=-]{0,40}")


def a_beginning(value: Any) -> str:
    """Read what the names of stores begin with.

    :param value: as it stands in the config.
    :raises ValueError: when names cannot begin so.
    """
    if isinstance(value, str) and _BEGINNING.fullmatch(value):
        return value
    raise ValueError("must be at most 40 letters, digits and ._:@+=-")


class StoresSettings(AdminSettings):
    """The settings of the stores; they are a part of :class:`~flask_statemanager.config.Settings`."""

    stores_backend: str = declared(
        a_text,
        "client",
        "Where the stores of user interfaces live: ``client`` (the browser keeps them), ``memory``, ``redis`` or "
        "``database``: :doc:`stores`. Anything else counts as ``client``, with a warning.",
        alias="STATE_BACKEND",
    )
    stores_ttl: float = declared(
        some_seconds, 3600.0, "Seconds that a store lives behind its last write.", alias="STATE_TTL_DEFAULT"
    )
    stores_user_isolation: bool = declared(
        a_flag, True, "Whether each user has stores of their own.", alias="STATE_ENABLE_USER_ISOLATION"
    )
    stores_redis_url: str | None = declared(
        a_redis_url,
        None,
        "URL of a Redis for the stores alone. Default: ``STATEMANAGER_REDIS_URL``.",
        alias="STATE_REDIS_URL",
    )
    stores_database_url: str | None = declared(
        a_text,
        None,
        "SQLAlchemy URL of a database for the stores alone, in which their tables are made where they are missing. "
        "Default: where the states live.",
        alias="STATE_DATABASE_URL",
    )
    stores_prefix: str = declared(
        a_beginning, "", "What the names of stores begin with, to tell applications in one database or Redis apart."
    )
    stores_compression: bool = declared(
        a_flag, True, "Whether values from 2 KB on are compressed (zstd with the extra ``stores``, else zlib)."
    )
    stores_max_value_bytes: int = declared(
        some_bytes, MAX_VALUE, "The most bytes of a store's value, before it is compressed."
    )
    stores_history: tuple[str, ...] = declared(
        some_names,
        (),
        "The ids of the stores whose earlier values are kept, so that they can be looked at and undone, and are a part "
        "of snapshots.",
    )
    stores_history_ttl: float = declared(
        some_seconds,
        7 * 86400.0,
        "Seconds that these earlier values are kept. Redis keeps about the last 1,000 of all of them instead.",
    )
    stores_rollout: Mapping[str, float] = declared(
        some_percentages,
        {},
        'For how many percent of the users the server keeps a store already: ``{"filters": 25}``; the browsers of the '
        'others keep it still. ``"*"`` stands for all stores that are not named. Of a store that is named the server '
        "takes over what a browser has, and gives it back when the percentage is lowered.",
    )
    stores_session_ttl: float = declared(
        some_seconds,
        7 * 86400.0,
        "Seconds that the session id of a page of Dash is good for; an open page gets another one in time.",
    )
    stores_unavailable: str = declared(
        one_of("error", "client"),
        "error",
        "What becomes of a call while the server that keeps the stores cannot be reached: an ``error``, or the browser "
        "is to keep the value itself (``client``), with a warning. Both are counted.",
    )

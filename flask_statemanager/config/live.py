"""The settings of live events."""

from __future__ import annotations

from typing import Any

from .access import some_origins, some_words
from .declared import DeclaredSettings, declared
from .values import a_count, a_flag, a_pace


def some_prefixes(value: Any) -> tuple[str, ...]:
    """Read how some keys begin.

    :param value: as it stands in the config.
    :raises ValueError: when it is no list of text.
    """
    return tuple(sorted(some_words(value, "prefixes")))


def some_members(value: Any) -> frozenset[str]:
    """Read names of members, for which upper and lower case are the same.

    :param value: as it stands in the config.
    :raises ValueError: when it is no list of text.
    """
    return frozenset(name.lower() for name in some_words(value, "names"))


SECRETS = frozenset(
    (
        *("password", "passwd", "password_hash", "secret", "client_secret", "token", "access_token", "refresh_token"),
        *("api_key", "private_key", "authorization", "cookie"),
    )
)
"""Members of values that are no one's business."""


class LiveSettings(DeclaredSettings):
    """The settings of live events; they are a part of :class:`~flask_statemanager.config.Settings`."""

    live_heartbeat: float = declared(
        a_pace, 15.0, "Seconds after which a listener is told that there was nothing, and how far it has come."
    )
    live_max_age: float = declared(
        a_pace,
        3600.0,
        "Seconds after which a stream of live events ends, to be gone on with: whoever connects again is identified "
        "again, so that nobody listens for longer whose rights were taken away.",
    )
    live_queue_events: int = declared(
        a_count(1, 1_000_000), 1000, "How many live events may wait for one listener; a slower one is cut off."
    )
    live_queue_bytes: int = declared(
        a_count(1, 2**40),
        8 * 2**20,
        "How many bytes of live events may wait for one listener; a slower one is cut off. Listeners who are told the "
        "same share the bytes.",
    )
    live_clients: int = declared(a_count(0, 1_000_000), 10_000, "The most listeners in one process.")
    server_threads: int | None = declared(
        a_count(1, 1_000_000),
        None,
        "How many requests the server works on at once in one process, where it is not gunicorn, which says it itself.",
    )
    reserved_threads: int = declared(
        a_count(0, 1_000_000),
        2,
        "How many of the server's threads are left for requests, as each listener holds one; further listeners are "
        "answered 503.",
    )
    ws_origins: frozenset[str] = declared(
        some_origins,
        frozenset(),
        "Origins other than its own whose pages may open a WebSocket, such as ``https://app.example.com``.",
    )
    propagate_state: bool = declared(
        a_flag,
        True,
        "Whether users are told of changes that concern them; False leaves live events to administrators.",
    )
    live_public_prefixes: tuple[str, ...] = declared(
        some_prefixes,
        ("global:", "market:"),
        "How keys begin whose changes everybody hears of who may read: :doc:`live`.",
    )
    live_secrets: frozenset[str] = declared(
        some_members,
        SECRETS,
        "Names of members, at any depth of a value, that live events leave out, whoever listens.",
    )

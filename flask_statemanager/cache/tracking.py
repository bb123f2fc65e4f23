"""What is heard from Redis: client-side caching (Redis 6 and later) says which keys have changed.

Redis answers in the order of what happened, so an answer proves that everything from before the question was heard.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..core.hearing import Changed, Hearing
from ..redis_line import PrivateLine
from .keys import CacheKeys

CHANNEL = b"__redis__:invalidate"
"""Where Redis tells a connection of the second protocol what has changed."""


class RedisTracking:
    """Has a Redis tell of all keys of the cache.

    :param line: makes the connection.
    :param keys: what the keys are called.
    :param lease: seconds after which an answer that has not come is of no use.
    """

    def __init__(self, line: PrivateLine, keys: CacheKeys, lease: float) -> None:
        self._line = line
        self._keys = keys
        self._lease = lease

    @contextmanager
    def hearing(self) -> Iterator[Hearing]:
        """Open what is heard with.

        :raises redis.exceptions.RedisError: when Redis refuses.
        :raises OSError: when it cannot be reached.
        """
        connection = self._line.connect(socket_timeout=self._lease)
        try:
            number = _said(connection, "CLIENT", "ID")
            tracking = ("TRACKING", "ON", "REDIRECT", number, "BCAST", "PREFIX", self._keys.prefix, "NOLOOP")
            _said(connection, "CLIENT", *tracking)
            _said(connection, "SUBSCRIBE", CHANNEL)
            yield _RedisHearing(connection, self._keys)
        finally:
            connection.disconnect()


class _RedisHearing(Hearing):
    """Reads what Redis says.

    :param connection: the connection on which it does.
    :param keys: what the keys are called.
    """

    def __init__(self, connection: Any, keys: CacheKeys) -> None:
        self._connection = connection
        self._keys = keys

    def asked(self) -> Changed:
        """Return what Redis says before it answers."""
        changed: set[str] = set()
        everything = False
        self._connection.send_command("PING")
        while (message := self._message())[0] != b"pong":
            named = self._changed(message)
            everything = everything or named is None
            changed.update(named or ())
        return None if everything else changed

    def waited(self, seconds: float) -> Changed:
        """Return what Redis says next.

        :param seconds: the most seconds.
        """
        return self._changed(self._message()) if self._connection.can_read(seconds) else ()

    def _message(self) -> Any:
        return self._connection.read_response(disable_decoding=True)

    def _changed(self, message: Any) -> Changed:
        """Read a message: "message", channel, and the names of what has changed, None for everything."""
        if message[0] != b"message":
            return ()
        names = [None] if message[2] is None else [self._keys.path(name) for name in message[2]]
        # With a generation, everything of its slot has changed.
        return None if None in names else [name for name in names if name is not None]


def _said(connection: Any, *command: Any) -> Any:
    connection.send_command(*command)
    return connection.read_response(disable_decoding=True)

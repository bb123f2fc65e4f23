"""Lines to Redis: connections of our own, made like those of the application's client, to say much in one round trip.

The client's own way of running a command costs half as much again as the command: locks, checks, retries. A line is the
bare connection; what becomes of a failure is its user's business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from ..core.waking import PerProcess
from ..errors import ConfigurationError

FAILURES = (RedisError, OSError)
"""What may be raised when Redis is asked."""

TIMEOUT = 0.5
"""Seconds to wait for a Redis, where the application's own client sets no bound."""

Word = bytes | str | int
Command = Sequence[Word]


class HungUp(Disconnected):
    """A connection that had been good was closed by the other side: Redis may have been restarted or replaced."""


class Line(ABC):
    """Says commands to Redis, and hears the answers."""

    @abstractmethod
    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands, and return what is answered; text as bytes, a refusal as the error that it is.

        :param commands: each a name and arguments.
        :raises redis.exceptions.RedisError: when Redis does not answer; HungUp when it is worth another attempt.
        :raises OSError: when Redis does not answer.
        """

    @abstractmethod
    def close(self) -> None:
        """Close this process's connections."""


class PrivateLine(Line):
    """Asks on connections of its own: all commands in one round trip.

    :param client: a redis-py client with a connection pool, the pattern of the connections.
    """

    def __init__(self, client: Any) -> None:
        self._pool = client.connection_pool
        self._idle: PerProcess[deque[Any]] = PerProcess(deque)

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands, and return what is answered.

        :param commands: each a name and arguments.
        :raises redis.exceptions.RedisError: when Redis does not answer.
        :raises OSError: when Redis does not answer.
        """
        text = b"".join(map(packed, commands))
        idle = self._idle.get()
        try:
            connection = idle.pop()
        except IndexError:
            connection = self.connect()
            answers = _exchange(connection, text, len(commands))
        else:
            try:
                answers = _exchange(connection, text, len(commands))
            except Disconnected as error:
                self.close()
                raise HungUp(*error.args) from error
        idle.append(connection)
        return answers

    def connect(self, **changed: Any) -> Any:
        """Return a new connection, which the caller has to close.

        :param changed: options that are different for this one.
        :raises redis.exceptions.RedisError: when Redis does not answer.
        :raises OSError: when Redis does not answer.
        """
        given = self._pool.connection_kwargs
        # What belongs to the client's own protocol, which is the third in newer versions of redis-py.
        known = {name: value for name, value in given.items() if not name.startswith(("maint_notifications", "oss_"))}
        bounds = {name: known.get(name) or TIMEOUT for name in ("socket_timeout", "socket_connect_timeout")}
        plain = {"protocol": 2, "retry": Retry(NoBackoff(), 0), "retry_on_error": [], "health_check_interval": 0}
        connection = self._pool.connection_class(**(known | bounds | plain | changed))
        # Here and not by the first command, which would not ask a Sentinel where to connect.
        connection.connect()
        return connection

    def close(self) -> None:
        """Close this process's idle connections."""
        idle = self._idle.get()
        while idle:
            idle.pop().disconnect()


class ClientLine(Line):
    """Asks through a client that finds the node of each key itself, as that of a cluster does: one after the other.

    :param client: a redis-py client.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands, and return what is answered.

        :param commands: each a name and arguments.
        :raises redis.exceptions.RedisError: when Redis does not answer.
        :raises OSError: when Redis does not answer.
        """
        return [self._one(command) for command in commands]

    def close(self) -> None:
        """Do nothing: the connections are the client's."""

    def _one(self, command: Command) -> Any:
        try:
            return _as_bytes(self._client.execute_command(*command))
        except ResponseError as error:
            return error


def line_to(client: Any) -> Line:
    """Return the line that fits a client.

    :param client: a redis-py client, single, Sentinel's or cluster.
    """
    single = hasattr(getattr(client, "connection_pool", None), "connection_class")
    return PrivateLine(client) if single else ClientLine(client)


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


def packed(command: Command) -> bytes:
    """Write a command as the protocol has it (RESP, an array of bulk strings).

    :param command: a name and arguments.
    """
    parts = [b"*%d\r\n" % len(command)]
    for word in command:
        text = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(text), text))
    return b"".join(parts)


def _exchange(connection: Any, text: bytes, number: int) -> list[Any]:
    """Send, and read as many answers; a connection on which that does not go well is closed, with what may still come.

    :raises redis.exceptions.RedisError: when it is not answered.
    :raises OSError: when it is not answered.
    """
    try:
        connection.send_packed_command([text], check_health=False)
        return [_answer(connection) for _ in range(number)]
    except BaseException:
        connection.disconnect()
        raise


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response(disable_decoding=True)
    except ResponseError as error:
        return error


def _as_bytes(answer: Any) -> Any:
    if isinstance(answer, str):
        return answer.encode()
    return [_as_bytes(each) for each in answer] if isinstance(answer, list) else answer

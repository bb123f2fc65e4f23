"""Lines to Redis: connections of our own, made like those of a client, to say much in one round trip.

The client's own way of running a command costs half as much again as the command: locks, checks, retries. A line is the
bare connection; what becomes of a failure is its user's business.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any

from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from .core.waking import PerProcess
from .redis_channel import Channel

FAILURES = (RedisError, OSError)
"""What may be raised when Redis is asked."""

TIMEOUT = 0.5
"""Seconds to wait for a Redis, where the application's own client sets no bound."""

_KNOWN = 1024
_SIZES = [b"$%d" % size for size in range(_KNOWN)]

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
    :param timeout: seconds to wait, where the client sets no bound.
    :param quiet: take a new connection in place of an idle one that was closed, without a word.
    """

    def __init__(self, client: Any, *, timeout: float = TIMEOUT, quiet: bool = False) -> None:
        self._pool = client.connection_pool
        self._timeout = timeout
        self._quiet = quiet
        self._idle: PerProcess[deque[Channel]] = PerProcess(deque)

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands, and return what is answered.

        :param commands: each a name and arguments.
        :raises redis.exceptions.RedisError: when Redis does not answer.
        :raises OSError: when Redis does not answer.
        """
        text = packed(commands[0]) if len(commands) == 1 else b"".join(map(packed, commands))
        idle = self._idle.get()
        channel = self._rested(idle)
        if channel is None:
            channel = Channel(self.connect())
            answers = channel.exchange(text, len(commands))
        else:
            try:
                answers = channel.exchange(text, len(commands))
            except Disconnected as error:
                self.close()
                raise HungUp(*error.args) from error
        idle.append(channel)
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
        bounds = {name: known.get(name) or self._timeout for name in ("socket_timeout", "socket_connect_timeout")}
        plain = {"protocol": 2, "retry": Retry(NoBackoff(), 0), "retry_on_error": [], "health_check_interval": 0}
        connection = self._pool.connection_class(**(known | bounds | plain | changed))
        # Here and not by the first command, which would not ask a Sentinel where to connect.
        connection.connect()
        return connection

    def _rested(self, idle: deque[Channel]) -> Channel | None:
        """Return an idle connection, or None."""
        while idle:
            try:
                channel = idle.pop()
            except IndexError:  # another thread was faster
                return None
            if not self._quiet or not channel.ended:
                return channel
            channel.close()
        return None

    def close(self) -> None:
        """Close this process's idle connections."""
        idle = self._idle.get()
        while idle:
            idle.pop().close()


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

    def _one(self, command: Command, **where: Any) -> Any:
        try:
            return _as_bytes(self._client.execute_command(*command, **where))
        except ResponseError as error:
            return error


class Script:
    """A Lua script, sent whole only where Redis does not have it.

    :param line: to Redis.
    :param text: the script.
    """

    def __init__(self, line: Line, text: bytes) -> None:
        self._line = line
        self._text = text
        self._digest = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()

    def run(self, calls: Sequence[Command]) -> list[Any]:
        """Run it several times in one round trip, or two.

        :param calls: each with the number of keys, the keys, and the arguments.
        :raises redis.exceptions.RedisError: when Redis does not answer, or refuses.
        :raises OSError: when Redis does not answer.
        """
        if len(calls) == 1:
            return [self.run_once(calls[0])]
        answers = self._line.ask([("EVALSHA", self._digest, *call) for call in calls])
        if any(isinstance(answer, NoScriptError) for answer in answers):
            answers = self._line.ask([("EVAL", self._text, *call) for call in calls])
        return [accepted(answer) for answer in answers]

    def run_once(self, call: Command) -> Any:
        """Run it, in one round trip, or two.

        :param call: the number of keys, the keys, and the arguments.
        :raises redis.exceptions.RedisError: when Redis does not answer, or refuses.
        :raises OSError: when Redis does not answer.
        """
        (answer,) = self._line.ask((("EVALSHA", self._digest, *call),))
        if isinstance(answer, NoScriptError):
            (answer,) = self._line.ask((("EVAL", self._text, *call),))
        return accepted(answer)


def accepted(answer: Any) -> Any:
    """Return an answer, or raise it if it is a refusal.

    :param answer: what Redis said.
    :raises redis.exceptions.ResponseError: when it is a refusal.
    """
    if isinstance(answer, ResponseError):
        raise answer
    return answer


def line_to(client: Any) -> Line:
    """Return the line that fits a client.

    :param client: a redis-py client, single, Sentinel's or cluster.
    """
    single = hasattr(getattr(client, "connection_pool", None), "connection_class")
    return PrivateLine(client) if single else ClientLine(client)


def packed(command: Command) -> bytes:
    """Write a command as the protocol has it (RESP, an array of bulk strings).

    :param command: a name and arguments.
    """
    texts = [word if type(word) is bytes else str(word).encode() for word in command]
    parts = [b""] * (2 * len(texts))
    parts[::2] = [_SIZES[size] if size < _KNOWN else b"$%d" % size for size in map(len, texts)]
    parts[1::2] = texts
    return b"*%d\r\n%b\r\n" % (len(texts), b"\r\n".join(parts))


def _as_bytes(answer: Any) -> Any:
    if isinstance(answer, str):
        return answer.encode()
    return [_as_bytes(each) for each in answer] if isinstance(answer, list) else answer

"""Lines to Redis for the backend: to a server, perhaps one that Sentinels name, and to the nodes of a cluster."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisClusterException

from ...errors import ConfigurationError
from ...redis_line import ClientLine, Command, Line, PrivateLine

TIMEOUT = 5.0
"""Seconds to wait for a Redis, where its client sets no bound."""


class StoreLine(Line):
    """A line on which connections of one's own can be had as well."""

    spans: bool
    """Whether keys may lie on different nodes, so that no script can have them all."""

    @abstractmethod
    def connect_to(self, key: bytes, **changed: Any) -> Any:
        """Return a new connection to where a key lies, which the caller has to close.

        :param key: any key.
        :param changed: options that are different for this one.
        :raises redis.exceptions.RedisError: when Redis does not answer.
        :raises OSError: when Redis does not answer.
        """

    @abstractmethod
    def ask_all(self, command: Command) -> list[Any]:
        """Ask every node that takes writes; a refusal is among the answers as the error that it is.

        :param command: a name and arguments.
        :raises redis.exceptions.RedisError: when one does not answer.
        :raises OSError: when one does not answer.
        """


class ServerLine(StoreLine, PrivateLine):
    """Asks one server, on connections of its own; one that was closed while nobody used it is replaced without a word.

    :param client: a redis-py client with a connection pool, the pattern of the connections.
    """

    spans = False

    def __init__(self, client: Any) -> None:
        super().__init__(client, timeout=TIMEOUT, quiet=True)

    def connect_to(self, key: bytes, **changed: Any) -> Any:
        """Return a new connection.

        :param key: without effect here.
        :param changed: options that are different for this one.
        :raises redis.exceptions.RedisError: when Redis does not answer.
        :raises OSError: when Redis does not answer.
        """
        return self.connect(**changed)

    def ask_all(self, command: Command) -> list[Any]:
        """Ask the server.

        :param command: a name and arguments.
        :raises redis.exceptions.RedisError: when it does not answer.
        :raises OSError: when it does not answer.
        """
        return self.ask([command])


class ClusterLine(StoreLine, ClientLine):
    """Asks the node of each command's key through a cluster client, which follows keys that move.

    The node is named in each call, as the client repeats nothing then: an interrupted write must not happen twice.

    :param client: a ``redis.cluster.RedisCluster``.
    """

    spans = True

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Ask one command after the other.

        :param commands: each a name and arguments.
        :raises redis.exceptions.RedisError: when a node does not answer.
        :raises OSError: when a node does not answer.
        """
        with _told_as_disconnected():
            return [self._one(command, target_nodes=self._node(_key_of(command))) for command in commands]

    def connect_to(self, key: bytes, **changed: Any) -> Any:
        """Return a new connection to the node of a key.

        :param key: any key.
        :param changed: options that are different for this one.
        :raises redis.exceptions.RedisError: when the node does not answer.
        :raises OSError: when the node does not answer.
        """
        with _told_as_disconnected():
            node = self._client.get_redis_connection(self._node(key))
        return PrivateLine(node, timeout=TIMEOUT).connect(**changed)

    def ask_all(self, command: Command) -> list[Any]:
        """Ask every master.

        :param command: a name and arguments.
        :raises redis.exceptions.RedisError: when one does not answer.
        :raises OSError: when one does not answer.
        """
        nodes = [self._client.get_redis_connection(node) for node in self._client.get_primaries()]
        return [ServerLine(node).ask([command])[0] for node in nodes]

    def _node(self, key: bytes) -> Any:
        return self._client.get_node_from_key(key)


@contextmanager
def _told_as_disconnected() -> Iterator[None]:
    """Have it count as a failure of Redis, as which its class does not, that the client knows no node to ask."""
    try:
        yield
    except RedisClusterException as error:
        raise Disconnected(*error.args) from error


def line_for(client: Any) -> StoreLine:
    """Return the line that fits a client.

    :param client: a redis-py client, single, Sentinel's or cluster.
    :raises ConfigurationError: when it is none of these.
    """
    if hasattr(client, "get_node_from_key"):
        if client.encoder.decode_responses:
            raise ConfigurationError("The redis backend stores bytes: leave decode_responses out of the RedisCluster.")
        return ClusterLine(client)
    if hasattr(getattr(client, "connection_pool", None), "connection_class"):
        return ServerLine(client)
    raise ConfigurationError(
        f"{type(client).__name__} is no client of redis-py that the redis backend can use: pass redis.Redis, "
        "redis.cluster.RedisCluster, or what open_redis(url) returns."
    )


def _key_of(command: Command) -> bytes:
    """Return the first key of a command: every one here has it in the first place, but scripts have a number before."""
    key = command[3] if command[0] in ("EVALSHA", "EVAL") else command[1]
    assert isinstance(key, bytes)
    return key

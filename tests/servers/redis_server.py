"""A private Redis."""

from __future__ import annotations

from pathlib import Path

import redis

from tests.servers.executables import redis_executable
from tests.servers.process import Server

DATABASES = 64


class RedisServer(Server):
    """A Redis that keeps nothing on disk: a restart forgets everything.

    :param durable: whether every write is on the disk before it is answered, for tests that kill the server.
    """

    title = "Redis"

    def __init__(self, *, durable: bool = False) -> None:
        super().__init__()
        self._durable = durable
        self._program: Path | None = None
        self._next_database = 1

    @property
    def options(self) -> dict[str, str]:
        """Further settings of the server."""
        return {}

    @property
    def url(self) -> str:
        """The URL of database 0.

        :returns: a redis:// URL.
        """
        return f"redis://127.0.0.1:{self.port}/0"

    def fresh_url(self) -> str:
        """Give a database of its own to whoever cannot share database 0; it is empty.

        :returns: a redis:// URL, one of 63 in turn.
        """
        number = self._next_database
        self._next_database = number % (DATABASES - 1) + 1
        url = f"redis://127.0.0.1:{self.port}/{number}"
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        return url

    def flush(self) -> None:
        """Empty every database, forget every script and every subscriber's leftover state."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()
            client.script_flush()

    def prepare(self) -> None:
        """Find the program.

        :raises ServerMissing: when there is none.
        """
        self._program = redis_executable()

    def command(self, port: int) -> list[str]:
        """Give the command line.

        :param port: where to listen.
        :returns: the program and its arguments.
        """
        options = {
            "bind": "127.0.0.1",
            "port": str(port),
            "dir": str(self.folder),
            "databases": str(DATABASES),
            "save": "",
            "appendonly": "yes" if self._durable else "no",
            "appendfsync": "always",
            "daemonize": "no",
        }
        options |= self.options
        return [str(self._program), *(word for name, value in options.items() for word in (f"--{name}", value))]

    def answers(self, port: int) -> bool:
        """Tell whether this very server takes requests.

        :param port: where to ask.
        :returns: whether the answer carries our process's id.
        """
        try:
            with redis.Redis(host="127.0.0.1", port=port, socket_timeout=5) as client:
                answer = client.info("server")
        except redis.RedisError:
            return False
        return isinstance(answer, dict) and answer["process_id"] == self.pid

"""A private Sentinel, which tells where a Redis is."""

from __future__ import annotations

from tests.servers.redis_server import RedisServer

MASTER = "mymaster"


class SentinelServer(RedisServer):
    """Watches over one Redis.

    :param redis_port: where that listens, on 127.0.0.1.
    """

    title = "Sentinel"

    def __init__(self, redis_port: int) -> None:
        super().__init__()
        self._redis_port = redis_port

    def command(self, port: int) -> list[str]:
        """Give the command line; a Sentinel writes into its own configuration.

        :param port: where to listen.
        :returns: the program and its arguments.
        """
        settings = (
            *("bind 127.0.0.1", f"port {port}", f"dir {self.folder}"),
            f"sentinel monitor {MASTER} 127.0.0.1 {self._redis_port} 1",
        )
        path = self.folder / "sentinel.conf"
        path.write_text("\n".join(settings) + "\n")
        return [str(self._program), str(path), "--sentinel"]

"""Real servers for the tests: private processes on free ports of 127.0.0.1, gone when the tests end.

`executables` finds the programs, `guard` owns each server's process, `process` is what the servers have in common,
`redis_server` and `postgres_server` are the two servers, `redis_cluster` is several of the first, `browser` is a
Chromium, `accessibility` what checks its pages, `demo` the example application, `fixtures` hands them to the tests.
"""

from tests.servers.executables import ServerMissing
from tests.servers.postgres_server import PostgresServer
from tests.servers.process import ServerFailed
from tests.servers.redis_server import RedisServer

__all__ = ["PostgresServer", "RedisServer", "ServerFailed", "ServerMissing"]

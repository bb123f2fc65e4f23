"""A private Redis Cluster: three masters, which share the slots."""

from __future__ import annotations

import random
import socket
import time

import redis

from tests.servers.process import READY_WITHIN, ServerFailed
from tests.servers.redis_server import RedisServer

NODES = 3
SLOTS = 16384
BUS = 10_000
"""How far a node's port for its peers lies above the one for clients."""


class ClusterNode(RedisServer):
    """One node of a cluster. It complains about missing slots from when it runs until the cluster is put together."""

    title = "Redis Cluster node"

    @property
    def options(self) -> dict[str, str]:
        """Settings of a node."""
        return {
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": "2000",
        }

    def client(self) -> redis.Redis:
        """Connect to this node alone.

        :returns: a client, which the caller closes.
        """
        return redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=5)


class RedisCluster:
    """Three nodes, put together when they start."""

    def __init__(self) -> None:
        self.nodes = [ClusterNode() for _ in range(NODES)]
        self._joined = False

    @property
    def url(self) -> str:
        """The URL, which names the first node.

        :returns: a redis+cluster:// URL.
        """
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    def start(self) -> None:
        """Start the nodes and put them together; nothing happens when they run already.

        :raises ServerMissing: when the program is not on this machine.
        :raises ServerFailed: when they do not come together.
        """
        for node in self.nodes:
            if not node.running:
                node.port = node.port or port_with_bus()
                node.start()
        if not self._joined:
            self._join()
            self._joined = True
        self._wait()

    def flush(self) -> None:
        """Empty every node and forget every script."""
        for node in self.nodes:
            with node.client() as client:
                client.flushall()
                client.script_flush()

    def close(self) -> None:
        """Stop the nodes for good and remove their folders."""
        for node in self.nodes:
            node.close()

    def _join(self) -> None:
        bounds = [SLOTS * number // NODES for number in range(NODES + 1)]
        for number, node in enumerate(self.nodes):
            with node.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTS", *range(bounds[number], bounds[number + 1]))
                # Each has an epoch of its own, else they would have to agree about that first.
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            with node.client() as client:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if all(map(_complete, self.nodes)):
                return
            time.sleep(0.05)
        raise ServerFailed(f"The Redis Cluster does not come together; one log:\n{self.nodes[0].log}")


def _complete(node: ClusterNode) -> bool:
    with node.client() as client:
        lines = client.execute_command("CLUSTER", "INFO")
    told = lines if isinstance(lines, dict) else dict(line.split(":") for line in lines.decode().split())
    return bool(told["cluster_state"] == "ok" and told["cluster_known_nodes"] == str(NODES))


def port_with_bus() -> int:
    """Find a port of 127.0.0.1 such that it and the one of its bus are free.

    :returns: its number.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        if all(map(_free, (port, port + BUS))):
            return port


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

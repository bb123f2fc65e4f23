"""A TCP proxy between a client and a server, which can freeze, delay and break what goes through it."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from types import TracebackType

from typing_extensions import Self

_JOIN = 30.0


class TcpProxy:
    """Forwards connections from a port of its own to a server's.

    :param port: the server's, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._flowing = threading.Event()
        self._flowing.set()
        self._delay = 0.0
        self._closed = False
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def url(self, database: int = 0) -> str:
        """Give the URL of a Redis behind the proxy.

        :param database: its number.
        :returns: a redis:// URL.
        """
        return f"redis://127.0.0.1:{self.port}/{database}"

    def turn_to(self, port: int) -> None:
        """Lead new connections to another server, as a name does that is given a new address; old ones stay.

        :param port: the other server's, on 127.0.0.1.
        """
        self._server_port = port

    def freeze(self) -> None:
        """Forward nothing more; what is sent meanwhile arrives after the thaw, even if the sender has gone."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Forward again, first of all what was sent meanwhile."""
        self._flowing.set()

    def delay(self, seconds: float) -> None:
        """Forward everything this much later.

        :param seconds: 0 for at once.
        """
        self._delay = seconds

    def reset(self) -> None:
        """Break all connections; new ones are welcome."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for each in sockets:
            with suppress(OSError):
                # Without lingering, so that the peer gets a reset and not an end.
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Break everything and end the threads."""
        self._closed = True
        self._flowing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()
        for thread in self._threads:
            thread.join(_JOIN)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                client.close()
                continue
            self.connections += 1
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets |= {client, server}
            self._start(self._pump, client, server)

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        back = threading.Thread(target=self._forward, args=(server, client), daemon=True)
        back.start()
        self._forward(client, server)
        back.join(_JOIN)
        with self._lock:
            self._sockets -= {client, server}
        client.close()
        server.close()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self._delay:
                    time.sleep(self._delay)
                self._flowing.wait()
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

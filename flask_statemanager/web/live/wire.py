"""The socket under a WebSocket, which several threads may write to without waiting."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from .waker import Waker

_NOW = getattr(socket, "MSG_DONTWAIT", 0)
_PIECE = 65536

CAN_WAIT = hasattr(select, "poll")
"""Whether the system can wait for a connection together with something else; Windows cannot."""

STUCK = 60.0
"""Seconds after which a connection is given up whose other side takes nothing."""


def socket_in(environ: Mapping[str, Any]) -> socket.socket | None:
    """Return the connection to the client, of servers that hand it over; None of others.

    :param environ: the WSGI environment.
    """
    found: socket.socket | None = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    return found


def bound(sock: socket.socket) -> None:
    """Have the system give a connection up whose other side takes nothing for too long.

    :param sock: the connection.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # on Linux
        with suppress(OSError):  # a Unix socket has none
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STUCK * 1000))


def break_off(sock: socket.socket) -> None:
    """End a connection in both directions, whatever a thread waits for on it.

    :param sock: the connection.
    """
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


class Wire:
    """One connection. Its thread waits with :meth:`wait`; close it behind that.

    :param sock: the connection, as the server has it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._waker = Waker()
        self._poll = select.poll()
        self._poll.register(self._waker.fileno(), select.POLLIN)
        self.shared = not isinstance(sock, ssl.SSLSocket)
        """Whether other threads may send too: TLS has one state for both directions."""
        # The socket of gevent waits by itself, whatever it is told; the one inside does not.
        self._raw: Any = getattr(sock, "_sock", sock) if self.shared else sock
        self._flags = (_NOW,) if self.shared else ()

    def open(self) -> None:
        """Take the connection over from the server."""
        if not self.shared:
            self._sock.setblocking(False)

    def ring(self) -> None:
        """Wake the thread that waits."""
        self._waker.ring()

    def wait(self, seconds: float, *, writable: bool) -> bool:
        """Wait until there is something to read or until it rings.

        :param seconds: the most seconds.
        :param writable: wait for room to write, too.
        :returns: whether there may be something to read.
        """
        wanted = select.POLLIN | (select.POLLOUT if writable else 0)
        self._poll.register(self._sock.fileno(), wanted)
        found = dict(self._poll.poll(max(0.0, seconds) * 1000))
        if self._waker.fileno() in found:
            self._waker.clear()
        return bool(found.get(self._sock.fileno(), 0) & ~select.POLLOUT)

    def send(self, data: bytes) -> int:
        """Send what can be sent without waiting.

        :param data: what is to be sent.
        :returns: how many bytes were.
        :raises OSError: when the other side is gone.
        """
        try:
            return int(self._raw.send(data, *self._flags))
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0

    def receive(self) -> bytes | None:
        """Return what has come, without waiting.

        :returns: nothing where nothing has; None when the other side has ended.
        :raises OSError: when it is gone.
        """
        try:
            data = self._raw.recv(_PIECE, *self._flags)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return b""
        return bytes(data) or None

    def release(self) -> None:
        """Give back what waiting takes; the connection stays as it is."""
        self._waker.close()

    def close(self) -> None:
        """End the connection, and give back what waiting takes."""
        break_off(self._sock)
        self._waker.close()

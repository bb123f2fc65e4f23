"""Who listens to live events in the check: an event stream, and a WebSocket as far as its opening."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import Self

from .browser import TIMEOUT


class Listener:
    """Listens to an event stream, in a thread of its own.

    :param root: the server's address.
    :param path: of the stream.
    :param headers: who listens.
    """

    def __init__(self, root: str, path: str, headers: Mapping[str, str]) -> None:
        self._heard: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._connection = HTTPConnection(urlsplit(root).netloc, timeout=TIMEOUT)
        self._connection.request("GET", f"/{path}", headers=dict(headers))
        answer = self._connection.getresponse()
        if answer.status != 200:
            self._connection.close()
            raise LookupError(f"/{path} answers {answer.status}: {answer.read(200)!r}")
        # Its greeting says that nothing that happens from now on will be missed.
        answer.readline()
        self._thread = threading.Thread(target=self._listen, args=(answer,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        sock = self._connection.sock
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def changes(self) -> Iterator[dict[str, Any]]:
        """Yield the changes that it is told of, until it is told of nothing for too long."""
        while True:
            try:
                found = self._heard.get(timeout=TIMEOUT)
            except queue.Empty:
                return
            if found is None:
                return
            yield found

    def _listen(self, answer: HTTPResponse) -> None:
        try:
            for line in answer:
                if line.startswith(b"data:"):
                    message = json.loads(line[5:])
                    if message["type"] == "state_change":
                        self._heard.put(message["data"])
        except (OSError, ValueError):  # it was closed
            pass
        self._heard.put(None)


def greeting(root: str, path: str, headers: Mapping[str, str]) -> str:
    """Open a WebSocket, and return the first message that comes over it.

    :param root: the server's address.
    :param path: of the socket.
    :param headers: who listens.
    :raises LookupError: when the server does not change to the protocol.
    """
    place = urlsplit(root)
    sent = {
        "Host": place.netloc,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        **headers,
    }
    lines = [f"GET /{path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
    with socket.create_connection((str(place.hostname), place.port or 80), TIMEOUT) as sock:
        sock.sendall("\r\n".join(lines).encode())
        with sock.makefile("rb") as answer:
            status = answer.readline()
            if b" 101 " not in status:
                raise LookupError(f"/{path} answers {status!r}")
            while answer.readline().strip():
                pass
            # A short text frame, as a server sends it: two bytes of head, then the text (RFC 6455 section 5.2).
            size = answer.read(2)[1]
            return answer.read(int.from_bytes(answer.read(2), "big") if size == 126 else size).decode()

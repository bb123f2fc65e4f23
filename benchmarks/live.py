"""Live events to a thousand WebSockets through gunicorn, beside a loop that sends the same bytes to as many sockets.

What is measured is the 99th percentile of a delivery: from the moment at which the one who tells has the event, filters
and rules of propagation still before it, to the moment at which a listener has it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import mmap
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flask import Flask

from benchmarks.ground import Ground, Store
from benchmarks.rounds import Batch, Contestant
from benchmarks.work import BARE_LOOP, GREENLETS, LIVE, THREADS
from flask_statemanager import StateManager
from tests.servers.process import free_port

LISTENERS, FEW_LISTENERS = 1000, 20
SIZE = 400
"""Bytes of an event."""

PATIENCE = 60.0
PREFIX = "/api/v1/state"
WRITER = 0
"""The number of the listener that writes, too."""

_MOST = 1_000_000
_MARK = b'"n":"%012d"'
_TIME = struct.Struct("d")


class Moments:
    """When each event was there to be told, shared between processes.

    :param path: a file of :data:`_MOST` numbers.
    """

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), _MOST * _TIME.size)

    @staticmethod
    def make(path: Path) -> None:
        """Make such a file.

        :param path: where.
        """
        with path.open("wb") as file:
            file.truncate(_MOST * _TIME.size)

    def note(self, number: int) -> None:
        """Note that an event is there now.

        :param number: which one.
        """
        _TIME.pack_into(self._map, number * _TIME.size, time.perf_counter())

    def of(self, number: int) -> float:
        """Return when an event was there.

        :param number: which one.
        """
        return float(_TIME.unpack_from(self._map, number * _TIME.size)[0])


def _token_of(number: int) -> str:
    return f"token-{number}"


def value_of(number: int) -> dict[str, str]:
    """Return what is told of an event.

    :param number: which one.
    """
    return {"n": f"{number:012d}", "text": "x" * (SIZE - 260)}


def served(moments_path: str, listeners: int) -> Flask:
    """Return the application that gunicorn serves; each listener is a user of its own.

    :param moments_path: the file of :class:`Moments`.
    :param listeners: how many there are going to be.
    """
    from flask_statemanager.web.live.hub import Hub  # noqa: PLC0415 - not before gevent has patched the process

    app, moments = Flask("live"), Moments(moments_path)
    tokens = {_token_of(number): {"user": f"user_{number}", "roles": []} for number in range(listeners)}
    tokens[_token_of(WRITER)]["roles"] = ["admin"]
    app.config.update(
        STATEMANAGER_API_TOKENS={hashlib.sha256(token.encode()).hexdigest(): user for token, user in tokens.items()},
        STATEMANAGER_BACKEND="memory",
        STATEMANAGER_API_ENABLED=True,
        STATEMANAGER_LIVE_HEARTBEAT=3600,
    )
    StateManager(app)
    deliver = Hub.deliver

    def timed(hub: Hub, log: str, buckets: Any, stretch: Any) -> bool:
        for entry in stretch.entries:
            moments.note(int(entry.change.after.data["value"]["n"]))
        return deliver(hub, log, buckets, stretch)

    Hub.deliver = timed  # type: ignore[method-assign]
    return app


def send_by_hand(port: int, listeners: int, moments_path: str) -> None:
    """Send what comes on the standard input, the numbers of events, to sockets, with nothing else to do.

    :param port: where the sockets connect to.
    :param listeners: how many.
    :param moments_path: the file of :class:`Moments`.
    """
    moments = Moments(moments_path)
    with socket.create_server(("127.0.0.1", port), backlog=4096) as server:
        print("ready", flush=True)
        there = [server.accept()[0] for _ in range(listeners)]
    print("ready", flush=True)
    for line in sys.stdin:
        number = int(line)
        frame = b"\x81\x7e" + (SIZE - 4).to_bytes(2, "big") + json.dumps(value_of(number)).encode().ljust(SIZE - 4)
        moments.note(number)
        for each in there:
            each.sendall(frame)


class Listeners:
    """Many connections that wait for events.

    :param port: of the server.
    :param number: how many.
    :param opening: returns what each says first, by its number; None where there is nothing to be said.
    :param stack: closes them.
    """

    def __init__(self, port: int, number: int, opening: Callable[[int], bytes] | None, stack: ExitStack) -> None:
        self._number = number
        self._selector = stack.enter_context(selectors.DefaultSelector())
        for index in range(number):
            made = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), PATIENCE)))
            if opening is not None:
                made.sendall(opening(index))
                self._opened(made)
            made.setblocking(False)
            self._selector.register(made, selectors.EVENT_READ, bytearray())

    @staticmethod
    def _opened(made: socket.socket) -> None:
        got = b""
        while b'"subscribed"' not in got:
            piece = made.recv(65536)
            assert piece, got
            got += piece
        assert got.startswith(b"HTTP/1.1 101"), got

    def arrivals(self, number: int) -> list[float]:
        """Return when each of them has got an event.

        :param number: which one.
        """
        mark, found, ends = _MARK % number, [], time.monotonic() + PATIENCE
        while len(found) < self._number:
            ready = self._selector.select(1.0)
            assert time.monotonic() < ends, f"{len(found)} of {self._number} have heard"
            for key, _events in ready:
                got = key.data
                got += key.fileobj.recv(65536)  # type: ignore[union-attr]
                if mark in got.replace(b" ", b""):
                    found.append(time.perf_counter())
                    got.clear()
        return found


def percentile(times: list[float]) -> float:
    """Return the time below which 99 of 100 are.

    :param times: the times.
    """
    return sorted(times)[max(0, len(times) * 99 // 100 - 1)]


def contestants(ground: Ground, store: Store, stack: ExitStack) -> Iterator[Contestant]:
    """Yield the ways to tell a thousand listeners.

    :param ground: says whether to be quick.
    :param store: none.
    :param stack: ends the servers.
    """
    number = FEW_LISTENERS if ground.choice.quick else LISTENERS
    path = Path(stack.enter_context(TemporaryDirectory(prefix="statemanager-live-")), "moments")
    Moments.make(path)
    made: dict[str, Callable[[], tuple[Callable[[int], object], Listeners]]] = {
        BARE_LOOP: lambda: _by_hand(number, path, stack)
    }
    if find_spec("gunicorn") is not None:
        threads = ["--threads", str(number + 40)]
        made[THREADS] = lambda: _by_gunicorn(number, path, stack, *threads)
        if find_spec("gevent") is not None:
            made[GREENLETS] = lambda: _by_gunicorn(number, path, stack, "--worker-class", "gevent")
    for way, make in made.items():
        yield Contestant(store.name, LIVE, way, _batch(*make(), Moments(str(path))), unit="ms", scale=1e3)


def _batch(tell: Callable[[int], object], listeners: Listeners, moments: Moments) -> Batch:
    def run(numbers: range) -> float:
        times = []
        for number in numbers:
            tell(number)
            arrived = listeners.arrivals(number)
            begin = moments.of(number)
            times += [moment - begin for moment in arrived]
        return percentile(times) * len(numbers)

    return run


def _by_hand(number: int, path: Path, stack: ExitStack) -> tuple[Callable[[int], object], Listeners]:
    port = free_port()
    program = f"from benchmarks.live import send_by_hand; send_by_hand({port}, {number}, {str(path)!r})"
    server = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    stack.callback(_end, server)
    pipe, answers = server.stdin, server.stdout
    assert pipe is not None
    assert answers is not None
    stack.callback(pipe.close)
    stack.callback(answers.close)
    answers.readline()
    listeners = Listeners(port, number, None, stack)
    answers.readline()
    return lambda event: pipe.write(f"{event}\n"), listeners


def _by_gunicorn(number: int, path: Path, stack: ExitStack, *options: str) -> tuple[Callable[[int], object], Listeners]:
    port = free_port()
    fixed = [
        "--bind",
        f"127.0.0.1:{port}",
        "--workers",
        "1",
        "--keep-alive",
        "3600",
        "--worker-connections",
        str(2 * number + 100),
    ]
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "gunicorn", *fixed, *options, "--log-level", "error", "--graceful-timeout", "2"),
            f"benchmarks.live:served({str(path)!r}, {number})",
        ]
    )
    stack.callback(_end, server)
    writer = stack.enter_context(closing(_connected(port, server)))
    listeners = Listeners(port, number, _opening, stack)

    def tell(event: int) -> None:
        writer.request("PUT", f"{PREFIX}/market:bench", json.dumps({"value": value_of(event)}), _HEADERS)
        answer = writer.getresponse()
        assert answer.status in (200, 201), answer.read()
        answer.read()

    return tell, listeners


def _opening(number: int) -> bytes:
    return (
        f"GET {PREFIX}/events?bucket=kv&prefix=market: HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nAuthorization: Bearer {_token_of(number)}\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


_HEADERS = {"Content-Type": "application/json", "Authorization": f"Bearer {_token_of(WRITER)}"}


def _connected(port: int, server: subprocess.Popen[Any]) -> http.client.HTTPConnection:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends and server.poll() is None:
        made = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        with suppress(ConnectionError):
            made.request("GET", f"{PREFIX}/stats", headers=_HEADERS)
            made.getresponse().read()
            return made
        time.sleep(0.1)
    raise RuntimeError("gunicorn does not answer")


def _end(server: subprocess.Popen[Any]) -> None:
    server.terminate()
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()

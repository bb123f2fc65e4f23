"""Who asks a web server: wrk, where it is installed, or connections of our own."""

from __future__ import annotations

import json
import re
import selectors
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Protocol

from msgspec import Struct, field

from benchmarks.rounds import Batch
from benchmarks.work import SEEN

CONNECTIONS = 16

_RATE = re.compile(r"^Requests/sec:\s*([\d.]+)", re.MULTILINE)
_COUNT = re.compile(r"^\s*(\d+) requests in", re.MULTILINE)
_FAILED = re.compile(r"^\s*Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)", re.MULTILINE)

MOST_REFUSED = 0.01
"""The share of answers that may be refusals: two that move one state at the same time."""


class Asked(Struct, frozen=True):
    """What is asked for, again and again.

    :param path: its path; ``{}`` in it stands for a number below :data:`~benchmarks.work.SEEN`.
    :param method: the method.
    :param body: what is sent as JSON; None for nothing.
    :param headers: further headers.
    """

    path: str
    method: str = "GET"
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_headers(self) -> dict[str, str]:
        """The headers, with those of the body."""
        return {**self.headers, **({} if self.body is None else {"Content-Type": "application/json"})}

    @property
    def text(self) -> str:
        """The body as it is sent."""
        return "" if self.body is None else json.dumps(self.body)


class Client(Protocol):
    """Asks a server as fast as it answers."""

    def batch(self, asked: Asked) -> Batch:
        """Return a batch of requests.

        :param asked: what is asked for.
        """
        ...  # pragma: no cover - a protocol has no body


def client(port: int, stack: ExitStack) -> Client:
    """Return who asks.

    :param port: of the server.
    :param stack: closes it.
    """
    program = shutil.which("wrk")
    if program is not None:
        return Wrk(program, port, Path(stack.enter_context(TemporaryDirectory(prefix="statemanager-wrk-"))))
    print("no wrk (apt-get install wrk): a client in Python asks, which takes more of the machine", file=sys.stderr)
    return Connections(port, stack)


class Wrk:
    """wrk, one thread of it.

    :param program: where it is.
    :param port: of the server.
    :param folder: takes its scripts.
    """

    def __init__(self, program: str, port: int, folder: Path) -> None:
        self._program = program
        self._root = f"http://127.0.0.1:{port}"
        self._folder = folder

    def batch(self, asked: Asked) -> Batch:
        """Return a batch of requests.

        wrk asks for a time, and not a number of times: about a second for every thousand.

        :param asked: what is asked for.
        """
        script = self._folder / f"{len(list(self._folder.iterdir()))}.lua"
        script.write_text(_script(asked))

        def run(numbers: range) -> float:
            seconds = max(1, round(len(numbers) / 1000))
            options = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
            command = [self._program, *options, self._root]
            told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 120).stdout
            return len(numbers) / _rate(told)

        return run


def _script(asked: Asked) -> str:
    head, found, tail = asked.path.partition("{}")
    path = f"{json.dumps(head)} .. (number % {SEEN}) .. {json.dumps(tail)}" if found else json.dumps(head)
    headers = "\n".join(
        f"wrk.headers[{json.dumps(name)}] = {json.dumps(sent)}" for name, sent in asked.all_headers.items()
    )
    body = f"wrk.body = {json.dumps(asked.text)}" if asked.body is not None else ""
    return f"""
wrk.method = {json.dumps(asked.method)}
{headers}
{body}
local number = 0
request = function()
  number = number + 1
  return wrk.format(nil, {path})
end
"""


def _rate(told: str) -> float:
    rate, count, failed = _RATE.search(told), _COUNT.search(told), _FAILED.search(told)
    assert rate is not None, told
    assert count is not None, told
    assert failed is None or (failed[1] and int(failed[1]) <= MOST_REFUSED * int(count[1])), told
    return float(rate[1])


class Connections:
    """Connections that are kept alive and ask again as soon as they are answered.

    :param port: of the server.
    :param stack: closes them.
    """

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(CONNECTIONS):
            made = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), 30)))
            self._selector.register(made, selectors.EVENT_READ, bytearray())

    def batch(self, asked: Asked) -> Batch:
        """Return a batch of requests.

        :param asked: what is asked for.
        """
        body = asked.text.encode()
        sent = {"Host": "bench", **asked.all_headers, **({"Content-Length": str(len(body))} if body else {})}
        headers = "".join(f"{name}: {text}\r\n" for name, text in sent.items())

        def request(number: int) -> bytes:
            path = asked.path.replace("{}", str(number % SEEN))
            return f"{asked.method} {path} HTTP/1.1\r\n{headers}\r\n".encode() + body

        def run(numbers: range) -> float:
            waiting = iter([request(number) for number in numbers])
            begin, open_requests = perf_counter(), 0
            for key in list(self._selector.get_map().values()):
                open_requests += self._ask(key.fileobj, waiting)
            while open_requests:
                for key, _events in self._selector.select(30):
                    if self._answered(key):
                        open_requests += self._ask(key.fileobj, waiting) - 1
            return perf_counter() - begin

        return run

    def _ask(self, connection: Any, waiting: Iterator[bytes]) -> int:
        request = next(waiting, None)
        if request is None:
            return 0
        connection.sendall(request)
        return 1

    def _answered(self, key: selectors.SelectorKey) -> bool:
        got, connection = key.data, key.fileobj
        got += connection.recv(65536)
        head, found, body = bytes(got).partition(b"\r\n\r\n")
        if not found:
            assert got, "the server has closed a connection"
            return False
        assert head.startswith(b"HTTP/1.1 20"), head.decode()
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return False
        got.clear()
        return True

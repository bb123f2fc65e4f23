"""Reads over HTTP, through gunicorn with two processes of eight threads, beside a view that reads nothing."""

from __future__ import annotations

import selectors
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from importlib.util import find_spec
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psycopg
from flask import Flask, Response, jsonify

from benchmarks.extension import NEAR_CACHE, Extension
from benchmarks.floor import PostgresFloor, SqliteFloor
from benchmarks.ground import Ground, Store
from benchmarks.peers.host import Host
from benchmarks.peers.orm import NAMES, Accounts
from benchmarks.rounds import Batch, Contestant
from benchmarks.work import DRIVER, EXTENSION, HTTP, ORM, SEEN
from tests.servers.process import free_port

CONNECTIONS = 16
READY_WITHIN = 60.0
HELLO, NEAR = "hello, nothing read", f"{EXTENSION}, near cache"
PATHS = {HELLO: "/hello", DRIVER: "/raw/", EXTENSION: "/state/", ORM: "/orm/", NEAR: "/near/"}


def served(short: str, url: str, orm_url: str, redis_url: str, stack: ExitStack | None = None) -> Callable[..., Any]:
    """Return the applications that gunicorn serves, one for each way, so that each pushes one context for a request.

    :param short: the kind of database.
    :param url: where the states are.
    :param orm_url: where the ORM's rows are.
    :param redis_url: of the near cache's Redis; empty for none.
    :param stack: closes what is opened; None where that ends with the process.
    """
    store, stack = Store(short, "", str), stack or ExitStack()
    ours = Extension(store, stack, url=url, tables=False)
    apps = {"hello": _bare(short, url), "state": _states("state", ours), "orm": _accounts(orm_url, store)}
    apps["raw"] = apps["hello"]
    if redis_url:
        near = Extension(store, stack, url=url, tables=False, cache_url=redis_url, **NEAR_CACHE)
        apps["near"] = _states("near", near)

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        return apps[environ["PATH_INFO"].split("/", 2)[1]](environ, start_response)

    return answer


def _bare(short: str, url: str) -> Flask:
    app, raw = Flask("bare"), _raw(short, url)

    @app.get("/hello")
    def hello() -> Response:
        return jsonify(hello="world")

    @app.get("/raw/<name>")
    def bare(name: str) -> Response:
        return Response(raw(name), mimetype="application/json")

    return app


def _states(way: str, extension: Extension) -> Flask:
    @extension.app.get(f"/{way}/<name>")
    def state(name: str) -> Any:
        return extension.manager.get_state_or_404(name)

    return extension.app


def _accounts(url: str, store: Store) -> Flask:
    with ExitStack() as context:
        accounts = Accounts(Host(context, url, store.durable))

    @accounts.host.app.get("/orm/<name>")
    def orm(name: str) -> Any:
        return {"status": (found := accounts.session.get(accounts.account, name)).status, "data": found.data}

    return accounts.host.app


def _raw(short: str, url: str) -> Callable[[str], str]:
    """Return a read of a state's document, on a connection of the thread's own."""
    own = threading.local()

    def read(name: str) -> str:
        if not hasattr(own, "rows"):
            if short == "postgresql":
                own.rows = psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True).execute
                own.select = PostgresFloor.select
            else:
                own.rows = sqlite3.connect(url.removeprefix("sqlite:///")).execute
                own.select = SqliteFloor.select
        return str(own.rows(own.select, ("state", name)).fetchone()[9])

    return read


class Client:
    """Connections that are kept alive and ask again as soon as they are answered.

    :param port: of the server.
    :param stack: closes them.
    """

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(CONNECTIONS):
            made = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), 30)))
            self._selector.register(made, selectors.EVENT_READ, bytearray())

    def batch(self, path: str) -> Batch:
        """Return a batch of requests.

        :param path: what is asked for; one that ends with a slash is completed by the name of a state.
        """

        def request(number: int) -> bytes:
            name = f"seen_{number % SEEN}" if path.endswith("/") else ""
            return f"GET {path}{name} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()

        def run(numbers: range) -> float:
            waiting = iter([request(number) for number in numbers])
            begin, open_requests = time.perf_counter(), 0
            for key in list(self._selector.get_map().values()):
                open_requests += self._ask(key.fileobj, waiting)
            while open_requests:
                for key, _events in self._selector.select(30):
                    if self._answered(key):
                        open_requests += self._ask(key.fileobj, waiting) - 1
            return time.perf_counter() - begin

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
        assert head.startswith(b"HTTP/1.1 200"), head.decode()
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return False
        got.clear()
        return True


def contestants(ground: Ground, store: Store, stack: ExitStack) -> Iterator[Contestant]:
    """Yield the ways to answer a request.

    :param ground: the Redis.
    :param store: where the states are.
    :param stack: ends the server.
    """
    if find_spec("gunicorn") is None:
        print("HTTP is left out (no gunicorn): use `make bench`, which installs it", file=sys.stderr)
        return
    url, orm_url = store.fresh(), store.fresh()
    with ExitStack() as first:
        Extension(store, first, url=url).seen()
        host = Host(first, orm_url, store.durable)
        host.begin(NAMES, Accounts(host).keep)
    redis_url = (ground.redis() or "") if store.short == "postgresql" else ""
    client = Client(_serve(stack, store.short, url, orm_url, redis_url), stack)
    for way, path in PATHS.items():
        if redis_url or way != NEAR:
            yield Contestant(store.name, HTTP, way, client.batch(path))


def _serve(stack: ExitStack, *arguments: str) -> int:
    port = free_port()
    options = ["--bind", f"127.0.0.1:{port}", "--workers", "2", "--threads", "8", "--keep-alive", "60"]
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options, "--log-level", "error", f"benchmarks.web:served{arguments!r}"]
    )
    stack.callback(_end, server)
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(URLError, ConnectionError), urlopen(f"http://127.0.0.1:{port}/hello", timeout=30):
            return port
        time.sleep(0.1)
    raise RuntimeError("gunicorn does not answer")


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()

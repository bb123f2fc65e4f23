"""Requests over HTTP, through gunicorn with two processes of eight threads, beside a view that reads nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.clients import Asked, client
from benchmarks.extension import Extension
from benchmarks.ground import Ground, Store
from benchmarks.peers.host import Host
from benchmarks.peers.orm import NAMES, Accounts
from benchmarks.rounds import Contestant
from benchmarks.served import AUTHORIZED, KEEPING, KEPT, RENEW, declare
from benchmarks.work import (
    BY_HAND,
    DRIVER,
    EXTENSION,
    HELLO,
    HTTP,
    HTTP_HELLO,
    HTTP_KEY,
    HTTP_MOVE,
    NEAR,
    ORM,
    SEEN,
    TRACKED,
    UNSAMPLED,
)
from tests.servers.process import free_port

READY_WITHIN = 60.0

WAYS: tuple[tuple[str, str, Asked], ...] = (
    (HTTP, HELLO, Asked("/hello")),
    (HTTP, DRIVER, Asked("/raw/seen_{}")),
    (HTTP, EXTENSION, Asked("/state/seen_{}")),
    (HTTP, ORM, Asked("/orm/seen_{}")),
    (HTTP, NEAR, Asked("/near/seen_{}")),
    (HTTP_KEY, HELLO, Asked("/hello")),
    (HTTP_KEY, BY_HAND, Asked("/raw-key/seen_{}")),
    (HTTP_KEY, EXTENSION, Asked("/api/seen_{}", headers=AUTHORIZED)),
    (HTTP_KEY, NEAR, Asked("/api-near/seen_{}", headers=AUTHORIZED)),
    (HTTP_HELLO, HELLO, Asked("/hello")),
    (HTTP_HELLO, TRACKED, Asked("/tracked/hello")),
    (HTTP_HELLO, UNSAMPLED, Asked("/unsampled/hello")),
)
"""What is asked for: the piece of work, the way, the request."""

MOVES: tuple[tuple[str, str, Asked], ...] = (
    (HTTP_MOVE, ORM, Asked(f"/orm/seen_{{}}/{RENEW}", "POST", {})),
    (HTTP_MOVE, EXTENSION, Asked(f"/api/states/{KEPT}{{}}/transitions/{RENEW}", "POST", {}, AUTHORIZED)),
)
"""The same for what is written; not on SQLite, where writers by hand that come together are refused."""


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
        fill(Extension(store, first, url=url).seen())
        host = Host(first, orm_url, store.durable)
        host.begin(NAMES, Accounts(host).keep)
    redis_url = (ground.redis() or "") if store.short == "postgresql" else ""
    asking = client(_serve(stack, store.short, url, orm_url, redis_url), stack)
    for work, way, asked in (*WAYS, *(MOVES if store.short == "postgresql" else ())):
        if redis_url or way != NEAR:
            yield Contestant(store.name, work, way, asking.batch(asked))


def fill(extension: Extension) -> None:
    """Set the keys that are read, and register the states that are moved.

    :param extension: the application.
    """
    declare(extension)
    with extension.app.app_context():
        for number in range(SEEN):
            extension.manager.kv.set(f"seen_{number}", extension.document)
            extension.manager.register_state(f"{KEPT}{number}", KEEPING, {"data": extension.document})


def _serve(stack: ExitStack, *arguments: str) -> int:
    port = free_port()
    options = ["--bind", f"127.0.0.1:{port}", "--workers", "2", "--threads", "8", "--keep-alive", "60"]
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options, "--log-level", "error", f"benchmarks.served:served{arguments!r}"]
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

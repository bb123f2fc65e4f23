"""Dash on gunicorn with several workers: what is written through one process reaches pages that hang on another one."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import ServerSentEvent, connect_sse

from tests.processes.dash_application import WORKER
from tests.servers.web_server import WebServer

PATIENCE = 300.0
GTHREAD = ("--worker-class", "gthread", "--threads", "24")

WAYS = {
    "the database of the app": ("postgres_url", 3, "--preload"),
    "redis": ("redis_url", 2, "--preload"),
    "sqlite": (None, 2),
}
"""The fixture that knows where the stores are, None for a file; how many workers; and options of gunicorn."""


def until(true: Callable[[], Any], tell: Callable[[], str] = str) -> Any:
    """Wait for something to be true, and return it."""
    ends = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < ends, tell()
        time.sleep(0.02)
    return found


class Tab:
    """A page in a browser: that of a new visitor, or of whoever has another tab open.

    :param server: the server.
    :param name: what the ids of its requests begin with, as those that its script makes.
    :param beside: another tab of the same browser.
    """

    def __init__(self, server: WebServer, name: str, beside: Tab | None = None) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{server.port}"
        self.client = httpx.Client(
            base_url=self.url,
            cookies=None if beside is None else beside.client.cookies,
            timeout=PATIENCE,
            trust_env=False,
            headers={"Connection": "close"},
        )
        page = self.client.get("/_dash-layout").raise_for_status().json()
        props = {each["props"]["id"]: each["props"] for each in page["props"]["children"]}
        self.cursor: str = props["filters-changed"]["cursor"]
        self._session = props["user-session-id"]["data"]
        self._sent = 0

    def write(self, age: int) -> tuple[str, str]:
        """Fire the callback that writes, until a worker answers; return the id of the request and who has answered."""
        self._sent += 1
        request = f"{self.name}-{self._sent}"
        body = {
            "output": "filters.data",
            "outputs": {"id": "filters", "property": "data"},
            "inputs": [{"id": "age", "property": "value", "value": age}],
            "state": [{"id": "user-session-id", "property": "data", "value": self._session}],
            "changedPropIds": ["age.value"],
        }
        headers = {"X-Request-ID": request}

        def answer() -> httpx.Response | None:
            try:
                return self.client.post("/_dash-update-component", json=body, headers=headers)
            except httpx.TransportError:  # the worker was killed
                return None

        found = until(answer)
        assert found.status_code == 200, found.text
        return request, found.headers[WORKER]


class Stream:
    """The event stream of a tab, which comes again behind what was heard last, as an EventSource does.

    :param tab: the tab.
    """

    def __init__(self, tab: Tab) -> None:
        self._tab = tab
        self._since = tab.cursor
        self._opened = ExitStack()
        self._events: Iterator[ServerSentEvent] = iter(())
        self.worker = ""

    def open(self) -> Stream:
        """Connect, and wait for the answer."""
        until(self._connected)
        return self

    def close(self) -> None:
        """Go."""
        self._opened.close()

    def next(self) -> dict[str, Any]:
        """Return what is told of the next change."""
        return until(self._told)  # type: ignore[no-any-return]

    def until(self, request: str) -> list[dict[str, Any]]:
        """Return what is told up to what a request has changed."""
        heard = [self.next()]
        while heard[-1]["request"] != request:
            heard.append(self.next())
        return heard

    def _connected(self) -> bool:
        self.close()
        try:
            source = self._opened.enter_context(
                connect_sse(self._tab.client, "GET", "/_statemanager/stores", headers={"Last-Event-ID": self._since})
            )
        except httpx.TransportError:
            return False
        if source.response.status_code == 503:
            return False
        source.response.raise_for_status()
        self.worker = source.response.headers[WORKER]
        self._events = source.iter_sse()
        return True

    def _told(self) -> dict[str, Any] | None:
        try:
            event = next(self._events, None)
        except httpx.TransportError:
            event = None
        if event is None:
            self._connected()
            return None
        self._since = event.id or self._since
        message = json.loads(event.data or "{}")
        assert message.get("type") in (None, "subscribed", "heartbeat", "state_change"), message
        return message["data"] if message.get("type") == "state_change" else None


def on_each_worker(tab: Tab, number: int, stack: ExitStack) -> dict[str, Stream]:
    """Return streams of a tab, one on each of so many workers."""
    found: dict[str, Stream] = {}

    def all_there() -> bool:
        stream = Stream(tab).open()
        if found.setdefault(stream.worker, stream) is stream:
            stack.callback(stream.close)
        else:
            stream.close()
        return len(found) == number

    until(all_there)
    return found


@pytest.fixture(params=WAYS)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[WebServer, int]]:
    """A server of several workers, and how many."""
    place, workers, *options = WAYS[request.param]
    url = f"sqlite:///{tmp_path / 'stores.db'}?timeout=60" if place is None else request.getfixturevalue(place)
    kind = "redis" if place == "redis_url" else "database"
    key = "SQLALCHEMY_DATABASE_URI" if request.param.startswith("the") else f"STATE_{kind.upper()}_URL"
    config = {"SECRET_KEY": "signed", "STATE_BACKEND": kind, key: url, "STATEMANAGER_LIVE_HEARTBEAT": 1}
    with WebServer("dash", config, *GTHREAD, "--workers", str(workers), *options) as server:
        yield server, workers


@pytest.mark.slow
def test_a_change_reaches_the_pages_on_all_workers_and_a_killed_one_costs_none(served: tuple[WebServer, int]) -> None:
    server, workers = served
    with ExitStack() as stack:
        mine = Tab(server, "mine")
        second = Tab(server, "second", beside=mine)
        stranger = Tab(server, "stranger")
        streams = on_each_worker(mine, workers, stack)
        seconds = on_each_worker(second, workers, stack)
        strangers = on_each_worker(stranger, workers, stack)
        request, _worker = mine.write(18)
        assert request.startswith("mine-")  # by which its script knows its own
        for each in (*streams.values(), *seconds.values()):
            assert each.next() == {"store": "filters", "version": 1, "exists": True, "request": request}
        other, _worker = stranger.write(65)
        for each in strangers.values():
            assert each.next()["request"] == other  # and nothing before
        killed, stream = next(iter(streams.items()))
        os.kill(int(killed), signal.SIGKILL)
        for age in range(19, 24):
            request, _worker = second.write(age)
        for each in (*streams.values(), *seconds.values()):
            heard = each.until(request)
            assert [told["version"] for told in heard] == list(range(2, 2 + len(heard)))
            assert len(heard) >= 5
        assert stream.worker != killed
        again = on_each_worker(mine, workers, stack)
        assert killed not in again
        request, _worker = mine.write(24)
        for each in again.values():
            assert each.until(request)[-1]["exists"]

"""Listeners of live events that others wrote: websocket-client, and httpx with httpx-sse."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
import websocket
from httpx_sse import connect_sse

PATH = "/api/v1/state/events"
PATIENCE = 120.0
GONE = (OSError, httpx.HTTPError, websocket.WebSocketException)
"""What the clients raise when the server is gone."""

Message = dict[str, Any]


def sockets(address: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Iterator[Message]:
    """Yield the messages of a WebSocket, until it ends.

    :param address: host and port.
    :param query: what is asked for.
    :param headers: of the request.
    """
    opened = websocket.create_connection(
        f"ws://{address}{PATH}?{urlencode(query)}", timeout=PATIENCE, header=dict(headers)
    )
    try:
        while text := opened.recv():
            yield json.loads(text)
    finally:
        opened.shutdown()  # close() leaves the connection open where the other side has closed first


def streams(address: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Iterator[Message]:
    """Yield the messages of an event stream, until it ends; what only tells a cursor as a heartbeat.

    :param address: host and port.
    :param query: what is asked for; ``since`` is sent as a browser does when it comes again.
    :param headers: of the request.
    """
    asked = dict(query)
    since = asked.pop("since", None)
    resumed = dict(headers) if since is None else {**headers, "Last-Event-ID": since}
    with (
        httpx.Client(timeout=PATIENCE, trust_env=False) as client,
        connect_sse(client, "GET", f"http://{address}{PATH}/stream", params=asked, headers=resumed) as source,
    ):
        source.response.raise_for_status()
        for event in source.iter_sse():
            if event.data:
                found = json.loads(event.data)
                assert found["cursor"] == event.id
                yield found
            elif event.id:
                yield {"type": "heartbeat", "cursor": event.id}


WAYS = {"websocket": sockets, "stream": streams}


class Listener:
    """Listens in a thread, and comes again with its last cursor whenever the connection ends.

    :param way: one of :data:`WAYS`.
    :param address: host and port.
    :param query: what is asked for.
    :param headers: of the requests.
    :ivar changes: what it was told of changes, in order.
    :ivar kinds: the type of each message, in order.
    :ivar begun: how often it has connected.
    """

    def __init__(
        self, way: str, address: str, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self._messages = WAYS[way]
        self._address = address
        self._query = dict(query or {})
        self._headers = dict(headers or {})
        self._closing = False
        self._heard = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.changes: list[Message] = []
        self.kinds: list[str] = []
        self.begun = 0
        self.failure: BaseException | None = None

    def start(self) -> Listener:
        """Begin to listen."""
        self._thread.start()
        return self

    def wait(self, reached: Callable[[Listener], bool]) -> Listener:
        """Wait for something to have been told.

        :param reached: tells whether it has.
        """
        ends = time.monotonic() + PATIENCE
        with self._heard:
            while not reached(self):
                assert self.failure is None, self.failure
                assert time.monotonic() < ends, f"{len(self.changes)} changes, {self.kinds[-5:]}"
                self._heard.wait(0.5)
        return self

    def listens(self) -> Listener:
        """Wait until it is told what is new."""
        return self.wait(lambda listener: "subscribed" in self.kinds or "heartbeat" in self.kinds)

    def keys(self) -> list[str]:
        """Return the keys of the changes, in order."""
        return [change["data"]["key"] for change in self.changes]

    def close(self) -> None:
        """Stop listening: the next message, or the end of the connection, is the last."""
        self._closing = True

    def join(self) -> None:
        """Wait for the thread, whose server has to be gone."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self._closing:
            try:
                self._listen()
            except GONE:
                time.sleep(0.02)
            except BaseException as error:  # noqa: BLE001 - the test raises it
                self.failure = error
                return

    def _listen(self) -> None:
        with closing(self._messages(self._address, self._query, self._headers)) as messages:  # type: ignore[type-var]
            self.begun += 1
            for message in messages:
                self._query["since"] = message["cursor"]
                with self._heard:
                    self.kinds.append(message["type"])
                    if message["type"] == "state_change":
                        self.changes.append(message)
                    self._heard.notify_all()
                if self._closing:
                    return


@contextmanager
def listening(listeners: list[Listener]) -> Iterator[list[Listener]]:
    """Have listeners listen in the block; the server has to end in it, or behind it.

    :param listeners: the listeners.
    """
    for each in listeners:
        each.start()
    try:
        yield listeners
    finally:
        for each in listeners:
            each.close()

"""WebSocket: what one client is sent, by whoever has it, and what it says (RFC 6455)."""

from __future__ import annotations

import time

from wsproto import WSConnection
from wsproto.events import CloseConnection, Event, Ping
from wsproto.utilities import ProtocolError

from ...errors import StorageError
from .listening import Listening
from .mailbox import Farewell, Mailbox
from .pace import Pace
from .upgrade import Upgrade
from .wire import Wire

_PING = b"\x89\x00"
_ROOM = 2**16
"""Bytes that may wait while a client catches up, before they are waited for."""

_LINGER = 2.0
"""Seconds in which the client may answer that the connection ends."""

_CODES = {
    Farewell.SLOW: 1013,
    Farewell.EXPIRED: 1012,
    Farewell.CLOSING: 1001,
    Farewell.UNAVAILABLE: 1013,
}
"""The codes of the end (RFC 6455, section 7.4.1, and the registry of IANA): try again later, restart, going away."""


class Ended(Exception):
    """The connection has come to its end."""


class WebSocket:
    """One client's connection, in the thread that the server has given it.

    :param wire: the connection.
    :param mailbox: what waits for the client.
    :param pace: how long the stream lives.
    """

    def __init__(self, wire: Wire, mailbox: Mailbox, pace: Pace) -> None:
        self._wire = wire
        self._mailbox = mailbox
        self._pace = pace
        self._heard = time.monotonic()

    def serve(self, upgrade: Upgrade, listening: Listening) -> None:
        """Open the connection, and stay until it ends.

        :param upgrade: what the client has asked for.
        :param listening: the client's stay.
        """
        connection, opening = upgrade.accept()
        try:
            self._wire.open()
            self._write_all(connection, opening)
            if self._wire.shared:
                self._mailbox.send = self._wire.send
            self._catch_up(connection, listening)
            self._stay(connection, listening)
            self._say_goodbye(connection)
        except (Ended, OSError):
            pass

    def _write_all(self, connection: WSConnection, data: bytes) -> None:
        ends = time.monotonic() + self._pace.heartbeat
        while data:
            data = data[self._wire.send(data) :]
            if time.monotonic() > ends:
                raise Ended
            if data:
                self._hear(connection, 1.0, writable=True)

    def _catch_up(self, connection: WSConnection, listening: Listening) -> None:
        try:
            for frame in listening.catch_up():
                if self._mailbox.put(frame) > _ROOM:
                    self._flush(connection)
        except StorageError:
            self._flush(connection)
            self._mailbox.end(Farewell.UNAVAILABLE)

    def _flush(self, connection: WSConnection) -> None:
        """Send what waits, however long the client takes, unless it is ended for that."""
        while not self._mailbox.flush(self._wire.send) and self._mailbox.farewell is None:
            self._hear(connection, self._pace.heartbeat, writable=True)

    def _stay(self, connection: WSConnection, listening: Listening) -> None:
        ends = time.monotonic() + self._pace.longest
        beat = time.monotonic() + self._pace.heartbeat
        while self._mailbox.farewell is None:
            now = time.monotonic()
            if now >= ends:
                self._mailbox.end(Farewell.EXPIRED)
                return
            if now >= beat:
                beat = now + self._pace.heartbeat
                self._beat(now, listening)
            empty = self._mailbox.flush(self._wire.send)
            self._hear(connection, min(ends, beat) - now, writable=not empty)

    def _beat(self, now: float, listening: Listening) -> None:
        if now - self._heard > 3 * self._pace.heartbeat:  # three pings have not been answered
            raise Ended
        listening.heartbeat()
        self._mailbox.answer(_PING)

    def _hear(self, connection: WSConnection, seconds: float, *, writable: bool) -> None:
        """Wait for something to happen, and deal with what the client says."""
        if not self._wire.wait(seconds, writable=writable):
            return
        data = self._wire.receive()
        if data == b"":
            return
        self._heard = time.monotonic()
        try:
            connection.receive_data(data)
            for event in connection.events():
                self._answer(connection, event)
        except ProtocolError as error:
            self._close(connection, getattr(error, "event_hint", None) or CloseConnection(1002))

    def _answer(self, connection: WSConnection, event: Event) -> None:
        """Answer pings and the end; what the client tells otherwise is not listened to."""
        if isinstance(event, Ping):
            # Not each ping has to be answered (RFC 6455, section 5.5.3).
            self._mailbox.answer(connection.send(event.response()), may_drop=True)
        elif isinstance(event, CloseConnection):
            self._close(connection, event.response())

    def _close(self, connection: WSConnection, event: CloseConnection) -> None:
        try:
            self._mailbox.answer(connection.send(event))
            self._mailbox.flush(self._wire.send)
        except ProtocolError:  # it is over already
            pass
        raise Ended

    def _say_goodbye(self, connection: WSConnection) -> None:
        farewell = self._mailbox.farewell
        assert farewell is not None
        closing = connection.send(CloseConnection(_CODES[farewell], farewell.value))
        self._mailbox.last_words(closing)
        ends = time.monotonic() + self._pace.heartbeat
        while not self._mailbox.flush(self._wire.send):
            self._linger(ends)
        ends = time.monotonic() + _LINGER
        while True:
            self._linger(ends)

    def _linger(self, ends: float) -> None:
        left = ends - time.monotonic()
        if left <= 0:
            raise Ended
        if self._wire.wait(left, writable=self._mailbox.waits) and self._wire.receive() is None:
            raise Ended

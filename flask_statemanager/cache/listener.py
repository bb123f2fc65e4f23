"""The listener: a connection on which Redis says which keys have changed (client-side caching, Redis 6 and later).

It asks for a sign of life several times in a lease. Redis answers in the order of what happened, so an answer proves
that everything from before the question has been heard.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

from ..core.outage import Outage
from ..core.waking import JOIN, PerProcess
from ..redis_line import PrivateLine
from .keys import CacheKeys
from .near import NearCache

logger = logging.getLogger("flask_statemanager")

CHANNEL = b"__redis__:invalidate"
"""Where Redis tells a connection of the second protocol what has changed."""

QUESTIONS = 4
"""Signs of life that are asked for in one lease."""


class Listener:
    """Keeps a near cache true, in a daemon thread that starts when it is first needed in a process.

    :param line: makes the connection.
    :param keys: what the keys are called.
    :param near: the near cache.
    :param lease: seconds for which a sign of life counts.
    """

    def __init__(self, line: PrivateLine, keys: CacheKeys, near: NearCache, lease: float) -> None:
        self._line = line
        self._keys = keys
        self._near = near
        self._lease = lease
        self._locks = PerProcess(threading.Lock)
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._process = 0

    def ensure(self) -> None:
        """Have this process's thread running."""
        if self._process != os.getpid():
            self._start()

    def close(self) -> None:
        """End this process's thread, for good."""
        self._closed.set()
        thread = self._thread
        if thread is not None and self._process == os.getpid():
            thread.join(JOIN)

    def _start(self) -> None:
        with self._locks.get():
            if self._process == os.getpid() or self._closed.is_set():
                return
            thread = threading.Thread(target=self._run, name="statemanager: near cache", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending, or has no thread to give: nothing is served
                return
            self._thread, self._process = thread, os.getpid()

    def _run(self) -> None:
        outage = Outage(logger, "Listening for changes in the read cache")
        while not self._closed.is_set():
            try:
                self._attend(outage)
            except Exception as error:  # noqa: BLE001 - logged by the outage, whatever it is
                self._closed.wait(outage.failed(error))

    def _attend(self, outage: Outage) -> None:
        connection = self._line.connect(socket_timeout=self._lease)
        try:
            self._listen(connection, outage)
        finally:
            self._near.silent()
            connection.disconnect()

    def _listen(self, connection: Any, outage: Outage) -> None:
        number = _said(connection, "CLIENT", "ID")
        prefix = self._keys.prefix
        _said(connection, "CLIENT", "TRACKING", "ON", "REDIRECT", number, "BCAST", "PREFIX", prefix, "NOLOOP")
        _said(connection, "SUBSCRIBE", CHANNEL)
        # What was looked at before this moment may have changed without a word.
        self._near.clear()
        while not self._closed.is_set():
            asked_at = time.monotonic()
            connection.send_command("PING")
            while not self._heard(connection.read_response(disable_decoding=True)):
                pass
            self._near.heard(asked_at)
            outage.over()
            next_at = asked_at + self._lease / QUESTIONS
            while (left := next_at - time.monotonic()) > 0 and connection.can_read(left):
                self._heard(connection.read_response(disable_decoding=True))

    def _heard(self, message: Any) -> bool:
        """Take in one message, and tell whether it is the sign of life that was asked for.

        It is "message", channel and the names of what has changed, None for everything; or "pong".
        """
        if message[0] != b"message":
            return bool(message[0] == b"pong")
        for name in message[2] or ():
            path = self._keys.path(name)
            if path is None:
                self._near.clear()
            else:
                self._near.drop(path)
        if message[2] is None:
            self._near.clear()
        return False


def _said(connection: Any, *command: Any) -> Any:
    connection.send_command(*command)
    return connection.read_response(disable_decoding=True)

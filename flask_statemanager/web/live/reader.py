"""Readers: the thread of each process that reads a log on, as long as somebody listens to it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ...core.follows import Wait
from ...core.outage import Outage
from ...errors import Compacted
from .hub import Hub
from .log import Log, Stretch

logger = logging.getLogger("flask_statemanager.live")

NAP = 1.0
"""The most seconds of one wait, so that it is noticed when nobody listens any more."""

TOGETHER = 20
"""How many changes are told before others have their turn, which matters where threads are greenlets."""


class Reader:
    """Reads one log and gives it to the hub: complete, in order, through outages of the storage.

    :param log: the log.
    :param hub: the clients.
    :param pulse: called at least every :data:`NAP` seconds while the thread runs.
    """

    def __init__(self, log: Log, hub: Hub, pulse: Callable[[], None]) -> None:
        self._log = log
        self._hub = hub
        self._pulse = pulse
        self._outage = Outage(logger, f"Reading the log {log.name} for live events")
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"statemanager: live {log.name}", daemon=True)

    def start(self) -> None:
        """Start the thread.

        :raises RuntimeError: when there is no thread to be had.
        """
        self._thread.start()

    def close(self, patience: float) -> None:
        """End the thread.

        :param patience: the most seconds to wait for it.
        """
        self._closed.set()
        if self._thread is not threading.current_thread():
            self._thread.join(patience)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._closed.is_set():
            wanted = self._hub.wanted(self._log.name)
            if wanted is None:
                return
            try:
                with self._log.following(wanted[1][0]) as wait:
                    if self._read(wait):
                        return
            except Compacted as error:
                self._hub.compacted(self._log.name, error.restart)
            except Exception as error:  # noqa: BLE001 - logged by the outage, whatever it is
                self._pause(self._outage.failed(error))

    def _read(self, wait: Wait) -> bool:
        """Read on; return whether nobody listens any more, so that somebody else may begin."""
        while not self._closed.is_set():
            self._pulse()
            wanted = self._hub.wanted(self._log.name)
            if wanted is None:
                return True
            cursor, buckets = wanted
            stretch = self._log.read(cursor, buckets)
            self._outage.over()
            self._tell(buckets, stretch)
            if not stretch.entries and not stretch.more:
                wait(stretch.cursor, NAP)
        return True

    def _tell(self, buckets: tuple[str, ...], stretch: Stretch) -> None:
        entries = stretch.entries
        for first in range(0, len(entries), TOGETHER):
            part = entries[first : first + TOGETHER]
            if not self._hub.deliver(self._log.name, buckets, Stretch(part, part[-1].behind, True)):
                return
            time.sleep(0)
        self._hub.deliver(self._log.name, buckets, Stretch([], stretch.cursor, stretch.more))

    def _pause(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while not self._closed.is_set() and time.monotonic() < ends:
            self._pulse()
            self._closed.wait(min(NAP, max(0.0, ends - time.monotonic())))

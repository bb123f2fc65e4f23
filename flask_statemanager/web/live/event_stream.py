"""Server-sent events: the body of a response that goes on (HTML Living Standard, section 9.2)."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ...core.waking import Alarm
from ...errors import StorageError
from .listening import Listening
from .mailbox import Farewell, Mailbox
from .pace import Pace


class EventStream:
    """What one client is sent.

    :param mailbox: what waits for it.
    :param alarm: rings when something does.
    :param pace: how long the stream lives.
    """

    def __init__(self, mailbox: Mailbox, alarm: Alarm, pace: Pace) -> None:
        self._mailbox = mailbox
        self._alarm = alarm
        self._pace = pace

    def body(self, listening: Listening) -> Iterator[bytes]:
        """Return the body, piece by piece.

        :param listening: the client's stay.
        """
        mailbox = self._mailbox
        yield b"retry: %d\n\n" % int(self._pace.retry * 1000)
        try:
            for frame in listening.catch_up():
                yield frame.event
                mailbox.cursor = frame.cursor
        except StorageError:
            mailbox.end(Farewell.UNAVAILABLE)
        ends = time.monotonic() + self._pace.longest
        while mailbox.farewell is None:
            left = ends - time.monotonic()
            if left <= 0:
                mailbox.end(Farewell.EXPIRED)
            elif not mailbox.waits and not self._alarm.wait(min(left, self._pace.heartbeat)):
                listening.heartbeat()
            data = mailbox.take()
            if data:
                yield data
        mailbox.last_words()
        yield mailbox.take()

"""What waits for one client: bounded, and with a cursor behind all that the client has been given."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from enum import Enum

from msgspec import Struct

from .messages import GOODBYE, Frame

Send = Callable[[bytes], int]
"""Sends what can be sent without waiting, and returns how many bytes that was."""


class Farewell(Enum):
    """Why a stream ends; a client can always go on from the cursor that it is told with it."""

    SLOW = "slow"
    """The client has not read for too long, or too little."""

    EXPIRED = "expired"
    """The stream has reached its age; who connects again is identified again."""

    CLOSING = "closing"
    """The server ends, or is asked to."""

    UNAVAILABLE = "unavailable"
    """The storage fails while the client is catching up."""


class Bounds(Struct, frozen=True):
    """How much may wait for one client.

    :param events: how many messages.
    :param size: how many bytes; a single message may be larger.
    """

    events: int
    size: int


class Mailbox:
    """The messages that wait for one client; any thread may put some in, one takes them out.

    :param form: returns a message as the client's transport sends it.
    :param bounds: how much may wait.
    :param ring: wakes the thread that takes them out; never waits.
    :ivar send: sends at once what can be sent so; None where only the client's thread may send.
    :ivar cursor: where the client goes on behind what it was given.
    :ivar farewell: why nothing comes any more; None as long as something may.
    :ivar delivered: how many messages the client was given.
    """

    def __init__(self, form: Callable[[Frame], bytes], bounds: Bounds, ring: Callable[[], None]) -> None:
        self._form = form
        self._bounds = bounds
        self._ring = ring
        self.send: Send | None = None
        self._lock = threading.Lock()
        self._waiting: deque[tuple[bytes, str]] = deque()
        self._size = 0
        self._begun = False
        self._broken = False
        self.cursor = "0"
        self.farewell: Farewell | None = None
        self.delivered = 0

    def offer(self, frame: Frame) -> None:
        """Give the client a message, at once or later; one too many is the last.

        :param frame: the message.
        """
        data = self._form(frame)
        with self._lock:
            if self.farewell is not None or self._broken:
                return
            if self.send is not None and not self._waiting:
                number = self._sent_now(self.send, data)
                if number == len(data):
                    self.cursor = frame.cursor
                    self.delivered += 1
                    return
                data = data[number:]
            if self._full():
                self._end(Farewell.SLOW)
            else:
                self._append(data, frame.cursor)
        self._ring()

    def put(self, frame: Frame) -> int:
        """Put in a message for the client's thread to send, which sees to it that there are not too many.

        :param frame: the message.
        :returns: how many bytes wait now.
        """
        with self._lock:
            if self.farewell is None:
                self._append(self._form(frame), frame.cursor)
            return self._size

    def answer(self, data: bytes, *, may_drop: bool = False) -> None:
        """Put in what the transport itself has to say, behind all that waits.

        :param data: as it is sent.
        :param may_drop: leave it out where too much waits, as a client can ask for it as often as it likes.
        """
        with self._lock:
            if self.farewell is None and not (may_drop and self._full()):
                self._append(data, self._waiting[-1][1] if self._waiting else self.cursor)

    def end(self, farewell: Farewell) -> None:
        """Let nothing more in, and forget what waits: the client goes on from what it was given.

        :param farewell: why.
        """
        with self._lock:
            self._end(farewell)
        self._ring()

    def last_words(self, closing: bytes = b"") -> None:
        """Put in, behind the end, what tells the client why.

        :param closing: what the transport says behind it.
        """
        with self._lock:
            assert self.farewell is not None
            cursor = self._waiting[-1][1] if self._waiting else self.cursor
            frame = Frame(GOODBYE, cursor, b'{"reason":"%b"}' % self.farewell.value.encode())
            self._append(self._form(frame) + closing, cursor)

    def take(self) -> bytes:
        """Take out all that waits, as it is sent; nothing where nothing waits."""
        with self._lock:
            if not self._waiting:
                return b""
            found = b"".join(data for data, _cursor in self._waiting)
            self.cursor = self._waiting[-1][1]
            self.delivered += len(self._waiting)
            self._waiting.clear()
            self._size = 0
            return found

    def flush(self, send: Send) -> bool:
        """Send what waits, as far as it can be sent without waiting.

        :param send: sends.
        :returns: whether nothing waits any more.
        :raises OSError: when the client is gone.
        """
        with self._lock:
            while self._waiting:
                data, cursor = self._waiting[0]
                number = send(data)
                self._size -= number
                if number < len(data):
                    self._begun = self._begun or number > 0
                    self._waiting[0] = data[number:], cursor
                    return False
                self._waiting.popleft()
                self._begun = False
                self._given(cursor)
        return True

    @property
    def waits(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    # -- with the lock held ----------------------------------------------------------------------------------------

    def _full(self) -> bool:
        waiting = len(self._waiting)
        return waiting > 0 and (waiting >= self._bounds.events or self._size > self._bounds.size)

    def _sent_now(self, send: Send, data: bytes) -> int:
        try:
            number = send(data)
        except OSError:  # the client's thread will find that it is gone
            self._broken = True
            return 0
        self._begun = 0 < number < len(data)
        return number

    def _append(self, data: bytes, cursor: str) -> None:
        self._waiting.append((data, cursor))
        self._size += len(data)

    def _given(self, cursor: str) -> None:
        self.cursor = cursor
        self.delivered += 1

    def _end(self, farewell: Farewell) -> None:
        if self.farewell is not None:
            return
        self.farewell = farewell
        # What has been sent in part has to be sent to its end.
        kept = [self._waiting[0]] if self._begun and self._waiting else []
        self._waiting = deque(kept)
        self._size = sum(len(data) for data, _cursor in kept)

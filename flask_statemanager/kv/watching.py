"""Watching: the changes of keys in order, from any position on, as long as somebody asks for the next."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType

from ..core.follows import Page, Wait, Watches
from ..core.record import Change
from .event import BOOKMARK, KeyEvent

PAGE = 500
"""How many entries of the log are read at once."""

_NAP = 0.25
"""The most seconds of one wait, so that :meth:`Watch.close` of another thread is heard soon."""


class Watch(Iterator[KeyEvent]):
    """The changes of one bucket, one after another; iterating waits for the next.

    It is complete: whoever goes on from the cursor of the last event that was dealt with misses nothing and gets
    nothing twice. Close it, or use it in a ``with`` statement.

    :param watches: the backend, as one whose log can be followed.
    :param bucket: the collection.
    :param prefix: only keys that begin so.
    :param since: go on behind this cursor.
    :param timeout: seconds without a change after which iterating ends; None for never.
    :param bookmark: seconds without a change after which a bookmark tells how far the watch has come.
    """

    def __init__(
        self, watches: Watches, bucket: str, *, prefix: str, since: str, timeout: float | None, bookmark: float
    ) -> None:
        self._watches = watches
        self._bucket = bucket
        self._prefix = prefix
        self._cursor = since
        self._timeout = timeout
        self._bookmark = bookmark
        self._waiting: deque[KeyEvent] = deque()
        self._open = ExitStack()
        self._wait: Wait | None = None
        self._closed = False
        self._heard = self._told = time.monotonic()

    def __iter__(self) -> Watch:
        return self

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def cursor(self) -> str:
        """Where to go on behind the last event that was handed out."""
        return self._cursor

    def close(self) -> None:
        """End the watch, from any thread: who waits for the next event finds that there is none."""
        self._closed = True

    def __next__(self) -> KeyEvent:
        """Return the next event, as soon as there is one.

        :raises StopIteration: when the time is over, or the watch is closed.
        :raises Compacted: when some of what comes next is not kept any more.
        :raises StorageError: when the storage fails; the watch can be asked again.
        """
        try:
            event = self._next()
        except BaseException:
            self._release()
            raise
        if event is None:
            self._release()
            raise StopIteration
        self._cursor = event.cursor
        return event

    def _next(self) -> KeyEvent | None:
        self._heard = self._told = time.monotonic()
        while not self._closed:
            if self._waiting:
                return self._waiting.popleft()
            cursor = self._cursor
            page = self._watches.follow(self._bucket, cursor, prefix=self._prefix, limit=PAGE)
            self._waiting.extend(events_of(page))
            if self._waiting:
                continue
            # Behind what was looked at and is of no interest.
            self._cursor = page.cursor
            now = time.monotonic()
            if self._timeout is not None and now - self._heard >= self._timeout:
                return None
            if now - self._told >= self._bookmark:
                return KeyEvent(BOOKMARK, page.cursor)
            if not page.more:
                self._pause(now)
        return None

    def _pause(self, now: float) -> None:
        if self._wait is None:
            self._wait = self._open.enter_context(self._watches.following(self._bucket))
        left = self._bookmark - (now - self._told)
        if self._timeout is not None:
            left = min(left, self._timeout - (now - self._heard))
        self._wait(self._cursor, max(0.0, min(left, _NAP)))

    def _release(self) -> None:
        """Give back what waiting takes; a later call opens it anew."""
        self._wait = None
        self._open.close()


def events_of(page: Page) -> list[KeyEvent]:
    """Return what a watcher is told of a page, each with the cursor behind it.

    :param page: a piece of the log.
    """
    cursors = page.cursors or [str(change.revision) for change in page.changes]
    return [_event(change, cursor) for change, cursor in zip(page.changes, cursors, strict=True)]


def _event(change: Change, cursor: str) -> KeyEvent:
    return KeyEvent.of(change, cursor)

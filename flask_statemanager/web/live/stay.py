"""The end of a stay: whatever way it comes, the place of the client is given back once."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .places import is_ending

StartResponse = Callable[..., Any]


class Once:
    """Calls functions, one after the other, the first time that it is called.

    :param acts: the functions.
    """

    def __init__(self, *acts: Callable[[], None]) -> None:
        self._acts = acts
        self._lock = threading.Lock()
        self._done = False

    def __call__(self) -> None:
        """Call them, unless that was done."""
        with self._lock:
            if self._done:
                return
            self._done = True
        for act in self._acts:
            act()


class Forgotten:
    """Ends stays whose response is gone without having been closed, as one that fails on its way is.

    What is collected may be so at any moment, also while the same thread holds a lock that the end takes: it is only
    noted then.
    """

    def __init__(self) -> None:
        self._ends: deque[Once] = deque()

    def watch(self, response: object, end: Once) -> None:
        """Have a stay ended when its response is gone.

        :param response: the response.
        :param end: ends the stay, unless it has ended.
        """
        weakref.finalize(response, self._ends.append, end).atexit = False

    def sweep(self) -> None:
        """End those stays."""
        while self._ends:
            self._ends.popleft()()

    def pulse(self) -> bool:
        """End those stays, and tell whether the server is about to end."""
        self.sweep()
        return is_ending()


class Conversation(Iterable[bytes]):
    """The body of the response to an upgrade: the server iterates it, and the connection is spoken on meanwhile.

    By then the request and its contexts are over, so that nothing of the application is held for as long. Behind it the
    connection is shut down: what the server writes to it as if it had to answer meets a broken pipe, which to every
    server is a client that has left.

    :param speak: speaks, until the connection is shut down.
    :param end: called behind it, or when it never comes to it.
    :param start_response: the server's.
    :param response: the response, which is kept for as long.
    """

    def __init__(
        self, speak: Callable[[], None], end: Callable[[], None], start_response: StartResponse, response: object = None
    ) -> None:
        self._response = response
        self._speak = speak
        self._end = end
        self._start_response = start_response

    def __iter__(self) -> Iterator[bytes]:
        try:
            self._speak()
        finally:
            self._end()
        self._start_response("200 OK", [("Content-Length", "0"), ("Connection", "close")])
        return iter(())

    def close(self) -> None:
        """End it, as servers do with every body."""
        self._end()

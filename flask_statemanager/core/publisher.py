"""After the commit: telling subscribers, in a fixed order, each isolated from the others."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from ..errors import StateManagerError
from .record import Change
from .scope import outside

Subscriber = Callable[[Change], None]

logger = logging.getLogger("flask_statemanager")

MAX_CASCADE = 1000
"""How long a chain of changes may get of which each is a subscriber's answer to the one before."""


class _Line(threading.local):
    """The changes that one thread has yet to announce, each with its place in the chain of answers."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Change, int]] = deque()
        self.busy = False
        self.depth = 0


class Publisher:
    """Hands committed changes to subscribers.

    A subscriber that writes causes further changes; they wait their turn, so that everybody is told in the order of the
    commits. Only what must not lag behind the store, the cache, hears of each change at once.
    """

    def __init__(self) -> None:
        self._subscribers: list[tuple[str, Subscriber]] = []
        self._prompt: list[tuple[str, Subscriber]] = []
        self._line = _Line()

    def subscribe(self, name: str, subscriber: Subscriber, *, at_once: bool = False) -> None:
        """Add a subscriber behind the present ones.

        :param name: how to name it in the log.
        :param subscriber: called with each committed change.
        :param at_once: call it before the change gets in line; it must not write.
        """
        (self._prompt if at_once else self._subscribers).append((name, subscriber))

    def check_cascade(self) -> None:
        """Refuse a write that subscribers cause endlessly.

        :raises StateManagerError: when it would make the chain of answers too long.
        """
        if self._line.busy and self._line.depth >= MAX_CASCADE:
            raise StateManagerError(
                f"Callbacks have answered changes with changes more than {MAX_CASCADE} times in a row: "
                "look for two that keep triggering each other."
            )

    def publish(self, change: Change) -> None:
        """Tell all subscribers of a committed change; never raises.

        :param change: the change.
        """
        self.line_up(change)()

    def line_up(self, change: Change) -> Callable[[], None]:
        """Put a committed change at the end of this thread's line.

        :param change: the change.
        :returns: what tells the subscribers of everything in the line; never raises.
        """
        _tell(self._prompt, change)
        line = self._line
        line.waiting.append((change, line.depth + 1 if line.busy else 0))
        return self.deliver

    def deliver(self) -> None:
        """Tell all subscribers of the changes in this thread's line; never raises."""
        line = self._line
        if line.busy:
            return
        line.busy = True
        try:
            with outside():
                while line.waiting:
                    change, line.depth = line.waiting.popleft()
                    _tell(self._subscribers, change)
        finally:
            line.waiting.clear()
            line.busy, line.depth = False, 0


def _tell(subscribers: list[tuple[str, Subscriber]], change: Change) -> None:
    for name, subscriber in subscribers:
        try:
            subscriber(change)
        except Exception:
            logger.exception("The subscriber %s failed on %s version %d.", name, change.key, change.version)

"""After the commit: telling subscribers, in a fixed order, each isolated from the others."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from ..errors import StateManagerError
from .record import Change

Subscriber = Callable[[Change], None]

logger = logging.getLogger("flask_statemanager")

MAX_CASCADE = 1000
"""How many changes subscribers may cause in answer to one change, before a loop is assumed."""


class _Line(threading.local):
    """The changes that one thread has yet to announce."""

    def __init__(self) -> None:
        self.waiting: deque[Change] = deque()
        self.busy = False
        self.announced = 0


class Publisher:
    """Hands committed changes to subscribers.

    A subscriber that writes causes further changes; they wait their turn, so that everybody is told in the order of the
    commits.
    """

    def __init__(self) -> None:
        self._subscribers: list[tuple[str, Subscriber]] = []
        self._line = _Line()

    def subscribe(self, name: str, subscriber: Subscriber) -> None:
        """Add a subscriber behind the present ones.

        :param name: how to name it in the log.
        :param subscriber: called with each committed change.
        """
        self._subscribers.append((name, subscriber))

    def check_cascade(self) -> None:
        """Refuse a write that subscribers cause endlessly.

        :raises StateManagerError: when the present change has caused too many others.
        """
        if self._line.busy and self._line.announced >= MAX_CASCADE:
            raise StateManagerError(
                f"Callbacks have caused more than {MAX_CASCADE} changes in answer to one: "
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
        self._line.waiting.append(change)
        return self.deliver

    def deliver(self) -> None:
        """Tell all subscribers of the changes in this thread's line; never raises."""
        line = self._line
        if line.busy:
            return
        line.busy, line.announced = True, 0
        try:
            while line.waiting:
                line.announced += 1
                self._tell(line.waiting.popleft())
        finally:
            line.waiting.clear()
            line.busy = False

    def _tell(self, change: Change) -> None:
        for name, subscriber in self._subscribers:
            try:
                subscriber(change)
            except Exception:
                logger.exception("The subscriber %s failed on %s version %d.", name, change.key, change.version)

"""Functions of this process that are told of changes of keys, after the commit."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ..core.record import Change
from .event import KeyEvent

logger = logging.getLogger("flask_statemanager")

Told = Callable[[KeyEvent], object]


class Subscribers:
    """Tells functions of changes, each isolated from the others.

    :param failed: called for each that raised.
    """

    def __init__(self, failed: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._told: tuple[tuple[str, Told], ...] = ()
        self._failed = failed

    def add(self, told: Told, prefix: str) -> Callable[[], None]:
        """Add a function behind the present ones.

        :param told: called with each change.
        :param prefix: of keys that begin so.
        :returns: what takes it out again.
        """
        entry = (prefix, told)

        def remove() -> None:
            with self._lock:
                self._told = tuple(each for each in self._told if each is not entry)

        with self._lock:
            self._told = (*self._told, entry)
        return remove

    def __bool__(self) -> bool:
        return bool(self._told)

    def tell(self, change: Change) -> None:
        """Tell the functions of a committed change.

        :param change: the change.
        """
        for prefix, told in self._told:
            if not change.key.name.startswith(prefix):
                continue
            try:
                # Anew for each, as one may edit it.
                told(KeyEvent.of(change, str(change.revision)))
            except Exception:
                logger.exception("A subscriber of keys failed on %s version %d.", change.key, change.version)
                self._failed()

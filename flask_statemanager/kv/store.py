"""Keys and values of one bucket: all verbs."""

from __future__ import annotations

from collections.abc import Callable

from .documents import Document
from .lease import Lease
from .limits import WindowCounter
from .parts import KvParts
from .verbs import KvVerbs
from .watches import KvWatches


class KeyValueStore(KvVerbs, KvWatches):
    """The keys and values of one bucket of the present app.

    :param find: finds the running parts, anew at each call.
    """

    def __init__(self, find: Callable[[], KvParts]) -> None:
        self._find = find

    def _parts(self) -> KvParts:
        return self._find()

    def lease(self, key: str, ttl: float, holder: str | None = None) -> Lease:
        """Return a lease on a key, which nobody holds yet: ``acquire()`` takes it, a ``with`` statement too.

        :param key: its key.
        :param ttl: seconds that it is held without being renewed.
        :param holder: who is going to hold it; a random name by default.
        :raises StateValidationError: when key or ttl are unusable.
        """
        return Lease(self, key, ttl, holder)

    def counter(self, key: str, *, limit: int, window: float) -> WindowCounter:
        """Return a counter of events in windows of time, for rate limits.

        :param key: its key.
        :param limit: how many events one window admits.
        :param window: seconds that a window lasts, from its first event on.
        :raises StateValidationError: when an argument is unusable.
        """
        return WindowCounter(self, key, limit=limit, window=window)

    def document(self, key: str) -> Document:
        """Return a JSON object under a key, such as a user's preferences, of which parts are changed.

        :param key: its key.
        :raises StateValidationError: when the key is impossible.
        """
        return Document(self, key)

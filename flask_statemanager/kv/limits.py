"""Counting events in windows of time, for rate limits."""

from __future__ import annotations

from datetime import datetime

from ..core.record import JSON
from ..errors import StateValidationError, shown
from .decisions import Unchanged
from .lifetime import check_ttl
from .parts import check_key, check_number
from .verbs import KvVerbs


class WindowCounter:
    """Admits a number of events in each window; made by ``kv.counter``. All processes count together.

    A window begins with its first event and ends by itself. It is a fixed one: around the edge between two windows, up
    to twice the limit is admitted within one window's length.

    :param verbs: the keys and values.
    :param key: the counter's key.
    :param limit: how many events one window admits.
    :param window: seconds that a window lasts.
    :raises StateValidationError: when an argument is unusable.
    """

    def __init__(self, verbs: KvVerbs, key: str, *, limit: int, window: float) -> None:
        seconds = check_ttl(window)
        if not isinstance(seconds, float):
            raise StateValidationError({"window": [f"Must be seconds, not {shown(window)}."]})
        self._verbs = verbs
        self.key = check_key(key)
        self.limit = check_number(limit, "limit", 1, 2**53)
        self.window = seconds

    def hit(self) -> bool:
        """Count an event, if the window has room for it.

        :returns: whether it had; an event that is not admitted is not counted.
        :raises StateConflict: when racers won every attempt.
        :raises StateValidationError: when the key holds something else than a count.
        :raises StorageError: when the storage fails.
        """
        try:
            self._verbs.update(self.key, self._counted, default=0, begun_ttl=self.window)
        except Unchanged:
            return False
        return True

    def remaining(self) -> int:
        """Return how many events the present window still admits.

        :raises StateValidationError: when the key holds something else than a count.
        :raises StorageError: when the storage fails.
        """
        return max(0, self.limit - self._count(self._verbs.get(self.key, 0)))

    def resets_at(self) -> datetime | None:
        """Return when the present window ends, or None where none has begun.

        :raises StorageError: when the storage fails.
        """
        entry = self._verbs.get_entry(self.key)
        return None if entry is None else entry.expires_at

    def _counted(self, present: JSON) -> int:
        count = self._count(present)
        if count >= self.limit:
            raise Unchanged
        return count + 1

    def _count(self, present: JSON) -> int:
        if type(present) is not int:
            raise StateValidationError({"value": [f"{self.key} holds {shown(present)}, which is no count."]})
        return present

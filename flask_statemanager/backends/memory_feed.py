"""Following the log, in memory: whoever waits is woken by the unit that has written."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from operator import attrgetter

from ..core.codec import isolated_change
from ..core.follows import Page, Wait, Watches, revision_in
from ..core.record import Change
from ..errors import Compacted
from .memory_unit import MemoryUnit

_revision_of = attrgetter("revision")


class MemoryFeed(Watches):
    """The power Watches, for a backend that keeps changes in a list."""

    one_log = True
    _lock: threading.RLock
    _log: list[Change]
    _revision: int

    def __init__(self) -> None:
        self._compacted: dict[str, int] = {}
        self._turned = threading.Condition()
        # The revision up to which everything is committed or undone, and how many units are open.
        self._settled = 0
        self._open = 0

    def position(self, bucket: str) -> str:
        """Return the cursor behind the last change of now.

        :param bucket: the collection.
        """
        return str(self._settled)

    def follow(self, bucket: str, cursor: str, *, prefix: str = "", limit: int = 500) -> Page:
        """Return the changes behind a cursor.

        :param bucket: the collection.
        :param cursor: from :meth:`position` or a page.
        :param prefix: only records whose names begin so.
        :param limit: the most entries of the log to look at.
        :raises Compacted: when some of what lies behind the cursor is not kept any more.
        :raises StateValidationError: when it is no cursor of this bucket.
        """
        after = revision_in(cursor)
        with self._lock:
            if not self._compacted.get(bucket, 0) <= after <= self._settled:
                raise Compacted(cursor, self.position(bucket))
            # What the caller's own open unit has written is not committed.
            end = bisect_right(self._log, self._settled, key=_revision_of)
            first = bisect_right(self._log, after, key=_revision_of)
            seen = self._log[first : min(end, first + limit)]
            wanted = [each for each in seen if each.key.bucket == bucket and each.key.name.startswith(prefix)]
            more = end > first + len(seen)
        reached = seen[-1].revision if more and seen else after if more else max(after, self._settled)
        return Page([isolated_change(change) for change in wanted], str(reached), more)

    @contextmanager
    def _following(self) -> Iterator[Wait]:
        yield self._wait

    def following(self, bucket: str) -> AbstractContextManager[Wait]:
        """Open what a follower needs to wait for changes.

        :param bucket: the collection.
        """
        return self._following()

    def _wait(self, cursor: str, seconds: float) -> bool:
        after, ends = revision_in(cursor), time.monotonic() + seconds
        with self._turned:
            return self._turned.wait_for(lambda: self._settled > after, max(0.0, ends - time.monotonic()))

    @contextmanager
    def _turning(self) -> Iterator[None]:
        """Have the block's writes followed once it is over, or another one around it."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            if not self._open and self._settled < self._revision:
                with self._turned:
                    self._settled = self._revision
                    self._turned.notify_all()

    def _compact(self, unit: MemoryUnit, change: Change) -> None:
        """Note that a change is not kept any more."""
        bucket = change.key.bucket
        known = self._compacted.get(bucket, 0)
        self._compacted[bucket] = max(known, change.revision)
        unit.undo.append(partial(self._compacted.__setitem__, bucket, known))

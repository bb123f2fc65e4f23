"""The near cache: what Redis holds, once more in this process, for as long as Redis is heard to say what changes.

It is a copy of the shared entries and of nothing else: what is read from the store gets into Redis first. Reading takes
no lock. A fork begins empty, and silent until it has a listener of its own.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from ..core.entry import Entry

OVERHEAD = 700
"""Bytes that an entry takes beside its name and its JSON: objects, dict entries, and what memory is rounded up to."""

_MARKS = 1024

Ticket = tuple[list[int], int, int]
"""What was known of invalidations when a look at Redis began."""


class _Kept:
    """An entry with its size, the moment it is dropped, and whether it was wanted since it was last looked over."""

    __slots__ = ("entry", "size", "until", "wanted")

    def __init__(self, entry: Entry, size: int, until: float) -> None:
        self.entry = entry
        self.size = size
        self.until = until
        self.wanted = False


class NearCache:
    """Keeps entries in this process.

    :param limit: the most bytes.
    :param ttl: seconds that an entry is kept at most.
    :param lease: seconds for which a sign of life of the listener counts.
    :param clock: monotonic seconds.
    """

    def __init__(self, limit: int, *, ttl: float, lease: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._ttl = ttl
        self._lease = lease
        self._clock = clock
        self.hits = 0
        self._begin()
        _present.add(self)

    def _begin(self) -> None:
        """Begin empty, with nothing that another process may hold."""
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._marks = [0] * _MARKS
        self._size = 0
        self._served_until = 0.0

    @property
    def size(self) -> int:
        """Bytes taken, by estimate."""
        return self._size

    @property
    def serving(self) -> bool:
        """Whether the listener has been heard of within the lease."""
        return self._clock() < self._served_until

    def get(self, path: str) -> Entry | None:
        """Return an entry, or None.

        :param path: which record.
        """
        kept = self._kept.get(path)
        if kept is None:
            return None
        now = self._clock()
        if now >= self._served_until or now >= kept.until:
            return None
        kept.wanted = True
        self.hits += 1  # without a lock, which costs more than a count that threads now and then lose
        return kept.entry

    def ticket(self, path: str) -> Ticket:
        """Return what :meth:`keep` needs, before Redis is looked at.

        :param path: which record.
        """
        marks, place = self._marks, hash(path) % _MARKS
        return marks, place, marks[place]

    def keep(self, path: str, entry: Entry, ticket: Ticket) -> None:
        """Keep what Redis holds, unless it was invalidated after the look at it began.

        :param path: which record.
        :param entry: its entry.
        :param ticket: of before the look.
        """
        size = len(path) + len(entry.body) + OVERHEAD
        marks, place, mark = ticket
        now = self._clock()
        with self._lock:
            if marks is not self._marks or marks[place] != mark or now >= self._served_until or size > self._limit:
                return
            self._remove(path)
            self._kept[path] = _Kept(entry, size, now + self._ttl)
            self._size += size
            while self._size > self._limit:
                self._evict()

    def drop(self, path: str) -> None:
        """Forget an entry, and what is on its way to become one.

        :param path: which record.
        """
        with self._lock:
            self._marks[hash(path) % _MARKS] += 1
            self._remove(path)

    def clear(self) -> None:
        """Forget everything, and what is on its way."""
        with self._lock:
            self._marks = [0] * _MARKS
            self._kept.clear()
            self._size = 0

    def heard(self, asked_at: float) -> None:
        """Serve for a lease from the moment at which the listener asked for the sign of life that has come.

        :param asked_at: monotonic seconds.
        """
        self._served_until = asked_at + self._lease

    def silent(self) -> None:
        """Serve nothing, and forget everything: what changes is not heard of."""
        self._served_until = 0.0
        self.clear()

    def _remove(self, path: str) -> None:
        kept = self._kept.pop(path, None)
        if kept is not None:
            self._size -= kept.size

    def _evict(self) -> None:
        """Drop the oldest that was not wanted since it was looked over; the others get a second chance."""
        path, kept = next(iter(self._kept.items()))
        if kept.wanted:
            kept.wanted = False
            self._kept.move_to_end(path)
        else:
            self._remove(path)


_present: WeakSet[Any] = WeakSet()


def _begin_anew() -> None:
    for near in list(_present):
        near._begin()


os.register_at_fork(after_in_child=_begin_anew)

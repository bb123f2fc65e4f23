"""The read cache on Redis, with a near cache before it where that is asked for.

Redis may be away, frozen or replaced at any moment: then the store is read, and what Redis could not be told is made
good before it is believed again. How two processes stay out of each other's way is told in ``keep.lua``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count as numbers
from typing import TypeVar

from ..core.entry import Entry
from ..core.ports import Load, LoadMany
from ..core.record import Key, Record
from ..core.waking import PerProcess
from ..redis_line import FAILURES, HungUp
from .flights import Flights
from .keys import SLOTS, slot_of
from .listener import Listener
from .near import NearCache
from .shared import UNDER_WAY, Found, SharedEntries

logger = logging.getLogger("flask_statemanager")

PAUSE = 1.0
"""Seconds without a question after Redis failed."""

Answer = TypeVar("Answer")


class RedisReadCache:
    """Keeps records in Redis for a bounded time.

    :param shared: the entries in Redis.
    :param ttl: seconds that an entry lives.
    :param count: raises a counter: ``cache.hit``, ``cache.miss``, ``cache.error``.
    :param near: the near cache and what keeps it true, or None.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        shared: SharedEntries,
        *,
        ttl: float,
        count: Callable[[str, int], None],
        near: tuple[NearCache, Listener] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        self._count = count
        self._near = None if near is None else near[0]
        self._listener = None if near is None else near[1]
        # What a hit costs is counted in fractions of a microsecond: no method of ours between.
        self.at_hand: Callable[[str], Entry | None] = _nothing if near is None else near[0].get
        self._clock = clock
        # What was read from the store longer ago may be older than a tombstone that is over already.
        self._fresh = min(ttl, UNDER_WAY) / 3
        self._away_until = 0.0
        self._told = False
        self._locks = PerProcess(threading.Lock)
        # The slots of writes that did not get through, each with the number of the last: nothing is believed until
        # their generations are new.
        self._missed: dict[int, int] = {}
        self._numbers = numbers(1)
        # Whether it is still the same Redis: asked at first, and after every doubt that is not settled yet.
        self._server: str | None = None
        self._doubts, self._settled = 1, 0
        self._flights: PerProcess[Flights] = PerProcess(Flights)

    @property
    def available(self) -> bool:
        """Whether Redis answered at the last attempt."""
        return not self._away_until

    def check(self) -> bool:
        """Ask Redis whether it is there, and remember the answer."""
        return self._asked(self._pinged) is not None

    def close(self) -> None:
        """End this process's threads and connections."""
        if self._listener is not None:
            self._listener.close()
        self._shared.close()

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, key: Key, load: Load) -> Record | Entry | None:
        """Return the cached record, else the stored one, which is cached then; a tombstone too, or None.

        :param key: which record.
        :param load: reads it from the store.
        """
        path = str(key)
        entry = self.at_hand(path)
        if entry is not None:
            return entry
        found = self._looked(path)
        if found is None:
            return load(key)
        if found.entry is not None:
            return found.entry
        with self._flights.get().joined(path) as first:
            if not first:
                # What the first has loaded may be older than this call; what it has put into Redis is not.
                found = self._looked(path)
                if found is None:
                    return load(key)
                if found.entry is not None:
                    return found.entry
            began = self._clock()
            record = load(key)
            if record is not None:
                self._fill({path: record}, {path: found}, began)
            return record

    def read_many(self, keys: Sequence[Key], load: LoadMany) -> dict[Key, Record | Entry]:
        """Return the cached records, and of the others the stored ones, which are cached then.

        :param keys: which records, each once.
        :param load: reads what is not cached from the store.
        """
        answers: dict[Key, Record | Entry] = {}
        left: dict[str, Key] = {}
        for key in keys:
            entry = self.at_hand(str(key))
            if entry is None:
                left[str(key)] = key
            else:
                answers[key] = entry
        found = self._looked_many(list(left)) if left else {}
        for path, each in found.items():
            if each.entry is not None:
                answers[left.pop(path)] = each.entry
        if left:
            began = self._clock()
            loaded = load(list(left.values()))
            if found:
                self._fill({str(key): record for key, record in loaded.items()}, found, began)
            answers |= loaded
        return answers

    def _looked(self, path: str) -> Found | None:
        """Look at one entry; None where Redis is not to be believed."""
        near = self._near
        # First of all: a write that is lost from here on makes the ticket worthless.
        ticket = None if near is None else near.ticket(path)
        if not self._believed():
            return None
        found = self._asked(lambda: self._shared.look(path))
        if found is None:
            return None
        self._count("cache.miss" if found.entry is None else "cache.hit", 1)
        if near is not None and ticket is not None and found.entry is not None:
            self._hear()
            near.keep(path, found.entry, ticket)
        return found

    def _looked_many(self, paths: Sequence[str]) -> dict[str, Found]:
        """Look at many entries; empty where Redis is not to be believed."""
        near = self._near
        tickets = {} if near is None else {path: near.ticket(path) for path in paths}
        if not self._believed():
            return {}
        found = self._asked(lambda: self._shared.look_many(paths)) or {}
        hits = sum(each.entry is not None for each in found.values())
        self._count("cache.hit", hits)
        self._count("cache.miss", len(found) - hits)
        if near is not None:
            self._hear()
            for path, each in found.items():
                if each.entry is not None:
                    near.keep(path, each.entry, tickets[path])
        return found

    def _hear(self) -> None:
        if self._listener is not None:
            self._listener.ensure()

    def _fill(self, records: dict[str, Record], found: dict[str, Found], began: float) -> None:
        """Keep what was read from the store just now, under the generations of before."""
        if records and self._clock() - began < self._fresh and self._believed():
            entries = {path: Entry.of(record) for path, record in records.items()}
            generations = {path: found[path].generation for path in records}
            self._asked(lambda: self._kept(entries, generations))

    def _kept(self, entries: dict[str, Entry], generations: dict[str, bytes] | None) -> bool:
        self._shared.keep(entries, generations)
        return True

    # -- writing ---------------------------------------------------------------------------------------------------

    def put(self, record: Record) -> None:
        """Keep what was just written, unless a newer version of it is there.

        Where that fails, nothing of its slot is believed, by anybody in the end, until the slot has a new generation.

        :param record: a committed record or tombstone.
        """
        path, kept = str(record.key), False
        try:
            entries = {path: Entry.of(record)}
            kept = self._believed() and self._asked(lambda: self._kept(entries, None)) is not None
        finally:  # also when it is interrupted, by whatever a signal handler raises
            if not kept:
                self._miss([slot_of(path)])
        if self._near is not None:
            self._near.drop(path)

    def doubt(self, keys: Iterable[Key]) -> None:
        """Believe nothing that is kept of records of which nobody knows whether they were just written.

        :param keys: which records.
        """
        self._miss({slot_of(str(key)) for key in keys})

    # -- what is believed ------------------------------------------------------------------------------------------

    def _believed(self) -> bool:
        """Tell whether Redis may be asked, once all that it missed is made good."""
        if self._away_until and self._clock() < self._away_until:
            return False
        if self._doubts != self._settled and not self._recognised():
            return False
        return not self._missed or self._mended()

    def _recognised(self) -> bool:
        """Find out whether this is still the Redis of before; another one may be behind what was written."""
        doubts = self._doubts
        server = self._asked(lambda: self._shared.server() or "")
        if server is None:
            return False
        if self._server is not None and (not server or server != self._server):
            self._miss(range(SLOTS))
        self._server, self._settled = server, doubts
        return True

    def _miss(self, slots: Iterable[int]) -> None:
        with self._locks.get():
            self._missed |= {slot: next(self._numbers) for slot in slots}
        if self._near is not None:
            self._near.clear()

    def _mended(self) -> bool:
        with self._locks.get():
            known = dict(self._missed)
        if self._asked(lambda: self._renewed(known)) is None:
            return False
        with self._locks.get():
            # What was missed meanwhile is not made good.
            self._missed = {slot: last for slot, last in self._missed.items() if known.get(slot) != last}
            return not self._missed

    def _renewed(self, slots: dict[int, int]) -> bool:
        self._shared.renew(slots)
        return True

    def _pinged(self) -> bool:
        self._shared.ping()
        return True

    def _asked(self, question: Callable[[], Answer]) -> Answer | None:
        """Ask Redis; None when it does not answer, after which it is left in peace for a moment."""
        try:
            answer = question()
        except HungUp:
            return self._asked_anew(question)
        except FAILURES as error:
            self._failed(error)
            return None
        self._away_until = 0.0
        if self._told and not self._missed:
            self._told = False
        return answer

    def _asked_anew(self, question: Callable[[], Answer]) -> Answer | None:
        """Ask once more where a connection that had been idle was closed, if Redis is still the same."""
        self._doubts += 1
        doubts = self._doubts
        try:
            if self._server and self._shared.server() == self._server:
                self._settled = doubts
                return question()
        except FAILURES as error:
            self._failed(error)
        return None

    def _failed(self, error: BaseException) -> None:
        if not self._told:
            self._told = True
            logger.warning("The read cache cannot be reached, reads go to the database: %s", error)
        self._count("cache.error", 1)
        # Whoever refuses may have been the master once: ask anew who it is.
        self._shared.close()
        self._doubts += 1
        self._away_until = self._clock() + PAUSE


def _nothing(_path: str) -> None:
    """Stand for a near cache that is not there."""

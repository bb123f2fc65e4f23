"""The read cache without Redis: the near cache of each process, before a store that tells what has changed.

It holds what was read from the store and nothing else. What a write has made of a record is read once more: by the time
it could be kept, somebody else's next version may have been told already, and nobody would tell of it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..config import Settings
from ..core.entry import Entry
from ..core.hearing import Tells
from ..core.ports import Load, LoadMany
from ..core.record import Key, Record
from ..core.waking import PerProcess
from .flights import Flights
from .listener import Listener
from .near import NearCache


class NearReadCache:
    """Keeps records in this process for as long as the store is heard to tell what changes.

    :param near: the near cache.
    :param listener: what keeps it true.
    :param count: raises a counter: ``cache.miss``.
    :param announce: has those woken who listen to the store.
    """

    def __init__(
        self,
        near: NearCache,
        listener: Listener,
        *,
        count: Callable[[str, int], None],
        announce: Callable[[], None],
    ) -> None:
        self._near = near
        self._listener = listener
        self._count = count
        self._announce = announce
        # What a hit costs is counted in fractions of a microsecond: no method of ours between.
        self.at_hand: Callable[[str], Entry | None] = near.get
        self._flights: PerProcess[Flights] = PerProcess(Flights)

    def read(self, key: Key, load: Load) -> Record | Entry | None:
        """Return the cached record, else the stored one, which is cached then; a tombstone too, or None.

        :param key: which record.
        :param load: reads it from the store.
        """
        path = str(key)
        entry = self.at_hand(path)
        if entry is not None:
            return entry
        self._listener.ensure()
        self._count("cache.miss", 1)
        if not self._near.serving:
            return load(key)
        with self._flights.get().joined(path) as first:
            if not first:
                entry = self.at_hand(path)
                if entry is not None:
                    return entry
            ticket = self._near.ticket(path)
            record = load(key)
            if record is not None:
                self._near.keep(path, Entry.of(record), ticket)
            return record

    def read_many(self, keys: Sequence[Key], load: LoadMany) -> dict[Key, Record | Entry]:
        """Return the cached records, and of the others the stored ones, which are cached then.

        :param keys: which records, each once.
        :param load: reads what is not cached from the store.
        """
        answers: dict[Key, Record | Entry] = {}
        left: list[Key] = []
        for key in keys:
            entry = self.at_hand(str(key))
            if entry is None:
                left.append(key)
            else:
                answers[key] = entry
        if left:
            self._listener.ensure()
            self._count("cache.miss", len(left))
            tickets = {key: self._near.ticket(str(key)) for key in left}
            loaded = load(left)
            for key, record in loaded.items() if self._near.serving else ():
                self._near.keep(str(key), Entry.of(record), tickets[key])
            answers |= loaded
        return answers

    def put(self, record: Record) -> None:
        """Forget what was kept of a record that was just written, and have other processes look.

        :param record: a committed record or tombstone.
        """
        self._near.drop(str(record.key))
        self._announce()

    def doubt(self, keys: Iterable[Key]) -> None:
        """Forget records of which nobody knows whether they were just written; if so, the store will tell.

        :param keys: which records.
        """
        for key in keys:
            self._near.drop(str(key))

    def check(self) -> bool:
        """Tell whether the store was heard when it was listened to last."""
        self._listener.ensure()
        return not self._listener.failing

    def close(self) -> None:
        """End this process's thread and its connection."""
        self._listener.close()


def opened(
    store: Tells,
    settings: Settings,
    count: Callable[[str, int], None],
    follow: Callable[[str, Callable[[], int]], None],
) -> NearReadCache:
    """Return the near cache before a store; nothing is asked of it yet.

    :param store: what tells of changes.
    :param settings: the app's settings.
    :param count: raises a counter by a number.
    :param follow: takes a counter from elsewhere.
    """
    lease = settings.near_cache_lease
    near = NearCache(settings.near_cache_bytes, ttl=settings.cache_ttl, lease=lease)
    follow("cache.near", lambda: near.hits)
    return NearReadCache(near, Listener(store.hearing, near, lease), count=count, announce=store.announce)

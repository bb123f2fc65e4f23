"""Reading the records of one collection: from the cache where that is allowed, else from the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from ..errors import ConfigurationError
from .clock import Clock
from .entry import Entry
from .ports import UNSEEN, Backend, ReadCache, Seen
from .powers import JoinsTransaction, MultiKey
from .record import Expectation, Key, Record
from .scope import unit_around
from .step import Policy
from .unread import Unread

MAX_MANY = 1000
"""How many records are read at once."""


class Reader:
    """Reads the records of one collection.

    :param name: the collection.
    :param policy: its rules.
    :param backend: where its records live.
    :param clock: the time.
    :param cache: a shared read cache, or None.
    """

    def __init__(
        self, name: str, policy: Policy, backend: Backend, *, clock: Clock, cache: ReadCache | None = None
    ) -> None:
        self.name = name
        self.policy = policy
        self.backend = backend
        self.clock = clock
        self.cache = cache
        self._path = f"{name}:"

    def get(self, name: str, session: Any = None, *, strong: bool = False) -> Record | None:
        """Return the live record of this name, as it counts now, or None.

        :param name: the record's name.
        :param session: read inside this session's transaction.
        :param strong: ask the store, not the cache.
        :raises StorageError: when the storage fails.
        """
        found = self.find(name, session, strong=strong)
        return found.record() if isinstance(found, Entry) else found

    def glance(self, name: str) -> Entry | None:
        """Return a live record that this process has at hand and that does not expire, or None, to :meth:`find` it.

        It is a short cut, for which a name need not have been checked: no other than a good one is at hand.

        :param name: the record's name.
        """
        if self.cache is None or unit_around(self.backend) is not None:
            return None
        entry = self.cache.at_hand(self._path + name)
        return entry if entry is not None and entry.expires_at is None and entry.deleted_at is None else None

    def find(self, name: str, session: Any = None, *, strong: bool = False) -> Record | Entry | None:
        """Return the live record of this name, as it counts now; from the cache perhaps as an entry.

        :param name: the record's name.
        :param session: read inside this session's transaction.
        :param strong: ask the store, not the cache.
        :raises StorageError: when the storage fails.
        """
        # Inside a transaction the cache is passed by: it knows nothing of that transaction's own writes.
        if session is not None or unit_around(self.backend) is not None:
            with self.reading(session) as unit:
                return self._live(self.backend.read(unit, Key(self.name, name)))
        if self.cache is None or strong:
            return self._live(self.backend.fetch(Key(self.name, name)))
        return self._live(self.cache.read(Key(self.name, name), self.backend.fetch))

    def find_unread(self, name: str) -> Unread | None:
        """Return the live record of this name, as it counts now, its JSON unread where that spares something, or None.

        :param name: the record's name.
        :raises StorageError: when the storage fails.
        """
        if self.cache is None and unit_around(self.backend) is None:
            unread = self.backend.fetch_unread(Key(self.name, name))
            if unread is None or unread.deleted:
                return None
            if unread.expires_at is None or unread.expires_at > self.clock.now():
                return unread
        found = self.find(name)
        return None if found is None else Unread.of(found)

    def find_many(
        self, names: Sequence[str], session: Any = None, *, strong: bool = False
    ) -> dict[str, Record | Entry]:
        """Return the live records of these names, as they count now; from the cache perhaps as entries.

        :param names: the records' names, each once.
        :param session: read inside this session's transaction.
        :param strong: ask the store, not the cache.
        :returns: what there is, by name, in no particular order.
        :raises StorageError: when the storage fails.
        """
        cache = None if strong or session is not None or unit_around(self.backend) is not None else self.cache
        live: dict[str, Record | Entry] = {}
        for first in range(0, len(names), MAX_MANY):
            chunk = names[first : first + MAX_MANY]
            found = self._stored(chunk, session) if cache is None else self._cached(cache, chunk)
            present = ((name, self._live(each)) for name, each in found.items())
            live |= {name: each for name, each in present if each is not None}
        return live

    def _cached(self, cache: ReadCache, names: Sequence[str]) -> Mapping[str, Record | Entry]:
        found = cache.read_many([Key(self.name, name) for name in names], self._load_many)
        return {key.name: each for key, each in found.items()}

    def _stored(self, names: Sequence[str], session: Any = None) -> Mapping[str, Record]:
        if not isinstance(self.backend, MultiKey) and session is None and unit_around(self.backend) is None:
            return {key.name: record for key, record in self.backend.fetch_many(self._keys(names)).items()}
        with self.reading(session) as unit:
            if isinstance(self.backend, MultiKey):
                return self.backend.read_many(unit, self.name, names)
            found = {name: self.backend.read(unit, Key(self.name, name)) for name in names}
            return {name: record for name, record in found.items() if record is not None}

    def _keys(self, names: Sequence[str]) -> list[Key]:
        return [Key(self.name, name) for name in names]

    def stored(self, names: Sequence[str]) -> dict[str, Record]:
        """Return what is stored under names, tombstones and what has expired too, as the store has it.

        :param names: the records' names, each once, at most a thousand.
        :returns: what there is, by name, in no particular order.
        :raises StorageError: when the storage fails.
        """
        return dict(self._stored(names))

    def _load_many(self, keys: Sequence[Key]) -> dict[Key, Record]:
        return {record.key: record for record in self._stored([key.name for key in keys]).values()}

    def _live(self, found: Record | Entry | None) -> Record | Entry | None:
        """Return what was found as it counts now; None for a tombstone."""
        if found is None or found.deleted_at is not None:
            return None
        if isinstance(found, Entry):
            if found.expires_at is None or found.expires_at > self.clock.now().timestamp():
                return found
            found = found.record()
        counting = self.present(found)
        return None if counting.deleted_at is not None else counting

    def present(self, record: Record, at: datetime | None = None) -> Record:
        """Return a record as it counts at a moment: past its ``expires_at`` it has expired, written or not.

        :param record: a live record.
        :param at: the moment; now by default.
        """
        if record.expires_at is None:
            return record
        lapsed = self.policy.lapse(record, at or self.clock.now())
        return record if lapsed is None else lapsed

    def at_hand(self, name: str, version: Expectation) -> Seen:
        """Return a record in the version that a caller expects, where this process has it at hand.

        :param name: the record's name.
        :param version: the version.
        """
        if not isinstance(version, int):
            return UNSEEN
        if self.cache is None:
            recalled = self.backend.recalled(Key(self.name, name), version)
            return UNSEEN if recalled is None or recalled.deleted else recalled
        entry = self.cache.at_hand(self._path + name)
        return entry.record() if entry is not None and entry.version == version and not entry.deleted else UNSEEN

    @contextmanager
    def reading(self, session: Any = None) -> Iterator[Any]:
        """Open a unit for reading: the session's, the surrounding one, or a short one of its own.

        :param session: the application's session, or None.
        :raises ConfigurationError: when the backend cannot join a session.
        :raises StorageError: when the storage fails.
        """
        unit = self._joined(session, write=False) if session is not None else unit_around(self.backend)
        if unit is not None:
            yield unit
        else:
            with self.backend.reading() as own:
                yield own

    def _joined(self, session: Any, *, write: bool) -> Any:
        if isinstance(self.backend, JoinsTransaction):
            return self.backend.joined(session, write=write)
        raise ConfigurationError(
            f"The {self.backend.title} backend cannot join a session's transaction: leave session= out, "
            "or use the sql backend."
        )

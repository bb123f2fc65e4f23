"""Backends that keep values in the server, each on the backend of the nucleus that is meant for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar

from msgspec import Struct

from ..errors import StateConflict, StateExists, StateNotFound
from ..kv.store import KeyValueStore
from ..kv.value import KEEP, KeyValue
from .backend import Ttl
from .config import DATABASE, MEMORY, REDIS
from .erasing import erase
from .kept import SOURCE
from .names import names_of, prefixes
from .payload import unpack
from .versions import VersionedStores, had_of, handed

PAGE = 1000
"""How many names are listed at once."""


class Carried(Struct, frozen=True):
    """A value on its way from one backend to another.

    :param bucket: where it lies.
    :param entry: the value as it is kept.
    :param ttl: seconds that it has left; None for ever.
    """

    bucket: str
    entry: KeyValue
    ttl: float | None


class ServerStateBackend(VersionedStores):
    """Keeps values as keys of the nucleus, in one bucket without a history and one with it.

    :param config: how it keeps them; the defaults by default.
    :param place: finds the running parts; they are the backend's own by default.
    """

    def get(self, key: str, user_id: str | None = None) -> Any:
        """Return a copy of a value, or None where there is none.

        :param key: the store's id.
        :param user_id: whose; None for everybody's.
        :raises StateValidationError: when the key is impossible.
        :raises StorageError: when the storage fails, or the value is damaged.
        """
        found = self.held(key, user_id)
        return None if found is None else unpack(found)

    def set(self, key: str, value: Any, ttl: Ttl = KEEP, user_id: str | None = None) -> bool:
        """Keep a value.

        :param key: the store's id.
        :param value: the value.
        :param ttl: seconds that it is kept, None for ever; as it is configured by default.
        :param user_id: whose; None for everybody's.
        :returns: True.
        :raises StateValidationError: when an argument is unusable.
        :raises LimitExceeded: when the value is too large.
        :raises StorageError: when the storage fails.
        """
        self.put(key, value, ttl, user_id)
        return True

    def delete(self, key: str, user_id: str | None = None) -> bool:
        """Remove a value.

        :param key: the store's id.
        :param user_id: whose; None for everybody's.
        :returns: whether there was one.
        :raises StateValidationError: when the key is impossible.
        :raises StorageError: when the storage fails.
        """
        return self._verbs(key).remove(self._name(key, user_id), SOURCE)

    def exists(self, key: str, user_id: str | None = None) -> bool:
        """Tell whether there is a value.

        :param key: the store's id.
        :param user_id: whose; None for everybody's.
        :raises StateValidationError: when the key is impossible.
        :raises StorageError: when the storage fails.
        """
        return self._verbs(key).exists(self._name(key, user_id))

    def clear(self, user_id: str | None = None) -> int:
        """Remove all values of a user for good: rows, tombstones, and what is kept of earlier ones.

        What is written at the same moment may stay.

        :param user_id: whose; None for everybody's, which those of users are not.
        :returns: how many there were.
        :raises StorageError: when the storage fails; to be called again then.
        """
        prefix, removed = names_of(self.config.key_prefix, user_id), 0
        for bucket, kv in self._kv.items():
            # What has expired is no longer listed, and still there.
            while self._place().shelves.tidy(bucket):
                pass
            removed += kv.remove_prefix(prefix, SOURCE)
            erase(self.parts(bucket), prefix)
        return removed

    def get_stats(self) -> dict[str, Any]:
        """Return how much is kept: ``{"backend_type": str, "total_keys": int, "total_size_bytes": int}``.

        The size is that of the values as they are kept, compressed. As for :meth:`KeyValueStore.stats`, a large
        database is counted by its worker.

        :raises StorageError: when the storage fails.
        """
        found = [kv.stats() for kv in self._kv.values()]
        return {
            "backend_type": self.kind,
            "total_keys": sum(each["total_keys"] for each in found),
            "total_size_bytes": sum(each["total_size"] for each in found),
        }

    # -- moving to another backend ---------------------------------------------------------------------------------

    def everything(self) -> Iterator[Carried]:
        """Yield all values, of all users.

        :raises StorageError: when the storage fails.
        """
        for bucket, kv in self._kv.items():
            for prefix in prefixes(self.config.key_prefix):
                yield from self._beginning(bucket, kv, prefix)

    def _beginning(self, bucket: str, kv: KeyValueStore, prefix: str) -> Iterator[Carried]:
        after = None
        while names := kv.keys(prefix, PAGE, after):
            after = names[-1]
            for name in names:
                entry = kv.get_entry(name)
                if entry is not None:
                    yield Carried(bucket, entry, self._left(bucket, entry))

    def take(self, carried: Carried, *, over: int | None = None) -> int | None:
        """Keep a value of another backend as it is.

        :param carried: the value.
        :param over: only if this version is stored, 0 for nothing; whatever is there by default.
        :returns: its version here; None where something else is stored.
        :raises StorageError: when the storage fails.
        """
        kv, entry = self._kv[carried.bucket], carried.entry
        had = had_of(entry)
        try:
            if over == 0:
                version = kv.create(entry.key, entry.value, SOURCE, ttl=carried.ttl).version
            else:
                version = kv.set(entry.key, entry.value, SOURCE, ttl=carried.ttl, expect=over).version
        except (StateConflict, StateExists):
            return None
        if had is not None:
            with suppress(StateConflict, StateNotFound):
                return kv.set_metadata(entry.key, handed(version + 1, had), SOURCE, expect=version).version
        return version

    def drop(self, bucket: str, name: str, *, over: int) -> None:
        """Remove a value that its own backend does not have any more.

        :param bucket: where it lies.
        :param name: how it is called there.
        :param over: only if this version is stored.
        :raises StorageError: when the storage fails.
        """
        with suppress(StateConflict):
            self._kv[bucket].remove(name, SOURCE, over)

    def _left(self, bucket: str, entry: KeyValue) -> float | None:
        if entry.expires_at is None:
            return None
        left = entry.expires_at - self.parts(bucket).bucket.clock.now()
        return max(0.001, left.total_seconds())


class MemoryStateBackend(ServerStateBackend):
    """Keeps values in this process, for development and tests: nothing outlives it, and no other process sees them."""

    kind: ClassVar[str] = MEMORY


class RedisStateBackend(ServerStateBackend):
    """Keeps values in Redis, for many users and processes."""

    kind: ClassVar[str] = REDIS


class DatabaseStateBackend(ServerStateBackend):
    """Keeps values in SQLite or PostgreSQL."""

    kind: ClassVar[str] = DATABASE


SERVERS: dict[str, type[ServerStateBackend]] = {
    each.kind: each for each in (MemoryStateBackend, RedisStateBackend, DatabaseStateBackend)
}
"""The backends that keep values in the server, by what the configuration calls them."""

"""A cache of cachelib over a bucket of keys and values: for Flask-Caching, Flask-Session and dash-extensions.

Values are kept as stores keep them: JSON, numbers as keys of dicts too, with Decimal, datetimes, bytes, DataFrames and
arrays. Nothing is pickled, so that what is neither is refused.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from cachelib.base import BaseCache

from ..core.buckets import KV
from ..core.record import JSON
from ..errors import ConfigurationError, StateExists, StateValidationError, shown
from ..globals import current_runtime
from ..kv.store import KeyValueStore
from ..stores.names import name_part
from ..stores.payload import LARGEST, pack, unpack

SOURCE = "cache"
"""What the changes of the cache name as their source, and what its keys begin with."""

Timeout = int | timedelta | None


class StateManagerCache(BaseCache):
    """Keeps a cache in a bucket.

    Flask-Session takes one as ``SESSION_CACHELIB = StateManagerCache(bucket="sessions")``.

    :param bucket: a declared bucket of the current app.
    :param default_timeout: seconds that a value is kept where the caller does not say; 0 for ever.
    :param key_prefix: what the keys begin with, to have several caches in one bucket.
    :param ignore_delete_many_errors: as in cachelib.
    :param kv: the keys and values of a bucket, in place of ``bucket``; for use without an app.
    :raises ConfigurationError: when ``bucket`` is no name.
    """

    def __init__(
        self,
        bucket: str = KV,
        default_timeout: int = 300,
        key_prefix: str = "",
        ignore_delete_many_errors: bool = True,
        *,
        kv: KeyValueStore | None = None,
    ) -> None:
        if not isinstance(bucket, str):
            raise ConfigurationError(
                f"{shown(bucket)} is no bucket: for Flask-Caching, set CACHE_TYPE to {__package__}.flask_caching.cache."
            )
        super().__init__(default_timeout)
        self.ignore_delete_many_errors = ignore_delete_many_errors
        self._kv = kv or KeyValueStore(lambda: current_runtime.shelves.parts(bucket))
        self._prefix = f"{SOURCE}:{name_part(key_prefix)}:"

    def get(self, key: str) -> Any:
        """Return a value, or None.

        :param key: any text.
        :raises StorageError: when the storage fails, or the value is damaged.
        """
        found = self._kv.get(self._name(key))
        return None if found is None else unpack(found)

    def get_many(self, *keys: str) -> list[Any]:
        """Return values in the order of the keys, None where there is none.

        :param keys: any texts.
        :raises StorageError: when the storage fails, or a value is damaged.
        """
        names = list(map(self._name, keys))
        found = self._kv.get_many(names)
        return [unpack(found[name]) if name in found else None for name in names]

    def set(self, key: str, value: Any, timeout: Timeout = None) -> bool:
        """Keep a value.

        :param key: any text.
        :param value: the value.
        :param timeout: seconds; None for the default, 0 for ever.
        :returns: True.
        :raises StateValidationError: when the value cannot be kept.
        :raises LimitExceeded: when it is too large for the bucket.
        :raises StorageError: when the storage fails.
        """
        self._kv.set(self._name(key), self._packed(value), SOURCE, ttl=self._ttl(timeout))
        return True

    def set_many(self, mapping: dict[str, Any], timeout: Timeout = None) -> list[Any]:
        """Keep several values, all or none.

        :param mapping: the values by key.
        :param timeout: as in :meth:`set`, for each.
        :returns: the keys.
        :raises StateManagerError: as :meth:`set` does.
        """
        packed = {self._name(key): self._packed(value) for key, value in mapping.items()}
        self._kv.set_many(packed, SOURCE, ttl=self._ttl(timeout))
        return list(mapping)

    def add(self, key: str, value: Any, timeout: Timeout = None) -> bool:
        """Keep a value unless there is one.

        :param key: any text.
        :param value: the value.
        :param timeout: as in :meth:`set`.
        :returns: whether there was none.
        :raises StateManagerError: as :meth:`set` does.
        """
        try:
            self._kv.create(self._name(key), self._packed(value), SOURCE, ttl=self._ttl(timeout))
        except StateExists:
            return False
        return True

    def delete(self, key: str) -> bool:
        """Remove a value.

        :param key: any text.
        :returns: whether there was one.
        :raises StorageError: when the storage fails.
        """
        return self._kv.remove(self._name(key), SOURCE)

    def has(self, key: str) -> bool:
        """Tell whether there is a value.

        :param key: any text.
        :raises StorageError: when the storage fails.
        """
        return self._kv.exists(self._name(key))

    def clear(self) -> bool:
        """Remove all values of this cache.

        :returns: True.
        :raises StorageError: when the storage fails.
        """
        self._kv.remove_prefix(self._prefix, SOURCE)
        return True

    def inc(self, key: str, delta: int = 1) -> int:
        """Add to a number; no number counts as 0. However many do so at once, all of them count.

        :param key: any text.
        :param delta: what to add.
        :returns: the sum.
        :raises StateValidationError: when the value is no number.
        :raises StorageError: when the storage fails.
        """

        def added(packed: JSON) -> JSON:
            present = 0 if packed is None else unpack(packed)
            if not isinstance(present, int | float):
                raise StateValidationError({key: [f"{shown(present)} is no number, so nothing can be added to it."]})
            return self._packed(present + delta)

        done = self._kv.update(self._name(key), added, SOURCE, begun_ttl=self._ttl(None))
        total: int = unpack(done.value)
        return total

    def dec(self, key: str, delta: int = 1) -> int:
        """Subtract from a number, as :meth:`inc` adds.

        :param key: any text.
        :param delta: what to subtract.
        :returns: the difference.
        :raises StateManagerError: as :meth:`inc` does.
        """
        return self.inc(key, -delta)

    def _name(self, key: str) -> str:
        return self._prefix + name_part(key)

    def _packed(self, value: Any) -> JSON:
        return pack(value, limit=LARGEST, compress=True)

    def _ttl(self, timeout: Timeout) -> float | None:
        given = self.default_timeout if timeout is None else timeout
        seconds = given.total_seconds() if isinstance(given, timedelta) else given
        return float(seconds) or None

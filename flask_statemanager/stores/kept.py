"""What the backends of stores in the server stand on: keys of the nucleus, in two buckets."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ..core.buckets import KEPT_STORES, STORES
from ..core.record import JSONObject
from ..errors import StateManagerError
from ..kv.parts import KvParts
from ..kv.store import KeyValueStore
from ..kv.value import KEEP
from .backend import StateBackend, Ttl
from .beliefs import Beliefs
from .config import StateBackendConfig
from .names import store_name
from .payload import pack
from .places import OwnPlace, Place

logger = logging.getLogger("flask_statemanager.stores")

BUCKETS = (STORES, KEPT_STORES)
"""The bucket of stores without a history, and of those with one."""

SOURCE = "stores"
"""What the changes of stores name as their source."""


class Broom:
    """Says when it is time to clear away what is not kept any more.

    :param seconds: after how long.
    :param size: after how many bytes were written.
    """

    def __init__(self, seconds: float = 60.0, size: int = 32 * 2**20) -> None:
        self._seconds = seconds
        self._size = size
        self._lock = threading.Lock()
        self._written, self._next = 0, time.monotonic() + seconds

    def due(self, written: int) -> bool:
        """Tell whether it is, to one of those who ask.

        :param written: how many bytes the caller has written.
        """
        with self._lock:
            self._written += written
            now = time.monotonic()
            if self._written < self._size and now < self._next:
                return False
            self._written, self._next = 0, now + self._seconds
            return True


class KeptStores(StateBackend):
    """Knows where values are kept, and under which names.

    :param config: how they are kept; the defaults by default.
    :param place: finds the running parts; they are the backend's own by default.
    """

    def __init__(self, config: StateBackendConfig | None = None, *, place: Place | None = None) -> None:
        super().__init__(config)
        self._own = OwnPlace(self.config, self.kind) if place is None else None
        self._place: Place = place or self._own  # type: ignore[assignment]
        self._broom = Broom()
        self._beliefs = {name: Beliefs() for name in BUCKETS}
        self._kv = {name: KeyValueStore(partial(self.parts, name)) for name in BUCKETS}

    def parts(self, bucket: str) -> KvParts:
        """Return what the verbs of one of its buckets stand on.

        :param bucket: one of :data:`BUCKETS`.
        :raises ConfigurationError: when its storage cannot be had.
        """
        return self._place().shelves.kept(bucket)

    def before_closing(self, end: Callable[[], None]) -> None:
        """Have whatever reads on from here end before the connections are given back.

        :param end: ends it, and may be called again.
        :raises ConfigurationError: when its storage cannot be had.
        """
        self._place().closing.append(end)

    def close(self) -> None:
        """Give back connections that are the backend's own."""
        if self._own is not None:
            self._own.close()

    def _bucket(self, key: str) -> str:
        return KEPT_STORES if key in self.config.history else STORES

    def _verbs(self, key: str) -> KeyValueStore:
        return self._kv[self._bucket(key)]

    def _name(self, key: str, user_id: str | None) -> str:
        return store_name(self.config.key_prefix, user_id, key)

    def _by_bucket(self, keys: Iterable[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for key in keys:
            found.setdefault(self._bucket(key), []).append(key)
        return found

    def _packed(self, value: Any) -> JSONObject:
        return pack(value, limit=self.config.max_value_size, compress=self.config.enable_compression)

    def _ttl(self, ttl: Ttl) -> float | None:
        return self.config.default_ttl if ttl is KEEP else ttl

    def _sweep(self, written: int) -> None:
        """Clear away, now and then, what is not kept any more: not every application has a worker."""
        if not self._broom.due(written):
            return
        try:
            for bucket in BUCKETS:
                self._place().shelves.tidy(bucket)
        except StateManagerError:
            # What the caller wanted is written; the next one clears away.
            logger.warning("Stores that are not kept any more could not be cleared away.", exc_info=True)

"""The backends of one app by their names: the one of its states, and those that buckets ask for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..config import Settings
from ..core.buckets import BucketDefinition
from ..core.clock import Clock, PreferredClock, ReplaceableClock
from ..core.hearing import Tells
from ..core.ports import Backend
from ..errors import ConfigurationError
from .registry import memory_backend

REDIS = "redis"


class Backends:
    """Makes backends when they are asked for.

    :param settings: the app's settings.
    :param main: where its states live.
    :param find: finds a declared bucket by its name.
    :ivar main: where its states live.
    """

    def __init__(self, settings: Settings, main: Backend, find: Callable[[object], BucketDefinition | None]) -> None:
        self.main = main
        self._settings = settings
        self._find = find
        self._lock = threading.Lock()
        self._others: dict[str, Backend] = {}

    def get(self, name: str | None) -> Backend:
        """Return a backend, made at the first call.

        :param name: ``sql``, ``redis`` or ``memory``; None for where the states live.
        :raises ConfigurationError: when it cannot be had.
        :raises StorageUnavailable: when no node of a Redis Cluster can be reached.
        """
        if name is None or name == self.main.title:
            return self.main
        with self._lock:
            if name not in self._others:
                self._others[name] = self._made(name)
            return self._others[name]

    def clock(self, backend: Backend, clock: ReplaceableClock) -> Clock:
        """Return the clock of a backend's buckets: on Redis the server's, unless the application has put another.

        :param backend: the backend.
        :param clock: the application's clock.
        """
        if backend is not self._others.get(REDIS):
            return clock
        redis: Any = backend
        return PreferredClock(clock, redis.clock())

    def warnings(self, backend: Backend, definition: BucketDefinition) -> list[str]:
        """Tell what of a backend contradicts that a bucket keeps what is written to it.

        :param backend: the backend.
        :param definition: the bucket.
        :returns: sentences for an operator.
        :raises StorageError: when the backend cannot be asked.
        """
        if backend is not self._others.get(REDIS):
            return []
        redis: Any = backend
        found: list[str] = redis.warnings(definition)
        return found

    def close(self) -> None:
        """Give back what the other backends keep."""
        for backend in self._others.values():
            backend.close()

    def _made(self, name: str) -> Backend:
        if name == "memory":
            return memory_backend()
        if name != REDIS:
            raise ConfigurationError(f"A bucket cannot live in {name} while STATEMANAGER_BACKEND is another.")
        url = self._settings.redis_url
        if url is None:
            raise ConfigurationError("A bucket with backend='redis' needs a Redis: set STATEMANAGER_REDIS_URL.")
        # Not imported where no bucket lives there.
        parts = f"{__package__}.{REDIS}"
        made: Backend = import_module(f"{parts}.backend").RedisBackend(
            import_module(f"{parts}.opening").open_redis(url),
            prefix=self._settings.redis_prefix,
            shards=lambda bucket: self._declared(bucket).shards,
            log_length=lambda bucket: self._declared(bucket).log_length,
        )
        return made

    def _declared(self, bucket: str) -> BucketDefinition:
        return self._find(bucket) or BucketDefinition(bucket)


def announcing(backend: Backend) -> Callable[[], None] | None:
    """Return what wakes who follows a backend's log, here and elsewhere, or None where they wake by themselves.

    :param backend: the backend.
    """
    return backend.announce if isinstance(backend, Tells) else None

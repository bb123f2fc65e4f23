"""Where values are kept: the running parts of an app, or some of a backend's own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..backends.registry import backend_of_manager, memory_backend
from ..core.ports import Backend
from ..errors import ConfigurationError
from ..globals import find_runtime
from ..runtime import Declarations, Runtime
from .config import DATABASE, REDIS, StateBackendConfig, settings_of

Place = Callable[[], Runtime]
"""Returns the running parts, at each call."""


class OwnPlace:
    """Running parts for stores alone, made at the first use.

    :param config: how values are kept.
    :param kind: ``memory``, ``redis`` or ``database``.
    """

    def __init__(self, config: StateBackendConfig, kind: str) -> None:
        self._config = config
        self._kind = kind
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None
        self._borrowed = False

    def __call__(self) -> Runtime:
        """Return the running parts.

        :raises ConfigurationError: when it is not known where a server is, or it cannot be used.
        :raises StorageError: when it cannot be reached.
        """
        found = self._runtime
        if found is not None:
            return found
        with self._lock:
            if self._runtime is None:
                self._runtime = self._made()
            return self._runtime

    def close(self) -> None:
        """End what reads there, and give back the connections."""
        with self._lock:
            found, self._runtime = self._runtime, None
        if found is None:
            return
        for end in found.closing:
            end()
        found.shelves.close()
        if not self._borrowed:
            found.backend.close()

    def _made(self) -> Runtime:
        app = find_runtime()
        settings = settings_of(self._config, self._kind, None if app is None else app.settings)
        if self._kind == REDIS and settings.redis_url is None:
            raise _nowhere("a Redis", "redis_url", "STATE_REDIS_URL")
        backend = self._backend(app)
        clock = app.declarations.clock if app is not None and self._borrowed else None
        made = Runtime(settings, Declarations() if clock is None else Declarations(clock=clock), backend)
        made.complete({})
        return made

    def _backend(self, app: Runtime | None) -> Backend:
        if self._kind != DATABASE:
            return memory_backend()
        if self._config.database_url is not None:
            return backend_of_manager(self._config.database_url)
        if app is None or app.backend.title != "sql":
            raise _nowhere("a database", "database_url", "STATE_DATABASE_URL")
        self._borrowed = True
        return app.backend


def _nowhere(what: str, option: str, key: str) -> ConfigurationError:
    return ConfigurationError(f"Stores in {what} need to know where it is: set {key}, or pass {option}=.")

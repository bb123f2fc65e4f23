"""Places: how many streams a server has threads for, so that some are left for requests."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from ...config.live import LiveSettings
from ...core.waking import PerProcess

logger = logging.getLogger("flask_statemanager.live")


def gunicorn_worker() -> Any | None:
    """Return the worker of gunicorn in whose process this is, or None: it handles the signals, by which it is found."""
    base = sys.modules.get("gunicorn.workers.base")
    worker = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return worker if base is not None and isinstance(worker, base.Worker) else None


def is_ending() -> bool:
    """Tell whether the worker of gunicorn was asked to end, which waits for its requests before it does."""
    worker = gunicorn_worker()
    return worker is not None and not worker.alive


def server_threads(environ: Mapping[str, Any]) -> int | None:
    """Return how many requests the server works on at the same time in this process; None where it does not say.

    :param environ: the WSGI environment of a request.
    """
    if not environ.get("wsgi.multithread"):
        return 1
    worker = gunicorn_worker()
    if worker is None:
        return None
    most = int(worker.cfg.worker_connections)
    asynchronous = sys.modules.get("gunicorn.workers.base_async")
    greenlets = asynchronous is not None and isinstance(worker, asynchronous.AsyncWorker)
    return most if greenlets else min(most, int(worker.cfg.threads))


class Places:
    """The streams of one process that hold a thread each, and how many there may be.

    :param most: how many in any case.
    :param threads: of how many threads the server has; None to find it out.
    :param reserved: how many of these are left for requests.
    """

    def __init__(self, most: int, threads: int | None, reserved: int) -> None:
        self._most = most
        self._threads = threads
        self._reserved = reserved
        self._taken = PerProcess(_Taken)

    def take(self, environ: Mapping[str, Any]) -> bool:
        """Take a place.

        :param environ: the WSGI environment of the request.
        :returns: False when there is none left.
        """
        threads = server_threads(environ) if self._threads is None else self._threads
        most = self._most if threads is None else min(self._most, threads - self._reserved)
        taken = self._taken.get()
        if threads is not None and threads <= self._reserved:
            taken.warn(threads, self._reserved)
        return taken.take(most)

    def leave(self) -> None:
        """Give a place back."""
        self._taken.get().leave()


_known: WeakKeyDictionary[object, Places] = WeakKeyDictionary()


def places_of(server: object, settings: LiveSettings) -> Places:
    """Return the places that all streams of a server share, of whatever kind they are.

    :param server: stands for the server: the running parts of its app, or the app where there are none.
    :param settings: the app's settings.
    """
    fresh = Places(settings.live_clients, settings.server_threads, settings.reserved_threads)
    return _known.setdefault(server, fresh)


class _Taken:
    """How many places are taken in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._warned = False

    def take(self, most: int) -> bool:
        with self._lock:
            if self._number >= most:
                return False
            self._number += 1
            return True

    def leave(self) -> None:
        with self._lock:
            self._number -= 1

    def warn(self, threads: int, reserved: int) -> None:
        with self._lock:
            before, self._warned = self._warned, True
        if not before:
            logger.warning(
                "Nobody can listen here: a process of this server works on %d request(s) at a time, and "
                "STATEMANAGER_RESERVED_THREADS keeps %d of them free. Give it threads, as gunicorn --threads 100 does.",
                threads,
                reserved,
            )

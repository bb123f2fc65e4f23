"""The embedded worker: a thread of the application's own process, for development and small installations."""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from flask import Flask

from ..core.waking import PerProcess
from .worker import Context, Worker

logger = logging.getLogger("flask_statemanager.worker")

AGAIN = 5.0
"""Seconds after its start at which a thread that has died is started anew, by the next request."""

PATIENCE = 5.0
"""How many seconds the end of the process waits for the jobs in hand."""


class AppContext:
    """Gives contexts of an app that it holds weakly; none once the app is gone.

    :param app: the app.
    """

    def __init__(self, app: Flask) -> None:
        self._app = weakref.ref(app)

    def __call__(self) -> AbstractContextManager[Any]:
        """Return a new context of the app, or an empty one."""
        app = self._app()
        return nullcontext() if app is None else app.app_context()


class EmbeddedWorker:
    """Runs a worker in a daemon thread, one in each process, from the first request on.

    The app is held weakly while no job is done, and the thread ends with it; so the worker must not hold it either.

    :param make: makes a worker that uses the given contexts.
    """

    def __init__(self, make: Callable[[Context], Worker]) -> None:
        self._threads = PerProcess(lambda: _WorkerThread(make))
        _all.add(self)

    @property
    def running(self) -> bool:
        """Whether this process's worker is at work."""
        present = self._threads.present
        return present is not None and present.running

    def ensure(self, app: Flask) -> None:
        """Start this process's worker at the first call, and at a later one when it has died.

        :param app: the app whose request this is.
        """
        present = self._threads.present
        if present is None or not present.attended:
            self._threads.get().start(app)

    def wake(self) -> None:
        """Have this process's worker, if it has one, look into the queue now."""
        present = self._threads.present
        if present is not None:
            present.wake()

    def stop(self, patience: float = PATIENCE) -> bool:
        """End this process's worker for good.

        :param patience: how many seconds to wait for the jobs in hand; those that take longer end with the process.
        :returns: whether it has ended.
        """
        return self._threads.get().stop(patience)


class _WorkerThread:
    """The thread of one process."""

    def __init__(self, make: Callable[[Context], Worker]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._thread: threading.Thread | None = None
        self._started_at = float("-inf")
        self._over = False

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def attended(self) -> bool:
        """Whether nothing is to be started: it runs, it has ended in good order, or it has died a moment ago."""
        return self._over or self.running or time.monotonic() < self._started_at + AGAIN

    def start(self, app: Flask) -> None:
        with self._lock:
            if self.attended:
                return
            self._started_at = time.monotonic()
            worker = self._make(AppContext(app))
            weakref.finalize(app, worker.stop).atexit = False
            thread = threading.Thread(target=self._run, args=(worker,), name="statemanager-embedded", daemon=True)
            thread.start()
            self._worker, self._thread = worker, thread

    def _run(self, worker: Worker) -> None:
        try:
            worker.run_forever()
            self._over = True
        except Exception:
            logger.exception("The embedded worker has died: a later request starts another one.")

    def wake(self) -> None:
        worker = self._worker
        if worker is not None:
            worker.wake()

    def stop(self, patience: float) -> bool:
        with self._lock:
            self._over = True
            worker, thread = self._worker, self._thread
        if worker is None or thread is None:
            return True
        worker.stop()
        if thread is not threading.current_thread():
            thread.join(patience)
        return not thread.is_alive()


_all: weakref.WeakSet[EmbeddedWorker] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    workers = list(_all)
    for worker in workers:
        worker.stop(0)
    for worker in workers:
        worker.stop()

"""Celery does the jobs: its workers are woken by a message, and what there is to do stands in the database.

The application's Celery app is ``app.extensions["celery"]``, as Flask's documentation of Celery has it. A message only
says that there may be jobs, so it may get lost, come twice or come late: every Celery worker sends one when it starts
and every 30 seconds from then on, and so does the beat, where there is one, by its entry ``flask-statemanager``.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from celery import Celery, shared_task  # type: ignore[import-untyped]
from celery.signals import import_modules, worker_ready  # type: ignore[import-untyped]
from flask import Flask, current_app, has_app_context

from ..core.waking import Coalesced
from ..effects.embedded import AppContext
from ..effects.worker import Context, Worker
from ..errors import ConfigurationError, StorageError

logger = logging.getLogger("flask_statemanager.celery")

TASK = "flask_statemanager.work"
"""The name of the task, for routing it."""

ENTRY = "flask-statemanager"
"""The name of the entry in the beat schedule; one of this name in the application's configuration is left as it is."""

FLOOR = 30.0
"""Seconds between two messages that nobody asked for; a job that was lost with a worker is found by them."""

BURST = 30.0
"""Seconds after which a task begins nothing new and sends the next one, so that a worker can be stopped."""

EXPIRES = 600.0
"""Seconds after its moment at which a message that no worker has taken is dropped."""

_GAP = 0.05
"""Seconds between two messages of one process."""


class CeleryDispatch:
    """Wakes the Celery workers of one app, and does the work in them.

    :param app: the Flask app, which is held weakly; nothing is asked of it before the first use.
    :param make_worker: makes a worker with the given contexts and number of threads.
    """

    def __init__(self, app: Flask, make_worker: Callable[[Context, int], Worker]) -> None:
        self._app = weakref.ref(app)
        self._make_worker = make_worker
        self._workers: weakref.WeakKeyDictionary[threading.Thread, Worker] = weakref.WeakKeyDictionary()
        self._planned = 0.0
        self._closed = threading.Event()
        self._background = Coalesced(self._send, title="Waking the Celery workers", logger=logger, gap=_GAP)
        _dispatches.add(self)

    @property
    def app(self) -> Flask | None:
        """The Flask app, or None when it is gone."""
        return self._app()

    def celery(self) -> Celery:
        """Return the Celery app of the Flask app.

        :raises ConfigurationError: when it has none.
        """
        app = self._app()
        found = None if app is None else app.extensions.get("celery")
        if not isinstance(found, Celery):
            raise ConfigurationError(
                "STATEMANAGER_DISPATCH='celery' finds no Celery app: put it into app.extensions['celery'] where the "
                "application is put together, as Flask's documentation of Celery shows."
            )
        return found

    def wake(self) -> None:
        """Have a Celery worker woken soon: to be called after commits, in any thread. Never waits and never raises."""
        self._background.wake()

    def attend(self) -> None:
        """Have a Celery worker woken now and every 30 seconds from now on, as long as this process lives."""
        threading.Thread(target=self._attend, name="statemanager-celery", daemon=True).start()

    def close(self) -> None:
        """End this process's background threads."""
        self._closed.set()
        self._background.close()

    def schedule(self, celery: Celery) -> None:
        """Put the entry into a Celery app's beat schedule, unless the application has one of its name.

        :param celery: the Celery app.
        """
        entry = {"task": TASK, "schedule": FLOOR, "options": {"expires": FLOOR, "ignore_result": True}}
        # A new mapping: Celery's default is one that all its apps share.
        celery.conf.beat_schedule = {ENTRY: entry, **celery.conf.beat_schedule}

    def work(self) -> None:
        """Do what is due, and have a message sent for the moment when more is, if it is near. For a Celery worker."""
        app = self._app()
        if app is None:
            return
        with _inside(app):
            try:
                worker = self._worker(app)
                empty_at = worker.run_burst(within=self._bound())
                due = None if empty_at is None else worker.queue.next_due(empty_at)
                pause = None if due is None else (due - worker.queue.now()).total_seconds()
            except StorageError as error:
                logger.warning("The storage of the jobs fails (%s); a Celery worker looks again later.", error)
                return
        if pause is None and empty_at is None:
            self.wake()
        # A message that waits is in the hands of a worker, which may not survive the loss of its broker.
        elif pause is not None and pause <= FLOOR:
            self._plan(max(pause, 0.0))

    def _worker(self, app: Flask) -> Worker:
        """Return this thread's worker, which knows when it last did which chore; another one when it has given up."""
        thread = threading.current_thread()
        found = self._workers.get(thread)
        if found is None or found.exit_code:
            # The pool of Celery sees to it that several jobs are done at once.
            found = self._workers[thread] = self._make_worker(AppContext(app), 1)
        return found

    def _bound(self) -> float:
        """Return how many seconds a task may go on: well below the time limits of the application's tasks."""
        conf = self.celery().conf
        limits: list[float] = [limit for limit in (conf.task_soft_time_limit, conf.task_time_limit) if limit]
        return min([BURST, *(limit / 2 for limit in limits)])

    def _attend(self) -> None:
        self.wake()
        while not self._closed.wait(FLOOR) and self._app() is not None:
            self.wake()

    def _plan(self, countdown: float) -> None:
        """Send a message for later, unless one of this process is on its way that comes early enough."""
        now = time.monotonic()
        if now < self._planned <= now + countdown or self.celery().conf.task_always_eager:
            return
        self._planned = now + countdown
        try:
            self._send(countdown)
        except Exception:
            self._planned = 0.0
            logger.warning("The message for the next due job was not sent; the next one has to do.", exc_info=True)

    def _send(self, countdown: float = 0.0) -> None:
        if self._app() is None:
            return
        celery = self.celery()
        task = celery.tasks[TASK]
        if celery.conf.task_always_eager:
            task.apply_async()
            return
        # A connection of its own: the producers of Celery's pool wait for a broker that is down without end.
        with celery.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
            task.apply_async(
                connection=connection,
                countdown=countdown or None,
                expires=countdown + EXPIRES,
                retry=False,
                ignore_result=True,
            )


def _inside(app: Flask) -> AbstractContextManager[Any]:
    """Push the app, unless the application's task class has done so."""
    if has_app_context() and current_app._get_current_object() is app:  # type: ignore[attr-defined]
        return nullcontext()
    return app.app_context()


_dispatches: weakref.WeakSet[CeleryDispatch] = weakref.WeakSet()


def _dispatches_of(celery: Celery) -> list[CeleryDispatch]:
    apps = ((dispatch, dispatch.app) for dispatch in list(_dispatches))
    return [dispatch for dispatch, app in apps if app is not None and app.extensions.get("celery") is celery]


@shared_task(bind=True, name=TASK, ignore_result=True, acks_late=False)  # type: ignore[untyped-decorator,unused-ignore]
def work(task: Any) -> None:
    """Do what is due.

    :param task: the task, bound to the Celery app that runs it.
    :raises ConfigurationError: when that Celery app belongs to no Flask app that hands its jobs to Celery.
    """
    found = _dispatches_of(task.app)
    if not found:
        raise ConfigurationError(
            "No Flask app of this process hands its jobs to this Celery app: have the Celery worker make the Flask "
            "app, with STATEMANAGER_DISPATCH='celery' and app.extensions['celery']."
        )
    for dispatch in found:
        dispatch.work()


@import_modules.connect  # type: ignore[untyped-decorator,unused-ignore]
def _schedule(sender: Celery, **_rest: Any) -> None:
    """Put the beat entry in, in the processes that read the schedule, and before they do."""
    for dispatch in _dispatches_of(sender):
        dispatch.schedule(sender)


@worker_ready.connect  # type: ignore[untyped-decorator,unused-ignore]
def _look(sender: Any, **_rest: Any) -> None:
    """Look into the queue from the start of a worker on, whatever becomes of the messages."""
    for dispatch in _dispatches_of(sender.app):
        dispatch.attend()

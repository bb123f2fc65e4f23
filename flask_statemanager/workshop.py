"""The workshop of one app: what carries out effects and timers, and what tells workers that there are some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

from flask import Flask, current_app, has_app_context

from .backends.registry import Notifier, connections_of, listening_to, notifier_of
from .config import Settings
from .core.bucket import Bucket
from .core.jobs import EFFECT, TIMER, Job
from .core.ports import Backend
from .core.powers import Expires, Idempotent, JoinsTransaction
from .core.record import Change
from .core.sweep import ExpirySweep
from .effects.chores import Chore
from .effects.desk import Desk
from .effects.durable import BACKOFF, Durability, EffectRunner, Known, pause
from .effects.embedded import EmbeddedWorker
from .effects.outbox import Outbox
from .effects.worker import Context, Worker
from .errors import ConfigurationError
from .lifecycle.definitions import Definitions
from .lifecycle.state import State
from .lifecycle.timers import DeadlinePlan, TimerRunner

BATCH = 1000
"""How many ended jobs and old answers are removed in one transaction."""


class Workshop:
    """Connects the parts that work on jobs, and has the bucket leave some behind.

    :param bucket: the states.
    :param definitions: the declared types.
    :param settings: the app's settings.
    :param known: finds an effect by its name.
    :param matching: the effects that a change causes.
    :param told: hears how each attempt ended: the kind of the job, how, and the job.
    :param chores: what workers do beside, for others than the states.
    :ivar dispatch: hands the jobs to the application's Celery app; None where it does not.
    """

    def __init__(
        self,
        bucket: Bucket,
        definitions: Definitions,
        settings: Settings,
        *,
        known: Known,
        matching: Callable[[Change], Sequence[Durability]],
        told: Callable[[str, str, Job], None],
        chores: Sequence[Chore] = (),
    ) -> None:
        self.bucket = bucket
        self.settings = settings
        self.effects = EffectRunner(
            known,
            matching=matching,
            present=State.of,
            backend=bucket.backend,
            clock=bucket.clock,
            inside=_inside,
            told=lambda outcome, job: told(EFFECT, outcome, job),
        )
        self.timers: TimerRunner | None = None
        self.desk: Desk | None = None
        self.dispatch: Any = None
        self.embedded = EmbeddedWorker(self.make_worker)
        self._notifier: Notifier | None = None
        bucket.jobs.plans.append(self.effects)
        bucket.jobs.wake = self.wake
        if bucket.jobs.enqueues is not None:
            bucket.jobs.plans.append(DeadlinePlan(definitions, bucket.jobs.enqueues))
            self.timers = TimerRunner(
                bucket,
                definitions,
                bucket.jobs.enqueues,
                pause=lambda attempts: pause(BACKOFF, attempts),
                told=lambda outcome, job: told(TIMER, outcome, job),
            )
            self.desk = self._make_desk(self.timers, definitions, chores)

    def _make_desk(self, timers: TimerRunner, definitions: Definitions, more: Sequence[Chore]) -> Desk:
        settings, backend = self.settings, self.bucket.backend
        chores = [Chore("forget what ended", 3600.0, self.forget)]
        if isinstance(backend, Expires):
            sweep = ExpirySweep(self.bucket, lambda: definitions.lapses, backend)
            chores.append(Chore("expire states", settings.worker_poll, sweep.run))
        return Desk(
            backend,
            self.bucket.jobs.keeping(),
            self.bucket.clock,
            runners={EFFECT: self.effects, TIMER: timers},
            chores=[*chores, *more],
            lease=settings.worker_lease,
            poll=settings.worker_poll,
            threads=settings.worker_threads,
            listening=lambda alarm: listening_to(backend, alarm.ring),
            connections=lambda: connections_of(backend),
        )

    @property
    def outbox(self) -> Outbox:
        """The effects and timers, as an operator sees them.

        :raises ConfigurationError: when the backend keeps none.
        """
        bucket = self.bucket
        return Outbox(bucket.name, bucket.backend, bucket.jobs.keeping(), bucket.clock, bucket.jobs.wake)

    def make_worker(self, context: Context | None = None, threads: int | None = None) -> Worker:
        """Return a worker for this app's effects and timers, which does nothing before it is run.

        :param context: opened round everything that it does; a context of the current app by default.
        :param threads: how many; ``STATEMANAGER_WORKER_THREADS`` by default.
        :raises ConfigurationError: when the backend keeps no effects and timers.
        """
        self.bucket.jobs.keeping()
        assert self.desk is not None, "the backend keeps jobs"
        # In-memory SQLite is one connection: what one job rolls back would be another's.
        one = isinstance(self.bucket.backend, JoinsTransaction) and not self.bucket.backend.shareable
        return self.desk.make_worker(context or _present_context(), 1 if one else threads)

    def open(self) -> None:
        """Find out how workers elsewhere are told of new jobs; at the first use, when all extensions are initialised.

        :raises ConfigurationError: when it is Celery, and the application has no Celery app.
        """
        if self.dispatch is not None:
            self.dispatch.celery()
        else:
            self._notifier = notifier_of(self.bucket.backend)

    def wake(self) -> None:
        """Tell workers, here and elsewhere, that there are new jobs; called after the commit, never raises."""
        self.embedded.wake()
        messenger = self.dispatch or self._notifier
        if messenger is not None:
            messenger.wake()
        if self.desk is not None:
            self.desk.look()

    def forget(self, batch: int = BATCH) -> bool:
        """Remove effects and timers that ended well some time ago, and answers to requests that nobody repeats.

        :param batch: how many of each, in a transaction each.
        :returns: whether there may be more.
        :raises StorageError: when the storage fails.
        """
        backend = self.bucket.backend
        more = self.outbox.forget(timedelta(seconds=self.settings.keep_finished), batch) == batch
        if isinstance(backend, Idempotent):
            with backend.writing() as unit:
                more = backend.forget_requests(unit, self.bucket.clock.now(), batch) == batch or more
        return more

    def close(self) -> None:
        """End this process's threads."""
        self.embedded.stop()
        for each in (self._notifier, self.dispatch):
            if each is not None:
                each.close()


def check_shareable(backend: Backend, setting: str, *, also_memory: bool = False) -> None:
    """Refuse a worker beside the application where it could not work, or would commit what the application has open.

    :param backend: where the states live.
    :param setting: what asks for the worker.
    :param also_memory: whether the memory backend will do.
    :raises ConfigurationError: when it cannot work.
    """
    joins = isinstance(backend, JoinsTransaction)
    if backend.shareable or (also_memory and not joins):
        return
    kind = "in-memory SQLite, which is one connection" if joins else "the memory backend"
    raise ConfigurationError(f"{setting} cannot work on {kind}: use a database file or a server.")


def _inside() -> AbstractContextManager[Any]:
    """Open a context of the current app for one effect."""
    return _present_context()()


def _present_context() -> Context:
    """Return what opens contexts of the current app; for a runtime without one, what opens nothing."""
    if not has_app_context():
        return nullcontext
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    return app.app_context

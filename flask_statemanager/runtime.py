"""The running parts of one app. Definitions are shared by all apps of a manager; backend and cache are not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from .backends.registry import ORDER, check_database_manager
from .backends.several import Backends, announcing
from .cache.discovery import from_manager as redis_of_manager
from .cache.discovery import open_cache
from .config import Settings
from .core.bucket import Bucket
from .core.buckets import FLOWS, KEPT_STORES, REFUSALS, STORES, WORK, BucketRegistry
from .core.clock import ReplaceableClock
from .core.codec import isolated_change
from .core.jobs import EFFECT, Job
from .core.ports import Backend, ReadCache
from .core.powers import Counts, KeepsHistory, Searches, require
from .core.publisher import Publisher
from .core.query import Query
from .core.record import Change
from .core.step import Policy
from .effects.callbacks import CallbackRegistry, CallbackRunner
from .effects.chores import Chore
from .effects.outbox import Effect
from .errors import ConfigurationError, TransitionNotAllowed
from .flows.definitions import FlowDefinitions
from .lifecycle.definitions import Definitions
from .lifecycle.events import known_events, names_of
from .lifecycle.face import Lifecycle
from .lifecycle.parts import BUCKET, Parts, lapse_by
from .lifecycle.state import State
from .lifecycle.validation import StateValidation
from .metrics.counters import Counters
from .metrics.health import health_report
from .metrics.searches import UnservedSearches
from .reception import Reception
from .security.actor import ActorSource
from .security.identity import IdentitySource
from .shelves import Shelves
from .signals import (
    callback_failed,
    effect_dead,
    key_changed,
    namespace,
    send_change,
    send_isolated,
    sender,
    signals_of,
    state_changing,
    transition_refused,
)
from .tracking.face import Tracking
from .tracking.propagation import PropagationSource
from .tracking.refusals import Refusals
from .workshop import Workshop

if TYPE_CHECKING:
    from .snapshots.archive import Archive
    from .snapshots.storage import SnapshotStorage

EXTENSION = "statemanager"
"""The name under ``app.extensions``."""


class Declarations(Struct, frozen=True):
    """What one manager's application declares: types, callbacks, and how to find the present user."""

    definitions: Definitions = field(default_factory=Definitions)
    callbacks: CallbackRegistry = field(default_factory=CallbackRegistry)
    actor: ActorSource = field(default_factory=ActorSource)
    identity: IdentitySource = field(default_factory=IdentitySource)
    propagation: PropagationSource = field(default_factory=PropagationSource)
    clock: ReplaceableClock = field(default_factory=ReplaceableClock)
    buckets: BucketRegistry = field(default_factory=BucketRegistry)
    flows: FlowDefinitions = field(default_factory=FlowDefinitions)


class Runtime:
    """Connects the parts for one app, or for a manager without one.

    :param settings: the app's settings.
    :param declarations: the manager's, kept also after ``reset_instance()``.
    :param backend: where states live.
    :param owns_database: whether the database is the extension's own.
    :param redis_manager: the cache's Redis, for a manager without an app.
    :param snapshot_storage: where snapshots are kept; the folder ``snapshots`` here by default.
    :ivar closing: what is called first when this is closed.
    :raises ConfigurationError: when the backend lacks a power that the lifecycle face needs.
    """

    def __init__(
        self,
        settings: Settings,
        declarations: Declarations,
        backend: Backend,
        *,
        owns_database: bool = False,
        redis_manager: Any = None,
        snapshot_storage: SnapshotStorage | None = None,
    ) -> None:
        self.settings, self.declarations, self.backend = settings, declarations, backend
        self.counters = Counters()
        self.cache: ReadCache | None = None
        self._owns_database, self._redis_manager = owns_database, redis_manager
        self.completed, self.tracking = False, Tracking(declarations.clock, self.counters.value)
        self.refusals = Refusals(declarations.clock)
        self.closing: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self.callbacks = CallbackRunner(
            declarations.callbacks,
            names=lambda change: names_of(change, declarations.definitions),
            known=lambda: known_events(declarations.definitions),
            present=State.of,
            failed=self._callback_failed,
        )
        self.bucket = self._make_bucket()
        self.lifecycle = Lifecycle(self._make_parts())
        self.shelves = self._make_shelves()
        self.reception = Reception(settings, self.shelves, declarations.flows, backend, self.counters)
        self._snapshot_storage = snapshot_storage
        self.workshop = Workshop(
            self.bucket,
            declarations.definitions,
            settings,
            known=lambda name: self.reception.effect(name) or declarations.callbacks.effect(name),
            matching=self.callbacks.durabilities,
            told=self._job_told,
            chores=[*self.reception.chores(), *self._chores()],
        )

    @cached_property
    def snapshots(self) -> Archive:
        """The snapshots of this app's buckets; what they need is imported now."""
        folder = import_module(".snapshots.directory", __package__).DirectoryStorage
        archive: Archive = import_module(".snapshots.archive", __package__).Archive(
            self._snapshot_storage or folder("snapshots"),
            self._backends,
            clock=self.declarations.clock,
            origin=self.declarations.actor,
            doubt=lambda name, names: self._holding(name).doubt(names),
        )
        return archive

    def _backends(self) -> dict[str, Backend]:
        # Conversations live for minutes and hold tokens, as do stores without a history: they have no business in a
        # file that is kept. How far a restore is must not be taken back by it.
        names = self.declarations.buckets.buckets.keys() - {FLOWS, REFUSALS, STORES, WORK}
        if not self.settings.stores_history:
            names -= {KEPT_STORES}
        shelved = {name: self._holding(name).backend for name in names}
        return {BUCKET: self.backend, **shelved}

    def _holding(self, name: str) -> Bucket:
        return self.bucket if name == BUCKET else self.shelves.kept(name).bucket

    def bucket_named(self, name: str) -> Bucket:
        """Return a bucket, that of the states or one that is declared.

        :param name: its name.
        :raises StateValidationError: when it is unknown, with the known ones.
        :raises ConfigurationError: when its backend cannot be had, or lacks a power.
        """
        return self.bucket if name == BUCKET else self.shelves.parts(name).bucket

    def _chores(self) -> list[Chore]:
        settings, chores = self.settings, self.shelves.chores()
        if not settings.persistence_enabled:
            return chores
        interval, made = settings.snapshot_interval, import_module(".snapshots.automatic", __package__).AutoSnapshots
        auto = made(self.snapshots, interval=interval, most=settings.max_snapshots)
        return [*chores, Chore("make snapshots", min(60.0, interval), auto.run)]

    def _make_shelves(self) -> Shelves:
        buckets = self.declarations.buckets
        return Shelves(
            self.settings,
            buckets,
            Backends(self.settings, self.backend, buckets.find),
            clock=self.declarations.clock,
            origin=self.declarations.actor,
            counters=self.counters,
        )

    def _make_bucket(self) -> Bucket:
        definitions = self.declarations.definitions
        publisher = Publisher()
        publisher.subscribe("cache", self._cache_change, at_once=True)
        publisher.subscribe("metrics", self._count_change)
        publisher.subscribe("signals", self._send_signals)
        publisher.subscribe("callbacks", self.callbacks.after)
        live = self.settings.broadcast_changes and (self.settings.api_enabled or self.settings.admin_enabled)
        announce = announcing(self.backend) if live else None
        if announce is not None:
            publisher.subscribe("followers", lambda _change: announce())
        policy = Policy(self.settings.max_value_bytes, lapse_by(definitions))
        bucket = Bucket(BUCKET, policy, self.backend, publisher, clock=self.declarations.clock)
        bucket.checks += [StateValidation(definitions), self.callbacks.before, self._send_changing]
        callbacks = self.declarations.callbacks
        bucket.hooked = lambda: callbacks.has("before") or bool(state_changing.receivers)
        bucket.listened = self._listened
        bucket.tally = lambda event, number: self._tally(event, number, announce)
        return bucket

    def _tally(self, event: str, number: int, announce: Callable[[], None] | None) -> None:
        self.counters.increment(f"change.{event}", number)
        if announce is not None:
            announce()

    def _make_parts(self) -> Parts:
        face = "The lifecycle face"
        return Parts(
            bucket=self.bucket,
            definitions=self.declarations.definitions,
            origin=self.declarations.actor,
            searches=require(self.backend, Searches, face),  # type: ignore[type-abstract]
            counts=require(self.backend, Counts, face),  # type: ignore[type-abstract]
            history=require(self.backend, KeepsHistory, face),  # type: ignore[type-abstract]
            refused=self._refused,
            unserved=UnservedSearches(self.counters),
            remembered=timedelta(seconds=self.settings.idempotency_ttl),
            patience=self.settings.idempotency_wait,
        )

    def _listened(self) -> bool:
        signals = (signal for signal in namespace.values() if signal is not key_changed)
        told = self.callbacks.has("after") or any(signal.receivers for signal in signals)
        jobs = self.callbacks.has("durable") or self.declarations.definitions.has_deadlines
        return told or jobs or self.cache is not None

    # -- completed at the first use, when all extensions are initialised -------------------------------------------

    def complete(self, extensions: Mapping[str, Any]) -> None:
        """Look once more at the app, at the first use: which cache there is, and whether the order was right.

        :param extensions: ``app.extensions``; empty without an app.
        :raises ConfigurationError: when Flask-SQLAlchemy came after this extension.
        """
        if self.completed:
            return
        if self._owns_database and "sqlalchemy" in extensions:
            raise ConfigurationError(
                f"Flask-SQLAlchemy was initialised after Flask-StateManager, which has its own database now. {ORDER}"
            )
        with self._lock:
            if not self.completed:
                self.cache = self._find_cache(extensions)
                self.bucket.cache = self.cache
                self.shelves.take_cache(self.cache)
                self.workshop.open()
                self.completed = True

    def _find_cache(self, extensions: Mapping[str, Any]) -> ReadCache | None:
        return open_cache(
            extensions,
            self._redis_manager,
            self.settings,
            self.backend,
            name=EXTENSION,
            count=self.counters.increment,
            follow=self.counters.follow,
        )

    # -- subscribers, in the order of the publisher ----------------------------------------------------------------

    def _cache_change(self, change: Change) -> None:
        if self.cache is not None:
            self.cache.put(change.after)

    def _count_change(self, change: Change) -> None:
        self.counters.increment(f"change.{change.event}")

    def _send_signals(self, change: Change) -> None:
        for signal in signals_of(change):
            send_change(signal, sender(), change, self._receiver_failed)

    def _send_changing(self, change: Change) -> None:
        if state_changing.receivers:
            state_changing.send(sender(), change=isolated_change(change))

    def _receiver_failed(self) -> None:
        self.counters.increment("signal.failed")

    def _callback_failed(self, callback: str, change: Change, error: Exception) -> None:
        self.counters.increment("callback.failed")
        send_isolated(
            callback_failed,
            sender(),
            self._receiver_failed,
            lambda: {"callback": callback, "change": isolated_change(change), "error": error},
        )

    def _job_told(self, kind: str, outcome: str, job: Job) -> None:
        self.counters.increment(f"{kind}.{outcome}")
        if (kind, outcome) == (EFFECT, "dead"):
            send_isolated(effect_dead, sender(), self._receiver_failed, lambda: {"effect": Effect.of(job)})

    def _refused(self, state_id: str, transition: str, error: TransitionNotAllowed, actor: str | None) -> None:
        self.counters.increment(f"refused.{transition}")
        self.refusals.transition(state_id, transition, error, actor)
        payload = {"state_id": state_id, "transition": transition, "error": error}
        send_isolated(transition_refused, sender(), self._receiver_failed, lambda: payload)

    def close(self) -> None:
        """End this process's threads, and give back what the backend keeps; for tests."""
        for end in self.closing:
            end()
        self.tracking.close()
        self.workshop.close()
        if self.cache is not None:
            self.cache.close()
        self.shelves.close()
        self.backend.close()

    def health(self) -> dict[str, Any]:
        """Return the health report; see :func:`flask_statemanager.metrics.health.health_report`."""
        cache = "off" if self.cache is None else "on" if self.cache.check() else "unavailable"

        def count() -> int:
            with self.bucket.reading() as unit:
                return self.lifecycle.parts.counts.count(unit, Query(BUCKET, self.bucket.clock.now()))

        return health_report(
            backend=self.backend.title,
            count=count,
            attendance=None if self.workshop.desk is None else self.workshop.desk.attendance,
            counters=self.counters,
            cache=cache,
            warnings=self.shelves.warnings,
        )


def check_managers(*, redis_manager: Any, database_manager: Any) -> None:
    """Refuse what is no manager when it is passed, not when it is first used.

    :param redis_manager: a Redis, for use without an app, or None.
    :param database_manager: a database, for use without an app, or None.
    :raises ConfigurationError: when one of them offers none.
    """
    if redis_manager is not None:
        redis_of_manager(redis_manager)
    if database_manager is not None:
        check_database_manager(database_manager)

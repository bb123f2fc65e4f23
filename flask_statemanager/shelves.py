"""The shelves of one app: its buckets of keys and values, each on the backend that its declaration names."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from datetime import timedelta

from msgspec import Struct
from msgspec.structs import replace

from .backends.several import Backends, announcing
from .config import Settings
from .core.bucket import Bucket
from .core.buckets import FLOWS, KEPT_STORES, REFUSALS, RESERVED, STORES, WORK, BucketDefinition, BucketRegistry
from .core.clock import ReplaceableClock
from .core.follows import Watches
from .core.lists import Lists
from .core.origins import OriginSource
from .core.ports import Backend, ReadCache
from .core.powers import Expires, KeepsHistory, require
from .core.publisher import Publisher
from .core.purges import Purges
from .core.query import Lapse
from .core.record import Change
from .core.secrets import DiscreetWatches, redacted_change
from .core.step import Policy
from .core.sweep import ExpirySweep
from .effects.chores import Chore
from .errors import ConfigurationError
from .flows.definitions import FlowDefinitions
from .flows.parts import FlowParts
from .flows.sending import SendPlan
from .kv.measuring import BUCKET as MEASURES
from .kv.measuring import Measures
from .kv.parts import KvParts, policy_of
from .kv.subscribers import Subscribers
from .kv.value import GONE, STATUS, TYPE
from .metrics.counters import Counters
from .signals import key_changed, send_change, sender

LAPSES = (Lapse(TYPE, STATUS, GONE),)
"""By which rule keys expire."""

BATCH = 1000
"""How many tombstones, and entries of the log, are removed in one transaction."""

FACE = "The key-value face"

STORED_IN = {"memory": "memory", "redis": "redis", "database": "sql"}
"""The backends of the stores of user interfaces, by what the settings call them; where a browser keeps them, none."""


class Shelf(Struct, frozen=True, eq=False):
    """One opened bucket.

    :param parts: what its verbs stand on.
    :param sweep: writes down which of its keys have expired.
    """

    parts: KvParts
    sweep: ExpirySweep


class Shelves:
    """Opens buckets at their first use, and looks after them.

    :param settings: the app's settings.
    :param registry: the declared buckets.
    :param backends: finds a backend by its name.
    :param clock: the application's clock.
    :param origin: who asks.
    :param counters: the app's counters.
    """

    def __init__(
        self,
        settings: Settings,
        registry: BucketRegistry,
        backends: Backends,
        *,
        clock: ReplaceableClock,
        origin: OriginSource,
        counters: Counters,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._backends = backends
        self._clock = clock
        self._origin = origin
        self._counters = counters
        self._cache: ReadCache | None = None
        self._lock = threading.RLock()
        self._flow_hints: OrderedDict[str, str] = OrderedDict()
        self._open: dict[str, tuple[BucketDefinition, Shelf]] = {}

    def parts(self, name: str) -> KvParts:
        """Return what the verbs of a bucket stand on.

        :param name: a declared bucket.
        :raises StateValidationError: when it is unknown, with the known ones.
        :raises ConfigurationError: when it holds something else than keys and values, or its backend cannot be had, or
            lacks a power.
        """
        if name in RESERVED:
            raise ConfigurationError(f"The bucket {name!r} holds {RESERVED[name]}, which have verbs of their own.")
        return self.kept(name)

    def kept(self, name: str) -> KvParts:
        """Return what is known of a bucket, whoever writes to it.

        :param name: a declared bucket.
        :raises StateValidationError: when it is unknown, with the known ones.
        :raises ConfigurationError: when its backend cannot be had, or lacks a power.
        """
        return self._shelf(self._registry.get(name)).parts

    def declared(self, name: str) -> BucketDefinition:
        """Return the definition of a bucket, with what the settings say where it does not.

        :param name: a declared bucket.
        :raises StateValidationError: when it is unknown, with the known ones.
        """
        return self._settled(self._registry.get(name))

    def flow_parts(self, declared: FlowDefinitions) -> FlowParts:
        """Return what conversations stand on.

        :param declared: what the application declares for them.
        :raises ConfigurationError: when their backend cannot be had, or lacks a power.
        """
        kept = self.kept(FLOWS)
        return FlowParts(
            bucket=kept.bucket,
            lists=kept.lists,
            origin=kept.origin,
            ttl=self._settings.flows_ttl,
            limit=kept.limit,
            validator=declared.validator,
            messaging=lambda: declared.messaging,
            hints=self._flow_hints,
        )

    def check(self) -> None:
        """Open what is declared so far, so that what cannot work fails when the application starts.

        :raises ConfigurationError: when a bucket's backend cannot be had, or lacks a power.
        """
        for _shelf in self._each():
            pass

    def take_cache(self, cache: ReadCache | None) -> None:
        """Put the read cache before the buckets that live where the states do.

        :param cache: the cache, or None.
        """
        with self._lock:
            self._cache = cache
            for _definition, shelf in self._open.values():
                self._cached(shelf.parts.bucket)

    def warnings(self) -> list[str]:
        """Tell what of the backends contradicts that the opened buckets keep what is written to them.

        :returns: sentences for an operator, each once.
        :raises StorageError: when a backend cannot be asked.
        """
        found = (
            sentence
            for _definition, shelf in self._open.values()
            for sentence in self._backends.warnings(shelf.parts.bucket.backend, shelf.parts.definition)
        )
        return list(dict.fromkeys(found))

    def close(self) -> None:
        """Give back what backends of buckets keep."""
        self._backends.close()

    def _shelf(self, definition: BucketDefinition) -> Shelf:
        known = self._open.get(definition.name)
        if known is not None and known[0] is definition:
            return known[1]
        with self._lock:
            known = self._open.get(definition.name)
            if known is None or known[0] is not definition:
                known = definition, self._opened(definition, None if known is None else known[1].parts.subscribers)
                self._open = {**self._open, definition.name: known}
            return known[1]

    def _opened(self, definition: BucketDefinition, subscribers: Subscribers | None) -> Shelf:
        definition = self._settled(definition)
        backend = self._backends.get(definition.backend)
        lists = require(backend, Lists, FACE)  # type: ignore[type-abstract]
        watches = require(backend, Watches, FACE)  # type: ignore[type-abstract]
        expires = require(backend, Expires, FACE)  # type: ignore[type-abstract]
        limit = definition.max_value_bytes or self._settings.max_value_bytes
        told = subscribers or Subscribers(lambda: self._counters.increment("subscriber.failed"))
        bucket = self._bucket(definition.name, policy_of(definition, limit), backend, told)
        kept = self._bucket(MEASURES, Policy(limit, lambda _record, _now: None), backend, None)
        parts = KvParts(
            bucket=bucket,
            definition=definition,
            limit=limit,
            origin=self._origin,
            lists=lists,
            watches=DiscreetWatches(watches, definition.secrets) if definition.secrets else watches,
            measures=Measures(bucket, lists, kept),
            subscribers=told,
            live=self._settings.broadcast_changes,
        )
        self._cached(bucket)
        if definition.name == FLOWS and backend is self._backends.main and bucket.jobs.enqueues is not None:
            bucket.jobs.plans.append(SendPlan(FLOWS))
        return Shelf(parts, ExpirySweep(bucket, lambda: LAPSES, expires))

    def _settled(self, definition: BucketDefinition) -> BucketDefinition:
        """Return a definition with what the settings say where it does not."""
        settings = self._settings
        if definition.name in (REFUSALS, WORK) and settings.kv_backend is None and not self._backends.main.shareable:
            # In-memory SQLite is one connection, on which no other thread may write meanwhile.
            return replace(definition, backend="memory")
        if definition.name not in (STORES, KEPT_STORES):
            default = settings.flows_backend if definition.name == FLOWS else settings.kv_backend
            return definition if definition.backend else replace(definition, backend=default)
        # Base64 takes four bytes for three, and something is told about each value.
        limit = min(2**31, settings.stores_max_value_bytes * 4 // 3 + 4096)
        history = settings.stores_history_ttl if definition.name == KEPT_STORES else definition.history
        backend = STORED_IN.get(settings.stores_backend)
        return replace(definition, backend=backend, max_value_bytes=limit, history=history)

    def _bucket(self, name: str, policy: Policy, backend: Backend, subscribers: Subscribers | None) -> Bucket:
        publisher = Publisher()
        bucket = Bucket(name, policy, backend, publisher, clock=self._backends.clock(backend, self._clock))
        if subscribers is None:
            return bucket
        publisher.subscribe("cache", lambda change: _cache(bucket, change), at_once=True)
        publisher.subscribe("metrics", self._count)
        publisher.subscribe("signals", lambda change: self._send(change, policy))
        if self._settings.broadcast_changes:
            publisher.subscribe("subscribers", lambda change: _tell(subscribers, change, policy))
            announce = announcing(backend)
            if announce is not None:
                publisher.subscribe("followers", lambda _change: announce())
        return bucket

    def _cached(self, bucket: Bucket) -> None:
        # What holds secrets has no business in a cache, which others may share.
        if bucket.backend is self._backends.main and not bucket.policy.secrets:
            bucket.cache = self._cache

    def _send(self, change: Change, policy: Policy) -> None:
        if key_changed.receivers:
            send_change(key_changed, sender(), redacted_change(change, policy.secrets), self._failed)

    def _count(self, change: Change) -> None:
        self._counters.increment(f"kv.{change.event}")

    def _failed(self) -> None:
        self._counters.increment("signal.failed")

    # -- what the worker does --------------------------------------------------------------------------------------

    def chores(self) -> list[Chore]:
        """Return what a worker has to do for the buckets again and again."""
        return [
            Chore("expire keys", self._settings.worker_poll, self._expire),
            Chore("forget removed keys and old changes", 60.0, self._forget),
            Chore("measure buckets", 300.0, self._measure),
        ]

    def _each(self) -> Iterator[Shelf]:
        left_out = set() if self._settings.stores_backend in STORED_IN else {STORES, KEPT_STORES}
        left_out |= set() if self._settings.keeps_refusals else {REFUSALS}
        left_out |= set() if self._settings.admin_enabled else {WORK}
        for definition in self._registry.buckets.values():
            if definition.name not in left_out:
                yield self._shelf(definition)

    def tidy(self, name: str) -> bool:
        """Do for one bucket what a worker does for all: write down what has expired, forget what is not kept any more.

        :param name: a declared bucket.
        :returns: whether there is more to do at once.
        :raises StorageError: when the storage fails.
        """
        shelf = self._shelf(self._registry.get(name))
        more = shelf.sweep.run()
        return self._forgotten(shelf.parts) or more

    def _expire(self) -> bool:
        more = [shelf.sweep.run() for shelf in self._each()]
        return any(more)

    def _forget(self) -> bool:
        more = [self._forgotten(shelf.parts) for shelf in self._each()]
        return any(more)

    def _forgotten(self, parts: KvParts) -> bool:
        backend, definition, now = parts.bucket.backend, parts.definition, parts.bucket.clock.now()
        more = False
        if definition.tombstones is not None and isinstance(backend, Purges):
            before = now - timedelta(seconds=definition.tombstones)
            with backend.writing() as unit:
                more = backend.forget_tombstones(unit, definition.name, before, BATCH) == BATCH
        if definition.history is not None and isinstance(backend, KeepsHistory):
            before = now - timedelta(seconds=definition.history)
            with backend.writing() as unit:
                removed = backend.forget_changes(unit, before, BATCH, bucket=definition.name)
            more = len(removed) == BATCH or more
        return more

    def _measure(self) -> None:
        for shelf in self._each():
            shelf.parts.measures.refresh()


def _tell(subscribers: Subscribers, change: Change, policy: Policy) -> None:
    if subscribers:
        subscribers.tell(redacted_change(change, policy.secrets))


def _cache(bucket: Bucket, change: Change) -> None:
    if bucket.cache is not None:
        bucket.cache.put(change.after)

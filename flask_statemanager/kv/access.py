"""From the manager to its buckets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.buckets import KV, BucketDefinition, BucketRegistry, check_secrets
from .parts import KvParts

if TYPE_CHECKING:
    from .store import KeyValueStore


class NamedBucket(NamedTuple):
    """One declared bucket.

    :param name: the collection.
    :param kv: its keys and values.
    """

    name: str
    kv: KeyValueStore


class KvAccess(ABC):
    """The way from the manager to keys and values, and the declaration of buckets."""

    @abstractmethod
    def _kv_parts(self, name: str) -> KvParts:
        """Return what the verbs of a bucket stand on, in the present app.

        :param name: a declared bucket.
        """

    @abstractmethod
    def _declaring_buckets(self) -> BucketRegistry:
        """Return the declared buckets, for one to be added."""

    @property
    def kv(self) -> KeyValueStore:
        """The keys and values of the bucket ``kv``."""
        return _store(partial(self._kv_parts, KV))

    def bucket(self, name: str) -> NamedBucket:
        """Return a declared bucket, whose ``kv`` has the verbs; that it is declared is checked at their first use.

        :param name: the bucket.
        """
        return NamedBucket(name, _store(partial(self._kv_parts, name)))

    def define_bucket(
        self,
        name: str,
        *,
        backend: str | None = None,
        ttl: float | None = None,
        history: float | None = None,
        log_length: int = 10_000,
        tombstones: float | None = 86_400.0,
        max_value_bytes: int | None = None,
        shards: int = 1,
        secrets: Sequence[str] = (),
    ) -> BucketDefinition:
        """Declare a bucket of keys and values; times are in seconds.

        :param name: the collection, a letter and at most 62 letters, digits, ``_`` or ``-``; ``kv`` declares that one
            anew.
        :param backend: ``sql``, ``redis`` or ``memory``; None for ``STATEMANAGER_KV_BACKEND``.
        :param ttl: how long a key lives that is given no ``ttl`` of its own; None for as long as nobody removes it.
        :param history: how long changes are kept behind the newest of each key; None for ever.
        :param log_length: on Redis, about how many changes of each shard are kept instead.
        :param tombstones: how long a removed key keeps its version to itself, at least 60; None for ever.
        :param max_value_bytes: the most bytes of a value and its metadata as JSON; None for
            ``STATEMANAGER_MAX_VALUE_BYTES``.
        :param shards: on Redis, over how many hash slots the bucket is spread; it cannot be changed later.
        :param secrets: dotted paths of members of the values, such as ``auth.token``, which events, followers,
            caches and those who ask the API do not get to see.
        :returns: the declaration.
        :raises ConfigurationError: when something in it is unusable, or a request is under way.
        """
        definition = BucketDefinition(
            name,
            backend=backend,
            ttl=ttl,
            history=history,
            log_length=log_length,
            tombstones=tombstones,
            max_value_bytes=max_value_bytes,
            shards=shards,
            secrets=check_secrets(secrets),
        )
        return self._declaring_buckets().define(definition)


def _store(parts: Callable[[], KvParts]) -> KeyValueStore:
    store: KeyValueStore = _verbs().KeyValueStore(parts)
    return store


@cache
def _verbs() -> Any:
    """Import the verbs at their first use, as not every application has keys and values."""
    return import_module(f"{__package__}.store")

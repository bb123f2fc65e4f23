"""Buckets as they are declared: what a collection is kept in, for how long, and how large its values may be."""

from __future__ import annotations

import threading

from msgspec import Struct

from ..errors import ConfigurationError, StateValidationError, shown
from .names import check_word

KV = "kv"
"""The bucket of ``state_manager.kv``."""

FLOWS = "flows"
"""The bucket of ``state_manager.flows``, which its verbs alone write to."""

STORES = "stores"
"""The bucket of the stores of user interfaces that keep no history."""

KEPT_STORES = "stores-kept"
"""The bucket of those that do."""

REFUSALS = "refusals"
"""The bucket of what was refused, which no face of keys and values shows: it tells who asked for what."""

WORK = "admin-work"
"""The bucket of how far the long work of the admin pages is."""

RESERVED = {
    "state": "the lifecycle states",
    FLOWS: "the conversations of flows",
    STORES: "the stores of user interfaces",
    KEPT_STORES: "the stores of user interfaces that keep a history",
    REFUSALS: "what was refused",
    WORK: "how far the long work of the admin pages is",
}
"""Buckets that are not for keys and values, and what they hold."""

BRIEF = frozenset((STORES,))
"""Buckets whose followers are told which record has changed, and not what it holds: a log may leave the values out."""

FLOW_SECRETS = ("auth.token",)
"""What conversations hold that is nobody else's."""

LEAST_TOMBSTONES = 60.0
"""Seconds that a tombstone stays at least: a write that began before must not outlive it."""

MAX_SHARDS = 1024
_LONGEST = 10 * 365 * 86400
_HOUR = 3600.0


class BucketDefinition(Struct, frozen=True):
    """What an application declares about one bucket. Times are in seconds.

    :param name: the collection, a word.
    :param backend: ``sql``, ``redis`` or ``memory``; None for the backend that the settings name.
    :param ttl: how long a key lives that is given no ``ttl`` of its own; None for as long as nobody removes it.
    :param history: how long changes are kept behind the newest of each key; None for ever. What is not kept any more a
        follower cannot catch up with. Redis keeps ``log_length`` changes instead.
    :param log_length: on Redis, about how many changes of each shard are kept.
    :param tombstones: how long a removed key keeps its version to itself; None for ever.
    :param max_value_bytes: the most bytes of a value and its metadata as JSON; None for the setting.
    :param shards: on Redis, over how many hash slots the bucket is spread.
    :param secrets: dotted paths of members of the values that events, followers and logs do not show.
    """

    name: str
    backend: str | None = None
    ttl: float | None = None
    history: float | None = None
    log_length: int = 10_000
    tombstones: float | None = 24 * _HOUR
    max_value_bytes: int | None = None
    shards: int = 1
    secrets: tuple[str, ...] = ()


class BucketRegistry:
    """The declared buckets. Reading needs no lock: each change replaces the dict."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        declared = (
            BucketDefinition(KV),
            BucketDefinition(FLOWS, secrets=FLOW_SECRETS),
            # Values may be large, and Redis keeps what was and what is for each change in the log.
            BucketDefinition(STORES, history=0.0, log_length=16, tombstones=_HOUR),
            BucketDefinition(KEPT_STORES, log_length=1000, tombstones=_HOUR),
            BucketDefinition(REFUSALS, history=LEAST_TOMBSTONES, log_length=1000, tombstones=LEAST_TOMBSTONES),
            BucketDefinition(WORK, history=0.0, log_length=16, tombstones=_HOUR),
        )
        self._buckets = {each.name: each for each in declared}

    @property
    def buckets(self) -> dict[str, BucketDefinition]:
        """The declared buckets by name."""
        return dict(self._buckets)

    def find(self, name: object) -> BucketDefinition | None:
        """Return a bucket's definition, or None when it is not declared.

        :param name: the name.
        """
        return self._buckets.get(name) if isinstance(name, str) else None

    def get(self, name: object) -> BucketDefinition:
        """Return a bucket's definition.

        :param name: the name.
        :raises StateValidationError: when it is unknown, with the known ones.
        """
        found = self.find(name)
        if found is None:
            known = ", ".join(sorted(self._buckets.keys() - RESERVED.keys()))
            raise StateValidationError(
                {"bucket": [f"There is no bucket {shown(name)}; known are {known}. Declare it with define_bucket()."]}
            )
        return found

    def define(self, definition: BucketDefinition) -> BucketDefinition:
        """Declare a bucket, or declare a known one anew.

        :param definition: everything about it.
        :returns: the same.
        :raises ConfigurationError: when something in it is unusable.
        """
        _check(definition)
        with self._lock:
            self._buckets = {**self._buckets, definition.name: definition}
        return definition


def check_secrets(given: object) -> tuple[str, ...]:
    """Return dotted paths, or refuse them.

    :param given: what the caller passed.
    :raises ConfigurationError: when they are no list of texts.
    """
    paths = tuple(given) if isinstance(given, list | tuple | set | frozenset) else (None,)
    if all(isinstance(path, str) and all(path.split(".")) for path in paths):
        return paths
    raise ConfigurationError(f"secrets={shown(given)} is unusable: take dotted paths in a list, as ['auth.token'].")


def _check(given: BucketDefinition) -> None:
    try:
        name = check_word(given.name, "bucket")
    except StateValidationError as error:
        raise ConfigurationError(f"The bucket cannot be declared: {error}") from error
    if name in RESERVED:
        raise ConfigurationError(f"The bucket {name!r} holds {RESERVED[name]}: choose another name.")
    if given.backend not in (None, "sql", "redis", "memory"):
        raise ConfigurationError(f"backend={shown(given.backend)} is none: take 'sql', 'redis' or 'memory'.")
    for field, least in (("ttl", 0.001), ("history", 0.0), ("tombstones", LEAST_TOMBSTONES)):
        _check_seconds(field, getattr(given, field), least)
    bounds = (("log_length", 1, 10**9), ("shards", 1, MAX_SHARDS), ("max_value_bytes", 1, 2**31))
    for field, lowest, highest in bounds:
        value = getattr(given, field)
        if value is not None and (type(value) is not int or not lowest <= value <= highest):
            raise ConfigurationError(f"{field}={shown(value)} is unusable: take a number from {lowest} to {highest}.")


def _check_seconds(field: str, value: object, least: float) -> None:
    if value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value <= _LONGEST:  # type: ignore[operator]
        raise ConfigurationError(f"{field}={shown(value)} is unusable: take seconds from {least:g}, or None.")

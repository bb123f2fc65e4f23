"""The verbs that write several keys."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from ..core.lists import Span
from ..core.names import check_prefix
from ..core.record import JSON, Origin
from ..core.step import Decide
from ..core.together import Together
from ..errors import StateValidationError, shown
from .conditions import If, check_all, check_conditions
from .decisions import Clear
from .lifetime import Ttl
from .parts import KvParts, check_several, check_together
from .setting import Metadata, setting
from .value import KEEP, KeyValue

CHUNK = 1000
"""How many keys :meth:`KvSeveral.remove_prefix` removes in one transaction."""


class Put(Struct, frozen=True):
    """Within :meth:`KvSeveral.apply`: set a key.

    :param key: the key.
    :param value: any JSON value.
    :param metadata: as in ``set``.
    :param ttl: as in ``set``.
    """

    key: str
    value: JSON
    metadata: Metadata = KEEP
    ttl: Ttl = KEEP


class Remove(Struct, frozen=True):
    """Within :meth:`KvSeveral.apply`: remove a key, if there is one.

    :param key: the key.
    """

    key: str


class KvSeveral(ABC):
    """The verbs of keys and values that write several; their shared arguments are those of ``set``."""

    @abstractmethod
    def _parts(self) -> KvParts:
        """Return the running parts of the present app."""

    def set_many(
        self,
        values: Mapping[str, JSON],
        source: str | None = None,
        *,
        metadata: Metadata = KEEP,
        ttl: Ttl = KEEP,
        actor: str | None = None,
        reason: str | None = None,
        session: Any = None,
    ) -> dict[str, KeyValue]:
        """Give keys their values, all or none of them.

        :param values: at most 10,000, by key.
        :param source: the part of the system that asks.
        :param metadata: as in :meth:`set`, for each.
        :param ttl: as in :meth:`set`, for each.
        :param actor: who asks.
        :param reason: why.
        :param session: join this session's transaction.
        :returns: the keys as they are stored.
        :raises StateConflict: when racers won every attempt.
        :raises StateValidationError: when a key, a value, metadata or ttl are unusable.
        :raises LimitExceeded: when a value and its metadata are too large, or there are too many.
        :raises ConfigurationError: when the backend cannot join ``session``, or cannot write these keys together.
        :raises StorageError: when the storage fails.
        """
        if not isinstance(values, Mapping):
            raise StateValidationError({"values": [f"Must be a dict of values by key, not {shown(values)}."]})
        writes = [Put(key, value, metadata, ttl) for key, value in values.items()]
        found = self.apply((), writes, source, actor=actor, reason=reason, session=session)
        return {key: entry for key, entry in found.items() if entry is not None}

    def apply(
        self,
        conditions: Iterable[If],
        writes: Iterable[Put | Remove],
        source: str | None = None,
        *,
        actor: str | None = None,
        reason: str | None = None,
        session: Any = None,
    ) -> dict[str, KeyValue | None]:
        """Write several keys if all conditions hold: all of it, or nothing.

        >>> from flask_statemanager.kv import If, Put, Remove
        >>> moves = [Put("seat:12", "ada"), Remove("seat:7")]
        >>> # state_manager.kv.apply([If.absent("seat:12"), If.value("seat:7", "ada")], moves)

        Each change has a revision of its own; they follow one another, and become visible together. On a Redis Cluster
        all keys must lie in one shard.

        :param conditions: on these keys or others.
        :param writes: at most 10,000, no two of one key.
        :param source: the part of the system that asks.
        :param actor: who asks.
        :param reason: why.
        :param session: join this session's transaction.
        :returns: each written key as it is now, None where it is absent.
        :raises StateConflict: when a condition does not hold, with its key; or racers won every attempt.
        :raises StateValidationError: when anything in it is unusable.
        :raises LimitExceeded: when a value and its metadata are too large, or there are too many.
        :raises ConfigurationError: when the backend cannot join ``session``, or cannot write these keys together.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts()
        asked = check_conditions(conditions, parts.limit)
        decisions = _decisions(parts, check_several(writes, "writes"))
        check_together(len(decisions) + len(asked), "The write")
        name = parts.bucket.name
        found = Together(parts.bucket).write(
            decisions,
            origin=parts.origin(actor=actor, source=source, reason=reason),
            conditions=lambda stored: check_all(asked, name, stored),
            regarded=[each.key for each in asked],
            session=session,
        )
        return {key: None if record is None else KeyValue.of(record) for key, record in found.items()}

    def remove_prefix(
        self, prefix: str, source: str | None = None, *, actor: str | None = None, reason: str | None = None
    ) -> int:
        """Remove all keys that begin alike, a thousand in a transaction.

        What is set meanwhile may stay. An interruption leaves what it has not come to.

        :param prefix: how they begin, at least one character.
        :param source: the part of the system that asks.
        :param actor: who asks.
        :param reason: why.
        :returns: how many were removed.
        :raises StateValidationError: when the prefix is empty or unusable.
        :raises StateConflict: when racers won every attempt.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts()
        bucket, together, beginning = parts.bucket, Together(parts.bucket), check_prefix(prefix)
        if not beginning:
            raise StateValidationError({"prefix": ["Must not be empty: an empty one would remove everything."]})
        origin = parts.origin(actor=actor, source=source, reason=reason)
        removed, last = 0, None
        while True:
            span = Span(bucket.name, bucket.clock.now(), beginning, last, CHUNK)
            with bucket.reading() as unit:
                names = parts.lists.listed(unit, span)
            if not names:
                return removed
            last = names[-1]
            removed += _cleared(parts, together, names, origin)


def _decisions(parts: KvParts, writes: Sequence[Put | Remove]) -> dict[str, Decide]:
    decisions: dict[str, Decide] = {}
    for each in writes:
        if not isinstance(each, Put | Remove):
            raise StateValidationError({"writes": [f"{shown(each)} is no write: pass Put(key, value) or Remove(key)."]})
        key = parts.key(each.key)
        if key.name in decisions:
            raise StateValidationError({"writes": [f"The key {key.name} is written twice: one write for each key."]})
        if isinstance(each, Put):
            decisions[key.name] = setting(parts, each.key, each.value, each.metadata, each.ttl)
        else:
            decisions[key.name] = Clear(key, lenient=True)
    return decisions


def _cleared(parts: KvParts, together: Together, names: Sequence[str], origin: Origin) -> int:
    """Remove keys that are still there, and return how many they were."""
    found: list[str] = []

    def note(stored: Mapping[str, Any]) -> None:
        found[:] = [name for name, record in stored.items() if record is not None]

    together.write({name: Clear(parts.key(name), lenient=True) for name in names}, origin=origin, conditions=note)
    return len(found)

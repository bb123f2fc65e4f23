"""The verbs that write one key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from ..core.codec import clean
from ..core.record import JSON, Expectation, Origin, living
from ..core.step import Decide
from ..errors import StateValidationError, shown
from .decisions import Clear, Increment, Set, Swap, Unchanged, Update
from .lifetime import Ttl, check_ttl
from .parts import KvParts, check_expect, check_key
from .setting import Metadata, setting
from .value import KEEP, VALUE, KeyValue


class KvWrites(ABC):
    """The writing verbs of keys and values.

    Arguments that they share: ``source`` is the part of the system that asks, ``actor`` who asks, ``reason`` why (by
    default from the request); ``expect`` is the version that must be stored, or a
    :class:`~flask_statemanager.Revision`; ``session`` puts the write into that session's transaction, which its owner
    commits. Without ``session`` the write is committed when the call returns.
    """

    @abstractmethod
    def _parts(self) -> KvParts:
        """Return the running parts of the present app."""

    def set(
        self,
        key: str,
        value: JSON,
        source: str | None = None,
        *,
        metadata: Metadata = KEEP,
        ttl: Ttl = KEEP,
        expect: Expectation = None,
        actor: str | None = None,
        reason: str | None = None,
        session: Any = None,
    ) -> KeyValue:
        """Give a key a value.

        :param key: 1 to 255 ASCII characters, letters, digits and ``._:@/+=~-``, no empty, ``.`` or ``..`` segment.
        :param value: any JSON value, null too.
        :param source: the part of the system that asks.
        :param metadata: what to note about it, a JSON object; None clears it. A member ``ttl`` sets the expiry.
        :param ttl: seconds (or a timedelta) until it is absent, from now on; None clears the expiry. A new key gets the
            bucket's.
        :param expect: the version or revision that must be stored.
        :param actor: who asks.
        :param reason: why.
        :param session: join this session's transaction.
        :returns: the key as it is stored.
        :raises StateConflict: when ``expect`` does not hold, or racers won every attempt.
        :raises StateValidationError: when key, value, metadata or ttl are unusable.
        :raises LimitExceeded: when value and metadata are too large.
        :raises ConfigurationError: when the backend cannot join ``session``.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts()
        decide = setting(parts, key, value, metadata, ttl, expect=expect)
        return _written(parts, decide, parts.origin(actor=actor, source=source, reason=reason), session)

    def create(
        self,
        key: str,
        value: JSON,
        source: str | None = None,
        *,
        metadata: Metadata = KEEP,
        ttl: Ttl = KEEP,
        actor: str | None = None,
        reason: str | None = None,
        session: Any = None,
    ) -> KeyValue:
        """Give a key a value if there is no such key.

        :param key: as in :meth:`set`.
        :param value: any JSON value, null too.
        :param source: the part of the system that asks.
        :param metadata: as in :meth:`set`.
        :param ttl: as in :meth:`set`.
        :param actor: who asks.
        :param reason: why.
        :param session: join this session's transaction.
        :returns: the key as it is stored.
        :raises StateExists: when there is such a key.
        :raises StateConflict: when racers won every attempt.
        :raises StateValidationError: when key, value, metadata or ttl are unusable.
        :raises LimitExceeded: when value and metadata are too large.
        :raises ConfigurationError: when the backend cannot join ``session``.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts()
        decide = setting(parts, key, value, metadata, ttl, absent=True)
        return _written(parts, decide, parts.origin(actor=actor, source=source, reason=reason), session)

    def set_metadata(
        self,
        key: str,
        metadata: Mapping[str, Any] | None,
        source: str | None = None,
        *,
        expect: Expectation = None,
        actor: str | None = None,
        reason: str | None = None,
        session: Any = None,
    ) -> KeyValue:
        """Note something about a key, in place of what was noted; that counts as a version.

        :param key: a key that is there.
        :param metadata: a JSON object, or None to clear it. A member ``ttl`` (seconds, a number or text) sets the
            expiry, from now on.
        :param source: the part of the system that asks.
        :param expect: the version or revision that must be stored.
        :param actor: who asks.
        :param reason: why.
        :param session: join this session's transaction.
        :returns: the key as it is stored.
        :raises StateNotFound: when there is no such key.
        :raises StateConflict: when ``expect`` does not hold, or racers won every attempt.
        :raises StateValidationError: when key or metadata are unusable.
        :raises LimitExceeded: when value and metadata are too large.
        :raises ConfigurationError: when the backend cannot join ``session``.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts()
        decide = setting(parts, key, KEEP, metadata, KEEP, expect=expect)
        return _written(parts, decide, parts.origin(actor=actor, source=source, reason=reason), session)

    def remove(
        self,
        key: str,
        source: str | None = None,
        expect: Expectation = None,
        *,
        actor: str | None = None,
        reason: str | None = None,
        session: Any = None,
    ) -> bool:
        """Remove a key.

        :param key: the key.
        :param source: the part of the system that asks.
        :param expect: the version or revision that must be stored.
        :param actor: who asks.
        :param reason: why.
        :param session: join this session's transaction.
        :returns: whether there was such a key.
        :raises StateConflict: when ``expect`` does not hold, or racers won every attempt.
        :raises StateValidationError: when the key is impossible.
        :raises ConfigurationError: when the backend cannot join ``session``.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts()
        where, wanted = parts.key(key), check_expect(expect)
        origin = parts.origin(actor=actor, source=source, reason=reason)
        return _done(parts, where.name, Clear(where, wanted), origin=origin, session=session, expect=wanted)

    def compare_and_swap(
        self,
        key: str,
        expected: JSON,
        new_value: JSON,
        source: str | None = None,
        *,
        ttl: Ttl = KEEP,
        actor: str | None = None,
        reason: str | None = None,
        session: Any = None,
    ) -> bool:
        """Put a value in place of another, if that is the one that is there.

        Values are compared as JSON: true is not 1, 1 equals 1.0, members have no order. None means that there is no
        such key, before or after; a stored null is swapped by ``set(..., expect=version)``.

        :param key: the key.
        :param expected: the value that must be there.
        :param new_value: the value to be.
        :param source: the part of the system that asks.
        :param ttl: as in :meth:`set`.
        :param actor: who asks.
        :param reason: why.
        :param session: join this session's transaction.
        :returns: whether it was there, and so was swapped.
        :raises StateConflict: when racers won every attempt.
        :raises StateValidationError: when key, a value or ttl are unusable.
        :raises LimitExceeded: when a value is too large.
        :raises ConfigurationError: when the backend cannot join ``session``.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts()
        lives = check_ttl(ttl)
        put = None if new_value is None else setting(parts, key, new_value, KEEP, lives)
        decide = Swap(clean(expected, "expected", parts.limit), put)
        origin = parts.origin(actor=actor, source=source, reason=reason)
        return _done(parts, check_key(key), decide, origin=origin, session=session)

    def increment(
        self,
        key: str,
        by: int | float = 1,
        source: str | None = None,
        *,
        ttl: Ttl = KEEP,
        actor: str | None = None,
        reason: str | None = None,
        session: Any = None,
    ) -> int | float:
        """Add to a number; a key that is not there counts as 0.

        :param key: the key.
        :param by: what to add, also below 0.
        :param source: the part of the system that asks.
        :param ttl: as in :meth:`set`.
        :param actor: who asks.
        :param reason: why.
        :param session: join this session's transaction.
        :returns: the sum.
        :raises StateConflict: when racers won every attempt.
        :raises StateValidationError: when the value is no number, or the sum has more than 64 bits.
        :raises ConfigurationError: when the backend cannot join ``session``.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts()
        if isinstance(by, bool) or not isinstance(by, int | float):
            raise StateValidationError({"by": [f"Must be a number, not {shown(by)}."]})
        number = clean(by, "by", parts.limit)
        decide = Increment(setting(parts, key, number, KEEP, ttl), number)
        origin = parts.origin(actor=actor, source=source, reason=reason)
        found = living(parts.bucket.write(decide.put.key.name, decide, origin=origin, session=session))
        assert found is not None, "a sum was written"
        total: int | float = found.data[VALUE]
        return total

    def update(
        self,
        key: str,
        change: Callable[[JSON], JSON],
        source: str | None = None,
        *,
        default: JSON = None,
        ttl: Ttl = KEEP,
        begun_ttl: float | None = None,
        actor: str | None = None,
        reason: str | None = None,
        session: Any = None,
    ) -> KeyValue:
        """Put in place of a value what a function makes of it, so that nobody's change is lost.

        >>> # state_manager.kv.update("tags:1", lambda tags: sorted({*tags, "new"}), default=[])

        :param key: the key.
        :param change: takes a copy of the value and returns the new one; it is called again when somebody else was
            faster, so it should do nothing else.
        :param source: the part of the system that asks.
        :param default: what the function is given where there is no such key.
        :param ttl: as in :meth:`set`.
        :param begun_ttl: seconds that the key lives where this begins it; an existing key keeps its expiry.
        :param actor: who asks.
        :param reason: why.
        :param session: join this session's transaction.
        :returns: the key as it is stored.
        :raises StateConflict: when racers won every attempt.
        :raises StateValidationError: when an argument or the new value is unusable.
        :raises LimitExceeded: when the value is too large.
        :raises ConfigurationError: when the backend cannot join ``session``.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts()
        if not callable(change):
            raise StateValidationError({"change": [f"Must be a function of the value, not {shown(change)}."]})
        put = setting(parts, key, None, KEEP, ttl)
        if begun_ttl is not None:
            put = replace(put, default_ttl=check_ttl(begun_ttl))
        decide = Update(put, change, clean(default, "default", parts.limit), parts.limit)
        origin = parts.origin(actor=actor, source=source, reason=reason)
        found = living(parts.bucket.write(put.key.name, decide, origin=origin, session=session))
        assert found is not None, "a value was written"
        return KeyValue.of(found)


def _written(parts: KvParts, decide: Set, origin: Origin, session: Any) -> KeyValue:
    found = parts.bucket.write(decide.key.name, decide, origin=origin, expect=decide.expect, session=session)
    assert found is not None, "something was written"
    return KeyValue.of(found)


def _done(
    parts: KvParts, name: str, decide: Decide, *, origin: Origin, session: Any, expect: Expectation = None
) -> bool:
    try:
        parts.bucket.write(name, decide, origin=origin, expect=expect, session=session)
    except Unchanged:
        return False
    return True

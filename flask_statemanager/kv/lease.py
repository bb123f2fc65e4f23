"""Leases: one holder at a time, and a holder that has outlived its lease cannot write any more.

A time to live alone does not keep two apart: a holder may pause for longer than it. The version of the lease is a
fencing token (M. Kleppmann, "How to do distributed locking", 2016): it grows with every holder, and what a holder
writes is written on the condition that the lease still has the version that this holder knows.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from types import TracebackType

from ..core.record import JSON
from ..errors import StateConflict, StateExists, StateValidationError, shown
from .conditions import If
from .lifetime import check_ttl
from .parts import check_key
from .several import Put, Remove
from .value import KeyValue
from .verbs import KvVerbs


class Lease:
    """A key that one holder has for a time, made by ``kv.lease``.

    >>> # with state_manager.kv.lease("lease:report", ttl=30) as lease:
    >>> #     lease.apply([Put("report:latest", numbers)])

    :param verbs: the keys and values.
    :param key: the lease's key.
    :param ttl: seconds that it is held without being renewed.
    :param holder: who is going to hold it; a random name by default.
    :ivar token: the fencing token of this holder, for stores outside: it grows with every holder of the key.
    :raises StateValidationError: when key or ttl are unusable.
    """

    def __init__(self, verbs: KvVerbs, key: str, ttl: float, holder: str | None = None) -> None:
        seconds = check_ttl(ttl)
        if not isinstance(seconds, float):
            raise StateValidationError({"ttl": [f"A lease ends by itself: pass seconds, not {shown(ttl)}."]})
        self._verbs = verbs
        self.key = check_key(key)
        self.ttl = seconds
        self.holder = holder or str(uuid.uuid4())
        self.token = 0
        self._version = 0

    def __enter__(self) -> Lease:
        if not self.acquire():
            raise StateConflict(f"The lease {self.key}", "to be free", None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> bool:
        """Take the lease, unless somebody has it.

        :returns: whether this holder has it now.
        :raises StorageError: when the storage fails.
        """
        try:
            entry = self._verbs.create(self.key, {"holder": self.holder}, ttl=self.ttl)
        except StateExists:
            return False
        self.token = self._version = entry.version
        return True

    def renew(self) -> None:
        """Hold the lease for another ``ttl`` seconds from now on.

        :raises StateConflict: when it is lost.
        :raises StorageError: when the storage fails.
        """
        entry = self._verbs.set(self.key, {"holder": self.holder}, ttl=self.ttl, expect=self._version)
        self._version = entry.version

    def release(self) -> bool:
        """Give the lease up.

        :returns: whether it was still held; a lost one belongs to somebody else, and is left alone.
        :raises StorageError: when the storage fails.
        """
        try:
            return self._verbs.remove(self.key, expect=self._version)
        except StateConflict:
            return False

    @property
    def condition(self) -> If:
        """The condition that this holder still has the lease, for ``kv.apply`` on the same bucket."""
        return If.version(self.key, self._version)

    def apply(self, writes: Iterable[Put | Remove], source: str | None = None) -> dict[str, KeyValue | None]:
        """Write keys of the same bucket if this holder still has the lease.

        :param writes: as in ``kv.apply``.
        :param source: the part of the system that asks.
        :returns: as from ``kv.apply``.
        :raises StateConflict: when the lease is lost; nothing is written then.
        :raises StateValidationError: when a write is unusable.
        :raises LimitExceeded: when a value is too large.
        :raises ConfigurationError: when the backend cannot write these keys together with the lease.
        :raises StorageError: when the storage fails.
        """
        return self._verbs.apply([self.condition], writes, source)

    def set(self, key: str, value: JSON, source: str | None = None) -> KeyValue:
        """Set one key of the same bucket if this holder still has the lease.

        :param key: the key.
        :param value: any JSON value.
        :param source: the part of the system that asks.
        :returns: the key as it is stored.
        :raises StateConflict: when the lease is lost; nothing is written then.
        :raises StateValidationError: when key or value are unusable.
        :raises LimitExceeded: when the value is too large.
        :raises ConfigurationError: when the backend cannot write this key together with the lease.
        :raises StorageError: when the storage fails.
        """
        found = self.apply([Put(key, value)], source)[key]
        assert found is not None, "it was put"
        return found

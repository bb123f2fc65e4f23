"""A storage of limits over a bucket of keys and values, for Flask-Limiter: ``statemanager://<bucket>``.

To import this module makes the scheme known. All three strategies work; each hit is one write that is compared with
what it was decided on, so that of many at once no more are let in than the limit says, in all processes together.
"""

from __future__ import annotations

from collections.abc import Callable
from math import floor
from typing import Any
from urllib.parse import urlsplit

from limits.storage import MovingWindowSupport, SlidingWindowCounterSupport, Storage

from ..core.buckets import KV
from ..core.record import JSON
from ..errors import StateManagerError, StorageError
from ..globals import current_runtime
from ..kv.parts import KvParts
from ..kv.store import KeyValueStore
from ..stores.names import name_part

SOURCE = "limits"
"""What the changes of the storage name as their source, and what its keys begin with."""

_FIXED, _MOVING, _SLIDING = "fixed", "moving", "sliding"


class _Full(StateManagerError):
    """The window has no room; the caller is told by the answer, not by this error."""


class StateManagerStorage(Storage, MovingWindowSupport, SlidingWindowCounterSupport):
    """Keeps the counts of limits.

    Flask-Limiter takes it as ``storage_uri="statemanager://kv"``.

    :param uri: ``statemanager://`` and a declared bucket of the current app; ``kv`` without one.
    :param wrap_exceptions: as in limits.
    :param find: finds the bucket's running parts, in place of the URI; for use without an app.
    :param options: as in limits; none counts here.
    """

    STORAGE_SCHEME = ["statemanager"]  # noqa: RUF012 - as limits declares it

    def __init__(
        self,
        uri: str | None = None,
        wrap_exceptions: bool = False,
        find: Callable[[], KvParts] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions, **options)
        bucket = urlsplit(uri or "").netloc or KV
        self._parts = find or (lambda: current_runtime.shelves.parts(bucket))
        self._kv = KeyValueStore(self._parts)

    @property
    def base_exceptions(self) -> type[Exception]:
        """What the storage raises."""
        return StateManagerError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count in the present window of a key, which begins with the first count.

        :param key: the limit's key.
        :param expiry: seconds that a window lasts.
        :param amount: how much to count.
        :returns: the count.
        :raises StorageError: when the storage fails.
        """
        counted = self._kv.update(_name(_FIXED, key), lambda n: n + amount, SOURCE, default=0, begun_ttl=float(expiry))
        total: int = counted.value
        return total

    def get(self, key: str) -> int:
        """Return the count of the present window.

        :param key: the limit's key.
        :raises StorageError: when the storage fails.
        """
        count: int = self._kv.get(_name(_FIXED, key), 0)
        return count

    def get_expiry(self, key: str) -> float:
        """Return when the present window ends, in seconds since 1970; now where there is none.

        :param key: the limit's key.
        :raises StorageError: when the storage fails.
        """
        entry = self._kv.get_entry(_name(_FIXED, key))
        return self._now() if entry is None or entry.expires_at is None else entry.expires_at.timestamp()

    def check(self) -> bool:
        """Tell whether the storage can be reached."""
        try:
            self._kv.exists(f"{SOURCE}:check")
        except StorageError:
            return False
        return True

    def reset(self) -> int:
        """Forget all counts.

        :returns: how many keys had one.
        :raises StorageError: when the storage fails.
        """
        return self._kv.remove_prefix(f"{SOURCE}:", SOURCE)

    def clear(self, key: str) -> None:
        """Forget the counts of a key, of every strategy: limits 5.0 knows no other way to clear a window that slides.

        :param key: the limit's key.
        :raises StorageError: when the storage fails.
        """
        for strategy in (_FIXED, _MOVING, _SLIDING):
            self._kv.remove(_name(strategy, key), SOURCE)

    # -- a window that moves: the moment of each hit is kept ---------------------------------------------------------

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count, if the last seconds have room for it.

        :param key: the limit's key.
        :param limit: how many hits they have room for.
        :param expiry: how many seconds that are.
        :param amount: how many hits to count.
        :returns: whether they had; nothing is counted otherwise.
        :raises StorageError: when the storage fails.
        """

        def entered(hits: JSON) -> JSON:
            now = self._now()
            kept = [at for at in hits if at > now - expiry]
            if len(kept) + amount > limit:
                raise _Full
            return kept + [now] * amount

        return self._let_in(_name(_MOVING, key), entered, default=[], ttl=float(expiry))

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return the moment of the first hit that counts, and how many there are.

        :param key: the limit's key.
        :param limit: without effect here.
        :param expiry: how many seconds count.
        :raises StorageError: when the storage fails.
        """
        now = self._now()
        hits = [at for at in self._kv.get(_name(_MOVING, key), []) if at > now - expiry]
        return (hits[0] if hits else now), len(hits)

    # -- a window that slides: two counts, of which the earlier one counts less and less ----------------------------

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count, if the weighted count of the present window and the one before has room for it.

        :param key: the limit's key.
        :param limit: how many hits there is room for.
        :param expiry: seconds that a window lasts.
        :param amount: how many hits to count.
        :returns: whether there was; nothing is counted otherwise.
        :raises StorageError: when the storage fails.
        """

        def entered(counts: JSON) -> JSON:
            window, previous, current, gone = self._turned(counts, expiry)
            if floor(previous * (1 - gone) + current) + amount > limit:
                raise _Full
            return [window, previous, current + amount]

        return self._let_in(_name(_SLIDING, key), entered, default=None, ttl=2.0 * expiry)

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return the count of the window before and for how long it counts, then the same of the present one.

        :param key: the limit's key.
        :param expiry: seconds that a window lasts.
        :raises StorageError: when the storage fails.
        """
        _window, previous, current, gone = self._turned(self._kv.get(_name(_SLIDING, key)), expiry)
        left = (1 - gone) * expiry
        return previous, left if previous else 0.0, current, left + expiry

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget the counts of a key.

        :param key: the limit's key.
        :param expiry: without effect here.
        :raises StorageError: when the storage fails.
        """
        self._kv.remove(_name(_SLIDING, key), SOURCE)

    def _turned(self, counts: JSON, expiry: int) -> tuple[int, int, int, float]:
        """Return the present window, the counts of the one before and of this one, and which share of it is over."""
        present = self._now() / expiry
        window = int(present)
        known, previous, current = counts or (window, 0, 0)
        if known == window - 1:
            previous, current = current, 0
        elif known != window:
            previous, current = 0, 0
        return window, previous, current, present - window

    def _let_in(self, name: str, change: Callable[[JSON], JSON], *, default: JSON, ttl: float) -> bool:
        try:
            self._kv.update(name, change, SOURCE, default=default, ttl=ttl)
        except _Full:
            return False
        return True

    def _now(self) -> float:
        return self._parts().bucket.clock.now().timestamp()


def _name(strategy: str, key: str) -> str:
    return f"{SOURCE}:{strategy}:{name_part(key)}"

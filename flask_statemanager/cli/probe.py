"""A probe: a record is written and read back, from the store and through the cache."""

from __future__ import annotations

import secrets
from datetime import datetime

from msgspec.structs import replace

from ..core.bucket import Bucket
from ..core.clock import Clock
from ..core.ports import Backend, ReadCache
from ..core.powers import KeepsHistory
from ..core.publisher import Publisher
from ..core.record import Change, JSONObject, Key, Origin, Record
from ..core.step import Policy, Step

BUCKET = "statemanager-check"
"""The bucket of the probe: one record, of which the store keeps the newest change."""

_NAME = "probe"
_MOST = 1000


class Probe:
    """Tries one store.

    :param backend: the store.
    :param cache: the cache before it, or None.
    :param clock: the time.
    """

    def __init__(self, backend: Backend, cache: ReadCache | None, clock: Clock) -> None:
        publisher = Publisher()
        publisher.subscribe("cache", self._cache, at_once=True)
        self._backend = backend
        self._bucket = Bucket(BUCKET, Policy(1024, lambda _record, _now: None), backend, publisher, clock=clock)
        self._bucket.cache = cache

    def run(self) -> str | None:
        """Write twice, and read behind each from the store and through the cache.

        :returns: what was older than what had been written, ``store`` or ``cache``; None where nothing was.
        :raises StateManagerError: when the store cannot be written or read.
        """
        try:
            for _round in range(2):
                written = self._write()
                if not self._reads(written, strong=True):
                    return "store"
                # The first time fills the cache, the second answers from it.
                if not all(self._reads(written, strong=False) for _time in range(2)):
                    return "cache"
        finally:
            self._forget()
        return None

    def _write(self) -> int:
        data: JSONObject = {"token": secrets.token_hex(8)}

        def decide(stored: Record | None, now: datetime) -> Step:
            if stored is not None and not stored.deleted:
                return Step("probe", replace(stored, data=data))
            key = Key(BUCKET, _NAME)
            return Step("probe", Record(key, _NAME, "probe", "there", data, {}, 0, 0, None, 1, now, now))

        stored = self._bucket.write(_NAME, decide, origin=Origin("system", "check"))
        assert stored is not None, "something was written"
        return stored.version

    def _reads(self, version: int, *, strong: bool) -> bool:
        """Tell whether what is read is what was written, or what somebody else has written since."""
        found = self._bucket.get(_NAME, strong=strong)
        return found is not None and found.version >= version

    def _forget(self) -> None:
        backend = self._backend
        if isinstance(backend, KeepsHistory):
            with backend.writing() as unit:
                backend.forget_changes(unit, self._bucket.clock.now(), _MOST, bucket=BUCKET)

    def _cache(self, change: Change) -> None:
        if self._bucket.cache is not None:
            self._bucket.cache.put(change.after)

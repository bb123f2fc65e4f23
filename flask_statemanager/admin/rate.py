"""The rate of acts: how many a user is allowed in a minute."""

from __future__ import annotations

from hashlib import sha256
from math import ceil

from ..core.buckets import BucketDefinition
from ..kv.store import KeyValueStore
from ..runtime import Runtime
from ..web.problems import TOO_MANY_REQUESTS, Problem

BUCKET = "admin"
"""The bucket of the counts; one that the application does not declare itself keeps its changes for a minute."""

WINDOW = 60.0
"""Seconds."""


class Rate:
    """Counts the acts of each user, in a bucket of keys and values: together, where several processes share it.

    :param runtime: the app's running parts.
    """

    def __init__(self, runtime: Runtime) -> None:
        buckets = runtime.declarations.buckets
        if buckets.find(BUCKET) is None:
            buckets.define(BucketDefinition(BUCKET, ttl=WINDOW, history=WINDOW, tombstones=WINDOW))
        self._limit = runtime.settings.admin_rate
        self._counts = KeyValueStore(lambda: runtime.shelves.parts(BUCKET))
        self._now = runtime.bucket.clock.now

    def spend(self, user: str) -> None:
        """Count an act.

        :param user: who asks.
        :raises Problem: when the minute has no room for it.
        :raises StorageError: when the storage fails.
        """
        # A user's id may be anything, and a key not.
        key = f"rate:{sha256(user.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
        counter = self._counts.counter(key, limit=self._limit, window=WINDOW)
        if counter.hit():
            return
        ends = counter.resets_at()
        now = self._now()
        wait = WINDOW if ends is None else max(1.0, (ends - now).total_seconds())
        raise Problem(
            TOO_MANY_REQUESTS,
            f"More than {self._limit} acts in a minute are not allowed: wait {ceil(wait)} seconds and send this again.",
            headers={"Retry-After": str(ceil(wait))},
        )

"""A read cache on Redis: JSON entries, written by one script that never replaces a newer version by an older one.

An entry is ``version:json``. A deletion is an entry too (the tombstone), so that a slow reader cannot bring the deleted
record back. While Redis cannot be reached, nothing is asked of it for a moment, so that an outage costs little.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from redis.exceptions import RedisError

from ..core.codec import decode_record, encode_record
from ..core.record import Key, Record

logger = logging.getLogger("flask_statemanager")

PAUSE = 1.0
"""Seconds without a question after Redis failed."""

MAX_BEHIND = 10_000
"""How many unwritten keys are remembered; with more, nothing is believed until every entry has run out."""

MAX_SCRIPT_VERSION = 2**53
"""Lua's numbers are exact up to here; a record with a higher version is not cached."""


class RedisReadCache:
    """Keeps records in Redis for a bounded time.

    :param client: a redis-py client, single, Sentinel's or cluster.
    :param prefix: what every key begins with.
    :param ttl: seconds that an entry lives; the bound of staleness after a lost write.
    :param count: raises a counter: ``cache.hit``, ``cache.miss``, ``cache.error``.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        client: Any,
        *,
        prefix: str,
        ttl: float,
        count: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._lifetime = max(1, int(ttl * 1000))
        self._count = count
        self._clock = clock
        self._away_until = 0.0
        # Versions that did not get through: what lies under their keys is not believed until they, or newer ones, have.
        self._behind: dict[Key, int] = {}
        self._doubted_until = 0.0
        self._put = client.register_script(files(__package__).joinpath("put_if_newer.lua").read_text("utf-8"))

    @property
    def available(self) -> bool:
        """Whether Redis answered at the last attempt."""
        return not self._away_until

    def check(self) -> bool:
        """Ask Redis whether it is there, and remember the answer."""
        return self._asked(self._client.ping) is not None

    def get(self, key: Key) -> Record | None:
        """Return the cached record, a tombstone too, or None.

        :param key: which record.
        """
        if self._resting() or key in self._behind or self._clock() < self._doubted_until:
            return None
        entry = self._asked(lambda: self._client.get(self._name(key)))
        record = None if entry is None else _read(entry, key)
        self._count("cache.hit" if record is not None else "cache.miss")
        return record

    def put(self, record: Record) -> None:
        """Keep what was just written, unless a newer version of it is there.

        Where that fails, the key is remembered: what lies there is older, and is not believed until it is overwritten.

        :param record: a committed record or tombstone.
        """
        if self._sent(record):
            return
        if record.key in self._behind or len(self._behind) < MAX_BEHIND:
            self._behind[record.key] = max(record.version, self._behind.get(record.key, 0))
        else:
            self._doubted_until = self._clock() + self._lifetime / 1000

    def fill(self, record: Record) -> None:
        """Keep what was just read, unless a newer version of it is there.

        :param record: a committed record or tombstone.
        """
        self._sent(record)

    def _sent(self, record: Record) -> bool:
        """Offer a record to Redis; a version that the script cannot compare counts as failed."""
        if self._resting() or record.version >= MAX_SCRIPT_VERSION:
            return False
        arguments = [record.version, encode_record(record), self._lifetime]
        if self._asked(lambda: self._put(keys=[self._name(record.key)], args=arguments)) is None:
            return False
        if self._behind.get(record.key, 0) <= record.version:
            self._behind.pop(record.key, None)
        return True

    def _name(self, key: Key) -> str:
        return f"{self._prefix}{key}"

    def _resting(self) -> bool:
        return bool(self._away_until) and self._clock() < self._away_until

    def _asked(self, question: Callable[[], Any]) -> Any:
        try:
            answer = question()
        except (RedisError, OSError) as error:
            if not self._away_until:
                logger.warning("The read cache cannot be reached, reads go to the database: %s", error)
            self._count("cache.error")
            self._away_until = self._clock() + PAUSE
            return None
        self._away_until = 0.0
        return answer


def _read(entry: bytes | str, key: Key) -> Record | None:
    """Read an entry; whatever else may lie under the key counts as nothing."""
    try:
        text = entry if isinstance(entry, str) else entry.decode("utf-8")
        version, mark, body = text.partition(":")
        record = decode_record(body)
    except (ValueError, RecursionError):
        return None
    return record if mark and record.key == key and str(record.version) == version else None

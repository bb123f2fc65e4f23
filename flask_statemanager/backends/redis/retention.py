"""What is over on Redis: finding what is due, and forgetting tombstones."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial

from ...core.matching import lapse_of
from ...core.powers import Expires
from ...core.purges import Purges
from ...core.query import Query
from ...core.record import Key, Record
from ...errors import StorageError
from .codec import micros, unpacked
from .keys import Shard
from .store import RedisStore
from .unit import RedisUnit

logger = logging.getLogger("flask_statemanager")

Looked = tuple[datetime, str, Record | None]
"""When something expired, its name, and the record; None where there is none to expire."""

Scored = list[tuple[str, float]]
"""Names with their scores."""

_BEFORE_ALL = datetime.min.replace(tzinfo=timezone.utc)

CLAIM = 30 * 10**6
"""Microseconds for which what was handed out as due is not handed out again."""

BATCH = 500
"""How many names are looked at, at once."""


class RedisRetention(RedisStore, Expires, Purges):
    """Finds what is due by a set that is scored by moments.

    Nothing is left to Redis's own expiry, which would forget versions.
    """

    def due(self, unit: RedisUnit, query: Query) -> list[Key]:
        """Return the keys of live records to which a lapse rule applies now, and claim them for a while.

        Another sweeper passes over what is claimed; the comparison of versions makes sure that no expiry is written
        twice. What no rule applies to is passed over for as long.

        :param unit: an open unit.
        :param query: its bucket, moment, lapse rules and limit count.
        :raises StorageError: when Redis fails, or something due is damaged.
        """
        found: list[tuple[datetime, str]] = []
        while query.lapses and (query.limit is None or len(found) < query.limit):
            wanted = BATCH if query.limit is None else min(BATCH, query.limit - len(found))
            looked = self._looked_at(query, wanted)
            if not looked:
                break
            for at, name, record in self._claimed(query, looked[:wanted]):
                if record is not None and lapse_of(record, query) is not None:
                    found.append((at, name))
        return [Key(query.bucket, name) for _at, name in sorted(found)]

    def forget_tombstones(self, unit: RedisUnit, bucket: str, before: datetime, limit: int) -> int:
        """Remove tombstones from before a moment, the longest dead first, at once and for good.

        One script removes them and raises the floor of their shard, whatever becomes of the unit. What is written anew
        meanwhile stays, and is not counted.

        :param unit: an open writing unit of its own.
        :param bucket: the collection.
        :param before: the moment.
        :param limit: the most tombstones.
        :returns: how many were removed, by this call and nobody else.
        :raises StorageError: when Redis fails; some may be gone by then.
        """
        left = limit
        while left > 0:
            oldest = self._oldest(bucket, before, min(left, BATCH))
            if not oldest:
                break
            left -= sum(self._purged(shard, before, names) for shard, names in oldest)
        return limit - left

    def _oldest(self, bucket: str, before: datetime, most: int) -> list[tuple[Shard, list[str]]]:
        """Return the names of the tombstones that have been dead the longest, by shard."""
        shards = self.shards(bucket)
        listed = self._past(shards, lambda at: at.dead, b"(" + micros(before), most)
        dead = sorted((died, name, number) for number, found in enumerate(listed) for name, died in found)
        by_shard = defaultdict[int, list[str]](list)
        for _died, name, number in dead[:most]:
            by_shard[number].append(name)
        current = self.layout.all(bucket)
        return [(current[number], names) for number, names in by_shard.items()]

    def _purged(self, shard: Shard, before: datetime, names: Sequence[str]) -> int:
        keys = [shard.pointer, shard.floor, shard.dead, *map(shard.record, names)]
        state, answer = self.link.run("purge", [len(keys), *keys, shard.generation, micros(before), *names])
        if state == 0:
            return int(answer)
        # Another generation has tombstones of its own, or none.
        self.layout.moved(shard, answer)
        return 0

    def _looked_at(self, query: Query, wanted: int) -> list[Looked]:
        """Return what is past its moment and claimed by nobody, the longest due first."""
        shards = self.shards(query.bucket)
        listed = self._past(shards, lambda at: at.sweep, micros(query.now), wanted)
        found: list[Looked] = []
        for shard, scored in zip(shards, listed, strict=True):
            if scored:
                found += self._looked_up(shard, [name for name, _at in scored])
        return sorted(found, key=lambda looked: looked[:2])

    def _looked_up(self, shard: Shard, names: Sequence[str]) -> list[Looked]:
        _shard, texts = self.values(shard, partial(_records_of, names))
        return [_looked(Key(shard.bucket, name), text) for name, text in zip(names, texts, strict=True)]

    def _claimed(self, query: Query, looked: Sequence[Looked]) -> list[Looked]:
        now = micros(query.now)
        until = b"%d" % (int(now) + CLAIM)
        by_shard = defaultdict[int, list[str]](list)
        for _at, name, _record in looked:
            by_shard[self.shard_of(Key(query.bucket, name)).number].append(name)
        shards = [shard for shard in self.shards(query.bucket) if shard.number in by_shard]
        answers = self.each(
            "claim", shards, lambda at: [2, at.pointer, at.sweep, at.generation, now, until, *by_shard[at.number]]
        )
        claimed = {name.decode() for answer in answers for name in answer}
        return [each for each in looked if each[1] in claimed]

    def _past(self, shards: Sequence[Shard], of: Callable[[Shard], bytes], bound: bytes, most: int) -> list[Scored]:
        """Return what is scored up to a bound in a set of each shard, with the scores, the lowest first."""
        answers = self.each("past", shards, lambda at: [2, at.pointer, of(at), at.generation, bound, most])
        return [
            [(name.decode(), float(score)) for name, score in zip(found[::2], found[1::2], strict=True)]
            for (found,) in answers
        ]


def _records_of(names: Sequence[str], shard: Shard) -> list[bytes]:
    return [shard.record(name) for name in names]


def _looked(key: Key, text: bytes | None) -> Looked:
    """Read what is due; what cannot be read is claimed as well, so that it keeps nobody from the others."""
    try:
        record = None if text is None else unpacked(text, key)
    except StorageError:
        logger.exception("The expiry of %s has to wait.", key)
        record = None
    at = None if record is None or record.deleted_at is not None else record.expires_at
    return (_BEFORE_ALL, key.name, None) if at is None else (at, key.name, record)

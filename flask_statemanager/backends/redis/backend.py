"""The Redis backend: one script compares, writes, logs and counts, in one atomic step and one round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

from ...core.buckets import BucketDefinition
from ...core.codec import isolated
from ...core.ports import UNSEEN, Alteration, Backend, Seen, Work, check_belief, following_on, settle
from ...core.record import Change, Key, Record
from ...errors import StateConflict
from .clock import ServerClock
from .codec import digest_of, text_digest, unpacked
from .committing import Committing
from .health import warnings_of
from .keys import FIRST_GENERATION, Layout, Shard
from .lines import line_for
from .link import Link
from .listing import RedisLists
from .log import RedisLog
from .opening import identity_of
from .recent import Recent
from .snapshots import RedisSnapshots
from .unit import ANY, RedisUnit, Stored, Write

PREFIX = "statemanager:"
"""What every key begins with, behind the brace."""

LOG_LENGTH = 10_000
"""About how many changes of each shard are kept, where nothing else is declared."""


SHORT = 1024
"""Bytes up to which a record is sent whole to be compared, as that is cheaper than a digest for both sides."""


class RedisBackend(RedisLists, RedisLog, RedisSnapshots, Backend):
    """Keeps records in a Redis, which may be a server, one that Sentinels watch over, or a cluster.

    A write is one script. A unit collects its writes, and commits them by one script if nobody has written to the
    same shards meanwhile: a transaction that is checked in the end.

    :param client: a redis-py client, as :func:`~.opening.open_redis` makes it.
    :param prefix: what every key begins with, behind the brace.
    :param shards: over how many hash slots a bucket is spread.
    :param log_length: about how many changes of each shard of a bucket are kept.
    :raises ConfigurationError: when the prefix has braces.
    """

    title: ClassVar[str] = "redis"

    def __init__(
        self,
        client: Any,
        *,
        prefix: str = PREFIX,
        shards: Callable[[str], int] = lambda _bucket: 1,
        log_length: Callable[[str], int] = lambda _bucket: LOG_LENGTH,
    ) -> None:
        self._client = client
        super().__init__(Link(line_for(client)), Layout(prefix, shards))
        self._log_length = log_length
        self._committing = Committing(self, log_length)
        self._recent = Recent()

    @property
    def shareable(self) -> bool:
        """Always: every process sees the same Redis."""
        return True

    @property
    def identity(self) -> str:
        """Where the Redis is, which database of it, and the prefix."""
        return f"{identity_of(self._client)}#{self.layout.prefix}"

    @property
    def client(self) -> Any:
        """The redis-py client that the connections are made like."""
        return self._client

    def clock(self) -> ServerClock:
        """Return a clock that tells the time by this Redis."""
        return ServerClock(self.link)

    def warnings(self, definition: BucketDefinition) -> list[str]:
        """Tell what of this Redis contradicts that a bucket keeps what is written to it.

        :param definition: the bucket.
        :returns: sentences for an operator.
        :raises StorageError: when Redis fails.
        """
        return warnings_of(self.link, definition)

    @contextmanager
    def reading(self) -> Iterator[RedisUnit]:
        """Open a unit that only reads; each of its reads sees the present."""
        yield RedisUnit()

    @contextmanager
    def writing(self) -> Iterator[RedisUnit]:
        """Open a unit that commits at the end of the block, in one script.

        :raises StateConflict: at the end, when somebody else has written meanwhile.
        :raises ConfigurationError: when a cluster would have to look at two shards at once.
        :raises StorageError: when Redis fails.
        """
        unit = RedisUnit()
        with self._committing.gates(unit):
            yield unit
            try:
                self._committing.commit(unit)
            except StateConflict:
                raise
            except BaseException:
                for doubt in unit.doubts:
                    doubt()
                raise
        settle(unit.acts)

    def fetch(self, key: Key) -> Record | None:
        """Read one record, in one round trip.

        :param key: which record.
        :raises StorageError: when Redis fails, or what lies there is damaged.
        """
        shard = self.shard_of(key)
        generation, text = self.link.ask([("MGET", shard.pointer, shard.record(key.name))])[0]
        if (generation or FIRST_GENERATION) != shard.generation:
            _shard, (text,) = self.values(self.layout.moved(shard, generation), lambda at: [at.record(key.name)])
        if text is None:
            return None
        self._recent.keep(key, text)
        return unpacked(text, key)

    def fetch_many(self, keys: Sequence[Key]) -> dict[Key, Record]:
        """Read records, in one round trip for each shard that they lie in.

        :param keys: which records, each once.
        :raises StorageError: when Redis fails, or what lies there is damaged.
        """
        shards: dict[tuple[str, int], list[Key]] = {}
        for key in keys:
            shards.setdefault(self.shard_of(key).identity, []).append(key)
        found: dict[Key, Record] = {}
        for some in shards.values():
            _shard, texts = self.values(self.shard_of(some[0]), partial(_records, some))
            for key, text in zip(some, texts, strict=True):
                if text is not None:
                    self._recent.keep(key, text)
                    found[key] = record = unpacked(text, key)
                    self._recent.recalled(record, text)
        return found

    def recalled(self, key: Key, version: int) -> Record | None:
        """Return a record in a version that this process has read lately, or None.

        :param key: which record.
        :param version: the version.
        """
        text = self._recent.text(key)
        if text is None or not text.startswith(b"%d " % version):
            return None
        record = unpacked(text, key, checked=True)
        self._recent.recalled(record, text)
        return record

    def read(self, unit: RedisUnit, key: Key, *, lock: bool = False) -> Record | None:
        """Return what is stored under a key, a tombstone too, or None.

        :param unit: an open unit.
        :param key: which record.
        :param lock: let the unit's commit fail where the record changes until then.
        :raises StorageError: when Redis fails, or what lies there is damaged.
        """
        pending = unit.pending.get(key)
        if pending is not None:
            return isolated(pending)
        return self._seen(unit, key).record if lock else self.fetch(key)

    def floor(self, unit: RedisUnit, key: Key) -> int:
        """Return the version above which a record of this name starts, where nothing is stored.

        :param unit: the unit in which the record was read.
        :param key: the absent record.
        :raises StorageError: when Redis fails.
        """
        seen = unit.seen.get(key) or self._seen(unit, key)
        return seen.version if seen.record is None else 0

    def apply(self, unit: RedisUnit, change: Change) -> int:
        """Take a change into the unit, if the version before it is the stored one.

        :param unit: an open writing unit.
        :param change: the change.
        :returns: the revision that it gets by the commit.
        :raises StateConflict: when another version is stored.
        :raises ConfigurationError: when a cluster would have to look at two shards at once.
        :raises StorageError: when Redis fails.
        """
        key = change.key
        pending = unit.pending.get(key)
        actual = (unit.seen.get(key) or self._seen(unit, key)).version if pending is None else pending.version
        if actual != change.version - 1:
            raise StateConflict(key, change.version - 1, actual)
        shard = unit.shards[self.shard_of(key).identity]
        self._committing.check(unit)
        drawn = change.drawn(unit.foretold(shard))
        unit.writes.append(Write.of(drawn, shard))
        unit.pending[key] = isolated(drawn.after)
        return drawn.revision

    def alter(self, key: Key, work: Work, *, seen: Seen = UNSEEN) -> list[Change]:
        """Change one record: a round trip to read it, unless it is believed to be known, and one to write.

        :param key: which record.
        :param work: decides.
        :param seen: what the caller believes to be stored.
        :returns: the changes with their revisions.
        :raises StateConflict: when a race was lost.
        :raises StorageError: when Redis fails.
        """
        unit = RedisUnit()
        stored = self._seen(unit, key).record if seen is UNSEEN else seen
        found = work(unit, stored)
        if unit.writes or (found is not None and found.rest is not None):
            done = self._altered(unit, key, found, seen)
        elif found is None or not found.changes:
            done = []
        else:
            done = self._written(unit, key, found, seen)
        settle(unit.acts)
        return done

    def over(
        self, changes: Sequence[Change], seen: Mapping[Key, Record | None], told: Callable[[Change], Any]
    ) -> list[Change]:
        """Store changes of different records, each over what it was decided on, in one round trip.

        :param changes: the changes.
        :param seen: what each was decided on; None for nothing.
        :param told: called with each change after the commit.
        :returns: the changes with their revisions.
        :raises StateConflict: when something else is stored.
        :raises ConfigurationError: when a cluster would have to look at two shards at once.
        :raises StorageError: when Redis fails.
        """
        writes = []
        for change in changes:
            before = seen[change.key]
            believed = ANY if before is None else self._believed(before)
            writes.append(Write.of(change, self.shard_of(change.key), believed))
        self._committing.check_shards({write.shard.identity for write in writes})
        revisions = self._committing.write(writes)
        done = [change.drawn(revision) for change, revision in zip(changes, revisions, strict=True)]
        settle([partial(told, change) for change in done])
        return done

    def close(self) -> None:
        """Give back this process's connections."""
        self.link.close()

    def _altered(self, unit: RedisUnit, key: Key, found: Alteration | None, seen: Seen) -> list[Change]:
        """Commit more than changes of one record."""
        if isinstance(seen, Record):
            check_belief(key, seen, self._seen(unit, key).record)
        done = [] if found is None else self.applied(unit, found)
        self._committing.commit(unit)
        return done

    def _written(self, unit: RedisUnit, key: Key, found: Alteration, seen: Seen) -> list[Change]:
        """Write changes of one record, over the version that was read or is believed in."""
        shard = self.shard_of(key)
        shard = unit.shards.get(shard.identity, shard)
        first, *rest = found.changes
        believed = self._believed(seen) if isinstance(seen, Record) else ANY
        if not rest:
            done = [first.drawn(self._committing.write_one(Write.of(first, shard, believed)))]
        else:
            writes = [Write.of(first, shard, believed), *(Write.of(change, shard) for change in rest)]
            done = []
            for change, revision in zip(found.changes, self._committing.write(writes), strict=True):
                following = following_on(change, done[-1].after) if done else change
                done.append(following.drawn(revision))
        if found.told is not None:
            unit.acts += [partial(found.told, change) for change in done]
        return done

    def _believed(self, seen: Record) -> bytes:
        """Return what a script compares with what is stored: the text itself where it is known and short."""
        text = self._recent.origin(seen)
        if text is None:
            return digest_of(seen)
        return text if len(text) <= SHORT else text_digest(text)

    def _seen(self, unit: RedisUnit, key: Key) -> Stored:
        """Read a record for writing, with what the commit is going to compare."""
        shard = self.shard_of(key)
        self._committing.enter(unit, shard)
        current, (text, floor, last) = self.values(shard, lambda at: [at.record(key.name), at.floor, at.revision])
        record = None if text is None else unpacked(text, key)
        seen = Stored(record, int(floor or 0) if record is None else record.version)
        unit.seen[key] = seen
        unit.last.setdefault(shard.identity, int(last or 0))
        unit.shards.setdefault(shard.identity, current)
        return seen


def _records(keys: Sequence[Key], shard: Shard) -> list[bytes]:
    return [shard.record(key.name) for key in keys]

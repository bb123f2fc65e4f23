"""Looks and restores on Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from heapq import merge
from itertools import chain

from ...core.record import Key, Record
from ...core.snapshots import MAX_HELD, Look, Restore, Restored, Scan, Snapshots
from .aside import Laid
from .codec import unpacked
from .cursors import parsed, written
from .generation import clear_all
from .keys import FIRST_GENERATION, Shard
from .moment import Moment, Reach
from .restoring import Restoring
from .retention import RedisRetention
from .unit import RedisUnit


class RedisSnapshots(RedisRetention, Snapshots):
    """Looks shard by shard, and restores into another generation.

    On one server a look is of one moment, and a restore is seen by all at once. On a cluster each shard is of a moment
    of its own, and is restored in one moment of its own.
    """

    _log_length: Callable[[str], int]

    @contextmanager
    def looking(self, scan: Scan) -> Iterator[Look]:
        """Open a look: pages of names, and the log of what is changed meanwhile.

        :param scan: which records.
        :raises Compacted: when some of what has changed since the cursors is not known any more; while records are
            taken, when some of what changed meanwhile is not.
        :raises StateValidationError: when one of them is no cursor.
        :raises StorageError: when Redis fails.
        """
        with ExitStack() as stack:
            moments = self._moments(scan.buckets, scan.prefix, stack)
            cursors = {bucket: written(each.revision for each in some) for bucket, some in moments.items()}
            floors = {bucket: max(each.floor for each in some) for bucket, some in moments.items()}
            found = {bucket: self._found(scan, bucket, some) for bucket, some in moments.items()}
            yield Look(cursors, floors, self._batches(scan, moments, found, floors))

    def has_changed(self, scan: Scan) -> bool:
        """Tell whether anything has changed behind the cursors of a scan; without a prefix by the counters alone.

        :param scan: which records, and since when.
        :raises StateValidationError: when one of them is no cursor.
        :raises StorageError: when Redis fails.
        """
        with ExitStack() as stack:
            moments = self._moments(scan.buckets, scan.prefix, stack)
            return any(
                moment.has_changed(since)
                for bucket, some in moments.items()
                for moment, since in zip(some, self._since(scan, bucket, some), strict=True)
            )

    def put_back(self, restore: Restore, records: Callable[[], Iterable[Record]]) -> Restored:
        """Make records what they are given as, in another generation that takes the place of the present one.

        On a cluster that happens shard by shard: where a node is lost in between, some are restored and others are
        not, and the restore is to be repeated. Writers wait while the last of it is done.

        :param restore: what it shall come to; it has no use for its ``rest``.
        :param records: returns the records by bucket and name; called anew when a race was lost.
        :raises StateConflict: when racers won every attempt.
        :raises StorageTimeout: when another restore of a bucket does not come to its end.
        :raises StorageError: when Redis fails.
        """
        return Restoring(self, restore, self._log_length).run(records)

    def forget_tombstones(self, unit: RedisUnit, bucket: str, before: datetime, limit: int) -> int:
        """Remove what killed restores have left behind, and tombstones from before a moment.

        :param unit: an open writing unit of its own.
        :param bucket: the collection.
        :param before: the moment.
        :param limit: the most tombstones.
        :returns: how many were removed.
        :raises StorageError: when Redis fails; some may be gone by then.
        """
        for shard in self.shards(bucket):
            clear_all(self, shard)
        return super().forget_tombstones(unit, bucket, before, limit)

    def _moments(self, buckets: Sequence[str], prefix: str, stack: ExitStack) -> dict[str, list[Moment]]:
        """Fix the moment: on one server the same for all shards."""
        shards = [shard for bucket in buckets for shard in self.shards(bucket)]
        moments: dict[str, list[Moment]] = {bucket: [] for bucket in buckets}
        for shard, (generation, last, floor) in zip(shards, self._counters(shards), strict=True):
            moved = (generation or FIRST_GENERATION) != shard.generation
            current = self.layout.moved(shard, generation) if moved else shard
            reach = Reach(current, int(last or 0), int(floor or 0))
            moment = stack.enter_context(closing(Moment(self, reach, prefix, MAX_HELD // len(shards))))
            moments[shard.bucket].append(moment)
        return moments

    def _counters(self, shards: Sequence[Shard]) -> Iterator[tuple[bytes | None, ...]]:
        """Return generation, last revision and floor of each shard."""
        keys = [(shard.pointer, shard.revision, shard.floor) for shard in shards]
        together = [keys] if not self.spans else [[some] for some in keys]
        answers = self.link.ask([("MGET", *chain(*some)) for some in together])
        values = list(chain(*answers))
        return zip(values[::3], values[1::3], values[2::3], strict=True)

    def _since(self, scan: Scan, bucket: str, moments: Sequence[Moment]) -> list[int]:
        return parsed((scan.since or {})[bucket], len(moments))

    def _found(self, scan: Scan, bucket: str, moments: Sequence[Moment]) -> Iterator[Laid]:
        if scan.since is None:
            return merge(*(moment.all(scan.batch) for moment in moments), key=_name)
        revisions = self._since(scan, bucket, moments)
        ways = (moment.changed(since, scan.batch) for moment, since in zip(moments, revisions, strict=True))
        return merge(*ways, key=_name)

    def _batches(
        self, scan: Scan, moments: dict[str, list[Moment]], found: dict[str, Iterator[Laid]], floors: dict[str, int]
    ) -> Iterator[list[Record]]:
        everyone = list(chain(*moments.values())) if scan.since is None else []
        for bucket, way in found.items():
            for batch in _batched(way, scan.batch):
                yield [unpacked(text, Key(bucket, name.decode())) for name, text in batch]
                for moment in everyone:
                    moment.attend()
            floors[bucket] = max(floors[bucket], *(moment.floor for moment in moments[bucket]))


def _batched(way: Iterator[Laid], most: int) -> Iterator[list[tuple[bytes, bytes]]]:
    """Yield what there was, in batches none of which holds too much."""
    batch: list[tuple[bytes, bytes]] = []
    held = 0
    for name, text in way:
        if text is None:
            continue
        batch.append((name, text))
        held += len(text)
        if len(batch) >= most or held >= MAX_HELD:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _name(laid: Laid) -> bytes:
    return laid[0]

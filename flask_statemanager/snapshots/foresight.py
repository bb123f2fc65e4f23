"""What a restore would change, with names: snapshot and stores are read side by side, and nothing is written."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from ..core.record import Record
from ..core.restores import compared
from ..core.snapshots import Restored, Scan
from .chain import Chain
from .making import Progress
from .snapshot import Snapshot
from .stores import Group, Stores

_Place = tuple[int, str]
"""What records are sorted by: the place of their bucket, and their name."""

_EVERY = 500


class Foresight(Struct, frozen=True):
    """What a restore would come to, if nobody wrote before it.

    :param count: how many records would be created, changed, left the same, and removed.
    :param created: the first of those that are absent or deleted, as ``bucket:name``.
    :param changed: the first of those that are different.
    :param removed: the first of those that would be removed.
    """

    count: Restored
    created: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


class Foreseeing:
    """Compares a snapshot with what is stored.

    :param chain: the snapshot and what it stands on, opened.
    :param stores: where the buckets lie.
    :param snapshot: the snapshot.
    :param replacing: whether what is not in it would be removed.
    :param names: the most names of each kind.
    :param progress: told again and again how many records of the snapshot were read, of how many; None for nobody.
    """

    def __init__(
        self,
        chain: Chain,
        stores: Stores,
        snapshot: Snapshot,
        *,
        replacing: bool,
        names: int,
        progress: Progress | None,
    ) -> None:
        self._chain, self._stores, self._snapshot = chain, stores, snapshot
        self._replacing, self._most, self._progress = replacing, names, progress
        # Half of it is checking, as when it is restored.
        self._done, self._total = 0, 2 * chain.size
        self._count = Restored()
        self._names: dict[str, list[str]] = {"created": [], "changed": [], "removed": []}

    def run(self) -> Foresight:
        """Check the whole snapshot, then compare.

        :returns: what a restore would come to.
        :raises Compacted: when a store forgets too soon what changes meanwhile.
        :raises SnapshotDamaged: when something is not what was written.
        :raises StateValidationError: when one of its buckets is not there any more.
        :raises StorageError: when a store fails.
        """
        for read in self._chain.verify():
            self._reach(read)
        self._stores.chosen(self._snapshot.buckets)
        for group in self._stores.groups(self._snapshot.buckets):
            self._compare(group)
        created, changed, removed = (tuple(self._names[kind]) for kind in ("created", "changed", "removed"))
        return Foresight(self._count, created, changed, removed)

    def _compare(self, group: Group) -> None:
        """Merge the two, which both come by bucket and name."""
        places = {bucket: place for place, bucket in enumerate(group.buckets)}
        with group.power.looking(Scan(group.buckets, self._snapshot.prefix)) as look:
            stored = (record for batch in look.batches for record in batch)
            for before, after in _side_by_side(stored, self._chain.records(group.buckets), places):
                self._judge(before, after)

    def _judge(self, before: Record | None, after: Record | None) -> None:
        if after is not None:
            if self._done % _EVERY == 0:
                self._reach(self._done)
            self._done = min(self._done + 1, self._total)
            self._note(compared(after, before), after)
        gone = before is not None and before.deleted_at is None and (after is None or after.deleted_at is not None)
        if gone and before is not None and self._replacing:
            self._note(Restored(removed=1), before)

    def _note(self, count: Restored, record: Record) -> None:
        self._count += count
        for kind, names in self._names.items():
            if getattr(count, kind) and len(names) < self._most:
                names.append(str(record.key))

    def _reach(self, done: int) -> None:
        self._done = done
        if self._progress is not None:
            self._progress(done, self._total)


def _side_by_side(
    stored: Iterator[Record], kept: Iterator[Record], places: dict[str, int]
) -> Iterator[tuple[Record | None, Record | None]]:
    """Yield each record as it is stored and as it was kept, None where there is none."""
    one, other = next(stored, None), next(kept, None)
    while one is not None or other is not None:
        left, right = _place(one, places), _place(other, places)
        yield (one if left <= right else None), (other if right <= left else None)
        if left <= right:
            one = next(stored, None)
        if right <= left:
            other = next(kept, None)


def _place(record: Record | None, places: dict[str, int]) -> _Place:
    """Return where a record stands; behind all others where there is none."""
    return (len(places), "") if record is None else (places[record.key.bucket], record.key.name)

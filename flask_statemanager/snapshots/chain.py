"""A chain: a full snapshot and the deltas on it, read as the one snapshot that they amount to."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from ..core.record import Record
from .format import SnapshotReader

_Placed = tuple[int, str, int, Record]
"""A record behind what it is sorted by: the place of its bucket, its name, and how many later snapshots there are."""


class Chain:
    """The snapshots of a chain, opened.

    :param readers: the newest first, the full one last.
    """

    def __init__(self, readers: Sequence[SnapshotReader]) -> None:
        self._readers = readers

    @property
    def size(self) -> int:
        """How many records there are to be read."""
        contents = [reader.snapshot.contents for reader in self._readers]
        return sum(each.keys + each.deleted for each in contents)

    def verify(self) -> Iterator[int]:
        """Read everything, and check every byte.

        :returns: how many records were read so far, again and again.
        :raises SnapshotDamaged: when something is not what was written.
        :raises OSError: when something cannot be read.
        """
        before = 0
        for reader in self._readers:
            read = 0
            for read in reader.verify():
                yield before + read
            before += read

    def floors(self) -> dict[str, int]:
        """Return for each bucket the version above which a record starts where nothing is stored."""
        found: dict[str, int] = {}
        for reader in self._readers:
            for bucket, floor in reader.snapshot.contents.floors.items():
                found[bucket] = max(floor, found.get(bucket, 0))
        return found

    def records(self, buckets: Collection[str]) -> Iterator[Record]:
        """Yield the records, each as the newest snapshot that has it says, in order; tombstones too.

        :param buckets: only of these.
        :raises SnapshotDamaged: when something is not what was written.
        :raises OSError: when something cannot be read.
        """
        ways = [self._placed(reader, age, buckets) for age, reader in enumerate(self._readers)]
        # No two have the same three before the record, so that no record is compared.
        for _, some in groupby(heapq.merge(*ways), key=lambda placed: placed[:2]):
            yield next(some)[3]

    def _placed(self, reader: SnapshotReader, age: int, buckets: Collection[str]) -> Iterator[_Placed]:
        places = {bucket: place for place, bucket in enumerate(reader.snapshot.buckets) if bucket in buckets}
        for record in reader.records():
            place = places.get(record.key.bucket)
            if place is not None:
                yield place, record.key.name, age, record

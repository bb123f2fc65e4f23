"""How much a bucket holds: counted where that is quickly done, else as the worker has counted it last."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec.structs import asdict, replace

from ..core.bucket import Bucket
from ..core.clock import iso
from ..core.lists import Lists, Measure
from ..core.record import JSONObject, Key, Origin, Record
from ..core.step import Step
from .value import AROUND

BUCKET = "statemanager-measures"
"""The bucket of what the worker has counted, a record for each measured bucket."""

EXACT_TO = 100_000
"""Up to how many keys a bucket is counted when somebody asks."""

_ORIGIN = Origin("system", "measuring")


class Measures:
    """Measures one bucket.

    :param bucket: the bucket.
    :param lists: its backend, as one that lists names.
    :param kept: the bucket of what was counted; on the same backend.
    :param exact_to: up to how many keys are counted when somebody asks.
    """

    def __init__(self, bucket: Bucket, lists: Lists, kept: Bucket, *, exact_to: int = EXACT_TO) -> None:
        self._bucket = bucket
        self._lists = lists
        self._kept = kept
        self._exact_to = exact_to

    def measure(self) -> tuple[Measure, datetime | None]:
        """Return how much there is, and when that was so: None for now.

        :raises StorageError: when the storage fails.
        """
        found = self._counted(self._exact_to)
        if found is not None:
            return found, None
        record = self._kept.get(self._bucket.name)
        if record is None:
            # Nobody has counted yet: whoever asks first has to wait.
            return self.count(), None
        return Measure(**record.data), record.updated_at

    def refresh(self) -> bool:
        """Count, and keep what was found, where a bucket is too large to be counted on demand.

        :returns: whether it was.
        :raises StorageError: when the storage fails.
        """
        large = self._counted(self._exact_to) is None
        if large:
            self.count()
        return large

    def count(self) -> Measure:
        """Count all there is, and keep what was found.

        :raises StorageError: when the storage fails.
        """
        found = self._counted(None)
        assert found is not None, "without a bound everything is counted"
        data: JSONObject = asdict(found)

        def decide(stored: Record | None, now: datetime) -> Step:
            return Step("measure", _noted(self._bucket.name, data, stored, now))

        self._kept.write(self._bucket.name, decide, origin=_ORIGIN)
        return found

    def _counted(self, most: int | None) -> Measure | None:
        bucket = self._bucket
        with bucket.reading() as unit:
            return self._lists.measure(unit, bucket.name, bucket.clock.now(), most)


def _noted(name: str, data: JSONObject, stored: Record | None, now: datetime) -> Record:
    if stored is not None and not stored.deleted:
        return replace(stored, data=data)
    return Record(Key(BUCKET, name), name, "measure", "counted", data, {}, 0, 0, None, 1, now, now)


def shown_measure(measure: Measure, version: int, as_of: datetime | None) -> dict[str, Any]:
    """Return what ``stats()`` answers.

    :param measure: how much there is.
    :param version: the store's revision.
    :param as_of: when it was counted; None for now.
    """
    return {
        "total_keys": measure.keys,
        "total_size": max(0, measure.bytes - measure.keys * AROUND),
        "version": version,
        "metadata_keys": measure.with_metadata,
        "prefixes": dict(sorted(measure.prefixes.items())),
        "as_of": None if as_of is None else iso(as_of),
    }

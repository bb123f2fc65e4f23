"""Making a snapshot: looking at the stores, and writing down what is seen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack, suppress

from msgspec import Struct
from msgspec.structs import replace

from ..core.clock import Clock
from ..core.names import TimeOrderedIds
from ..core.snapshots import Look, Scan
from ..errors import Compacted
from .format import SnapshotWriter
from .shelf import Shelf
from .snapshot import DELTA, FULL, Label, Snapshot
from .stores import Group, Stores

logger = logging.getLogger("flask_statemanager.snapshots")

Progress = Callable[[int, int | None], None]
"""Takes how many records were done, and how many there are in all, if that is known."""

ATTEMPTS = 3
"""How often a full snapshot is begun, where a store tells what has changed meanwhile by a log that is cut."""

_ids = TimeOrderedIds()


class Wanted(Struct, frozen=True):
    """What a snapshot shall be of.

    :param buckets: the collections, in the order of :meth:`Stores.chosen`.
    :param prefix: how the names begin.
    :param base: what it shall stand on; None for a full one.
    :param automatic: whether a worker makes it by itself.
    """

    buckets: tuple[str, ...]
    prefix: str = ""
    base: Snapshot | None = None
    automatic: bool = False


class Maker:
    """Makes snapshots.

    :param shelf: where they go.
    :param stores: where the buckets lie.
    :param clock: the time.
    """

    def __init__(self, shelf: Shelf, stores: Stores, clock: Clock) -> None:
        self._shelf, self._stores, self._clock = shelf, stores, clock

    def make(self, wanted: Wanted, progress: Progress | None = None) -> Snapshot:
        """Make a snapshot; a full one where nothing can stand on the base any more.

        :param wanted: of what.
        :param progress: told how many records were written.
        :raises Compacted: when a store forgets too soon what changes meanwhile, again and again.
        :raises ConfigurationError: when a store can make none.
        :raises StorageError: when a store fails, or the file cannot be written; nothing is left of it then.
        """
        if wanted.base is not None:
            try:
                label = self._write(wanted, progress)
            except Compacted:
                logger.info("What has changed since the snapshot %s is not known any more.", wanted.base.id)
            else:
                if self._shelf.supports(label):
                    return self._shelf.get(label.id)
                self._shelf.discard(label.id)
            wanted = replace(wanted, base=None)
        for _ in range(ATTEMPTS - 1):
            with suppress(Compacted):
                return self._shelf.get(self._write(wanted, progress).id)
        return self._shelf.get(self._write(wanted, progress).id)

    def base_for(self, wanted: Wanted) -> Snapshot | None:
        """Return the newest snapshot that a delta of the same may stand on, or None.

        :param wanted: of what.
        :raises StorageError: when they cannot be listed.
        """
        marks = self._stores.marks(wanted.buckets)
        for found in reversed(self._shelf.all()):
            label = found.label
            alike = (label.buckets, label.prefix, label.stores) == (wanted.buckets, wanted.prefix, marks)
            if alike and label.cursors.keys() == marks.keys():
                return found
        return None

    def has_changed(self, snapshot: Snapshot) -> bool:
        """Tell whether what a snapshot is of may have changed since, at little cost.

        :param snapshot: the snapshot, whose buckets are known.
        :raises StorageError: when a store fails.
        """
        label = snapshot.label
        marks = self._stores.marks(label.buckets)
        if label.stores != marks or label.cursors.keys() != marks.keys():
            return True
        groups = self._stores.groups(label.buckets)
        return any(group.power.has_changed(_scan(group, label.prefix, snapshot)) for group in groups)

    def _write(self, wanted: Wanted, progress: Progress | None) -> Label:
        id_ = _ids.new()
        # The looks are closed first: what takes its time behind them, such as sending the file, holds up no store.
        with self._shelf.writing(id_) as stream, ExitStack() as stack:
            looks = [
                stack.enter_context(group.power.looking(_scan(group, wanted.prefix, wanted.base)))
                for group in self._stores.groups(wanted.buckets)
            ]
            label = self._label(id_, wanted, looks)
            floors = {bucket: floor for look in looks for bucket, floor in look.floors.items()}
            writer = SnapshotWriter(stream, label, floors)
            done = 0
            for records in (records for look in looks for records in look.batches):
                writer.add(records)
                done += len(records)
                if progress is not None:
                    progress(done, None)
            # What was purged while a look was open has raised a floor.
            floors.update({bucket: floor for look in looks for bucket, floor in look.floors.items()})
            writer.finish()
        return label

    def _label(self, id_: str, wanted: Wanted, looks: list[Look]) -> Label:
        return Label(
            id=id_,
            kind=FULL if wanted.base is None else DELTA,
            base=None if wanted.base is None else wanted.base.id,
            buckets=wanted.buckets,
            prefix=wanted.prefix,
            cursors={bucket: cursor for look in looks for bucket, cursor in look.cursors.items()},
            stores=self._stores.marks(wanted.buckets),
            created_at=self._clock.now(),
            automatic=wanted.automatic,
        )


def _scan(group: Group, prefix: str, base: Snapshot | None) -> Scan:
    since = None if base is None else {bucket: base.label.cursors[bucket] for bucket in group.buckets}
    return Scan(group.buckets, prefix, since)

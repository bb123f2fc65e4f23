"""The shelf: which snapshots there are, and what stands on what."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import SnapshotDamaged, SnapshotInUse, SnapshotNotFound, StateValidationError, StorageError, shown
from .format import END, SnapshotReader, read_end
from .snapshot import FULL, Label, Snapshot
from .storage import Sink, SnapshotStorage

logger = logging.getLogger("flask_statemanager.snapshots")

SUFFIX = ".snapshot"
LEAVING = ".leaving"
"""How the name of a mark ends that says that a snapshot is about to be removed: nothing new may stand on it."""

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_FARTHEST_END = 64 * 2**20


class Shelf:
    """Lists, opens and removes the files of snapshots.

    :param storage: where they are.
    """

    def __init__(self, storage: SnapshotStorage) -> None:
        self.storage = storage
        # What is complete never changes.
        self._known: dict[str, Snapshot] = {}

    def all(self) -> list[Snapshot]:
        """Return the complete snapshots that stay, the oldest first. Others are logged and left out.

        :raises StorageError: when they cannot be listed.
        """
        with self.translated("listed"):
            names = self.storage.names()
            leaving = {name.removesuffix(LEAVING) for name in names if name.endswith(LEAVING)}
            ids = sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))
            found = {id_: self._listed(id_) for id_ in ids if _ID.fullmatch(id_) and id_ not in leaving}
        self._known = {id_: snapshot for id_, snapshot in found.items() if snapshot is not None}
        return list(self._known.values())

    def get(self, snapshot_id: object, *, needed_by: str | None = None) -> Snapshot:
        """Return a snapshot.

        :param snapshot_id: its id.
        :param needed_by: the id of the one that stands on it.
        :raises SnapshotDamaged: when its file has no good end.
        :raises SnapshotNotFound: when there is none.
        :raises StateValidationError: when that is no id of a snapshot.
        :raises StorageError: when it cannot be read.
        """
        id_ = check_id(snapshot_id)
        with self.translated("read"):
            try:
                found = self._end(id_)
            except FileNotFoundError as error:
                raise SnapshotNotFound(id_, needed_by=needed_by) from error
        if found is None:
            raise SnapshotDamaged(id_, "its file has no good end")
        return found

    def chain(self, snapshot: Snapshot) -> list[Snapshot]:
        """Return a snapshot and what it stands on, the full one last.

        :param snapshot: the snapshot.
        :raises SnapshotDamaged: when they do not fit together.
        :raises SnapshotNotFound: when one of them is missing.
        :raises StorageError: when one of them cannot be read.
        """
        chain = [snapshot]
        while chain[-1].base is not None:
            upper = chain[-1]
            if not _ID.fullmatch(chain[-1].base):
                raise SnapshotDamaged(upper.id, "it stands on something that is no snapshot")
            base = self.get(chain[-1].base, needed_by=upper.id)
            if (base.buckets, base.prefix) != (upper.buckets, upper.prefix) or base in chain:
                raise SnapshotDamaged(upper.id, f"it does not fit on {base.id}")
            chain.append(base)
        if chain[-1].kind != FULL:
            raise SnapshotDamaged(snapshot.id, "there is no full one below it")
        return chain

    @contextmanager
    def reading(self, snapshot: Snapshot) -> Iterator[SnapshotReader]:
        """Open a snapshot's file.

        :param snapshot: the snapshot.
        :raises SnapshotNotFound: when it is gone.
        :raises StorageError: when it cannot be read, here or in the block.
        """
        with self.translated("read"):
            try:
                opened = self.storage.reading(f"{snapshot.id}{SUFFIX}")
                with opened as stream:
                    yield SnapshotReader(stream, snapshot)
            except FileNotFoundError as error:
                raise SnapshotNotFound(snapshot.id) from error

    @contextmanager
    def writing(self, snapshot_id: str) -> Iterator[Sink]:
        """Open the file of a new snapshot, which is there when the block ends.

        :param snapshot_id: its id.
        :raises StorageError: when it cannot be written, here or in the block.
        """
        with self.translated("written"), self.storage.writing(f"{snapshot_id}{SUFFIX}") as stream:
            yield stream

    def holds(self, snapshot_id: str) -> bool:
        """Tell whether there is a file of a snapshot, be it damaged.

        :param snapshot_id: its id.
        :raises StorageError: when that cannot be found out.
        """
        with self.translated("listed"):
            return f"{snapshot_id}{SUFFIX}" in self.storage.names()

    def supports(self, label: Label) -> bool:
        """Tell whether what a new delta stands on is there to stay.

        :param label: the delta's, which is complete by now, so that nobody can take its base away any more.
        :raises StorageError: when that cannot be found out.
        """
        with self.translated("listed"):
            names = set(self.storage.names())
        return f"{label.base}{SUFFIX}" in names and f"{label.base}{LEAVING}" not in names

    def remove(self, snapshot_id: str) -> None:
        """Remove a snapshot on which nothing stands.

        It is marked first, so that of two, one that removes it and one that makes a delta on it, one sees the other.

        :param snapshot_id: its id.
        :raises SnapshotInUse: when later ones stand on it.
        :raises StorageError: when it cannot be removed.
        """
        mark = f"{snapshot_id}{LEAVING}"
        with self.translated("removed"):
            with self.storage.writing(mark):
                pass
            needed_by = [each.id for each in self.all() if each.base == snapshot_id]
            if not needed_by:
                self.discard(snapshot_id)
            self.storage.remove(mark)
        if needed_by:
            raise SnapshotInUse(snapshot_id, needed_by)

    def discard(self, snapshot_id: str) -> None:
        """Remove a snapshot's file without looking at others.

        :param snapshot_id: its id.
        :raises StorageError: when it cannot be removed.
        """
        with self.translated("removed"):
            self.storage.remove(f"{snapshot_id}{SUFFIX}")

    def _listed(self, id_: str) -> Snapshot | None:
        try:
            return self._known.get(id_) or self._end(id_)
        except FileNotFoundError:  # removed since its name was read
            return None

    def _end(self, id_: str) -> Snapshot | None:
        name, length = f"{id_}{SUFFIX}", END
        while True:
            tail, size = self.storage.tail(name, length)
            found = read_end(tail, size, self.storage.path(name))
            if found is not None and found.id == id_:
                return found
            if length >= min(size, _FARTHEST_END):
                logger.warning("%s is no complete snapshot.", self.storage.path(name))
                return None
            length *= 8

    @contextmanager
    def translated(self, done: str) -> Iterator[None]:
        """Turn what the storage raises into errors of ours.

        :param done: what is done with the snapshots, as in "cannot be written".
        :raises StorageError: for any error of the storage.
        """
        try:
            yield
        except OSError as error:
            hint = "make room, or look at the right to write there" if done == "written" else "look whether it is there"
            said = error.strerror or str(error)
            raise StorageError(f"Snapshots in {self.storage.location} cannot be {done} ({said}): {hint}.") from error


def check_id(snapshot_id: object) -> str:
    """Return the id of a snapshot, or refuse it; a path is none.

    :param snapshot_id: what the caller passed.
    :raises StateValidationError: when it is none.
    """
    if isinstance(snapshot_id, str) and _ID.fullmatch(snapshot_id):
        return snapshot_id
    raise StateValidationError({"snapshot": [f"{shown(snapshot_id)} is no id of a snapshot."]})

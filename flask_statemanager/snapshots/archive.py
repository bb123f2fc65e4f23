"""The archive: the verbs that make snapshots of an app's buckets, check them, and restore from them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from ..core.clock import Clock
from ..core.codec import text_problem
from ..core.names import MAX_ID
from ..core.origins import OriginSource
from ..core.ports import Backend
from ..core.snapshots import Restored
from ..errors import SnapshotNotFound, StateValidationError, shown
from .chain import Chain
from .foresight import Foreseeing, Foresight
from .making import Maker, Progress, Wanted
from .restoring import Doubt, Restoring, Wish
from .shelf import Shelf, check_id
from .snapshot import Snapshot
from .storage import SnapshotStorage
from .stores import Stores

logger = logging.getLogger("flask_statemanager.snapshots")

REPLACE, MERGE = "replace", "merge"


class Archive:
    """Makes snapshots of whole buckets, and restores from them.

    :param storage: where their files lie.
    :param backends: returns the backend of each bucket that there is, by its name.
    :param clock: the time.
    :param origin: who asks.
    :param doubt: told of what a restore has written, once that is committed or nobody knows; None without a cache.
    """

    def __init__(
        self,
        storage: SnapshotStorage,
        backends: Callable[[], Mapping[str, Backend]],
        *,
        clock: Clock,
        origin: OriginSource,
        doubt: Doubt | None = None,
    ) -> None:
        self.clock = clock
        self.stores = Stores(backends)
        self.shelf = Shelf(storage)
        self.maker = Maker(self.shelf, self.stores, clock)
        self._origin = origin
        self._doubt = doubt

    def create_snapshot(
        self,
        buckets: Iterable[str] | None = None,
        prefix: str | None = None,
        incremental: bool = False,
        *,
        progress: Progress | None = None,
    ) -> Snapshot:
        """Write down what buckets hold in this moment, while others go on writing.

        All buckets of one store are of one moment; with several stores, each is of a moment of its own.

        :param buckets: their names; all that there are by default.
        :param prefix: only records whose names begin so.
        :param incremental: only what has changed since the newest snapshot of the same buckets and prefix, which this
            one stands on then. It becomes a full one where there is none, or where that is not known any more.
        :param progress: told again and again how many records were written.
        :returns: the snapshot, complete and on the disk.
        :raises Compacted: when a store forgets too soon what changes meanwhile.
        :raises ConfigurationError: when a backend can make none.
        :raises StateValidationError: when there is no such bucket, or no name can begin so.
        :raises StorageError: when a store fails, or the file cannot be written; nothing is left of it then.
        """
        wanted = Wanted(self.stores.chosen(buckets), _prefix(prefix))
        if incremental:
            wanted = Wanted(wanted.buckets, wanted.prefix, self.maker.base_for(wanted))
        made = self.maker.make(wanted, progress)
        logger.info("Made the %s snapshot %s of %d keys.", made.kind, made.id, made.keys)
        return made

    def list_snapshots(self) -> list[Snapshot]:
        """Return the complete snapshots, the oldest first.

        :raises StorageError: when they cannot be listed.
        """
        return self.shelf.all()

    def get_snapshot(self, snapshot_id: str) -> Snapshot:
        """Return a snapshot.

        :param snapshot_id: its id.
        :raises SnapshotDamaged: when its file has no good end.
        :raises SnapshotNotFound: when there is none.
        :raises StateValidationError: when that is no id of a snapshot.
        :raises StorageError: when it cannot be read.
        """
        return self.shelf.get(snapshot_id)

    def verify_snapshot(self, snapshot: Snapshot | str, *, progress: Progress | None = None) -> Snapshot:
        """Read all of a snapshot, and of those that it stands on, and check every byte.

        :param snapshot: the snapshot, or its id.
        :param progress: told again and again how many records were read.
        :returns: the snapshot.
        :raises SnapshotDamaged: when something is not what was written.
        :raises SnapshotNotFound: when there is none, or one that it stands on is missing.
        :raises StateValidationError: when that is no id of a snapshot.
        :raises StorageError: when it cannot be read.
        """
        found = self._found(snapshot)
        with self._opened(found) as chain:
            for read in chain.verify():
                if progress is not None:
                    progress(read, chain.size)
        return found

    def restore_snapshot(
        self,
        snapshot: Snapshot | str,
        mode: str = REPLACE,
        dry_run: bool = False,
        *,
        actor: str | None = None,
        source: str | None = None,
        reason: str | None = None,
        progress: Progress | None = None,
    ) -> Restored:
        """Make the records of a snapshot what they were in it.

        The whole snapshot, and what it stands on, is read and checked before anything is changed. What is changed in
        one store is changed at once; whoever is killed half-way leaves it as it was. Each record gets a new version and
        revision, so that no ``expect`` and no cursor from before holds, and has the change in its history, with the
        event ``restore``. Hooks, signals and effects do not hear of it.

        :param snapshot: the snapshot, or its id.
        :param mode: ``replace`` removes what is not in the snapshot, of its buckets and prefix; ``merge`` leaves it.
        :param dry_run: only count, and change nothing.
        :param actor: who asks; found out as everywhere by default.
        :param source: the part of the system.
        :param reason: why; the snapshot's id by default.
        :param progress: told again and again how many records were read or written.
        :returns: how many records were, or would be, created, changed, left the same, and removed.
        :raises SnapshotDamaged: when something is not what was written; nothing was changed then.
        :raises SnapshotNotFound: when there is none, or one that it stands on is missing.
        :raises StateConflict: when racers won every attempt.
        :raises StateValidationError: when an argument is unusable, or one of its buckets is not there any more.
        :raises StorageError: when it cannot be read, or a store fails. Of several stores, those before it are restored.
        """
        replacing, found = _replacing(mode), self._found(snapshot)
        origin = self._origin(actor=actor, source=source, reason=reason or f"snapshot {found.id}")
        wish = Wish(found, origin, replacing=replacing, rehearsing=dry_run)
        with self._opened(found) as chain:
            count = Restoring(chain, self.stores, wish, self._doubt, progress).run(self.clock.now())
        if not dry_run:
            logger.info("Restored the snapshot %s, asked by %s: %s.", found.id, origin.actor, count)
        return count

    def foresee_restore(
        self,
        snapshot: Snapshot | str,
        mode: str = REPLACE,
        *,
        names: int = 100,
        progress: Progress | None = None,
    ) -> Foresight:
        """Tell what a restore would change, with names; a dry run that says more and reads all of the buckets.

        :param snapshot: the snapshot, or its id.
        :param mode: as in :meth:`restore_snapshot`.
        :param names: the most names of each kind.
        :param progress: told again and again how many records were read.
        :returns: how many records would be created, changed, left the same and removed, and which.
        :raises Compacted: when a store forgets too soon what changes meanwhile.
        :raises SnapshotDamaged: when something is not what was written.
        :raises SnapshotNotFound: when there is none, or one that it stands on is missing.
        :raises StateValidationError: when an argument is unusable, or one of its buckets is not there any more.
        :raises StorageError: when it cannot be read, or a store fails.
        """
        replacing, found = _replacing(mode), self._found(snapshot)
        with self._opened(found) as chain:
            seen = Foreseeing(chain, self.stores, found, replacing=replacing, names=names, progress=progress)
            return seen.run()

    def delete_snapshot(self, snapshot: Snapshot | str) -> None:
        """Remove a snapshot for good.

        :param snapshot: the snapshot, or its id.
        :raises SnapshotInUse: when later ones stand on it.
        :raises SnapshotNotFound: when there is none.
        :raises StateValidationError: when that is no id of a snapshot.
        :raises StorageError: when it cannot be removed.
        """
        id_ = check_id(snapshot.id if isinstance(snapshot, Snapshot) else snapshot)
        if not self.shelf.holds(id_):
            raise SnapshotNotFound(id_)
        self.shelf.remove(id_)
        logger.info("Removed the snapshot %s.", id_)

    def _found(self, snapshot: Snapshot | str) -> Snapshot:
        return self.shelf.get(snapshot.id if isinstance(snapshot, Snapshot) else snapshot)

    @contextmanager
    def _opened(self, snapshot: Snapshot) -> Iterator[Chain]:
        with ExitStack() as stack:
            yield Chain([stack.enter_context(self.shelf.reading(each)) for each in self.shelf.chain(snapshot)])


def _replacing(mode: object) -> bool:
    if mode in (REPLACE, MERGE):
        return mode == REPLACE
    raise StateValidationError({"mode": [f"Must be 'replace' or 'merge', not {shown(mode)}."]})


def _prefix(prefix: object) -> str:
    if prefix is None:
        return ""
    if not isinstance(prefix, str) or len(prefix) > MAX_ID or text_problem(prefix):
        raise StateValidationError({"prefix": [f"{shown(prefix)} is no beginning of a name: pass text."]})
    return str.__str__(prefix)

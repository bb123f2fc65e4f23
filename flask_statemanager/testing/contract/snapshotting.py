"""The power Snapshots: a look at one moment, and a restore of all or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from ...core.ports import Backend
from ...core.powers import KeepsHistory, require
from ...core.query import ChangeQuery
from ...core.record import Change, Key, Record
from ...core.snapshots import RESTORE, Look, Restore, Restored, Scan, Snapshots
from ...errors import Compacted, StateConflict, StateValidationError
from ..clock import START
from .store import BUCKET, ORIGIN, Store, change_of, fail, new_record

LATER = START + timedelta(hours=1)


class Shots:
    """The backend's power with short verbs.

    :param backend: the backend under test.
    """

    def __init__(self, backend: Backend) -> None:
        self.power = require(backend, Snapshots, "The contract")  # type: ignore[type-abstract]

    def look(self, *buckets: str, prefix: str = "", since: Look | None = None, batch: int = 1000) -> list[Record]:
        """Return what a look shows.

        :param buckets: the collections; that of the contract by default.
        :param prefix: how the names begin.
        :param since: only what has changed behind this look.
        :param batch: the most records at once.
        """
        scan = Scan(buckets or (BUCKET,), prefix, None if since is None else since.cursors, batch)
        with self.power.looking(scan) as look:
            found = list(look.batches)
        assert all(0 < len(some) <= batch for some in found)
        return [record for some in found for record in some]

    def names(self, **asked: Any) -> list[str]:
        """Return the names of the live records that a look shows: :param asked: as :meth:`look` takes it."""
        return [record.key.name for record in self.look(**asked) if not record.deleted]

    def position(self, *buckets: str) -> Look:
        """Return a look of which only the cursors count.

        :param buckets: the collections; that of the contract by default.
        """
        with self.power.looking(Scan(buckets or (BUCKET,))) as look:
            return look

    def changed(self, since: Look, prefix: str = "") -> bool:
        """Tell whether anything has changed behind a look: :param since: which :param prefix: how the names begin."""
        return self.power.has_changed(Scan(tuple(since.cursors), prefix, since.cursors))

    def restore(self, records: Sequence[Record], *buckets: str, prefix: str = "", **asked: Any) -> Restored:
        """Restore records.

        :param records: the live records.
        :param buckets: the collections; that of the contract by default.
        :param prefix: how the names begin that it concerns.
        :param asked: what else the restore is to have.
        """
        fields: dict[str, Any] = {"floors": {}, "origin": ORIGIN, "now": LATER} | asked
        return self.power.put_back(Restore(buckets or (BUCKET,), prefix, **fields), lambda: iter(records))


class SnapshotContract:
    """Looks and restores."""

    power: ClassVar[str] = "Snapshots"

    @pytest.fixture
    def shots(self, backend: Backend) -> Shots:
        """The backend's power with short verbs."""
        return Shots(backend)

    # -- looks -----------------------------------------------------------------------------------------------------

    def test_a_look_shows_every_record_by_bucket_and_name(self, shots: Shots, store: Store) -> None:
        """As they are read one by one, tombstones too, and of no other bucket."""
        store.create("b", {"deep": {"n": [1, None, 1.5, "ü"]}}, expires_at=LATER, owner="me", metadata={"m": True})
        store.create("a")
        store.create("B")
        store.create("a", {"elsewhere": True}, bucket="another")
        store.create("a", bucket="unseen")
        store.delete("a")
        found = shots.look("another", BUCKET)
        assert found == [store.found("a", bucket="another"), *(store.found(name) for name in ("B", "a", "b"))]

    def test_a_look_comes_in_batches(self, shots: Shots, store: Store) -> None:
        """No record twice, none left out."""
        names = [f"n{number:02}" for number in range(25)]
        store.fill({name: {} for name in names})
        assert shots.names(batch=10) == names
        assert shots.names(batch=25) == names

    def test_a_look_at_a_prefix_is_a_range_of_names(self, shots: Shots, store: Store) -> None:
        """Nothing in a prefix is a wildcard."""
        store.fill({name: {} for name in ("a", "a:", "a:1", "a:~", "a;", "b", "_a:1")})
        assert shots.names(prefix="a:") == ["a:", "a:1", "a:~"]
        assert shots.names(prefix="%") == []

    def test_a_look_at_nothing_is_empty(self, shots: Shots) -> None:
        """There is no batch without records."""
        assert shots.look() == []

    def test_a_look_stays_in_its_moment(self, shots: Shots, store: Store) -> None:
        """What is taken in parts is one moment, whatever is written meanwhile."""
        store.fill({name: {"n": 1} for name in ("a", "b", "c")})
        before = {name: store.found(name) for name in ("a", "b", "c")}
        with shots.power.looking(Scan((BUCKET,), batch=1)) as look:
            first = next(look.batches)
            self.meanwhile(store)
            rest = [record for batch in look.batches for record in batch]
        assert [*first, *rest] == list(before.values())

    def meanwhile(self, store: Store) -> None:
        """Write while a look is open; override it where one connection must do for all.

        :param store: the store.
        """
        store.update("b", data={"n": 2})
        store.delete("c")
        store.create("d")

    # -- what has changed ------------------------------------------------------------------------------------------

    def test_a_later_look_shows_what_has_changed_behind_the_cursors(self, shots: Shots, store: Store) -> None:
        """Each record once, as it is now; deleted ones as tombstones."""
        store.fill({name: {} for name in ("kept", "changed", "deleted", "twice")})
        since = shots.position()
        assert shots.look(since=since) == []
        assert not shots.changed(since)
        store.update("twice", data={"n": 1})
        store.update("twice", data={"n": 2})
        store.update("changed", data={"n": 1})
        store.delete("deleted")
        store.create("new")
        expected = [store.found(name) for name in ("changed", "deleted", "new", "twice")]
        assert shots.look(since=since) == expected
        assert shots.look(since=since, batch=1) == expected

    def test_whether_anything_has_changed_is_asked_for_a_prefix_too(self, shots: Shots, store: Store) -> None:
        """What has other names does not count."""
        store.fill({"kept": {}, "new": {}})
        since = shots.position()
        store.update("new", data={"n": 1})
        assert shots.look(since=since, prefix="n") == [store.found("new")]
        assert shots.look(since=since, prefix="k") == []
        assert shots.changed(since)
        assert shots.changed(since, prefix="n")
        assert not shots.changed(since, prefix="k")

    def test_changes_of_another_bucket_are_none(self, shots: Shots, store: Store) -> None:
        """Though they draw from the same revisions."""
        store.create("a")
        since = shots.position()
        store.create("a", bucket="another")
        assert shots.look(since=since) == []
        assert not shots.changed(since)

    @pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "٣", "1" * 30])
    def test_what_is_no_cursor_is_refused(self, shots: Shots, store: Store, cursor: str) -> None:
        """By name."""
        store.create("a")
        scan = Scan((BUCKET,), since={BUCKET: cursor})
        with pytest.raises(StateValidationError, match="cursor"), shots.power.looking(scan):
            pass  # pragma: no cover - never entered

    def test_a_cursor_that_lies_ahead_is_of_another_store(self, shots: Shots, store: Store) -> None:
        """A database that was set back knows less than the cursor says."""
        store.create("a")
        scan = Scan((BUCKET,), since={BUCKET: "999999999"})
        with pytest.raises(Compacted), shots.power.looking(scan):
            pass  # pragma: no cover - never entered
        assert shots.power.has_changed(scan)

    # -- restores --------------------------------------------------------------------------------------------------

    def test_a_restore_makes_records_what_they_were(self, shots: Shots, store: Store) -> None:
        """Changed ones, deleted ones, untouched ones; what was not there is removed."""
        store.create("changed", {"n": [1, {"x": None}]}, owner="me", metadata={"m": 1}, expires_at=LATER)
        store.create("deleted", {"n": 1})
        store.create("same", {"n": 1})
        records = shots.look()
        store.update("changed", data={}, owner=None, status="next", expires_at=None)
        store.delete("deleted")
        store.create("added")
        assert shots.restore(records) == Restored(created=1, changed=1, same=1, removed=1)
        now = {record.key.name: record for record in shots.look()}
        assert now["added"].deleted
        for was in records:
            same = replace(now[was.key.name], version=was.version, revision=was.revision, updated_at=was.updated_at)
            assert same == was

    def test_a_restore_takes_every_record_further(self, shots: Shots, store: Store) -> None:
        """No version or revision from before is there any more, that of an untouched record neither."""
        store.fill({name: {"n": 1} for name in ("same", "changed", "deleted")})
        records = shots.look()
        store.update("changed", data={"n": 2})
        store.delete("deleted")
        store.create("added")
        before = {record.key.name: record for record in shots.look()}
        shots.restore(records)
        for record in shots.look():
            was = before[record.key.name]
            assert record.version == was.version + 1
            assert record.revision > max(each.revision for each in before.values())
            with pytest.raises(StateConflict):
                store.apply(change_of(was, was, "late"))

    def test_a_merge_leaves_what_it_is_not_given(self, shots: Shots, store: Store) -> None:
        """Only what is given is written."""
        store.create("given", {"n": 1})
        records = shots.look()
        store.update("given", data={"n": 2})
        left = store.create("left")
        assert shots.restore(records, replacing=False) == Restored(changed=1)
        assert store.found("left") == left
        assert store.found("given").data == {"n": 1}

    def test_a_restore_of_a_prefix_leaves_other_names(self, shots: Shots, store: Store) -> None:
        """And other buckets."""
        left = store.create("b"), store.create("a1", bucket="another"), store.create("A")
        store.create("a1")
        assert shots.restore([], prefix="a") == Restored(removed=1)
        assert store.found("a1").deleted
        assert (store.found("b"), store.found("a1", bucket="another"), store.found("A")) == left

    def test_a_restore_into_an_empty_store_goes_on_from_the_versions_of_the_records(
        self, shots: Shots, store: Store
    ) -> None:
        """Those of deleted ones too, so that no version is given again."""
        dead = new_record("dead", version=4, status="deleted", deleted_at=START)
        records = [new_record("a", {"n": 1}, version=7), new_record("b", version=2), dead]
        assert shots.restore(records) == Restored(created=2)
        assert {name: store.found(name).version for name in ("a", "b")} == {"a": 8, "b": 3}
        assert shots.names() == ["a", "b"]
        assert store.recreate("dead", at=LATER).version == 5

    def test_a_restore_starts_above_the_floors(self, shots: Shots, store: Store) -> None:
        """What was purged where the snapshot was made may come back in neither store under a version that it had."""
        records = [new_record("a", version=7), new_record("b", version=2)]
        assert shots.restore(records, floors={BUCKET: 5}) == Restored(created=2)
        assert {name: store.found(name).version for name in ("a", "b")} == {"a": 8, "b": 6}
        with shots.power.looking(Scan((BUCKET,))) as look:
            assert look.floors == {BUCKET: 5}

    def test_a_tombstone_in_a_restore_removes_nothing_by_itself(self, shots: Shots, store: Store) -> None:
        """Unless what is not given is removed; the versions go on from its own."""
        store.create("a", {"n": 1})
        dead = [new_record("a", version=6, status="deleted", deleted_at=START)]
        assert shots.restore(dead, replacing=False) == Restored()
        assert (store.found("a").version, store.found("a").data) == (6, {"n": 1})
        assert shots.restore(dead, rehearsing=True) == shots.restore(dead) == Restored(removed=1)
        assert (store.found("a").version, store.found("a").deleted) == (7, True)

    def test_a_store_that_was_set_back_goes_on_from_the_versions_of_the_records(
        self, shots: Shots, store: Store
    ) -> None:
        """Where a record has come less far in the store than it had when it was looked at."""
        store.create("a")
        shots.restore([new_record("a", {"n": 1}, version=9)])
        assert store.found("a").version == 10
        store.update("a", data={"n": 2})
        assert store.found("a").version == 11

    def test_a_restore_is_in_the_history(self, shots: Shots, store: Store, backend: Backend) -> None:
        """With who did it and why, and with what was there before."""
        store.create("changed", {"n": 1})
        records = shots.look()
        before = store.update("changed", data={"n": 2}), store.create("added")
        shots.restore(records)
        for was in before:
            last = self.history(backend, was.key.name)[-1]
            assert (last.event, last.origin, last.before, last.at) == (RESTORE, ORIGIN, was, LATER)
            assert last.after == store.found(was.key.name)

    def history(self, backend: Backend, name: str) -> list[Change]:
        """Return a record's changes, also without KeepsHistory if overridden: :param backend: it :param name: which."""
        kept = require(backend, KeepsHistory, "The contract")  # type: ignore[type-abstract]
        with backend.reading() as unit:
            return kept.changes(unit, ChangeQuery(BUCKET, Key(BUCKET, name)))

    def test_a_restore_compacts_older_cursors(self, shots: Shots, store: Store) -> None:
        """A later look cannot go on from before it, but from behind it."""
        store.create("a")
        since = shots.position()
        records = shots.look()
        shots.restore(records)
        with pytest.raises(Compacted), shots.power.looking(Scan((BUCKET,), since=since.cursors)):
            pass  # pragma: no cover - never entered
        assert shots.changed(since)
        assert shots.look(since=shots.position()) == []

    def test_a_rehearsed_restore_only_counts(self, shots: Shots, store: Store) -> None:
        """As the restore would."""
        store.fill({name: {} for name in ("changed", "deleted", "same")})
        records = shots.look()
        store.update("changed", data={"n": 2})
        store.delete("deleted")
        store.create("added")
        before = shots.look()
        count = Restored(created=1, changed=1, same=1, removed=1)
        assert shots.restore(records, rehearsing=True) == count
        assert shots.restore(records, rehearsing=True, replacing=False) == replace(count, removed=0)
        assert shots.look() == before
        assert shots.restore(records) == count

    def test_a_restore_that_fails_has_changed_nothing(self, shots: Shots, store: Store) -> None:
        """Whatever its records raise in the middle."""
        store.fill({f"n{number}": {"n": 1} for number in range(5)})
        before = shots.look()
        since = shots.position()

        def broken() -> Iterator[Record]:
            yield from [replace(record, data={}) for record in before[:3]]
            fail()

        restore = Restore((BUCKET,), "", {BUCKET: 50}, ORIGIN, LATER)
        with pytest.raises(ZeroDivisionError):
            shots.power.put_back(restore, broken)
        assert shots.look() == before
        assert shots.look(since=since) == []
        assert store.create("new").version == 1

    def test_a_restore_tells_what_it_looks_at(self, shots: Shots, store: Store) -> None:
        """A part of the names at a time, those that are removed too."""
        told: list[tuple[str, str]] = []
        parts: list[int] = []

        def tell(bucket: str, names: Sequence[str]) -> None:
            told.extend((bucket, name) for name in names)
            parts.append(len(names))

        store.create("removed")
        names = [f"n{number:04}" for number in range(1500)]
        shots.restore([new_record(name) for name in names], told=tell)
        assert told == [*((BUCKET, name) for name in names), (BUCKET, "removed")]
        assert max(parts) < 1500

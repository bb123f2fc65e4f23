"""The power Purges: tombstones go, versions stay."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from typing import ClassVar

import pytest
from msgspec.structs import replace

from ...core.ports import Alteration, Backend
from ...core.powers import MultiKey, require
from ...core.purges import Purges
from ...core.record import Change, Key
from ...errors import StateConflict
from ..clock import START
from .store import BUCKET, PATIENCE, Store, change_of, fail, new_record, patiently

_TICK = timedelta(microseconds=1)


def _minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


class PurgeContract:
    """Removing tombstones, and what a new record of the name begins with."""

    power: ClassVar[str] = "Purges"

    purges_at_once: ClassVar[bool] = False
    """Whether what a unit has purged is gone for good at once, also where the unit fails."""

    @pytest.fixture
    def graves(self, backend: Backend) -> Graves:
        """The backend's power with short verbs."""
        return Graves(backend)

    @pytest.fixture
    def neighbours(self, backend: Backend) -> list[str]:
        """Fifty names with one version floor; override it where a bucket lies in several stores."""
        return [f"n{number:02}" for number in range(50)]

    def test_a_bucket_begins_with_no_floor(self, graves: Graves) -> None:
        """Zero, so that the first version is 1."""
        assert graves.floor("a") == 0
        assert graves.forget(_minute(99)) == 0
        assert graves.floor("a") == 0

    def test_tombstones_from_before_the_moment_are_removed(self, graves: Graves, store: Store) -> None:
        """Not one from the moment itself, and nothing that lives."""
        graves.bury("old", at=_minute(5) - _TICK)
        graves.bury("new", at=_minute(5))
        store.create("alive")
        assert graves.forget(_minute(5)) == 1
        assert store.read("old") is None
        assert store.found("new").deleted
        assert not store.found("alive").deleted
        assert graves.forget(_minute(5)) == 0

    def test_what_was_made_again_is_no_tombstone(self, graves: Graves, store: Store) -> None:
        """However long ago it was removed."""
        graves.bury("a", at=_minute(1))
        store.recreate("a", {"n": 2}, at=_minute(2))
        assert graves.forget(_minute(99)) == 0
        assert store.found("a").version == 3

    def test_a_bucket_is_purged_by_itself(self, graves: Graves, store: Store) -> None:
        """With its own floor."""
        graves.bury("a", at=_minute(1))
        assert graves.forget(_minute(99), bucket="other") == 0
        assert store.found("a").deleted
        assert graves.forget(_minute(99)) == 1
        assert (graves.floor("a"), graves.floor("a", bucket="other")) == (2, 0)
        assert store.create("a", bucket="other").version == 1

    def test_as_many_as_asked_for_are_removed(self, graves: Graves, store: Store) -> None:
        """The longest dead first; each call goes on where the last one ended."""
        for number in range(5):
            graves.bury(f"k{number}", at=_minute(5 - number))
        assert graves.forget(_minute(99), limit=2) == 2
        assert [store.read(f"k{number}") is None for number in range(5)] == [False, False, False, True, True]
        assert [graves.forget(_minute(99), limit=2) for _ in range(3)] == [2, 1, 0]
        assert graves.forget(_minute(99), limit=0) == 0

    def test_the_floor_is_the_highest_version_removed_and_never_sinks(
        self, graves: Graves, store: Store, neighbours: list[str]
    ) -> None:
        """Whatever is removed later."""
        a, b, c, nowhere, *_others = neighbours
        graves.bury(a, at=_minute(1), versions=7)
        graves.bury(b, at=_minute(2), versions=3)
        assert graves.forget(_minute(99)) == 2
        assert graves.floor(a) == graves.floor(nowhere) == 7
        store.apply(graves.first(c, 8, at=_minute(3)))
        store.delete(c, at=_minute(4))
        graves.forget(_minute(99))
        assert graves.floor(c) == 9

    def test_a_new_record_begins_just_above_the_floor(self, graves: Graves, store: Store) -> None:
        """At no other version, so that whoever knew an earlier one of its name can never meet its own again."""
        graves.bury("a", at=_minute(1), versions=4)
        graves.forget(_minute(99))
        for version in (1, 4, 6, 9):
            with pytest.raises(StateConflict):
                store.apply(graves.first("a", version))
            assert store.read("a") is None
        store.apply(graves.first("a", 5))
        assert store.found("a").version == 5
        assert store.update("a", data={"n": 2}).version == 6

    def test_what_is_stored_does_not_care_for_the_floor(self, graves: Graves, store: Store) -> None:
        """Neither a record that is older than it, nor a tombstone that is made again."""
        store.create("young")
        store.create("dead")
        store.delete("dead", at=_minute(50))
        graves.bury("a", at=_minute(1), versions=9)
        graves.forget(_minute(40))
        assert graves.floor("a") == 9
        assert store.update("young", data={"n": 1}).version == 2
        assert store.recreate("dead", at=_minute(51)).version == 3
        with pytest.raises(StateConflict):
            store.apply(graves.first("young", 10))
        assert store.found("young").version == 2

    def test_floor_and_first_version_in_one_unit(self, backend: Backend, graves: Graves, store: Store) -> None:
        """As a write does it: read, ask for the floor, store; and what follows in the unit follows that."""
        graves.bury("a", at=_minute(1))
        graves.forget(_minute(99))
        with backend.writing() as unit:
            assert backend.read(unit, Key(BUCKET, "a"), lock=True) is None
            change = graves.first("a", graves.power.floor(unit, Key(BUCKET, "a")) + 1)
            revision = backend.apply(unit, change)
            backend.apply(unit, change_of(change.after, replace(change.after, data={"n": 2}), "update"))
        assert revision > 0
        assert (store.found("a").version, store.found("a").data) == (4, {"n": 2})

    def test_an_alteration_begins_just_above_the_floor_too(
        self, backend: Backend, graves: Graves, store: Store
    ) -> None:
        """In a transaction of its own."""
        graves.bury("a", at=_minute(1))
        graves.forget(_minute(99))

        def alter(version: int) -> list[Change]:
            return backend.alter(Key(BUCKET, "a"), lambda *_: Alteration([graves.first("a", version)]))

        for version in (2, 4):
            with pytest.raises(StateConflict):
                alter(version)
            assert store.read("a") is None
        assert [change.version for change in alter(3)] == [3]
        assert store.found("a").version == 3

    @pytest.mark.parametrize("number", [1, 40])
    def test_many_begin_just_above_the_floor_too(
        self, graves: Graves, store: Store, neighbours: list[str], number: int
    ) -> None:
        """Beside records that are changed, and tombstones that are made again."""
        alive, dead, purged, *others = neighbours
        store.create(alive)
        store.create(dead)
        store.delete(dead, at=_minute(50))
        graves.bury(purged, at=_minute(1))
        graves.forget(_minute(40))
        names = others[:number]
        again = change_of(store.found(dead), new_record(dead, {"n": 1}), "create")
        changed = change_of(store.found(alive), replace(store.found(alive), data={"n": 1}), "update")

        def apply(version: int) -> list[int]:
            return graves.apply([again, *(graves.first(name, version) for name in names), changed])

        for version in (1, 2, 4):
            with pytest.raises(StateConflict):
                apply(version)
            assert (store.read(names[0]), store.found(alive).version) == (None, 1)
        revisions = apply(3)
        assert revisions == sorted(set(revisions))
        stored = [store.found(name) for name in (dead, *names, alive)]
        assert [record.revision for record in stored] == revisions
        assert [record.version for record in stored] == [3, *[3] * number, 2]

    def test_tombstone_and_floor_go_together_where_the_unit_fails(
        self, backend: Backend, graves: Graves, store: Store
    ) -> None:
        """Both are as before; or both as after, where the store purges at once."""
        graves.bury("a", at=_minute(1))
        with suppress(ZeroDivisionError), backend.writing() as unit:
            assert graves.power.forget_tombstones(unit, BUCKET, _minute(99), 10) == 1
            fail()
        left = store.read("a")
        assert (None if left is None else left.version, graves.floor("a")) == (
            (None, 2) if self.purges_at_once else (2, 0)
        )

    def test_two_that_purge_at_once_remove_each_tombstone_once(self, graves: Graves, store: Store) -> None:
        """Neither waits for ever."""
        for number in range(20):
            graves.bury(f"k{number}", at=_minute(1), versions=2 + number % 3)
        barrier = threading.Barrier(2)

        def purge() -> int:
            barrier.wait(PATIENCE)
            removed = 0
            while found := patiently(lambda: graves.forget(_minute(99), limit=3)):
                removed += found
            return removed

        with ThreadPoolExecutor(2) as pool:
            removed = [each.result(PATIENCE) for each in [pool.submit(purge) for _ in range(2)]]
        # One may have met only what the other had in hand.
        assert sum(removed) + graves.forget(_minute(99)) == 20
        assert graves.floor("k1") == 4
        assert store.read("k19") is None


class Graves:
    """The power with short verbs; each opens a unit of its own.

    :param backend: the backend under test.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.power: Purges = require(backend, Purges, "The purge contract")  # type: ignore[type-abstract]
        self.store = Store(backend)

    def bury(self, name: str, *, at: datetime, versions: int = 2) -> None:
        """Leave a tombstone.

        :param name: of the record.
        :param at: when it was removed.
        :param versions: how many versions there were, the tombstone included.
        """
        self.store.create(name)
        for _ in range(versions - 2):
            self.store.update(name)
        self.store.delete(name, at=at)

    def forget(self, before: datetime, limit: int = 100, *, bucket: str = BUCKET) -> int:
        """Remove tombstones.

        :param before: from before this moment.
        :param limit: at most so many.
        :param bucket: in which bucket.
        """
        with self.backend.writing() as unit:
            return self.power.forget_tombstones(unit, bucket, before, limit)

    def floor(self, name: str, *, bucket: str = BUCKET) -> int:
        """Return the floor for an absent record.

        :param name: its name.
        :param bucket: in which bucket.
        """
        with self.backend.reading() as unit:
            return self.power.floor(unit, Key(bucket, name))

    def first(self, name: str, version: int, *, at: datetime = START) -> Change:
        """Return a change that follows nothing.

        :param name: of the record.
        :param version: its version.
        :param at: when.
        """
        record = new_record(name, {"n": 1}, created_at=at, updated_at=at, version=version)
        return replace(change_of(None, record, "create"), version=version, after=record)

    def apply(self, changes: Sequence[Change]) -> list[int]:
        """Store changes of different records in one unit, at once where the backend can.

        :param changes: in this order.
        """
        with self.backend.writing() as unit:
            if isinstance(self.backend, MultiKey):
                return self.backend.apply_many(unit, changes)
            return [self.backend.apply(unit, change) for change in changes]

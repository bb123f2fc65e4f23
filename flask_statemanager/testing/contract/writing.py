"""Reading, writing, comparing, rolling back; and who wins a race."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from ...core.ports import Backend
from ...core.record import Key
from ...errors import StateConflict
from ..clock import START
from .store import BUCKET, Store, change_of, new_record

RACERS = 4
PATIENCE = 30
"""Seconds until a thread that hangs fails the test."""


class _Failed(Exception):
    """What a test raises inside a unit."""


def _fail() -> None:
    raise _Failed


class WritingContract:
    """One version after another, all or nothing."""

    def test_nothing_is_read_where_nothing_was_written(self, store: Store) -> None:
        """An unknown key is None."""
        assert store.read("nobody") is None

    def test_what_was_applied_is_read_back(self, store: Store) -> None:
        """Every field of a record survives."""
        record = new_record(
            "a",
            {"n": 1},
            label="A thing",
            type="car",
            status="parked",
            metadata={"m": [1]},
            owner="me",
            schema_version=3,
            expires_at=START + timedelta(days=1),
        )
        revision = store.apply(change_of(None, record, "create"))
        assert store.read("a") == replace(record, revision=revision)

    def test_a_locking_read_returns_the_same(self, backend: Backend, store: Store) -> None:
        """Reading for a write is reading."""
        stored = store.create("a")
        with backend.writing() as unit:
            assert backend.read(unit, Key(BUCKET, "a"), lock=True) == stored
            assert backend.read(unit, Key(BUCKET, "b"), lock=True) is None

    def test_buckets_and_names_are_told_apart_exactly(self, store: Store) -> None:
        """Neither the bucket nor upper and lower case is lost."""
        store.create("a", {"is": "lower"})
        store.create("A", {"is": "upper"})
        assert store.read("a", bucket="other") is None
        store.create("a", {"is": "elsewhere"}, bucket="other")
        store.update("A", data={"is": "changed"})
        assert store.found("a").data == {"is": "lower"}
        assert store.found("A").data == {"is": "changed"}
        assert store.found("a", bucket="other").data == {"is": "elsewhere"}

    def test_a_unit_reads_its_own_writes(self, backend: Backend, store: Store) -> None:
        """What is applied is seen by the same unit before the commit."""
        store.create("a")
        before = store.found("a")
        with backend.writing() as unit:
            backend.apply(unit, change_of(before, replace(before, status="next"), "update"))
            seen = backend.read(unit, before.key)
        assert seen is not None
        assert (seen.version, seen.status) == (2, "next")

    def test_revisions_grow_over_all_keys(self, store: Store) -> None:
        """Each change draws a larger revision than all before it."""
        drawn = [store.create("a").revision, store.create("b").revision, store.update("a").revision]
        drawn.append(store.delete("b").revision)
        assert drawn == sorted(set(drawn))
        assert drawn[0] > 0

    def test_versions_count_on_over_deletion_and_recreation(self, store: Store) -> None:
        """A tombstone keeps the version, and a new record goes on from it."""
        assert store.create("a").version == 1
        assert store.update("a").version == 2
        assert store.delete("a").version == 3
        assert store.recreate("a", at=START + timedelta(hours=1)).version == 4

    def test_a_tombstone_is_read_as_a_record_that_is_deleted(self, store: Store) -> None:
        """The key of a deleted record is not forgotten."""
        store.create("a", {"n": 1})
        moment = START + timedelta(hours=1)
        store.delete("a", at=moment)
        tombstone = store.found("a")
        assert tombstone.deleted
        assert tombstone.deleted_at == moment

    def test_a_creation_over_a_live_record_is_a_conflict(self, store: Store) -> None:
        """Version 1 is written once."""
        stored = store.create("a", {"n": 1})
        with pytest.raises(StateConflict):
            store.apply(change_of(None, new_record("a", {"n": 2}), "create"))
        assert store.read("a") == stored

    def test_a_stale_write_is_a_conflict_and_changes_nothing(self, store: Store) -> None:
        """Who saw an older version loses, also by several versions."""
        first = store.create("a", {"n": 1})
        store.update("a", data={"n": 2})
        stored = store.update("a", data={"n": 3})
        with pytest.raises(StateConflict) as refused:
            store.apply(change_of(first, replace(first, data={"n": 9}), "update"))
        assert refused.value.key == first.key
        assert refused.value.expected == 1
        assert store.read("a") == stored

    def test_a_write_ahead_of_the_stored_version_is_a_conflict_and_changes_nothing(self, store: Store) -> None:
        """No version is ever skipped."""
        stored = store.create("a")
        ahead = replace(stored, version=5)
        with pytest.raises(StateConflict):
            store.apply(change_of(ahead, replace(ahead, status="next"), "update"))
        assert store.read("a") == stored
        assert store.update("a").version == 2

    def test_a_later_version_of_nothing_is_a_conflict(self, store: Store) -> None:
        """What never was cannot be changed."""
        ghost = new_record("ghost", version=3)
        with pytest.raises(StateConflict):
            store.apply(change_of(ghost, ghost, "update"))
        assert store.read("ghost") is None

    @pytest.mark.parametrize("seen", [1, 7], ids=["stale", "ahead"])
    def test_a_unit_survives_a_conflict_without_a_trace_of_it(self, backend: Backend, store: Store, seen: int) -> None:
        """A caught conflict leaves nothing behind, and the unit goes on."""
        store.create("a")
        stored = store.update("a", data={"n": 2})
        with backend.writing() as unit:
            base = replace(stored, version=seen)
            with pytest.raises(StateConflict):
                backend.apply(unit, change_of(base, replace(base, data={"n": 9}), "update"))
            backend.apply(unit, change_of(None, new_record("b"), "create"))
        assert store.read("a") == stored
        assert store.read("b") is not None
        for version in range(3, 9):
            assert store.update("a").version == version

    def test_an_exception_rolls_everything_back_and_goes_through(self, backend: Backend, store: Store) -> None:
        """A unit is all or nothing, over several keys and versions."""
        stored = store.create("a", {"n": 1})

        def fail() -> None:
            with backend.writing() as unit:
                second = change_of(stored, replace(stored, data={"n": 2}), "update")
                backend.apply(unit, second)
                backend.apply(unit, change_of(second.after, replace(second.after, data={"n": 3}), "update"))
                backend.apply(unit, change_of(None, new_record("b"), "create"))
                _fail()

        with pytest.raises(_Failed):
            fail()
        assert store.read("a") == stored
        assert store.read("b") is None
        assert store.update("a").version == 2
        assert store.create("b").version == 1

    def test_revisions_grow_over_a_rollback(self, backend: Backend, store: Store) -> None:
        """A revision that a rolled-back unit drew may be lost, and the next is larger than every committed one."""
        first = store.create("a")

        def fail() -> None:
            with backend.writing() as unit:
                backend.apply(unit, change_of(None, new_record("b"), "create"))
                _fail()

        with pytest.raises(_Failed):
            fail()
        assert store.create("c").revision > first.revision

    def test_acts_run_once_in_order_after_the_commit(self, backend: Backend, store: Store) -> None:
        """What waits for the commit sees what was committed, from any unit."""
        seen: list[tuple[str, bool]] = []

        def act(name: str) -> Callable[[], None]:
            return lambda: seen.append((name, store.read("a") is not None))

        with backend.writing() as unit:
            unit.after_commit(act("first"))
            backend.apply(unit, change_of(None, new_record("a"), "create"))
            unit.after_commit(act("second"))
            assert seen == []
        assert seen == [("first", True), ("second", True)]

    def test_what_acts_return_is_done_once_behind_all_of_them(self, backend: Backend) -> None:
        """So that everything is lined up before anything is told."""
        seen: list[str] = []

        def ending() -> None:
            seen.append("ending")

        def act(name: str) -> Callable[[], Callable[[], None]]:
            def run() -> Callable[[], None]:
                seen.append(name)
                return ending

            return run

        with backend.writing() as unit:
            unit.after_commit(act("first"))
            unit.after_commit(act("second"))
        assert seen == ["first", "second", "ending"]

    def test_an_act_may_write(self, backend: Backend, store: Store) -> None:
        """After the commit the backend is free again."""
        with backend.writing() as unit:
            unit.after_commit(lambda: store.apply(change_of(None, new_record("b"), "create")) and None)
            backend.apply(unit, change_of(None, new_record("a"), "create"))
        assert store.read("b") is not None

    def test_a_rollback_forgets_the_acts(self, backend: Backend) -> None:
        """What did not happen is not told."""
        seen: list[str] = []

        def fail() -> None:
            with backend.writing() as unit:
                unit.after_commit(lambda: seen.append("told"))
                _fail()

        with pytest.raises(_Failed):
            fail()
        assert seen == []

    @pytest.mark.parametrize("creating", [True, False], ids=["creation", "update"])
    def test_of_racers_on_one_version_exactly_one_wins(self, backend: Backend, store: Store, creating: bool) -> None:
        """However the writers meet, one of them commits and the others are told so."""
        seen = None if creating else store.create("a")
        start = threading.Barrier(RACERS)
        won: list[int] = []
        lost: list[StateConflict] = []

        def race(number: int) -> None:
            after = replace(seen or new_record("a"), data={"by": number})
            start.wait(PATIENCE)
            try:
                store.apply(change_of(seen, after, "update"))
            except StateConflict as conflict:
                lost.append(conflict)
            else:
                won.append(number)

        racers = [threading.Thread(target=race, args=(number,)) for number in range(RACERS)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(PATIENCE)
        assert len(won) == 1
        assert len(lost) == RACERS - 1
        assert store.found("a").data == {"by": won[0]}
        assert store.found("a").version == (1 if creating else 2)

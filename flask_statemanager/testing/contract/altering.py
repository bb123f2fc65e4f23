"""Reading, deciding and writing at once: the shortest way of a single write."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from ...core.ports import UNSEEN, Alteration, Backend, Seen, Work
from ...core.record import Change, Key, Record
from ...errors import StateConflict
from .store import BUCKET, Store, change_of, fail, new_record

RACERS = 4
PATIENCE = 30
"""Seconds until a thread that hangs fails the test."""

A = Key(BUCKET, "a")


def to(*statuses: str, rest: Callable[[Any, list[Change]], None] | None = None) -> Work:
    """Return what moves a record through some statuses, one change for each.

    :param statuses: the statuses.
    :param rest: what else is to be written.
    """

    def work(_unit: Any, stored: Record | None) -> Alteration:
        before = stored or new_record("a")
        changes: list[Change] = []
        for status in statuses:
            change = change_of(stored if not changes else before, replace(before, status=status), "update")
            changes.append(change)
            before = change.after
        return Alteration(changes, rest)

    return work


class AlteringContract:
    """One call reads, decides and stores, in a transaction of its own."""

    @pytest.fixture
    def alter(self, backend: Backend) -> Callable[..., list[Change]]:
        """Alter the record of these tests."""

        def alter(work: Work, seen: Seen = UNSEEN) -> list[Change]:
            return backend.alter(A, work, seen=seen)

        return alter

    def test_what_was_decided_is_stored(self, store: Store, alter: Any) -> None:
        """The change comes back with its revision, and is read back so."""
        [created] = alter(to("new"))
        [moved] = alter(to("next"))
        assert moved.revision > created.revision
        assert store.read("a") == moved.after
        assert (moved.after.version, moved.after.status, moved.after.revision) == (2, "next", moved.revision)

    def test_the_decision_gets_what_is_stored(self, store: Store, alter: Any) -> None:
        """Nothing at first, then the record; a decision for no change writes nothing."""
        found: list[Record | None] = []
        look: Work = lambda _unit, stored: found.append(stored)  # noqa: E731 - a work that only looks
        assert alter(look) == []
        stored = store.create("a")
        assert alter(look) == []
        assert found == [None, stored]
        assert store.read("a") == stored

    def test_several_changes_are_stored_one_after_the_other(self, store: Store, alter: Any) -> None:
        """Each is the one before of the next, with its revision."""
        store.create("a")
        first, second = alter(to("next", "last"))
        assert second.before == first.after
        assert store.read("a") == second.after
        assert second.after.version == 3

    def test_the_rest_is_written_in_the_same_transaction(self, backend: Backend, store: Store, alter: Any) -> None:
        """What follows from the changes is stored with them."""
        store.create("a")
        done: list[Change] = []

        def rest(unit: Any, changes: list[Change]) -> None:
            done.extend(changes)
            backend.apply(unit, change_of(None, new_record("b"), "create"))

        changes = alter(to("next", rest=rest))
        assert done == changes
        assert store.found("b").version == 1

    def test_where_the_rest_fails_nothing_is_stored(self, store: Store, alter: Any) -> None:
        """Changes and rest stand or fall together."""
        stored = store.create("a")
        with pytest.raises(ZeroDivisionError):
            alter(to("next", rest=lambda _unit, _done: fail()))
        assert store.read("a") == stored

    def test_where_the_decision_refuses_nothing_is_stored(self, store: Store, alter: Any) -> None:
        """Its error comes out as it is, and the next one works."""
        stored = store.create("a")
        with pytest.raises(ZeroDivisionError):
            alter(lambda _unit, _stored: fail())
        assert store.read("a") == stored
        assert alter(to("next"))[0].version == 2

    def test_what_the_caller_has_seen_is_taken_for_what_is_stored(self, store: Store, alter: Any) -> None:
        """A record, or nothing."""
        [created] = alter(to("new"), seen=None)
        [moved] = alter(to("next"), seen=created.after)
        assert store.read("a") == moved.after

    def test_a_wrong_belief_is_a_lost_race(self, store: Store, alter: Any) -> None:
        """Neither what is older nor nothing at all is taken for what is stored."""
        old = store.create("a")
        stored = store.update("a", data={"n": 1})
        for seen in (old, None):
            with pytest.raises(StateConflict):
                alter(to("next"), seen=seen)
        assert store.read("a") == stored
        assert alter(to("next"))[0].version == 3

    def test_a_belief_is_wrong_if_anything_of_it_is(self, store: Store, alter: Any) -> None:
        """It may come out of a cache that somebody else writes to: the version alone proves nothing."""
        stored = store.create("a", {"n": [1, {"m": None}]}, owner="me")
        for wrong in ({"data": {"n": 2}}, {"status": "other"}, {"owner": None}, {"revision": 99}, {"label": "x"}):
            with pytest.raises(StateConflict):
                alter(to("next"), seen=replace(stored, **wrong))
        assert store.read("a") == stored
        assert alter(to("next"), seen=stored)[0].version == 2

    def test_of_several_at_once_each_version_is_written_once(self, backend: Backend, store: Store, alter: Any) -> None:
        """Whoever loses a race is told so, and nothing of it is stored."""
        store.create("a")
        start = threading.Barrier(RACERS)
        won: list[int] = []
        errors: list[BaseException] = []

        def race() -> None:
            start.wait(PATIENCE)
            try:
                won.extend(change.version for change in alter(to("next")))
            except StateConflict:
                pass
            except BaseException as error:  # noqa: BLE001 - told to the test's own thread
                errors.append(error)

        racers = [threading.Thread(target=race) for _ in range(RACERS)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(PATIENCE)
        assert errors == []
        assert sorted(won) == list(range(2, len(won) + 2))
        assert store.found("a").version == len(won) + 1 >= 2

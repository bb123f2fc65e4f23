"""The power KeepsHistory: every change stays, and the past can be looked up."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from ...core.ports import Backend
from ...core.powers import KeepsHistory, require
from ...core.query import ChangeQuery
from ...core.record import Change, Key, Origin, Record
from ...errors import StateConflict
from ..clock import START
from .store import BUCKET, ORIGIN, Store, change_of, new_record

A, B = Key(BUCKET, "a"), Key(BUCKET, "b")


def _minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


class HistoryContract:
    """Changes, in order, each with the record before it."""

    power: ClassVar[str] = "KeepsHistory"

    @pytest.fixture
    def log(self, backend: Backend) -> Log:
        """The backend's changes with short verbs."""
        return Log(backend)

    @pytest.fixture
    def life(self, store: Store) -> list[str]:
        """Two records' lives: a is created, changed, deleted and created again, b is created and changed between."""
        store.create("a", {"n": 1})
        store.create("b", {"n": 1}, created_at=_minute(1), updated_at=_minute(1))
        store.update("a", at=_minute(2), data={"n": 2}, status="next")
        store.update("b", at=_minute(3), event="park")
        store.delete("a", at=_minute(4))
        store.recreate("a", {"n": 4}, at=_minute(5))
        return ["a1", "b1", "a2", "b2", "a3", "a4"]

    def test_nothing_has_no_history(self, log: Log) -> None:
        """An empty list, and None."""
        assert log.listed() == []
        assert log.at(A, 1) is None
        assert log.at(A, START) is None

    def test_changes_are_listed_by_revision(self, log: Log, life: list[str]) -> None:
        """Oldest first, or newest first, over all keys of the bucket."""
        assert log.listed() == life
        assert log.listed(newest_first=True) == life[::-1]

    def test_changes_of_one_key_are_its_own(self, log: Log, life: list[str]) -> None:
        """Its versions, without gaps, in both orders."""
        assert log.listed(key=A) == ["a1", "a2", "a3", "a4"]
        assert log.listed(key=A, newest_first=True) == ["a4", "a3", "a2", "a1"]
        assert log.listed(key=Key(BUCKET, "c")) == []

    def test_other_buckets_are_not_listed(self, store: Store, log: Log) -> None:
        """A bucket has its own history."""
        store.create("a", bucket="other")
        assert log.listed() == []
        assert log.listed(key=A) == []
        assert log.at(A, 1) is None

    def test_changes_of_one_event_are_listed(self, log: Log, life: list[str]) -> None:
        """Of all keys or of one."""
        assert log.listed(event="create") == ["a1", "b1", "a4"]
        assert log.listed(event="park") == ["b2"]
        assert log.listed(event="create", key=A) == ["a1", "a4"]
        assert log.listed(event="rent") == []

    def test_a_listing_goes_on_behind_a_revision(self, log: Log, life: list[str]) -> None:
        """In the order asked for, whatever the page size."""
        for newest_first in (False, True):
            wanted = life[::-1] if newest_first else life
            for size in (1, 2, 4):
                seen: list[str] = []
                after = None
                while page := log.changes(newest_first=newest_first, after=after, limit=size):
                    assert len(page) <= size
                    seen += map(_short, page)
                    after = page[-1].revision
                assert seen == wanted

    def test_a_listing_of_one_key_goes_on_behind_a_revision(self, log: Log, life: list[str]) -> None:
        """The revision of another key's change is a position too."""
        between = log.changes(key=B)[0].revision
        assert log.listed(key=A, after=between) == ["a2", "a3", "a4"]
        assert log.listed(key=A, after=between, newest_first=True) == ["a1"]

    def test_a_limit_of_zero_lists_nothing(self, log: Log, life: list[str]) -> None:
        """Zero is a number, not no limit."""
        assert log.listed(limit=0) == []

    def test_a_change_tells_everything(self, store: Store, log: Log) -> None:
        """Event, origin, moment, version, revision and the record after it."""
        origin = Origin("me", None, "a long reason " * 100, None, None)
        record = new_record("a", {"n": 1}, owner="me", expires_at=_minute(60), schema_version=2, metadata={"m": 1})
        revision = store.apply(change_of(None, record, "create", origin))
        after = replace(record, revision=revision)
        assert log.changes() == [Change(revision, A, 1, "create", None, after, origin, START)]

    def test_every_field_of_an_origin_is_kept(self, store: Store, log: Log) -> None:
        """Actor, source, reason, request id and idempotency key."""
        store.create("a")
        assert [change.origin for change in log.changes()] == [ORIGIN]

    def test_before_is_the_record_of_the_version_before(self, log: Log, life: list[str]) -> None:
        """With its own version and revision; None at a creation and at a re-creation."""
        changes = log.changes(key=A)
        assert [change.before for change in changes] == [None, changes[0].after, changes[1].after, None]

    def test_before_is_what_was_stored_and_not_what_the_writer_said(self, store: Store, log: Log) -> None:
        """Within one unit the writer does not know yet which revision was drawn for the version before."""
        first = change_of(None, new_record("a", {"n": 1}), "create")
        store.apply(first, change_of(first.after, replace(first.after, data={"n": 2}), "update"))
        created, updated = log.changes()
        assert updated.before == created.after

    def test_before_is_there_when_the_version_before_is_on_another_page(self, log: Log, life: list[str]) -> None:
        """A filter or a limit does not take it away."""
        first = log.changes(key=A)[0].after
        newest = log.changes(key=A, newest_first=True, limit=2)[-1]
        assert newest.before is not None
        assert newest.before.version == newest.version - 1
        assert [change.before for change in log.changes(event="update")] == [first]

    def test_a_deletion_shows_the_last_record_and_the_tombstone(self, log: Log, life: list[str]) -> None:
        """What was, and that it is gone."""
        change = log.changes(event="delete")[0]
        assert change.before is not None
        assert not change.before.deleted
        assert change.after.deleted_at == _minute(4)

    def test_a_record_is_found_as_it_was_at_a_version(self, log: Log, life: list[str]) -> None:
        """Over deletion and re-creation; a version that never was is None."""
        found = [log.at(A, version) for version in (0, 1, 2, 3, 4, 5)]
        assert [record and (record.version, record.status) for record in found] == [
            None,
            (1, "new"),
            (2, "next"),
            (3, "deleted"),
            (4, "new"),
            None,
        ]
        assert found[3] is not None
        assert found[3].deleted

    def test_a_record_is_found_as_it_was_at_a_moment(self, log: Log, life: list[str]) -> None:
        """From the very moment of a change on, until the next."""
        tick = timedelta(microseconds=1)
        moments = [START - tick, START, _minute(2) - tick, _minute(2), _minute(4), _minute(5) - tick, _minute(99)]
        versions = [record and record.version for record in (log.at(A, moment) for moment in moments)]
        assert versions == [None, 1, 1, 2, 3, 3, 4]

    def test_of_two_changes_at_one_moment_the_later_counts(self, store: Store, log: Log) -> None:
        """A clock that stands still does not hide a version."""
        store.create("a")
        store.update("a", status="next")
        found = log.at(A, START)
        assert found is not None
        assert found.version == 2

    def test_forgetting_removes_what_is_older_and_says_what(self, log: Log, life: list[str]) -> None:
        """From before the moment, not from the moment itself."""
        revisions = [change.revision for change in log.changes()]
        assert log.forget(_minute(3)) == revisions[:3]
        assert log.listed() == ["b2", "a3", "a4"]
        assert log.forget(_minute(3)) == []

    def test_forgetting_keeps_the_newest_change_of_every_record(self, log: Log, life: list[str]) -> None:
        """However old it is."""
        assert len(log.forget(_minute(99))) == 4
        assert log.listed() == ["b2", "a4"]

    def test_forgetting_reaches_every_bucket(self, store: Store, log: Log) -> None:
        """The log is one."""
        record = store.create("a", bucket="other")
        store.apply(change_of(record, replace(record, status="next"), "update"))
        assert len(log.forget(_minute(1))) == 1

    def test_forgetting_can_be_about_one_bucket(self, store: Store, log: Log, life: list[str]) -> None:
        """What others have logged stays."""
        record = store.create("a", bucket="other")
        store.apply(change_of(record, replace(record, status="next"), "update"))
        assert log.forget(_minute(99), bucket="nowhere") == []
        assert len(log.forget(_minute(99), bucket="other")) == 1
        assert log.listed() == life
        assert len(log.forget(_minute(99), bucket=BUCKET)) == 4
        assert log.listed() == ["b2", "a4"]

    def test_forgetting_can_be_about_names_that_begin_alike(self, log: Log, life: list[str]) -> None:
        """The others stay."""
        assert log.forget(_minute(99), prefix="aa") == []
        assert len(log.forget(_minute(99), bucket=BUCKET, prefix="a")) == 3
        assert log.listed() == ["b1", "b2", "a4"]

    def test_forgetting_goes_on_in_batches_the_oldest_first(self, log: Log, life: list[str]) -> None:
        """Each of at most so many, behind the last revision of the one before."""
        first = log.forget(_minute(99), limit=1)
        assert log.listed() == life[1:]
        second = log.forget(_minute(99), limit=2, after=first[-1])
        assert log.listed() == ["b2", "a3", "a4"]
        assert len(log.forget(_minute(99), limit=2, after=second[-1])) == 1
        assert log.forget(_minute(99), limit=0) == []

    def test_forgetting_leaves_no_gap(self, log: Log, life: list[str]) -> None:
        """A record with an earlier change that stays keeps the later ones too."""
        first = log.changes()[0].revision
        assert len(log.forget(_minute(99), after=first)) == 1
        assert log.listed() == ["a1", "a2", "b2", "a3", "a4"]

    def test_what_is_forgotten_is_as_if_nobody_had_looked(self, log: Log, life: list[str]) -> None:
        """No version, no moment, and no record before the oldest change that is left."""
        log.forget(_minute(3))
        found = [log.at(A, at) for at in (1, 2, 3, START, _minute(3), _minute(4))]
        assert [record and record.version for record in found] == [None, None, 3, None, None, 3]
        assert [change.before for change in log.changes(key=B)] == [None]
        assert [change.before and change.before.version for change in log.changes(key=A)] == [None, None]

    def test_versions_and_revisions_go_on_after_forgetting(self, store: Store, log: Log) -> None:
        """Nothing that was forgotten comes a second time."""
        store.create("a")
        last = store.update("a")
        log.forget(_minute(1))
        after = store.update("a")
        assert (after.version, after.revision > last.revision) == (3, True)

    def test_forgetting_that_is_rolled_back_has_not_happened(self, backend: Backend, log: Log, life: list[str]) -> None:
        """It belongs to its unit like any other write."""
        before = log.changes()
        with suppress(ZeroDivisionError), backend.writing() as unit:
            log.forget_in_vain(unit, _minute(99))
        assert log.changes() == before
        with backend.writing() as unit, suppress(ZeroDivisionError), unit.savepoint():
            log.forget_in_vain(unit, _minute(99))
        assert log.changes() == before

    def test_what_was_rolled_back_or_refused_leaves_no_history(self, store: Store, log: Log) -> None:
        """The log holds what is committed and nothing else, without a gap in the versions."""
        stored = store.create("a")
        second = change_of(stored, replace(stored, status="next"), "update")
        with pytest.raises(StateConflict):
            store.apply(second, second)
        with pytest.raises(StateConflict):
            store.apply(change_of(replace(stored, version=7), replace(stored, status="next"), "update"))
        assert log.listed() == ["a1"]
        store.update("a")
        assert log.listed() == ["a1", "a2"]

    def test_a_unit_lists_its_own_changes(self, backend: Backend, store: Store, log: Log) -> None:
        """History is read in the unit's transaction."""
        stored = store.create("a")
        with backend.writing() as unit:
            backend.apply(unit, change_of(stored, replace(stored, status="next"), "update"))
            seen = log.history.changes(unit, ChangeQuery(BUCKET))
            found = log.history.record_at(unit, A, 2)
        assert [_short(change) for change in seen] == ["a1", "a2"]
        assert found is not None

    def test_editing_what_was_listed_changes_nothing(self, store: Store, log: Log) -> None:
        """Changes and old records are the reader's own."""
        store.create("a", {"n": [1]})
        store.update("a", data={"n": [2]})
        for change in log.changes():
            change.after.data["n"].append(9)
            if change.before is not None:
                change.before.data.clear()
        past = log.at(A, 1)
        assert past is not None
        past.data.clear()
        assert [change.after.data for change in log.changes()] == [{"n": [1]}, {"n": [2]}]
        assert [change.before and change.before.data for change in log.changes()] == [None, {"n": [1]}]
        assert store.found("a").data == {"n": [2]}


class Log:
    """The history of a backend with short verbs.

    :param backend: one that keeps history.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.history = require(backend, KeepsHistory, "The history contract")  # type: ignore[type-abstract]

    def changes(self, **asked: Any) -> list[Change]:
        """List changes.

        :param asked: the fields of a :class:`ChangeQuery`.
        """
        with self.backend.reading() as unit:
            return self.history.changes(unit, ChangeQuery(BUCKET, **asked))

    def listed(self, **asked: Any) -> list[str]:
        """List changes as name and version, for example ``a1``.

        :param asked: the fields of a :class:`ChangeQuery`.
        """
        return [_short(change) for change in self.changes(**asked)]

    def forget(self, before: datetime, limit: int = 100, after: int = 0, **only: str) -> list[int]:
        """Remove changes.

        :param before: from before this moment.
        :param limit: at most so many.
        :param after: only behind this revision.
        :param only: only of this ``bucket``, of names that begin with this ``prefix``.
        :returns: their revisions.
        """
        with self.backend.writing() as unit:
            return self.history.forget_changes(unit, before, limit, after, **only)

    def forget_in_vain(self, unit: Any, before: datetime) -> None:
        """Remove changes, and fail after it.

        :param unit: an open writing unit.
        :param before: from before this moment.
        :raises ZeroDivisionError: always.
        """
        assert self.history.forget_changes(unit, before, 100)
        raise ZeroDivisionError

    def at(self, key: Key, at: int | datetime) -> Record | None:
        """Return a record as it was.

        :param key: which record.
        :param at: a version or a moment.
        """
        with self.backend.reading() as unit:
            return self.history.record_at(unit, key, at)


def _short(change: Change) -> str:
    return f"{change.key.name}{change.version}"

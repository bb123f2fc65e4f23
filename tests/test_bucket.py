"""The one write path: what happens in which order, and what a refusal leaves behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import MetaData
from sqlalchemy.orm import Session

from flask_statemanager.backends.memory import MemoryBackend
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.engine import make_engine
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.bucket import Bucket
from flask_statemanager.core.entry import Entry
from flask_statemanager.core.ports import Backend, Load, LoadMany
from flask_statemanager.core.powers import KeepsHistory, Searches, require
from flask_statemanager.core.publisher import MAX_CASCADE, Publisher
from flask_statemanager.core.query import ChangeQuery
from flask_statemanager.core.record import Change, Key, Origin, Record, Revision
from flask_statemanager.core.step import Decide, Policy, Step
from flask_statemanager.errors import (
    ConfigurationError,
    LimitExceeded,
    StateConflict,
    StateManagerError,
    StateNotFound,
    StateValidationError,
)
from flask_statemanager.testing import FakeClock
from flask_statemanager.testing.clock import START
from flask_statemanager.testing.contract.store import BUCKET, ORIGIN, new_record

HOUR = timedelta(hours=1)


def lapse(record: Record, now: datetime) -> Record | None:
    """A new thing past its time counts as expired."""
    over = record.expires_at is not None and record.expires_at <= now and record.status == "new"
    return replace(record, status="expired") if over else None


def create(name: str, **fields: Any) -> Decide:
    return lambda current, now: Step("create", new_record(name, **fields))


def update(**fields: Any) -> Decide:
    def decide(current: Record | None, now: datetime) -> Step:
        if current is None or current.deleted:
            raise StateNotFound("a")
        return Step("update", replace(current, **fields))

    return decide


def delete(current: Record | None, now: datetime) -> Step:
    assert current is not None
    return Step("delete", replace(current, status="deleted", deleted_at=now))


def nothing(current: Record | None, now: datetime) -> None:
    return None


class World:
    """A bucket, its clock, and what its publisher told."""

    def __init__(self, backend: Backend, cache: Any = None) -> None:
        self.backend = backend
        self.clock = FakeClock()
        self.publisher = Publisher()
        self.told: list[Change] = []
        self.publisher.subscribe("record", self.told.append)
        self.bucket = Bucket(BUCKET, Policy(10_000, lapse), backend, self.publisher, clock=self.clock, cache=cache)

    def write(self, name: str, decide: Decide, **options: Any) -> Record:
        record = self.bucket.write(name, decide, origin=ORIGIN, **options)
        assert record is not None
        return record

    def session(self) -> Session:
        assert isinstance(self.backend, SqlBackend)
        return Session(self.backend.engine)

    @property
    def events(self) -> list[tuple[str, str, int]]:
        return [(change.event, change.key.name, change.version) for change in self.told]

    @property
    def history(self) -> list[Change]:
        log = require(self.backend, KeepsHistory, "The test")  # type: ignore[type-abstract]
        with self.backend.reading() as unit:
            return log.changes(unit, ChangeQuery(BUCKET))

    @property
    def logged(self) -> list[tuple[str, str, int]]:
        return [(change.event, change.key.name, change.version) for change in self.history]


@contextmanager
def sqlite(url: str) -> Iterator[SqlBackend]:
    backend = SqlBackend(make_engine(url), declare(MetaData()), owned=True)
    backend.create_tables()
    yield backend
    backend.close()


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "memory":
        yield World(MemoryBackend())
        return
    with sqlite(f"sqlite:///{tmp_path / 'states.db'}") as backend:
        yield World(backend)


@pytest.fixture
def joining(tmp_path: Path) -> Iterator[World]:
    with sqlite(f"sqlite:///{tmp_path / 'states.db'}") as backend:
        yield World(backend)


# -- the pipeline ------------------------------------------------------------------------------------------------------


def test_a_write_decides_checks_stores_and_tells_in_that_order(world: World) -> None:
    steps: list[tuple[str, Any]] = []

    def decide(current: Record | None, now: datetime) -> Step:
        steps.append(("decide", (current, now)))
        return Step("create", new_record("a"))

    def check(change: Change) -> None:
        with world.bucket.reading() as unit:
            steps.append(("check", (change.revision, world.backend.read(unit, change.key))))

    def told(change: Change) -> None:
        steps.append(("told", (change.revision, world.bucket.get("a"))))

    world.bucket.checks.append(check)
    world.publisher.subscribe("told", told)
    record = world.write("a", decide)
    assert steps == [("decide", (None, START)), ("check", (0, None)), ("told", (record.revision, record))]


def test_a_write_returns_what_is_stored(world: World) -> None:
    record = world.write("a", create("a", data={"n": [1]}))
    assert record == world.bucket.get("a")
    assert (record.version, record.revision) == (1, world.history[0].revision)


def test_the_bucket_numbers_and_stamps_what_the_decision_left_open(world: World) -> None:
    lies = {"version": 9, "revision": 9, "updated_at": START - HOUR, "created_at": START - HOUR}
    created = world.write("a", create("a", **lies))
    assert (created.version, created.created_at, created.updated_at) == (1, START, START)
    later = world.clock.advance(60)
    updated = world.write("a", update(**lies))
    assert (updated.version, updated.created_at, updated.updated_at) == (2, START, later)


def test_the_change_that_is_told_is_the_change_that_is_logged(world: World) -> None:
    world.write("a", create("a"))
    world.write("a", update(status="next"))
    world.write("a", delete)
    world.write("a", create("a"))
    assert world.told == world.history
    assert [change.before and change.before.version for change in world.told] == [None, 1, 2, None]
    assert all(change.origin == ORIGIN for change in world.told)


def test_a_change_answers_for_its_origin(world: World) -> None:
    world.bucket.write("a", create("a"), origin=Origin("me", "web", "why", "r-1", "once"))
    (change,) = world.told
    shown = (change.actor, change.source, change.reason, change.request_id, change.idempotency_key)
    assert shown == ("me", "web", "why", "r-1", "once")


def test_a_decision_to_change_nothing_writes_and_tells_nothing(world: World) -> None:
    record = world.write("a", create("a"))
    world.bucket.checks.append(lambda change: pytest.fail("checked"))
    assert world.write("a", nothing) == record
    assert world.bucket.write("b", nothing, origin=ORIGIN) is None
    assert len(world.told) == len(world.history) == 1


def test_a_tombstone_is_absent_and_continues_its_version(world: World) -> None:
    world.write("a", create("a"))
    gone = world.write("a", delete)
    assert gone.deleted
    assert world.bucket.get("a") is None
    later = world.clock.advance(60)
    again = world.write("a", create("a"))
    assert (again.version, again.created_at, again.deleted_at) == (3, later, None)


def test_an_absent_record_is_none(world: World) -> None:
    assert world.bucket.get("nobody") is None


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_a_refused_decision_leaves_nothing(world: World) -> None:
    with pytest.raises(StateNotFound):
        world.write("a", update(status="next"))
    assert world.bucket.get("a") is None
    assert world.history == world.told == []


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_veto_of_any_check_leaves_nothing(world: World, position: int) -> None:
    record = world.write("a", create("a"))
    checked: list[int] = []

    def check(number: int) -> Any:
        def run(change: Change) -> None:
            checked.append(number)
            if number == position:
                raise StateValidationError({"data": ["No."]})

        return run

    world.bucket.checks += [check(number) for number in range(3)]
    with pytest.raises(StateValidationError):
        world.write("a", update(status="next"))
    assert checked == list(range(position + 1))
    assert world.bucket.get("a") == record
    assert len(world.told) == len(world.history) == 1


def test_a_value_beyond_the_limit_is_refused_with_its_exact_size(world: World) -> None:
    world.bucket.checks.append(lambda change: pytest.fail("checked"))
    text = "ä" * 5000
    with pytest.raises(LimitExceeded) as refused:
        world.write("a", create("a", data={"t": text}, metadata={"m": 1}))
    assert (refused.value.limit, refused.value.value) == (10_000, len('{"t":""}') + 10_000 + len('{"m":1}'))
    assert world.history == world.told == []


def test_a_value_of_exactly_the_limit_is_stored(world: World) -> None:
    filling = 10_000 - len('{"t":""}') - len("{}")
    assert world.write("a", create("a", data={"t": "x" * filling})).version == 1


# -- expectations ------------------------------------------------------------------------------------------------------


def test_the_expected_version_or_revision_is_written_over(world: World) -> None:
    world.write("b", create("b"))
    record = world.write("a", create("a"))
    assert record.version != record.revision
    record = world.write("a", update(), expect=record.version)
    record = world.write("a", update(), expect=Revision(record.revision))
    assert record.version == 3


@pytest.mark.parametrize("kind", ["version", "revision"])
def test_a_version_is_no_revision(world: World, kind: str) -> None:
    world.write("b", create("b"))
    record = world.write("a", create("a"))
    wrong: Any = record.revision if kind == "version" else Revision(record.version)
    with pytest.raises(StateConflict) as refused:
        world.write("a", update(), expect=wrong)
    assert refused.value.expected == wrong
    assert refused.value.actual == 1
    assert refused.value.key == Key(BUCKET, "a")
    assert len(world.history) == 2


def test_a_failed_expectation_is_not_tried_again_and_not_decided(world: World) -> None:
    world.write("a", create("a"))
    with pytest.raises(StateConflict):
        world.write("a", lambda current, now: pytest.fail("decided"), expect=5)


def test_an_expectation_of_an_absent_record_is_for_the_decision_to_refuse(world: World) -> None:
    with pytest.raises(StateNotFound):
        world.write("a", update(), expect=1)
    world.write("a", create("a"))
    world.write("a", delete)
    with pytest.raises(StateNotFound):
        world.write("a", update(), expect=1)


# -- expiry ------------------------------------------------------------------------------------------------------------


def test_past_its_time_a_record_reads_as_expired_and_nothing_is_written(world: World) -> None:
    record = world.write("a", create("a", expires_at=START + HOUR))
    world.clock.advance(3599)
    assert world.bucket.get("a") == record
    world.clock.advance(1)
    assert world.bucket.get("a") == replace(record, status="expired")
    assert world.bucket.present(record, START) == record
    assert len(world.history) == 1


def test_a_write_to_an_expired_record_applies_the_expiry_first_as_a_version_of_its_own(world: World) -> None:
    world.write("a", create("a", expires_at=START + HOUR))
    now = world.clock.advance(7200)
    seen: list[tuple[str, int]] = []

    def decide(current: Record | None, moment: datetime) -> Step:
        assert current is not None
        seen.append((current.status, current.version))
        return Step("revive", replace(current, status="new", expires_at=None))

    record = world.write("a", decide)
    assert seen == [("expired", 2)]
    assert (record.version, record.status) == (3, "new")
    expiry = world.history[1]
    assert (expiry.event, expiry.actor, expiry.source, expiry.reason) == ("expire", "system", "expiry", None)
    assert (expiry.idempotency_key, expiry.request_id) == (None, ORIGIN.request_id)
    assert expiry.at == now
    assert world.events == world.logged == [("create", "a", 1), ("expire", "a", 2), ("revive", "a", 3)]


def test_each_change_of_a_write_knows_the_revision_of_the_one_before(world: World) -> None:
    world.write("a", create("a", expires_at=START + HOUR))
    world.clock.advance(7200)
    world.write("a", update())
    assert world.told == world.history
    assert world.told[2].before == world.told[1].after


def test_checks_see_the_expiry_too_and_before_anything_is_stored(world: World) -> None:
    world.write("a", create("a", expires_at=START + HOUR))
    world.clock.advance(7200)
    seen: list[str] = []
    world.bucket.checks.append(lambda change: seen.append(change.event))
    world.write("a", update())
    assert seen == ["expire", "update"]


@pytest.mark.parametrize("refusing", ["decision", "check of the expiry", "check of the write", "expectation"])
def test_a_refused_write_leaves_even_the_expiry_unwritten(world: World, refusing: str) -> None:
    record = world.write("a", create("a", expires_at=START + HOUR))
    world.clock.advance(7200)

    def check(change: Change) -> None:
        if refusing == f"check of the {'expiry' if change.event == 'expire' else 'write'}":
            raise StateValidationError({"data": ["No."]})

    def refuse(current: Record | None, now: datetime) -> Step:
        raise StateValidationError({"data": ["No."]})

    world.bucket.checks.append(check)
    expect = 7 if refusing == "expectation" else None
    with pytest.raises(StateManagerError):
        world.write("a", refuse if refusing == "decision" else update(), expect=expect)
    assert len(world.history) == len(world.told) == 1
    assert world.bucket.get("a") == replace(record, status="expired")


def test_the_expected_version_is_the_one_before_the_expiry(world: World) -> None:
    world.write("a", create("a", expires_at=START + HOUR))
    world.clock.advance(7200)
    assert world.write("a", update(), expect=1).version == 3


def test_a_decision_to_change_nothing_leaves_the_expiry_unwritten_and_returns_what_reads_give(world: World) -> None:
    world.write("a", create("a", expires_at=START + HOUR))
    world.clock.advance(7200)
    assert world.write("a", nothing) == world.bucket.get("a")
    assert len(world.history) == 1


def test_a_tombstone_does_not_expire(world: World) -> None:
    world.write("a", create("a", expires_at=START + HOUR))
    world.write("a", delete)
    world.clock.advance(7200)
    assert world.write("a", create("a")).version == 3
    assert [event for event, _, _ in world.logged] == ["create", "delete", "create"]


def test_what_an_expiry_causes_is_told_behind_the_write_that_applied_it(world: World) -> None:
    def react(change: Change) -> None:
        if change.event == "expire":
            world.write("a", update(label="reacted"))

    world.publisher.subscribe("react", react)
    world.write("a", create("a", expires_at=START + HOUR))
    world.clock.advance(7200)
    world.write("a", update())
    assert [change.revision for change in world.told] == sorted(change.revision for change in world.told)
    assert world.events == world.logged


# -- time --------------------------------------------------------------------------------------------------------------


def test_a_clock_that_goes_back_never_makes_a_change_older_than_the_one_before(world: World) -> None:
    world.write("a", create("a"))
    world.clock.advance(-3600)
    record = world.write("a", update())
    gone = world.write("a", delete)
    again = world.write("a", create("a"))
    later = START + timedelta(microseconds=1)  # nothing meant for the one before can take it for that
    assert (record.updated_at, gone.deleted_at, again.created_at) == (START, START, later)
    assert [change.at for change in world.history] == [START, START, START, later]
    world.clock.set(START + HOUR)
    assert world.write("a", update()).updated_at == START + HOUR


def test_a_decision_is_told_the_moment_of_the_clock_in_utc(world: World) -> None:
    moment = datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=2)))
    world.clock.set(moment)
    seen: list[datetime] = []
    world.write("a", lambda current, now: seen.append(now) or Step("create", new_record("a")))
    assert seen == [moment]
    assert seen[0].utcoffset() == timedelta(0)


# -- nested writes -----------------------------------------------------------------------------------------------------


def nested_check(world: World, *, fail: bool) -> Any:
    def check(change: Change) -> None:
        if change.key.name != "a":
            return
        world.write("b", create("b"))
        assert world.bucket.get("b") is not None
        if fail:
            raise StateValidationError({"data": ["No."]})

    return check


def test_a_write_inside_a_check_joins_the_unit_and_is_told_with_it(world: World) -> None:
    world.bucket.checks.append(nested_check(world, fail=False))
    world.write("a", create("a"))
    assert world.events == world.logged == [("create", "b", 1), ("create", "a", 1)]


def test_a_write_inside_a_check_is_rolled_back_with_the_unit(world: World) -> None:
    world.bucket.checks.append(nested_check(world, fail=True))
    with pytest.raises(StateValidationError):
        world.write("a", create("a"))
    assert world.bucket.get("b") is None
    assert world.history == world.told == []


def test_a_write_to_the_same_record_inside_a_check_is_refused_by_name_and_leaves_nothing(world: World) -> None:
    world.write("a", create("a"))

    def check(change: Change) -> None:
        if change.after.label != "inner":
            world.write("a", update(label="inner"))

    world.bucket.checks.append(check)
    with pytest.raises(StateManagerError, match="is being written"):
        world.write("a", update(label="outer"))
    assert len(world.history) == len(world.told) == 1


def test_buckets_of_two_backends_do_not_share_a_unit(world: World) -> None:
    other = World(MemoryBackend())

    def check(change: Change) -> None:
        other.write("b", create("b"))
        raise StateValidationError({"data": ["No."]})

    world.bucket.checks.append(check)
    with pytest.raises(StateValidationError):
        world.write("a", create("a"))
    assert other.bucket.get("b") is not None


# -- races -------------------------------------------------------------------------------------------------------------


class Contested(MemoryBackend):
    """Loses the first races."""

    def __init__(self, losses: int) -> None:
        super().__init__()
        self.losses = losses

    def apply(self, unit: Any, change: Change) -> int:
        if self.losses:
            self.losses -= 1
            raise StateConflict(change.key, change.version - 1, None)
        return super().apply(unit, change)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_statemanager.core.retry.random.uniform", lambda low, high: 0)


def test_a_lost_race_is_decided_and_checked_anew(no_pauses: None) -> None:
    world = World(Contested(2))
    decided: list[int] = []
    checked: list[int] = []
    world.bucket.checks.append(lambda change: checked.append(1))
    world.write("a", lambda current, now: decided.append(1) or Step("create", new_record("a")))
    assert (len(decided), len(checked)) == (3, 3)
    assert len(world.told) == 1


def test_a_lost_race_is_run_again_and_a_failed_expectation_is_not(no_pauses: None) -> None:
    world = World(Contested(0))
    world.write("a", create("a"))
    world.backend.losses = 1  # type: ignore[attr-defined]
    assert world.write("a", update(), expect=1).version == 2
    with pytest.raises(StateConflict) as caught:
        world.write("a", update(), expect=1)
    assert (caught.value.expected, caught.value.actual) == (1, 2)


def test_who_loses_every_race_is_told(no_pauses: None) -> None:
    world = World(Contested(1000))
    with pytest.raises(StateConflict):
        world.write("a", create("a"))
    assert world.told == []


# -- what subscribers cause --------------------------------------------------------------------------------------------


def test_a_subscriber_that_writes_is_told_of_it_later_and_outside_the_unit(world: World) -> None:
    def react(change: Change) -> None:
        if change.key.name == "a":
            world.write("b", create("b"))
            assert world.events[-1][1] == "a"

    world.publisher.subscribe("react", react)
    world.write("a", create("a"))
    assert world.events == [("create", "a", 1), ("create", "b", 1)]


def test_an_endless_cascade_ends(caplog: pytest.LogCaptureFixture) -> None:
    world = World(MemoryBackend())
    world.publisher.subscribe("again", lambda change: world.write("a", update()) and None)
    world.write("a", create("a"))
    assert len(world.told) == MAX_CASCADE + 1
    assert "again failed" in caplog.text
    assert world.write("b", create("b")).version == 1


# -- joining a session -------------------------------------------------------------------------------------------------


def test_a_backend_that_cannot_join_says_so() -> None:
    world = World(MemoryBackend())
    for act in (
        lambda: world.bucket.get("a", session=object()),
        lambda: world.write("a", create("a"), session=object()),
        lambda: world.bucket.joining(object()).__enter__(),
    ):
        with pytest.raises(ConfigurationError, match="memory backend cannot join"):
            act()


def test_a_joined_write_is_told_after_the_owners_commit(joining: World) -> None:
    with joining.session() as session:
        joining.write("a", create("a"), session=session)
        assert joining.bucket.get("a", session=session) is not None
        assert joining.told == []
        session.commit()
    assert joining.events == joining.logged == [("create", "a", 1)]


def test_reads_and_writes_in_a_joining_block_share_its_transaction(joining: World) -> None:
    with joining.session() as session:
        with joining.bucket.joining(session):
            joining.write("a", create("a"))
            assert joining.bucket.get("a") is not None
        session.rollback()
    assert joining.bucket.get("a") is None
    assert joining.told == []


def test_the_owner_may_commit_inside_a_joining_block_and_go_on(joining: World) -> None:
    with joining.session() as session, joining.bucket.joining(session):
        joining.write("a", create("a"))
        session.commit()
        assert joining.events == [("create", "a", 1)]
        joining.write("a", update())
        session.rollback()
        joining.write("b", create("b"))
        session.commit()
    assert joining.events == joining.logged == [("create", "a", 1), ("create", "b", 1)]


def test_a_subscriber_may_write_when_the_owner_commits_inside_a_joining_block(joining: World) -> None:
    def react(change: Change) -> None:
        if change.key.name == "a":
            joining.write("b", create("b"))

    joining.publisher.subscribe("react", react)
    with joining.session() as session, joining.bucket.joining(session):
        joining.write("a", create("a"))
        session.commit()
        session.commit()
    assert ("create", "b", 1) in joining.logged
    assert joining.events == joining.logged


def test_several_joined_changes_are_told_in_the_order_of_their_revisions_whatever_they_cause(joining: World) -> None:
    def react(change: Change) -> None:
        if change.key.name == "a":
            joining.write("c", create("c"))

    joining.publisher.subscribe("react", react)
    with joining.session() as session:
        joining.write("a", create("a"), session=session)
        joining.write("b", create("b"), session=session)
        session.commit()
    assert joining.events == joining.logged


def test_a_refused_joined_write_leaves_the_transaction_usable(joining: World) -> None:
    with joining.session() as session:
        with pytest.raises(StateNotFound):
            joining.write("a", update(), session=session)
        joining.write("a", create("a"), session=session)
        with pytest.raises(StateConflict):
            joining.write("a", update(), expect=9, session=session)
        session.commit()
    assert joining.logged == [("create", "a", 1)]


# -- the read cache ----------------------------------------------------------------------------------------------------


class Shelf:
    """A read cache that shows what was asked of it."""

    def __init__(self) -> None:
        self.kept: dict[Key, Record | Entry] = {}
        self.near: dict[str, Entry] = {}
        self.asked: list[str] = []

    def at_hand(self, path: str) -> Entry | None:
        return self.near.get(path)

    def read(self, key: Key, load: Load) -> Record | Entry | None:
        self.asked.append(f"read {key.name}")
        if key not in self.kept:
            record = load(key)
            if record is None:
                return None
            self.put(record)
        return self.kept[key]

    def read_many(self, keys: Sequence[Key], load: LoadMany) -> dict[Key, Record | Entry]:
        self.asked.append(f"read {len(keys)}")
        missing = [key for key in keys if key not in self.kept]
        for record in load(missing).values():
            self.put(record)
        return {key: self.kept[key] for key in keys if key in self.kept}

    def put(self, record: Record) -> None:
        self.asked.append(f"put {record.key.name} {record.version}")
        self.kept[record.key] = Entry.of(record)

    def doubt(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.asked.append(f"doubt {key.name}")
            self.kept.pop(key, None)

    def check(self) -> bool:
        return True

    def close(self) -> None:
        self.kept.clear()


@pytest.fixture
def cached(tmp_path: Path) -> Iterator[World]:
    with sqlite(f"sqlite:///{tmp_path / 'states.db'}") as backend:
        yield World(backend, cache=Shelf())


def shelf(world: World) -> Shelf:
    assert isinstance(world.bucket.cache, Shelf)
    return world.bucket.cache


def test_a_read_fills_the_cache_and_the_next_is_answered_by_it(cached: World) -> None:
    record = cached.write("a", create("a"))
    assert cached.bucket.get("a") == record
    shelf(cached).kept[record.key] = replace(record, label="from the cache")
    found = cached.bucket.get("a")
    assert found is not None
    assert found.label == "from the cache"
    assert shelf(cached).asked == ["read a", "put a 1", "read a"]


def test_what_is_at_hand_is_offered_without_asking_outside_of_transactions(cached: World) -> None:
    entry = Entry.of(cached.write("a", create("a")))
    shelf(cached).near[f"{BUCKET}:a"] = entry
    assert cached.bucket.glance("a") is entry
    assert cached.bucket.glance("b") is None
    with cached.session() as session, cached.bucket.joining(session):
        assert cached.bucket.glance("a") is None
    assert shelf(cached).asked == []


@pytest.mark.parametrize("fields", [{"expires_at": START + HOUR}, {"deleted_at": START}], ids=["expiring", "deleted"])
def test_what_has_to_be_looked_at_twice_is_not_offered(cached: World, fields: dict[str, Any]) -> None:
    record = cached.write("a", create("a"))
    shelf(cached).near[f"{BUCKET}:a"] = Entry.of(replace(record, **fields))
    assert cached.bucket.glance("a") is None


def test_a_strong_read_asks_the_store_and_does_not_fill(cached: World) -> None:
    record = cached.write("a", create("a"))
    shelf(cached).kept[record.key] = replace(record, label="from the cache")
    assert cached.bucket.get("a", strong=True) == record
    assert cached.bucket.find_many(["a", "b"], strong=True) == {"a": record}
    assert shelf(cached).asked == []


def test_many_are_read_at_once_live_ones_only(cached: World) -> None:
    first = cached.write("a", create("a"))
    cached.write("b", create("b", expires_at=START + HOUR))
    cached.write("c", create("c"))
    cached.write("c", delete)
    cached.clock.advance(3600)
    for _ in range(2):
        found = cached.bucket.find_many(["a", "b", "c", "d"])
        records = {name: each.record() if isinstance(each, Entry) else each for name, each in found.items()}
        assert records.keys() == {"a", "b"}
        assert records["a"] == first
        assert records["b"].status == "expired"
    assert shelf(cached).asked == ["read 4", "put a 1", "put b 1", "put c 2", "read 4"]
    with cached.session() as session:
        assert cached.bucket.find_many(["a", "d"], session) == {"a": first}


def test_very_many_are_read_in_several_goes(cached: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_statemanager.core.reader.MAX_MANY", 2)
    for name in "abc":
        cached.write(name, create(name))
    assert cached.bucket.find_many(["a", "b", "c"]).keys() == {"a", "b", "c"}
    assert shelf(cached).asked[0] == "read 2"
    assert shelf(cached).asked[-2] == "read 1"


def test_an_absent_record_is_not_cached_and_a_tombstone_is(cached: World) -> None:
    assert cached.bucket.get("a") is None
    cached.write("a", create("a"))
    cached.write("a", delete)
    assert cached.bucket.get("a") is None
    assert cached.bucket.get("a") is None
    assert shelf(cached).asked == ["read a", "read a", "put a 2", "read a"]


def test_a_cached_record_expires_like_a_stored_one(cached: World) -> None:
    cached.write("a", create("a", expires_at=START + HOUR))
    cached.bucket.get("a")
    cached.clock.advance(7200)
    found = cached.bucket.get("a")
    assert found is not None
    assert found.status == "expired"


def test_writes_read_the_store_and_transactions_pass_the_cache_by(cached: World) -> None:
    cached.write("a", create("a"))
    cached.bucket.checks.append(lambda change: cached.bucket.get("a") and None)
    cached.write("a", update())
    with cached.session() as session:
        cached.bucket.get("a", session=session)
        with cached.bucket.joining(session):
            cached.bucket.get("a")
    assert shelf(cached).asked == []


# -- powers ------------------------------------------------------------------------------------------------------------


class Bare(Backend):
    """A backend without any power."""

    title = "bare"
    shareable = False
    identity = "bare"
    reading = writing = read = apply = close = lambda self, *args, **options: None  # type: ignore[assignment]


def test_a_missing_power_is_named_together_with_who_needs_it() -> None:
    with pytest.raises(ConfigurationError, match=r"The search page needs .* Searches, which the bare backend has not"):
        require(Bare(), Searches, "The search page")  # type: ignore[type-abstract]


def test_a_power_that_is_there_is_the_backend_itself() -> None:
    backend = MemoryBackend()
    assert require(backend, Searches, "The search page") is backend  # type: ignore[type-abstract]

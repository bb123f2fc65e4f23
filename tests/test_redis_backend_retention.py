"""What is over on Redis: expiry by a due-set and claims, tombstones that are purged, versions that never restart."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import redis
from msgspec.structs import replace

from flask_statemanager.backends.redis.backend import RedisBackend
from flask_statemanager.backends.redis.opening import open_redis
from flask_statemanager.backends.redis.retention import CLAIM
from flask_statemanager.core.lists import Span
from flask_statemanager.core.query import Lapse, Query
from flask_statemanager.core.record import Key, Record
from flask_statemanager.core.step import Step
from flask_statemanager.errors import StateConflict
from flask_statemanager.testing.clock import START, FakeClock
from flask_statemanager.testing.contract.store import BUCKET, ORIGIN, Store, change_of, new_record
from tests.test_redis_backend import bucket_on

LAPSES = (Lapse("thing", "new", "expired"),)
HOUR = timedelta(hours=1)
PATIENCE = 60


@pytest.fixture(params=[1, 3], ids=["one shard", "three shards"])
def backend(redis_url: str, request: pytest.FixtureRequest) -> Iterator[RedisBackend]:
    backend = RedisBackend(open_redis(redis_url), shards=lambda _bucket: request.param)
    yield backend
    backend.close()


@pytest.fixture
def store(backend: RedisBackend) -> Store:
    return Store(backend)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def due(backend: RedisBackend, at: datetime = START, limit: int | None = None) -> list[str]:
    with backend.reading() as unit:
        return [key.name for key in backend.due(unit, Query(BUCKET, at, lapses=LAPSES, limit=limit))]


def gone(record: Record, now: datetime) -> Record | None:
    """The expiry of a key with a value: it is absent."""
    if record.expires_at is None or record.expires_at > now:
        return None
    return replace(record, status="expired", deleted_at=now, expires_at=None)


def buried(record: Record | None, now: datetime) -> Step:
    assert record is not None
    return Step("remove", replace(record, deleted_at=now))


def purge(backend: RedisBackend, before: datetime, limit: int = 100) -> int:
    with backend.writing() as unit:
        return backend.forget_tombstones(unit, BUCKET, before, limit)


# -- expiry -----------------------------------------------------------------------------------------------------------


def test_what_is_handed_out_as_due_is_claimed_for_a_while(backend: RedisBackend, store: Store) -> None:
    for number in range(5):
        store.create(f"n{number}", expires_at=START - timedelta(seconds=number))
    assert due(backend, limit=2) == ["n4", "n3"]
    assert due(backend, limit=2) == ["n2", "n1"]
    assert due(backend) == ["n0"]
    assert due(backend) == []
    assert due(backend, START + timedelta(microseconds=CLAIM)) == ["n4", "n3", "n2", "n1", "n0"]


def test_a_claim_changes_nothing_of_what_is_listed(backend: RedisBackend, store: Store) -> None:
    store.create("over", expires_at=START)
    store.create("there", expires_at=START + HOUR)
    assert due(backend) == ["over"]
    with backend.reading() as unit:
        assert backend.listed(unit, Span(BUCKET, START)) == ["there"]
        assert backend.tally(unit, Span(BUCKET, START)) == 1


def test_a_claim_goes_with_a_write(backend: RedisBackend, store: Store) -> None:
    store.create("a", expires_at=START)
    assert due(backend) == ["a"]
    store.update("a", expires_at=START + timedelta(seconds=1))
    assert due(backend, START + timedelta(seconds=1)) == ["a"]


def test_many_that_no_rule_applies_to_do_not_hide_the_others(backend: RedisBackend, store: Store) -> None:
    for number in range(30):
        store.create(f"other{number}", type="other", expires_at=START - HOUR)
    store.create("a", expires_at=START)
    assert due(backend, limit=5) == ["a"]


def test_damage_keeps_nobody_from_the_others(
    backend: RedisBackend, store: Store, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    store.create("damaged", expires_at=START - HOUR)
    store.create("lost", expires_at=START - HOUR)
    store.create("a", expires_at=START)
    client.set(backend.shard_of(Key(BUCKET, "damaged")).record("damaged"), "nonsense")
    client.delete(backend.shard_of(Key(BUCKET, "lost")).record("lost"))
    with caplog.at_level(logging.ERROR, "flask_statemanager"):
        assert due(backend, limit=1) == ["a"]
    assert "contract:damaged" in caplog.text


def test_each_expiry_is_written_once_by_four_sweepers_and_none_early(backend: RedisBackend, store: Store) -> None:
    over = [store.create(f"over{number}", expires_at=START) for number in range(40)]
    store.create("later", expires_at=START + timedelta(microseconds=1))
    clock, start, errors = FakeClock(START), threading.Barrier(4), list[BaseException]()

    def sweep() -> None:
        bucket = bucket_on(backend, gone)
        bucket.clock = clock
        try:
            start.wait(PATIENCE)
            while names := due(backend, limit=7):
                for name in names:
                    bucket.expire(name, ORIGIN)
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            errors.append(error)

    sweepers = [threading.Thread(target=sweep) for _ in range(4)]
    for sweeper in sweepers:
        sweeper.start()
    for sweeper in sweepers:
        sweeper.join(PATIENCE)
    assert errors == []
    expired = [change for change in backend.follow(BUCKET, "0", limit=1000).changes if change.event == "expire"]
    assert sorted(change.key.name for change in expired) == sorted(record.key.name for record in over)
    assert {change.version for change in expired} == {2}
    assert not store.found("later").deleted


def test_nothing_is_left_to_the_expiry_of_redis_itself(
    backend: RedisBackend, store: Store, client: redis.Redis
) -> None:
    store.create("a", expires_at=START)
    store.create("b", expires_at=START + 10_000 * HOUR)
    assert {client.ttl(key) for key in client.scan_iter()} == {-1}


# -- purging ----------------------------------------------------------------------------------------------------------


def test_old_tombstones_go_and_young_ones_stay(backend: RedisBackend, store: Store, client: redis.Redis) -> None:
    for number in range(6):
        store.create(f"n{number}")
        store.delete(f"n{number}", at=START + number * HOUR)
    store.create("alive")
    assert purge(backend, START + 3 * HOUR, limit=2) == 2
    assert purge(backend, START + 3 * HOUR) == 1
    assert purge(backend, START + 3 * HOUR) == 0
    assert [store.read(f"n{number}") is None for number in range(6)] == [True] * 3 + [False] * 3
    assert store.read("alive") is not None
    assert not any(client.exists(backend.shard_of(Key(BUCKET, f"n{n}")).record(f"n{n}")) for n in range(3))


def test_a_new_record_starts_above_every_version_that_was_purged(redis_url: str) -> None:
    backend = RedisBackend(open_redis(redis_url))
    store, bucket = Store(backend), bucket_on(backend)
    store.create("a")
    for _ in range(5):
        store.update("a")
    store.delete("a")
    stale = store.create("b")
    store.delete("b", at=START)
    assert purge(backend, START + HOUR) == 2
    fresh = bucket.write("b", lambda _r, _n: Step("create", new_record("b")), origin=ORIGIN)
    assert fresh is not None
    assert fresh.version == 8
    for seen in (stale, None):
        with pytest.raises(StateConflict):
            store.apply(change_of(seen, replace(stale, status="stale"), "update"))
    with backend.reading() as unit:
        assert backend.floor(unit, Key(BUCKET, "never")) == 7
        assert backend.floor(unit, Key(BUCKET, "b")) == 0
    assert store.read("b") == fresh
    backend.close()


def test_what_is_purged_is_gone_although_its_unit_fails_and_is_counted_once(
    backend: RedisBackend, store: Store
) -> None:
    store.create("a")
    store.delete("a")
    with pytest.raises(ZeroDivisionError), backend.writing() as unit:  # noqa: PT012 - the block itself fails
        assert backend.forget_tombstones(unit, BUCKET, START + HOUR, 10) == 1
        assert backend.forget_tombstones(unit, BUCKET, START + HOUR, 10) == 0
        raise ZeroDivisionError
    assert store.read("a") is None
    with backend.reading() as unit:
        assert backend.floor(unit, Key(BUCKET, "a")) == 2


def test_more_than_one_script_takes_go_the_longest_dead_first(
    backend: RedisBackend, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_statemanager.backends.redis.retention.BATCH", 4)
    for number in range(15):
        store.create(f"n{number}")
        store.delete(f"n{number}", at=START - timedelta(seconds=number))
    assert purge(backend, START + HOUR, limit=10) == 10
    assert [number for number in range(15) if store.read(f"n{number}") is not None] == [0, 1, 2, 3, 4]


def test_versions_go_on_while_tombstones_are_purged_all_the_time(backend: RedisBackend, store: Store) -> None:
    """What is written anew between the look at the tombstones and their removal stays."""
    over, purged = threading.Event(), list[int]()

    def purging() -> None:
        while not over.is_set():
            purged.append(purge(backend, START.replace(year=3000)))

    purger = threading.Thread(target=purging)
    purger.start()
    bucket = bucket_on(backend)
    versions: list[int] = []
    try:
        for _ in range(60):
            made = bucket.write("a", lambda _r, _n: Step("create", new_record("a")), origin=ORIGIN)
            assert made is not None
            assert store.found("a").version == made.version
            versions.append(made.version)
            bucket.write("a", buried, origin=ORIGIN)
    finally:
        over.set()
        purger.join(PATIENCE)
    assert all(later == earlier + 2 for earlier, later in pairwise(versions))
    assert sum(purged) + purge(backend, START.replace(year=3000)) <= 60
    assert store.read("a") is None


def test_a_write_that_began_before_a_purge_goes_on_above_the_floor_or_loses(redis_url: str) -> None:
    backend = RedisBackend(open_redis(redis_url))
    store = Store(backend)
    store.create("a")
    tombstone = store.delete("a")
    with backend.writing() as unit:
        backend.apply(unit, change_of(tombstone, new_record("a"), "create"))
        assert purge(backend, START + HOUR) == 1
    assert store.found("a").version == 3
    tombstone = store.delete("a")
    bucket_on(backend).write("b", lambda _r, _n: Step("create", new_record("b")), origin=ORIGIN)
    for _ in range(5):
        store.update("b")
    store.delete("b")
    with pytest.raises(StateConflict), backend.writing() as unit:  # noqa: PT012 - its end raises
        backend.apply(unit, change_of(tombstone, new_record("a"), "create"))
        assert purge(backend, START.replace(year=3000)) == 2
    assert store.read("a") is None
    backend.close()


# -- much of it -------------------------------------------------------------------------------------------------------


def test_lists_go_on_over_pages_of_what_has_expired(
    backend: RedisBackend, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_statemanager.backends.redis.listing.PAGE", 3)
    with backend.writing() as unit:
        for number in range(30):
            over = START if number % 10 else None
            backend.apply(unit, change_of(None, new_record(f"n{number:02}", expires_at=over), "create"))
    with backend.reading() as unit:
        assert backend.listed(unit, Span(BUCKET, START)) == ["n00", "n10", "n20"]
        assert backend.listed(unit, Span(BUCKET, START, limit=2)) == ["n00", "n10"]
        assert backend.listed(unit, Span(BUCKET, START, limit=0)) == []
        assert backend.tally(unit, Span(BUCKET, START, after="n05")) == 2


def test_a_measure_that_is_too_much_work_is_none(backend: RedisBackend, store: Store) -> None:
    for number in range(5):
        store.create(f"n{number}", {"n": 1}, expires_at=START)
    store.create("there")
    with backend.reading() as unit:
        assert backend.measure(unit, BUCKET, START, 4) is None
        measure: Any = backend.measure(unit, BUCKET, START, 5)
        assert (measure.keys, measure.bytes, measure.prefixes) == (1, 2, {"": 1})
        before: Any = backend.measure(unit, BUCKET, START - HOUR, 0)
        assert (before.keys, before.bytes) == (6, 5 * 7 + 2)

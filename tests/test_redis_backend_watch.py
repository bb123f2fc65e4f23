"""Following the log on Redis: ordered, complete, resumable, and never silently incomplete."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
import redis
from msgspec.structs import replace

from flask_statemanager.backends.redis.backend import RedisBackend
from flask_statemanager.backends.redis.opening import open_redis
from flask_statemanager.core.record import Change, Key
from flask_statemanager.errors import Compacted, StateValidationError, StorageError, StorageUnavailable
from flask_statemanager.testing.clock import START
from flask_statemanager.testing.contract.store import BUCKET, ORIGIN, Store, change_of, fail, new_record
from tests.servers import RedisServer
from tests.test_redis_backend import added, bucket_on

PATIENCE = 60


@pytest.fixture
def backend(redis_url: str) -> Iterator[RedisBackend]:
    backend = RedisBackend(open_redis(redis_url))
    yield backend
    backend.close()


@pytest.fixture
def store(backend: RedisBackend) -> Store:
    return Store(backend)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def all_behind(backend: RedisBackend, cursor: str = "0", limit: int = 500) -> list[Change]:
    found: list[Change] = []
    while True:
        page = backend.follow(BUCKET, cursor, limit=limit)
        found, cursor = found + page.changes, page.cursor
        if not page.more:
            return found


def test_a_change_comes_with_both_records_its_origin_and_its_time(backend: RedisBackend, store: Store) -> None:
    first = store.create("a", {"n": 2**63 - 1})
    second = store.update("a", data={"n": 2}, at=START + timedelta(microseconds=1))
    third = store.delete("a")
    fourth = store.recreate("a", at=START + timedelta(hours=1))
    changes = all_behind(backend)
    assert [change.before for change in changes] == [None, first, second, None]
    assert [change.after for change in changes] == [first, second, third, fourth]
    assert [change.event for change in changes] == ["create", "update", "delete", "create"]
    assert {change.origin for change in changes} == {ORIGIN}
    assert [change.at for change in changes] == [change.after.updated_at for change in changes]
    assert [change.revision for change in changes] == [1, 2, 3, 4]


def test_a_page_looks_at_as_many_as_asked_for_and_tells_whether_there_is_more(
    backend: RedisBackend, store: Store
) -> None:
    for name in ("a:1", "b:1", "a:2", "b:2"):
        store.create(name)
    page = backend.follow(BUCKET, "0", prefix="a:", limit=2)
    assert ([change.key.name for change in page.changes], page.cursor, page.more) == (["a:1"], "2", True)
    page = backend.follow(BUCKET, page.cursor, prefix="a:", limit=2)
    assert ([change.key.name for change in page.changes], page.cursor, page.more) == (["a:2"], "4", False)
    assert backend.position(BUCKET) == "4"


@pytest.mark.parametrize("cursor", ["", "x", "1.2", "-1", "1 ", "\u0661", "9" * 17, None, 5])
def test_what_is_no_cursor_is_refused(backend: RedisBackend, store: Store, cursor: Any) -> None:
    store.create("a")
    with pytest.raises(StateValidationError, match="no cursor"):
        backend.follow(BUCKET, cursor)


def test_a_trimmed_log_is_compacted_with_where_to_go_on(redis_url: str) -> None:
    backend = RedisBackend(open_redis(redis_url), log_length=lambda _bucket: 100)
    store = Store(backend)
    with backend.writing() as unit:
        for number in range(400):
            backend.apply(unit, change_of(None, new_record(f"n{number}"), "create"))
    with pytest.raises(Compacted) as gone:
        backend.follow(BUCKET, "0")
    assert (gone.value.cursor, gone.value.restart) == ("0", "400")
    with pytest.raises(Compacted):
        backend.follow(BUCKET, "10")
    store.create("a")
    assert [change.key.name for change in backend.follow(BUCKET, gone.value.restart).changes] == ["a"]
    kept = backend.follow(BUCKET, "350").changes
    assert [change.revision for change in kept] == list(range(351, 402))
    backend.close()


@pytest.mark.parametrize("keep", [0, 1], ids=["all", "all but the last"])
def test_a_log_that_somebody_trimmed_is_compacted(
    backend: RedisBackend, store: Store, client: redis.Redis, keep: int
) -> None:
    store.create("a")
    store.create("b")
    client.xtrim(backend.shard_of(Key(BUCKET, "a")).log, maxlen=keep, approximate=False)
    with pytest.raises(Compacted):
        backend.follow(BUCKET, "0")
    assert backend.follow(BUCKET, "2").changes == []


def test_an_entry_that_is_missing_in_the_middle_is_not_passed_over(
    backend: RedisBackend, store: Store, client: redis.Redis
) -> None:
    for name in "abc":
        store.create(name)
    client.xdel(backend.shard_of(Key(BUCKET, "a")).log, "2-0")
    with pytest.raises(Compacted):
        backend.follow(BUCKET, "0")


def test_a_cursor_of_a_redis_that_has_forgotten_everything_is_compacted(
    backend: RedisBackend, store: Store, client: redis.Redis
) -> None:
    for name in "abc":
        store.create(name)
    cursor = backend.position(BUCKET)
    client.flushdb()
    store.create("a")
    with pytest.raises(Compacted) as gone:
        backend.follow(BUCKET, cursor)
    assert gone.value.restart == "1"
    with backend.following(BUCKET) as wait:
        assert wait(cursor, 0.0)


def test_a_damaged_entry_names_its_key(backend: RedisBackend, client: redis.Redis) -> None:
    shard = backend.shard_of(Key(BUCKET, "a"))
    client.set(shard.revision, 1)
    client.xadd(shard.log, {"n": "a", "t": "[]", "a": "nonsense"}, id="1-0")
    with pytest.raises(StorageError, match="contract:a is damaged"):
        backend.follow(BUCKET, "0")


def test_a_damaged_telling_names_its_key(backend: RedisBackend, store: Store, client: redis.Redis) -> None:
    shard = backend.shard_of(store.create("a").key)
    [(_number, fields)] = client.xrange(shard.log)
    client.delete(shard.log)
    client.xadd(shard.log, {**fields, b"t": b"[1]"}, id="1-0")
    with pytest.raises(StorageError, match="contract:a is damaged"):
        backend.follow(BUCKET, "0")


def test_readers_see_every_change_of_concurrent_writers_once_and_in_order(backend: RedisBackend, store: Store) -> None:
    for number in range(3):
        store.create(f"n{number}", {"n": 0})
    errors: list[BaseException] = []

    def write(number: int) -> None:
        bucket = bucket_on(backend)
        try:
            for _ in range(30):
                bucket.write(f"n{number}", added, origin=ORIGIN)
                with pytest.raises(ZeroDivisionError), backend.writing() as unit:  # noqa: PT012 - rolled back
                    backend.apply(unit, change_of(None, new_record(f"x{number}"), "create"))
                    fail()
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            errors.append(error)

    writers = [threading.Thread(target=write, args=(number % 3,)) for number in range(5)]
    for writer in writers:
        writer.start()
    cursor, seen, deadline = "0", list[Change](), time.monotonic() + PATIENCE
    with backend.following(BUCKET) as wait:
        while len(seen) < 3 + 5 * 30 and time.monotonic() < deadline:
            if wait(cursor, 1.0):
                # A reader of its own each time, as after a restart.
                page = backend.follow(BUCKET, cursor, limit=4)
                seen, cursor = seen + page.changes, page.cursor
    for writer in writers:
        writer.join(PATIENCE)
    assert errors == []
    assert [change.revision for change in seen] == list(range(1, 154))
    for number in range(3):
        own = [change for change in seen if change.key.name == f"n{number}"]
        assert all(later.before == earlier.after for earlier, later in pairwise(own))


def test_waiting_ends_with_the_time_and_at_once_where_there_is_something(backend: RedisBackend, store: Store) -> None:
    store.create("a")
    with backend.following(BUCKET) as wait:
        assert wait("0", PATIENCE)
        assert not wait("1", 0.05)
        writer = threading.Timer(0.05, store.create, ["b"])
        writer.start()
        assert wait("1", PATIENCE)
        writer.join(PATIENCE)
        assert not wait("2", 0.0)


def test_a_follower_hears_of_another_generation(backend: RedisBackend, store: Store, client: redis.Redis) -> None:
    stored = store.create("a")
    with backend.following(BUCKET) as wait:
        assert not wait("1", 0.01)
        client.set(backend.shard_of(stored.key).pointer, "1")
        # No new entry comes, and the counter stands where it was: what is followed is another log now.
        assert wait("1", PATIENCE)
        assert not wait("1", 0.01)


def test_a_follower_survives_the_end_of_its_connections(
    backend: RedisBackend, store: Store, client: redis.Redis
) -> None:
    store.create("a")
    with backend.following(BUCKET) as wait:
        assert not wait("1", 0.01)
        client.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(StorageUnavailable):
            wait("1", PATIENCE)
        store.create("b")
        assert wait("1", PATIENCE)


def test_a_change_of_several_records_is_seen_whole(redis_url: str) -> None:
    backend = RedisBackend(open_redis(redis_url), shards=lambda _bucket: 2)
    store = Store(backend)
    names = [f"n{number}" for number in range(6)]
    with backend.writing() as unit:
        for place, name in enumerate(names):
            moment = START + timedelta(seconds=place)
            backend.apply(unit, change_of(None, new_record(name, created_at=moment, updated_at=moment), "create"))
    assert [change.key.name for change in all_behind(backend)] == names
    assert [change.key.name for change in all_behind(backend, limit=1)] == names
    assert sum(map(int, backend.position(BUCKET).split("."))) == 6
    stored = store.found("n0")
    store.apply(change_of(stored, replace(stored, status="next"), "update"))
    assert backend.follow(BUCKET, backend.position(BUCKET)).changes == []
    backend.close()


def test_a_follower_of_a_redis_that_goes_away_is_told_so(mortal_redis: RedisServer) -> None:
    backend = RedisBackend(open_redis(mortal_redis.url, timeout=2))
    store = Store(backend)
    store.create("a")
    with backend.following(BUCKET) as wait:
        assert not wait("1", 0.01)
        mortal_redis.stop()
        with pytest.raises(StorageUnavailable):
            wait("1", PATIENCE)
        mortal_redis.start()
        # It has forgotten everything, which is worth a look.
        assert wait("1", PATIENCE)
        with pytest.raises(Compacted):
            backend.follow(BUCKET, "1")
    backend.close()

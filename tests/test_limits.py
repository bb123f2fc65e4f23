"""The storage of limits: what limits tests its storages for, and Flask-Limiter over it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask_limiter import Limiter
from limits import RateLimitItemPerMinute
from limits.errors import StorageError as LimitsStorageError
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

from flask_statemanager import StorageUnavailable
from flask_statemanager.integrations.limits import StateManagerStorage
from tests.worlds import World


@pytest.fixture
def storage(kv_world: World) -> StateManagerStorage:
    kv_world.clock.advance(60 - kv_world.clock.now().timestamp() % 60)  # where a minute begins
    found = storage_from_string("statemanager://kv")
    assert isinstance(found, StateManagerStorage)
    return found


@pytest.fixture(params=[FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter])
def limiter(request: pytest.FixtureRequest, storage: StateManagerStorage) -> object:
    return request.param(storage)


def test_each_strategy_admits_as_many_as_it_says(limiter: FixedWindowRateLimiter, kv_world: World) -> None:
    limit = RateLimitItemPerMinute(10)
    assert limiter.test(limit, "k")
    assert [limiter.hit(limit, "k") for _ in range(11)] == [True] * 10 + [False]
    assert not limiter.test(limit, "k")
    assert limiter.get_window_stats(limit, "k").remaining == 0
    assert limiter.hit(limit, "other", cost=10)
    assert not limiter.hit(limit, "third", cost=11)
    kv_world.clock.advance(120)
    assert limiter.get_window_stats(limit, "k").remaining == 10
    assert limiter.hit(limit, "k")
    limiter.clear(limit, "k")
    assert limiter.get_window_stats(limit, "k").remaining == 10


def test_a_fixed_window_ends_where_it_began_however_often_it_is_hit(
    storage: StateManagerStorage, kv_world: World
) -> None:
    begun = kv_world.clock.now().timestamp()
    assert (storage.get("a"), storage.get_expiry("a")) == (0, begun)
    assert storage.incr("a", 10) == 1
    kv_world.clock.advance(9)
    assert (storage.incr("a", 10, amount=2), storage.get_expiry("a")) == (3, begun + 10)
    kv_world.clock.advance(1)
    assert (storage.get("a"), storage.incr("a", 10)) == (0, 1)


def test_a_moving_window_forgets_each_hit_by_itself(storage: StateManagerStorage, kv_world: World) -> None:
    begun = kv_world.clock.now().timestamp()
    assert storage.get_moving_window("a", 2, 10) == (begun, 0)
    assert storage.acquire_entry("a", 2, 10)
    kv_world.clock.advance(6)
    assert storage.acquire_entry("a", 2, 10)
    assert not storage.acquire_entry("a", 2, 10)
    assert storage.get_moving_window("a", 2, 10) == (begun, 2)
    kv_world.clock.advance(4)
    assert storage.get_moving_window("a", 2, 10) == (begun + 6, 1)
    assert storage.acquire_entry("a", 2, 10)


def test_a_sliding_window_weighs_the_one_before(storage: StateManagerStorage, kv_world: World) -> None:
    assert storage.get_sliding_window("a", 60) == (0, 0.0, 0, 120.0)
    assert storage.acquire_sliding_window_entry("a", 10, 60, amount=10)
    kv_world.clock.advance(60)
    assert not storage.acquire_sliding_window_entry("a", 10, 60)
    kv_world.clock.advance(30)
    assert storage.get_sliding_window("a", 60) == (10, 30.0, 0, 90.0)
    assert storage.acquire_sliding_window_entry("a", 10, 60, amount=5)
    assert not storage.acquire_sliding_window_entry("a", 10, 60)
    kv_world.clock.advance(60)
    assert storage.get_sliding_window("a", 60) == (5, 30.0, 0, 90.0)
    storage.clear_sliding_window("a", 60)
    assert storage.get_sliding_window("a", 60)[0] == 0


def test_all_counts_are_forgotten_at_once(storage: StateManagerStorage, kv_world: World) -> None:
    storage.incr("a", 10)
    storage.acquire_entry("b", 2, 10)
    storage.acquire_sliding_window_entry("c" * 300, 2, 10)
    kv_world.states.kv.set("other", 1)
    assert (storage.check(), storage.reset(), storage.reset()) == (True, 3, 0)
    assert kv_world.states.kv.get("other") == 1


def test_of_many_at_once_no_more_are_let_in_than_the_limit_says(storage: StateManagerStorage, kv_world: World) -> None:
    def hit(_number: int) -> tuple[bool, bool, int]:
        with kv_world.app.app_context():
            moving = storage.acquire_entry("m", 5, 60)
            return moving, storage.acquire_sliding_window_entry("s", 5, 60), storage.incr("f", 60)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(hit, range(16)))
    assert [sum(let_in) for let_in in list(zip(*found, strict=True))[:2]] == [5, 5]
    assert sorted(count for _, _, count in found) == list(range(1, 17))


def test_a_storage_that_cannot_be_reached(storage: StateManagerStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise StorageUnavailable("no")

    monkeypatch.setattr(storage, "_parts", fail)
    monkeypatch.setattr(storage._kv, "_find", fail)
    assert not storage.check()
    with pytest.raises(StorageUnavailable):
        storage.get("a")
    storage.wrap_exceptions = True
    with pytest.raises(LimitsStorageError):
        storage.get("a")


def test_flask_limiter_counts_in_a_bucket(kv_world: World) -> None:
    app = kv_world.app
    limiter = Limiter(lambda: "somebody", app=app, storage_uri="statemanager://kv", strategy="moving-window")

    @app.get("/")
    @limiter.limit("2 per minute")
    def page() -> str:
        return "in"

    assert [app.test_client().get("/").status_code for _ in range(3)] == [200, 200, 429]
    assert kv_world.states.kv.keys("limits:moving:") != []

"""The read cache on a real Redis: shared, never older, never in the way."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask_caching import Cache
from redis import Redis

from flask_statemanager import ConfigurationError
from flask_statemanager.cache.discovery import from_flask_caching, from_manager, from_url
from flask_statemanager.cache.redis_cache import RedisReadCache
from flask_statemanager.core.record import Key
from tests.servers.redis_server import RedisServer
from tests.worlds import World, build, entered


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with Redis.from_url(redis_url) as found:
        yield found


@pytest.fixture
def cached_world(tmp_path: Path, redis_url: str) -> Iterator[World]:
    yield from entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", STATEMANAGER_CACHE_URL=redis_url))


def entry(client: Any) -> tuple[str, Any]:
    """Return version and content of the only entry."""
    (key,) = client.keys()
    version, _mark, body = client.get(key).decode().partition(":")
    return version, json.loads(body)


def test_a_write_puts_the_new_version_and_a_read_takes_it(cached_world: World, client: Any) -> None:
    world = cached_world
    state = world.states.register_state("u1", "user", {"a": 1})
    version, body = entry(client)
    assert (version, body["data"]) == ("1", {"a": 1})
    assert world.states.get_state("u1") == state
    world.states.update_state("u1", {"a": 2})
    assert entry(client)[0] == "2"
    assert world.states.get_state("u1").data == {"a": 2}  # type: ignore[union-attr]
    assert world.runtime.counters.value("cache.hit") == 2
    assert world.states.get_health_status()["cache"] == "on"
    assert world.states.get_health_status()["cache_hit_rate"] == 1.0


def test_a_miss_reads_the_database_and_fills(cached_world: World, client: Any) -> None:
    world = cached_world
    state = world.states.register_state("u1", "user")
    client.flushdb()
    assert world.states.get_state("u1") == state
    assert world.states.get_state("u1") == state
    assert (world.runtime.counters.value("cache.miss"), world.runtime.counters.value("cache.hit")) == (1, 1)
    assert world.states.get_health_status()["cache_hit_rate"] == 0.5
    assert world.states.get_state("absent") is None


def test_a_deletion_leaves_a_tombstone_that_a_slow_reader_cannot_replace(cached_world: World, client: Any) -> None:
    world = cached_world
    world.states.register_state("u1", "user")
    slow = world.runtime.cache.get(Key("state", "u1"))
    world.states.delete_state("u1")
    assert entry(client)[0] == "2"
    world.runtime.cache.put(slow)
    assert entry(client)[0] == "2"
    assert world.states.get_state("u1") is None


def test_an_older_version_never_replaces_a_newer_one(cached_world: World, client: Any) -> None:
    world = cached_world
    world.states.register_state("u1", "user")
    old = world.runtime.cache.get(Key("state", "u1"))
    for _ in range(11):
        world.states.update_state("u1")
    world.runtime.cache.put(replace(old, version=9))
    assert entry(client)[0] == "12"


def test_reads_inside_a_transaction_pass_the_cache_by_and_do_not_fill_it(cached_world: World, client: Any) -> None:
    world = cached_world
    world.states.register_state("u1", "user")
    with world.states.transaction(world.db.session):
        world.states.update_state("u1", {"a": 1})
        assert world.states.get_state("u1").version == 2  # type: ignore[union-attr]
        assert entry(client)[0] == "1"
    world.db.session.rollback()
    assert entry(client)[0] == "1"
    assert world.states.get_state("u1").version == 1  # type: ignore[union-attr]


def test_an_expired_state_is_expired_from_the_cache_too(cached_world: World) -> None:
    cached_world.states.register_state("s1", "session", ttl=60)
    cached_world.clock.advance(60)
    assert cached_world.states.get_state("s1").status == "expired"  # type: ignore[union-attr]


@pytest.mark.parametrize("rubbish", [b"", b"garbage", b"1:{}", b"1:[]", b"\x80\x04.", b"1:" + b"[" * 10, b"7:null"])
def test_rubbish_under_a_key_counts_as_nothing(cached_world: World, client: Any, rubbish: bytes) -> None:
    state = cached_world.states.register_state("u1", "user")
    (key,) = client.keys()
    client.set(key, rubbish)
    assert cached_world.states.get_state("u1") == state


def test_an_entry_of_another_key_or_version_is_not_believed(cached_world: World, client: Any) -> None:
    state = cached_world.states.register_state("u1", "user")
    (key,) = client.keys()
    stored = client.get(key)
    client.set(key, stored.replace(b"1:", b"2:", 1))
    assert cached_world.states.get_state("u1") == state
    client.set(key, stored.replace(b'"u1"', b'"u2"', 1))
    assert cached_world.states.get_state("u1") == state


def test_entries_live_no_longer_than_the_configured_time(cached_world: World, client: Any) -> None:
    cached_world.states.register_state("u1", "user")
    (key,) = client.keys()
    assert 0 < client.pttl(key) <= 60_000


def test_a_cache_that_is_down_costs_speed_and_nothing_else(
    tmp_path: Path, redis_server: RedisServer, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", STATEMANAGER_CACHE_URL=redis_url)):
        world.states.register_state("u1", "user")
        world.runtime.cache._clock = lambda: now[0]
        redis_server.stop()
        with caplog.at_level(logging.WARNING, "flask_statemanager"):
            assert world.states.get_state("u1").version == 1  # type: ignore[union-attr]
            assert world.states.update_state("u1").version == 2
            assert world.states.get_state("u1").version == 2  # type: ignore[union-attr]
        assert caplog.text.count("cannot be reached") == 1
        assert world.runtime.counters.value("cache.error") == 1
        assert world.states.get_health_status()["status"] == "degraded"
        assert not world.runtime.cache.available
        redis_server.start()
        now[0] += 5
        assert world.states.get_state("u1").version == 2  # type: ignore[union-attr]
        assert world.runtime.cache.available
        assert world.states.get_health_status()["status"] == "healthy"


def test_the_applications_flask_caching_on_redis_lends_connection_and_prefix(tmp_path: Path, redis_url: str) -> None:
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}")):
        config = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": redis_url, "CACHE_KEY_PREFIX": "shop:"}
        Cache(world.app, config=config)
        world.states.register_state("u1", "user")
        with Redis.from_url(redis_url) as client:
            (key,) = client.keys()
            assert key.startswith(b"shop:statemanager:")
            assert client.get(key).startswith(b"1:{")


def test_a_flask_caching_in_one_process_means_no_cache_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}")):
        Cache(world.app, config={"CACHE_TYPE": "SimpleCache"})
        with caplog.at_level(logging.INFO, "flask_statemanager"):
            world.states.register_state("u1", "user")
            world.states.get_state("u1")
        assert world.runtime.cache is None
        assert caplog.text.count("not on Redis") == 1


def test_a_database_of_one_process_is_never_cached(redis_url: str) -> None:
    for world in entered(build("memory-sqlite", "sqlite://", STATEMANAGER_CACHE_URL=redis_url)):
        world.states.register_state("u1", "user")
        assert world.runtime.cache is None


def test_two_databases_on_one_redis_do_not_see_each_other(tmp_path: Path, redis_url: str) -> None:
    for first in entered(build("sqlite", f"sqlite:///{tmp_path / '1.db'}", STATEMANAGER_CACHE_URL=redis_url)):
        first.states.register_state("u1", "user", {"db": 1})
    for second in entered(build("sqlite", f"sqlite:///{tmp_path / '2.db'}", STATEMANAGER_CACHE_URL=redis_url)):
        assert second.states.get_state("u1") is None


def test_two_processes_worth_of_apps_share_entries(tmp_path: Path, redis_url: str) -> None:
    uri = f"sqlite:///{tmp_path / 'w.db'}"
    for first in entered(build("sqlite", uri, STATEMANAGER_CACHE_URL=redis_url)):
        first.states.register_state("u1", "user", {"a": 1})
        for second in entered(build("sqlite", uri, STATEMANAGER_CACHE_URL=redis_url)):
            second.states.update_state("u1", {"a": 2})
        assert first.runtime.lifecycle.get_state("u1").data == {"a": 2}
        assert first.runtime.counters.value("cache.hit") == 1


def test_a_version_beyond_luas_exact_numbers_is_not_cached(cached_world: World, client: Any) -> None:
    cached_world.states.register_state("u1", "user")
    record = cached_world.runtime.cache.get(Key("state", "u1"))
    client.flushdb()
    cached_world.runtime.cache.put(replace(record, version=2**53))
    assert client.keys() == []


def test_a_client_that_decodes_answers_serves_too(cached_world: World, redis_url: str) -> None:
    state = cached_world.states.register_state("u1", "user")
    with Redis.from_url(redis_url, decode_responses=True) as decoding:
        prefix = cached_world.runtime.cache._prefix
        cache = RedisReadCache(decoding, prefix=prefix, ttl=5, count=lambda name: None)
        found = cache.get(Key("state", "u1"))
    assert found is not None
    assert found.version == state.version


def test_a_redis_manager_may_name_its_redis_in_several_ways(client: Any, redis_url: str) -> None:
    assert from_manager(client) is client
    for manager in (redis_url, SimpleNamespace(url=redis_url), SimpleNamespace(redis_client=client)):
        with from_manager(manager) as found:
            assert found.ping()
    for nothing in (object(), 5, SimpleNamespace(client=None)):
        with pytest.raises(ConfigurationError, match="offers no Redis"):
            from_manager(nothing)
    with pytest.raises(ConfigurationError, match="STATEMANAGER_CACHE_URL"):
        from_url("no url")
    assert from_flask_caching({}) is None

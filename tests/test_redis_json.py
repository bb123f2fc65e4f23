"""The backend for Flask-Caching: everything that a backend has to do, with JSON in Redis."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask_caching import Cache
from redis import Redis

from flask_statemanager import StateValidationError
from tests.worlds import build, entered

TYPE = "flask_statemanager.cache.redis_json.RedisJsonCache"


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with Redis.from_url(redis_url) as found:
        yield found


@pytest.fixture
def cache(redis_url: str) -> Iterator[Cache]:
    app = Flask("cached")
    app.config.update(CACHE_TYPE=TYPE, CACHE_REDIS_URL=redis_url, CACHE_KEY_PREFIX="p:", CACHE_DEFAULT_TIMEOUT=50)
    found = Cache(app)
    with app.app_context():
        yield found
    found.cache._write_client.close()


@pytest.mark.parametrize("value", [0, 5, -1, True, "text", 1.5, [1, [2]], {"a": {"b": None}}], ids=str)
def test_a_value_comes_back_and_lies_there_as_json(cache: Cache, client: Any, value: Any) -> None:
    assert cache.set("a", value)
    assert cache.get("a") == value
    assert type(cache.get("a")) is type(value)
    assert json.loads(client.get("p:a")) == value
    assert 0 < client.ttl("p:a") <= 50


def test_a_tuple_comes_back_as_a_list(cache: Cache) -> None:
    cache.set("a", (1, (2, 3)))
    assert cache.get("a") == [1, [2, 3]]


@pytest.mark.parametrize(
    "value", [b"bytes", {1, 2}, object, {"a": {1: 2}}, float("nan")], ids=["b", "set", "o", "k", "n"]
)
def test_what_is_no_json_is_refused_and_not_pickled(cache: Cache, client: Any, value: Any) -> None:
    with pytest.raises(StateValidationError):
        cache.set("a", value)
    assert client.keys() == []


def test_a_pickle_that_lies_there_is_not_opened(cache: Cache, client: Any) -> None:
    client.set("p:a", b"!" + pickle.dumps("bad"))
    assert cache.get("a") is None


def test_timeouts_are_its_own_or_the_default_or_none(cache: Cache, client: Any) -> None:
    cache.set("short", 1, timeout=7)
    cache.set("for ever", 1, timeout=0)
    assert 0 < client.ttl("p:short") <= 7
    assert client.ttl("p:for ever") == -1


def test_it_adds_only_what_is_not_there(cache: Cache) -> None:
    assert cache.add("a", 1)
    assert not cache.add("a", 2)
    assert cache.get("a") == 1


def test_it_counts(cache: Cache) -> None:
    cache.set("n", 5)
    assert cache.cache.inc("n", 3) == 8
    assert cache.cache.dec("n") == 7
    assert cache.get("n") == 7


def test_it_works_on_many_at_once_and_forgets(cache: Cache, client: Any) -> None:
    assert cache.set_many({"a": [1], "b": {"n": 2}}, timeout=9)
    assert cache.get_many("a", "b", "c") == [[1], {"n": 2}, None]
    assert cache.get_dict("a", "b") == {"a": [1], "b": {"n": 2}}
    assert cache.has("a")
    assert not cache.has("c")
    assert cache.delete("a")
    assert not cache.has("a")
    cache.set_many({"a": 1, "c": 3})
    cache.delete_many("a", "c")
    assert cache.get_many("a", "b", "c") == [None, {"n": 2}, None]
    client.set("another", 1)
    cache.clear()
    assert client.keys() == [b"another"]


def test_functions_and_views_are_cached_through_it(cache: Cache) -> None:
    calls: list[int] = []

    @cache.memoize()
    def double(number: int) -> dict[str, int]:
        calls.append(number)
        return {"double": 2 * number}

    assert [double(2), double(2), double(3)] == [{"double": 4}, {"double": 4}, {"double": 6}]
    assert calls == [2, 3]
    cache.delete_memoized(double, 2)
    assert double(2) == {"double": 4}
    assert calls == [2, 3, 2]


def test_states_are_cached_on_its_redis_under_its_prefix(postgres_url: str, redis_url: str, client: Any) -> None:
    for world in entered(build("postgresql", postgres_url)):
        cache = Cache(world.app, config={"CACHE_TYPE": TYPE, "CACHE_REDIS_URL": redis_url, "CACHE_KEY_PREFIX": "p:"})
        state = world.states.register_state("u1", "user")
        assert world.states.get_state("u1") == state
        assert world.runtime.counters.value("cache.hit") == 1
        assert all(key.startswith(b"p:statemanager:") for key in client.scan_iter())
        cache.clear()
        assert client.keys() == []
        assert world.states.get_state("u1") == state
        cache.cache._write_client.close()

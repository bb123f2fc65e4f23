"""The read cache on a real Redis: shared, never older, never in the way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask_caching import Cache
from msgspec.structs import replace
from redis import Redis
from redis.sentinel import Sentinel

from flask_statemanager import ConfigurationError, StateValidationError
from flask_statemanager.cache.discovery import from_flask_caching, from_manager, from_url
from flask_statemanager.cache.keys import SLOTS, CacheKeys, slot_of
from flask_statemanager.cache.shared import SharedEntries
from flask_statemanager.config import Settings
from flask_statemanager.core.entry import Entry
from flask_statemanager.core.record import Key, Record
from flask_statemanager.redis_line import ClientLine, PrivateLine, line_to, packed
from flask_statemanager.testing.contract.store import new_record
from tests.processes.child import until
from tests.servers.redis_server import RedisServer
from tests.servers.sentinel_server import MASTER, SentinelServer
from tests.worlds import World, build, cached_by, entered, uri_for

U1 = Key("state", "u1")


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with Redis.from_url(redis_url) as found:
        yield found


@pytest.fixture
def cached_world(tmp_path: Path, redis_url: str) -> Iterator[World]:
    yield from entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", **cached_by(redis_url)))


def kept(client: Any) -> dict[bytes, bytes]:
    """Return the entries, without the generations."""
    return {key: client.get(key) for key in client.scan_iter() if not key.endswith(b"}:generation")}


def only(client: Any) -> tuple[int, dict[str, Any] | None]:
    """Return version and state of the only entry; None for a version that is kept without its state."""
    (value,) = kept(client).values()
    _generation, version, *rest = value.split(b" ", 3)
    return int(version), Entry.read(rest[1]).fields() if rest else None


def stored(world: World, name: str = "u1") -> Record:
    """Return what the database holds."""
    record = world.runtime.backend.fetch(Key("state", name))
    assert record is not None
    return record


def hits(world: World) -> tuple[int, int]:
    """Return hits and misses."""
    return world.runtime.counters.value("cache.hit"), world.runtime.counters.value("cache.miss")


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_a_write_puts_the_new_version_and_a_read_takes_it(cached_world: World, client: Any) -> None:
    world = cached_world
    state = world.states.register_state("u1", "user", {"a": 1}, owner="me")
    assert only(client) == (1, state)
    assert world.states.get_state("u1") == state
    updated = world.states.update_state("u1", {"a": 2})
    assert only(client) == (2, updated)
    assert world.states.get_state("u1") == updated
    assert hits(world) == (2, 0)
    assert world.states.get_health_status()["cache"] == "on"
    assert world.states.get_health_status()["cache_hit_rate"] == 1.0


def test_a_miss_reads_the_database_and_fills(cached_world: World, client: Any) -> None:
    world = cached_world
    state = world.states.register_state("u1", "user")
    client.flushdb()
    assert world.states.get_state("u1") == state
    assert world.states.get_state("u1") == state
    assert hits(world) == (1, 1)
    assert world.states.get_health_status()["cache_hit_rate"] == 0.5
    assert world.states.get_state("absent") is None


def test_a_cached_state_is_the_callers_own_and_has_attributes(cached_world: World) -> None:
    cached_world.states.register_state("u1", "user", {"n": [1]})
    state = cached_world.states.get_state("u1")
    assert state is not None
    state.data["n"].append(2)
    again = cached_world.states.get_state("u1")
    assert again is not None
    assert (again.data, again.metadata, again.version) == ({"n": [1]}, {}, 1)


def test_a_deletion_leaves_a_tombstone_for_a_short_time(cached_world: World, client: Any) -> None:
    world = cached_world
    world.states.register_state("u1", "user")
    (key,) = kept(client)
    assert 30_000 < client.pttl(key) <= 60_000
    world.states.delete_state("u1")
    assert only(client)[0] == 2
    assert 0 < client.pttl(key) <= 30_000
    assert world.states.get_state("u1") is None
    assert hits(world) == (1, 0)


def test_an_older_version_never_replaces_a_newer_one_or_a_tombstone(cached_world: World, client: Any) -> None:
    world = cached_world
    world.states.register_state("u1", "user")
    old = stored(world)
    for _ in range(11):
        world.states.update_state("u1")
    world.runtime.cache.put(replace(old, version=9))
    assert only(client)[0] == 12
    world.states.delete_state("u1")
    world.runtime.cache.put(old)
    assert only(client)[0] == 13
    assert world.states.get_state("u1") is None


def test_versions_are_compared_exactly(cached_world: World, client: Any) -> None:
    """Also where doubles, the numbers of Redis' own language, are too coarse."""
    cached_world.states.register_state("u1", "user")
    record = stored(cached_world)
    for version, wins in ((2**53, 2**53), (2**53 + 1, 2**53 + 1), (2**53, 2**53 + 1), (2**62, 2**62), (99, 2**62)):
        cached_world.runtime.cache.put(replace(record, version=version))
        assert only(client)[0] == wins


def test_reads_inside_a_transaction_pass_the_cache_by_and_do_not_fill_it(cached_world: World, client: Any) -> None:
    world = cached_world
    world.states.register_state("u1", "user")
    with world.states.transaction(world.db.session):
        world.states.update_state("u1", {"a": 1})
        assert world.states.get_state("u1").version == 2  # type: ignore[union-attr]
        assert world.states.get_states(["u1"])["u1"].version == 2
        assert only(client)[0] == 1
    world.db.session.rollback()
    assert only(client)[0] == 1
    assert world.states.get_state("u1").version == 1  # type: ignore[union-attr]


def test_an_expired_state_is_expired_from_the_cache_too(cached_world: World) -> None:
    cached_world.states.register_state("s1", "session", ttl=60)
    assert cached_world.states.get_state("s1").status == "created"  # type: ignore[union-attr]
    cached_world.clock.advance(60)
    assert cached_world.states.get_state("s1").status == "expired"  # type: ignore[union-attr]
    assert cached_world.states.get_states(["s1"])["s1"].status == "expired"
    assert hits(cached_world) == (3, 0)


@pytest.mark.parametrize(
    "rubbish", [b"", b"garbage", b"1:{}", b"a b c d", b"\x80\x04.", b"0-1 1 00000000 1\n[", b" " * 5]
)
def test_rubbish_under_a_key_counts_as_nothing(cached_world: World, client: Any, rubbish: bytes) -> None:
    state = cached_world.states.register_state("u1", "user")
    (key,) = kept(client)
    client.set(key, rubbish)
    assert cached_world.states.get_state("u1") == state
    assert only(client)[0] == 1


def test_a_torn_entry_or_one_of_another_state_is_not_believed(cached_world: World, client: Any) -> None:
    world = cached_world
    states = [world.states.register_state(name, "user", {"of": name}) for name in ("u1", "u2")]
    one, two = (world.runtime.cache._shared._keys.entry(f"state:{name}") for name in ("u1", "u2"))
    first, second = client.get(one), client.get(two)
    generation = second.split(b" ")[0]
    client.set(two, generation + b" " + first.split(b" ", 1)[1])
    assert world.states.get_state("u2") == states[1]
    client.set(one, first[:-1])
    assert world.states.get_state("u1") == states[0]
    assert hits(world) == (0, 2)


def test_entries_live_no_longer_than_the_configured_time(tmp_path: Path, redis_url: str, client: Any) -> None:
    config = cached_by(redis_url) | {"STATEMANAGER_CACHE_TTL": 7}
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", **config)):
        world.states.register_state("u1", "user")
        (key,) = kept(client)
        assert 0 < client.pttl(key) <= 7_000


def test_a_strong_read_asks_the_database(cached_world: World) -> None:
    world = cached_world
    state = world.states.register_state("u1", "user")
    assert world.states.get_state("u1", consistency="strong") == state
    assert world.states.get_states(["u1"], consistency="strong") == {"u1": state}
    assert hits(world) == (0, 0)
    with pytest.raises(StateValidationError, match="'cached' or 'strong'"):
        world.states.get_state("u1", consistency="weak")  # type: ignore[arg-type]


# -- many at once ------------------------------------------------------------------------------------------------------


def test_many_states_come_in_the_order_asked_for_each_once(world: World) -> None:
    for name in ("a", "b", "gone"):
        world.states.register_state(name, "user", {"of": name})
    world.states.delete_state("gone")
    found = world.states.get_states(iter(["b", "absent", "a", "gone", "b"]))
    assert list(found) == ["b", "a"]
    assert found["b"] == world.states.get_state("b")
    with world.states.transaction(world.db.session) if world.kind != "memory" else world.app.app_context():
        world.states.update_state("a", {"of": "changed"})
        assert world.states.get_states(["a"])["a"].data == {"of": "changed"}
    assert world.states.get_states([]) == {}


@pytest.mark.parametrize(
    "wrong", ["u1", None, 5, ["not an id"], [None]], ids=["text", "none", "number", "bad", "nothing"]
)
def test_what_is_no_list_of_ids_is_refused(world: World, wrong: Any) -> None:
    with pytest.raises(StateValidationError):
        world.states.get_states(wrong)


def test_many_states_take_one_trip_to_the_cache_and_one_to_the_database(
    cached_world: World, client: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = cached_world
    names = [f"u{number}" for number in range(100)]
    world.states.register_many("user", [{"state_id": name} for name in names])
    assert world.states.get_states(names).keys() == set(names)
    assert hits(world) == (100, 0)
    for key in list(kept(client))[:60]:
        client.delete(key)
    line, trips = world.runtime.cache._shared._line, list[int]()
    ask = line.ask
    monkeypatch.setattr(line, "ask", lambda commands: (trips.append(len(commands)), ask(commands))[1])
    with caplog.at_level(logging.DEBUG, "flask_statemanager.sql"):
        assert world.states.get_states([*names, "absent"]).keys() == set(names)
    assert len(trips) == 2, "one look and one fill"
    assert len(caplog.records) == 1, "one statement"
    assert hits(world) == (140, 61)
    assert world.states.get_states(names).keys() == set(names)
    assert hits(world) == (240, 61)


def test_one_thread_loads_what_many_miss(cached_world: World, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = cached_world
    state = world.states.register_state("u1", "user")
    client.flushdb()
    backend, loads, loading, waiting = world.runtime.backend, [], threading.Event(), threading.Event()
    fetch = backend.fetch

    def slow(key: Key) -> Record | None:
        loads.append(key)
        loading.set()
        assert waiting.wait(30)
        return fetch(key)

    monkeypatch.setattr(backend, "fetch", slow)
    flights = world.runtime.cache._flights.get()
    joined = flights.joined
    monkeypatch.setattr(flights, "joined", lambda path: (entered_by.append(path), joined(path))[1])
    entered_by: list[str] = []

    def read() -> Any:
        with world.app.app_context():
            return world.states.get_state("u1")

    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(read)
        assert loading.wait(30)
        others = [threads.submit(read) for _ in range(3)]
        while len(entered_by) < 4:
            assert not any(other.done() for other in others)
        waiting.set()
        assert [each.result(30) for each in (first, *others)] == [state] * 4
    assert loads == [U1]


def test_nobody_waits_for_a_loader_for_ever(cached_world: World, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = cached_world
    state = world.states.register_state("u1", "user")
    client.flushdb()
    monkeypatch.setattr("flask_statemanager.cache.flights.PATIENCE", 0.01)
    with world.runtime.cache._flights.get().joined("state:u1") as first:
        assert first
        assert world.states.get_state("u1") == state


# -- Redis away --------------------------------------------------------------------------------------------------------


def test_a_cache_that_is_down_costs_speed_and_nothing_else(
    tmp_path: Path, redis_server: RedisServer, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", **cached_by(redis_url))):
        world.states.register_state("u1", "user")
        world.runtime.cache._clock = lambda: now[0]
        redis_server.stop()
        with caplog.at_level(logging.WARNING, "flask_statemanager"):
            assert world.states.get_state("u1").version == 1  # type: ignore[union-attr]
            assert world.states.update_state("u1").version == 2
            assert world.states.get_state("u1").version == 2  # type: ignore[union-attr]
            assert world.states.get_states(["u1"])["u1"].version == 2
        assert caplog.text.count("cannot be reached") == 1
        assert world.runtime.counters.value("cache.error") == 1
        assert world.states.get_health_status()["status"] == "degraded"
        assert not world.runtime.cache.available
        redis_server.start()
        now[0] += 5
        assert world.states.get_state("u1").version == 2  # type: ignore[union-attr]
        assert world.runtime.cache.available
        assert world.states.get_health_status()["status"] == "healthy"


def test_a_redis_that_has_forgotten_the_scripts_learns_them_again(cached_world: World, client: Any) -> None:
    cached_world.states.register_state("u1", "user")
    client.script_flush()
    cached_world.states.update_state("u1")
    assert only(client)[0] == 2
    assert cached_world.runtime.counters.value("cache.error") == 0


def test_a_connection_that_was_closed_meanwhile_costs_nothing(cached_world: World, client: Any) -> None:
    """Redis closes idle connections where it is configured to."""
    cached_world.states.register_state("u1", "user")
    client.client_kill_filter(_type="normal", skipme=True)
    cached_world.states.update_state("u1")
    client.client_kill_filter(_type="normal", skipme=True)
    assert cached_world.states.get_state("u1").version == 2  # type: ignore[union-attr]
    assert hits(cached_world) == (1, 0)
    assert cached_world.runtime.counters.value("cache.error") == 0


# -- which Redis -------------------------------------------------------------------------------------------------------


def test_the_applications_flask_caching_on_redis_lends_connection_and_prefix(tmp_path: Path, redis_url: str) -> None:
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", STATEMANAGER_CACHE="on")):
        config = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": redis_url, "CACHE_KEY_PREFIX": "shop:"}
        Cache(world.app, config=config)
        world.states.register_state("u1", "user")
        with Redis.from_url(redis_url) as client:
            (key,) = kept(client)
            assert key.startswith(b"shop:statemanager:")
            assert only(client)[0] == 1


def test_a_flask_caching_in_one_process_means_no_cache_and_says_so(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    for world in entered(build("postgresql", postgres_url)):
        Cache(world.app, config={"CACHE_TYPE": "SimpleCache"})
        with caplog.at_level(logging.INFO, "flask_statemanager"):
            world.states.register_state("u1", "user")
            world.states.get_state("u1")
        assert world.runtime.cache is None
        assert caplog.text.count("not on Redis") == 1


@pytest.mark.parametrize(
    ("where", "there"),
    [
        *(("postgresql auto", True), ("postgresql on", True), ("postgresql off", False)),
        *(("sqlite auto", False), ("sqlite on", True), ("sqlite off", False)),
        *(("memory auto", False), ("memory off", False)),
    ],
)
def test_a_cache_is_there_where_it_pays_or_is_asked_for(
    request: pytest.FixtureRequest, tmp_path: Path, redis_url: str, where: str, there: bool
) -> None:
    kind, cache = where.split()
    config = cached_by(redis_url) | {"STATEMANAGER_CACHE": cache}
    for world in entered(build(kind, uri_for(kind, tmp_path, request), **config)):
        world.states.register_state("u1", "user")
        assert (world.runtime.cache is not None) is there
        assert world.states.get_health_status()["cache"] == ("on" if there else "off")


def test_a_cache_that_is_asked_for_and_cannot_be_is_an_error(tmp_path: Path, redis_url: str) -> None:
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", STATEMANAGER_CACHE="on")):
        with pytest.raises(ConfigurationError, match="needs a Redis: set STATEMANAGER_CACHE_URL"):
            world.states.get_state("u1")
    for world in entered(build("memory-sqlite", "sqlite://", **cached_by(redis_url))):
        with pytest.raises(ConfigurationError, match="has to itself"):
            world.states.get_state("u1")


def test_two_databases_on_one_redis_do_not_see_each_other(tmp_path: Path, redis_url: str) -> None:
    for first in entered(build("sqlite", f"sqlite:///{tmp_path / '1.db'}", **cached_by(redis_url))):
        first.states.register_state("u1", "user", {"db": 1})
    for second in entered(build("sqlite", f"sqlite:///{tmp_path / '2.db'}", **cached_by(redis_url))):
        assert second.states.get_state("u1") is None


def test_two_processes_worth_of_apps_share_entries(tmp_path: Path, redis_url: str) -> None:
    uri = f"sqlite:///{tmp_path / 'w.db'}"
    for first in entered(build("sqlite", uri, **cached_by(redis_url))):
        first.states.register_state("u1", "user", {"a": 1})
        for second in entered(build("sqlite", uri, **cached_by(redis_url))):
            second.states.update_state("u1", {"a": 2})
        assert first.runtime.lifecycle.get_state("u1").data == {"a": 2}
        assert hits(first) == (1, 0)


@pytest.mark.parametrize("habit", ["decode_responses", "protocol"])
def test_a_client_of_any_habits_serves(postgres_world: World, redis_url: str, habit: str) -> None:
    world = postgres_world
    with Redis.from_url(redis_url, **{habit: 3}) as client:
        world.app.extensions["cache"] = {"any": SimpleNamespace(_write_client=client, key_prefix=lambda: "p:")}
        state = world.states.register_state("u1", "user")
        assert world.states.get_state("u1") == state
        assert hits(world) == (1, 0)


def test_a_redis_that_a_sentinel_names_serves_and_is_listened_to(
    sqlite_world: World, redis_server: RedisServer, redis_url: str
) -> None:
    world = sqlite_world
    world.app.extensions["statemanager"].settings = Settings(cache="on", near_cache_bytes=10_000)
    with SentinelServer(redis_server.port) as sentinel:
        client = Sentinel([("127.0.0.1", sentinel.port)]).master_for(MASTER)
        world.app.extensions["cache"] = {"any": SimpleNamespace(_write_client=client, key_prefix="p:")}
        state = world.states.register_state("u1", "user")
        assert world.states.get_state("u1") == state
        assert hits(world) == (1, 0)
        until(lambda: (world.states.get_state("u1"), world.runtime.cache._near.hits)[1] > 0, "the near cache answers")
        world.runtime.close()
        client.close()


def test_a_client_that_finds_the_nodes_itself_serves_too(client: Any) -> None:
    """As one of a cluster, which has no pool of its own: it is asked key by key."""
    line = line_to(SimpleNamespace(execute_command=client.execute_command))
    assert isinstance(line, ClientLine)
    shared = SharedEntries(line, CacheKeys("p:"), 60)
    record = new_record("a")
    shared.keep({"b:a": Entry.of(record)})
    assert shared.look("b:a").entry == Entry.of(record)
    assert set(shared.look_many(["b:a", "b:b"])) == {"b:a", "b:b"}
    shared.renew(range(SLOTS))
    assert shared.look("b:a").entry is None
    assert isinstance(line.ask([("NONSENSE",)])[0], Exception)
    line.close()


def test_every_key_of_a_slot_has_its_hash_tag() -> None:
    """So that a cluster keeps an entry and its generation on one node."""
    keys = CacheKeys("shop:statemanager:0123:")
    slots = set()
    for number in range(500):
        path = f"state:user_{number}"
        tag = keys.entry(path).split(b"{")[1].split(b"}")[0]
        assert keys.generations[slot_of(path)].split(b"{")[1].split(b"}")[0] == tag
        assert keys.path(keys.entry(path)) == path
        slots.add(tag)
    assert len(slots) == SLOTS
    assert [keys.path(name) for name in keys.generations] == [None] * SLOTS


def test_a_command_is_written_as_the_protocol_has_it() -> None:
    assert packed(("SET", b"k\xff", 15, "ß")) == b"*4\r\n$3\r\nSET\r\n$2\r\nk\xff\r\n$2\r\n15\r\n$2\r\n\xc3\x9f\r\n"


def test_a_redis_manager_may_name_its_redis_in_several_ways(client: Any, redis_url: str) -> None:
    assert from_manager(client) is client
    for manager in (redis_url, SimpleNamespace(url=redis_url), SimpleNamespace(redis_client=client)):
        with from_manager(manager) as found:
            assert found.ping()
            assert isinstance(line_to(found), PrivateLine)
    for nothing in (object(), 5, SimpleNamespace(client=None)):
        with pytest.raises(ConfigurationError, match="offers no Redis"):
            from_manager(nothing)
    with pytest.raises(ConfigurationError, match="STATEMANAGER_CACHE_URL"):
        from_url("no url")
    assert from_flask_caching({}) is None

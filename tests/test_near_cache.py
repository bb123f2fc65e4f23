"""The near cache: what it keeps and forgets, and that it is true on a real Redis, or silent."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis

from flask_statemanager.cache.keys import SLOTS
from flask_statemanager.cache.near import OVERHEAD, NearCache
from flask_statemanager.core.entry import Entry
from flask_statemanager.core.record import Key
from flask_statemanager.testing.contract.store import new_record
from tests.nearness import near_hits, read, warm
from tests.processes.child import Child, until
from tests.servers.proxy import TcpProxy
from tests.worlds import World, build, cached_by, entered

opened = contextmanager(entered)
SIZE = OVERHEAD + 1000
ENTRY = replace(Entry.of(new_record("a")), body=b"x" * (SIZE - OVERHEAD - 1))


class Near:
    """A near cache whose time stands still, with a listener that has just been heard of."""

    def __init__(self, limit: int = 10 * SIZE, *, ttl: float = 60, lease: float = 1) -> None:
        self.now = 100.0
        self.cache = NearCache(limit, ttl=ttl, lease=lease, clock=lambda: self.now)
        self.cache.heard(self.now)

    def keep(self, *paths: str) -> None:
        for path in paths:
            self.cache.keep(path, ENTRY, self.cache.ticket(path))

    def has(self, paths: str) -> str:
        return "".join(path for path in paths if self.cache.get(path) is not None)


@pytest.fixture
def near() -> Near:
    return Near()


# -- the cache itself --------------------------------------------------------------------------------------------------


def test_it_gives_back_what_it_keeps_and_counts_the_hits(near: Near) -> None:
    near.keep("a")
    assert near.cache.get("a") is ENTRY
    assert near.cache.get("b") is None
    assert near.cache.hits == 1
    assert near.cache.size == SIZE


def test_it_serves_for_a_lease_from_the_question_and_not_from_the_answer(near: Near) -> None:
    near.keep("a")
    near.now += 0.75
    near.cache.heard(100.5)
    near.now = 101.25
    assert near.has("a") == "a"
    near.now = 101.5
    assert near.has("a") == ""
    assert not near.cache.serving
    near.cache.heard(101.5)
    assert near.has("a") == "a"


def test_an_entry_is_kept_no_longer_than_in_redis() -> None:
    near = Near(ttl=5, lease=100)
    near.keep("a")
    near.now += 4.9
    assert near.has("a") == "a"
    near.now += 0.1
    assert near.has("a") == ""


def test_nothing_is_kept_while_the_listener_is_silent(near: Near) -> None:
    near.now += 1
    near.keep("a")
    near.cache.heard(near.now)
    assert near.has("a") == ""


@pytest.mark.parametrize("happening", ["drop", "clear", "silent"])
def test_a_look_that_began_before_an_invalidation_is_not_kept(near: Near, happening: str) -> None:
    near.keep("a")
    ticket = near.cache.ticket("a")
    near.cache.drop("a") if happening == "drop" else getattr(near.cache, happening)()
    near.cache.heard(near.now)
    near.cache.keep("a", ENTRY, ticket)
    assert near.has("a") == ""
    assert near.cache.size == 0
    near.keep("a")
    assert near.has("a") == "a"


def test_the_least_wanted_goes_when_the_room_is_used_up() -> None:
    near = Near(4 * SIZE)
    near.keep(*"abcd")
    assert near.has("ac") == "ac"
    near.keep("e", "f")
    assert near.has("abcdef") == "acef"
    assert near.cache.size == 4 * SIZE


def test_what_is_wanted_all_the_time_stays_however_much_passes_through() -> None:
    near = Near(4 * SIZE)
    near.keep("a")
    for number in range(1000):
        assert near.has("a") == "a"
        near.keep(chr(1000 + number))
    assert near.cache.size == 4 * SIZE


def test_an_entry_that_is_kept_again_is_counted_once(near: Near) -> None:
    near.keep("a", "a")
    assert near.cache.size == SIZE
    near.cache.drop("a")
    near.cache.drop("a")
    assert near.cache.size == 0


def test_an_entry_larger_than_the_whole_cache_is_not_kept() -> None:
    near = Near(SIZE - 1)
    near.keep("a")
    assert (near.has("a"), near.cache.size) == ("", 0)


def test_the_estimate_of_its_size_is_no_lie(near: Near) -> None:
    number = 2000
    cache = Near(10**9).cache
    texts = [f"state:user_{place:06}" for place in range(number)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for text in texts:
            path = str(text + " ")
            cache.keep(path, Entry(1, 1, None, None, "state", bytes(1000)), cache.ticket(path))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert cache.size / 2 < taken <= cache.size


def test_threads_leave_its_size_right() -> None:
    near = Near(5 * SIZE)
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        barrier.wait(30)
        for turn in range(300):
            path = chr(97 + (turn * 7 + number) % 12)
            near.keep(path)
            near.cache.get(path)
            near.cache.drop(chr(97 + turn % 12))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    kept = near.has("abcdefghijkl")
    assert near.cache.size == len(kept) * SIZE <= 5 * SIZE


# -- on a real Redis ---------------------------------------------------------------------------------------------------


def config(url: str, **more: Any) -> dict[str, Any]:
    # Nothing runs out in Redis before a test has given up waiting.
    found = cached_by(url) | {"STATEMANAGER_CACHE_PREFIX": "s", "STATEMANAGER_CACHE_TTL": 600}
    return {**found, "STATEMANAGER_NEAR_CACHE_BYTES": 100_000, **more}


@pytest.fixture
def near_world(tmp_path: Path, redis_url: str) -> Iterator[World]:
    yield from entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", **config(redis_url)))


@pytest.fixture
def other(near_world: World, tmp_path: Path, redis_url: str) -> Iterator[World]:
    """Another application on the same database; the app context is its own."""
    yield from entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", **config(redis_url)))


def test_the_second_read_asks_nobody(near_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = near_world
    state = world.states.register_state("u1", "user", {"n": [1]})
    warm(world)
    monkeypatch.setattr(world.runtime.cache._shared, "look", None)
    monkeypatch.setattr(world.runtime.backend, "fetch", None)
    assert world.states.get_state("u1") == state
    assert world.states.get_states(["u1"]) == {"u1": state}
    assert world.states.get_state("u1").data is not world.states.get_state("u1").data  # type: ignore[union-attr]
    assert world.states.can("u1", "suspend") is not None
    assert world.states.get_health_status()["cache_hit_rate"] > 0


def test_own_writes_are_seen_at_once(near_world: World) -> None:
    world = near_world
    world.states.register_state("u1", "user")
    for number in range(2, 30):
        warm(world)
        world.states.update_state("u1")
        assert read(world) == number
    world.states.delete_state("u1")
    assert read(world) is None


def test_what_others_write_is_seen_soon(near_world: World, other: World) -> None:
    other.states.register_state("u1", "user")
    for number in range(2, 12):
        warm(near_world)
        other.states.update_state("u1")
        until(lambda number=number: read(near_world) == number, "the change is seen")  # type: ignore[misc]
    other.states.delete_state("u1")
    until(lambda: read(near_world) is None, "the deletion is seen")


def test_a_strong_read_and_a_transaction_pass_it_by(near_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = near_world
    world.states.register_state("u1", "user")
    warm(world)
    before = near_hits(world)
    assert world.states.get_state("u1", consistency="strong").version == 1  # type: ignore[union-attr]
    with world.states.transaction(world.db.session):
        world.states.update_state("u1")
        assert world.states.get_state("u1").version == 2  # type: ignore[union-attr]
    assert near_hits(world) == before


def test_an_expiring_state_expires_from_it_too(near_world: World) -> None:
    world = near_world
    world.states.register_state("s1", "session", ttl=60)
    warm(world, "s1")
    before = near_hits(world)
    assert world.states.get_state("s1").status == "created"  # type: ignore[union-attr]
    world.clock.advance(60)
    assert world.states.get_state("s1").status == "expired"  # type: ignore[union-attr]
    assert near_hits(world) > before


@pytest.mark.parametrize("happening", ["a new generation", "everything flushed", "an entry expired"])
def test_it_forgets_what_redis_has_forgotten(near_world: World, redis_url: str, happening: str) -> None:
    world = near_world
    world.states.register_state("u1", "user")
    warm(world)
    near = world.runtime.cache._near
    with Redis.from_url(redis_url) as client:
        if happening == "everything flushed":
            client.flushall()
        elif happening == "a new generation":
            world.runtime.cache._shared.renew(range(SLOTS))
        else:
            client.pexpire(world.runtime.cache._shared._keys.entry("state:u1"), 1)
        until(lambda: near.size == 0 and near.serving, "it is forgotten")
    assert read(world) == 1


def test_a_listener_that_was_cut_off_comes_back_and_begins_empty(tmp_path: Path, redis_proxy: TcpProxy) -> None:
    with opened(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", **config(redis_proxy.url()))) as world:
        world.states.register_state("u1", "user")
        warm(world)
        near = world.runtime.cache._near
        before, connections = near._marks, redis_proxy.connections
        redis_proxy.reset()
        until(lambda: near._marks is not before, "everything is forgotten")
        warm(world)
        assert redis_proxy.connections > connections


def test_a_look_that_began_before_the_listener_was_back_is_not_kept(
    tmp_path: Path, redis_url: str, redis_proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changed while nobody listened was not heard of."""
    uri = f"sqlite:///{tmp_path / 'w.db'}"
    with (
        opened(build("sqlite", uri, **config(redis_proxy.url()))) as reader,
        opened(build("sqlite", uri, **config(redis_url))) as writer,
    ):
        writer.states.register_state("u1", "user")
        warm(reader)
        cache = reader.runtime.cache
        look, marks = cache._shared.look, cache._near._marks
        client = Redis.from_url(redis_url)

        def slow(path: str) -> Any:
            found = look(path)
            with writer.app.app_context():
                writer.states.update_state("u1")
            gate.set()
            until(lambda: cache._near.serving, "the listener is back")
            return found

        gate = threading.Event()
        listen = cache._listener._listen

        def held(*call: Any) -> None:
            assert gate.wait(60)
            listen(*call)

        with monkeypatch.context() as patch:
            patch.setattr(cache._listener, "_listen", held)
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            until(lambda: cache._near._marks is not marks and not cache._near.serving, "the listener is away")
            patch.setattr(cache._shared, "look", slow)
            assert read(reader) == 1, "it was asked before the write"
        client.close()
        assert cache.at_hand("state:u1") is None
        assert read(reader) == 2


def test_what_is_not_heard_is_not_served_for_longer_than_the_lease(
    tmp_path: Path, redis_url: str, redis_proxy: TcpProxy
) -> None:
    uri = f"sqlite:///{tmp_path / 'w.db'}"
    lease = {"STATEMANAGER_NEAR_CACHE_LEASE": 0.2}
    with (
        opened(build("sqlite", uri, **config(redis_proxy.url(), **lease))) as deaf,
        opened(build("sqlite", uri, **config(redis_url))) as writer,
    ):
        writer.states.register_state("u1", "user")
        warm(deaf)
        redis_proxy.freeze()
        writer.states.update_state("u1")
        near = deaf.runtime.cache._near
        until(lambda: not near.serving, "the lease is over")
        hits = near_hits(deaf)
        assert read(deaf) == 2, "Redis does not answer either, and the database does"
        redis_proxy.thaw()
        # What was said meanwhile is heard first.
        until(lambda: read(deaf) == 2 and near_hits(deaf) > hits, "it serves again")


def test_a_lost_write_is_not_served_by_the_writer(tmp_path: Path, redis_url: str, redis_proxy: TcpProxy) -> None:
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", **config(redis_proxy.url()))):
        world.states.register_state("u1", "user")
        warm(world)
        redis_proxy.freeze()
        world.states.update_state("u1")
        assert read(world) == 2
        redis_proxy.thaw()
        assert read(world) == 2


def test_a_look_at_redis_that_a_write_overtakes_is_not_kept(near_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = near_world
    world.states.register_state("u1", "user")
    warm(world)
    cache, shared = world.runtime.cache, world.runtime.cache._shared
    look = shared.look

    def overtaken(path: str) -> Any:
        found = look(path)
        world.states.update_state("u1")
        return found

    cache._near.clear()
    with monkeypatch.context() as patch:
        patch.setattr(shared, "look", overtaken)
        assert read(world) == 1, "it was asked before the write"
    assert cache.at_hand("state:u1") is None
    assert read(world) == 2


def test_a_look_at_redis_that_a_lost_write_overtakes_is_not_kept(
    near_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = near_world
    world.states.register_state("u1", "user")
    warm(world)
    cache = world.runtime.cache
    believed = cache._believed

    def overtaken() -> bool:
        answer: bool = believed()
        cache._miss(range(SLOTS))
        return answer

    cache._near.clear()
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_believed", overtaken)
        assert read(world) == 1
    assert cache.at_hand("state:u1") is None


def test_a_forked_process_begins_empty_and_listens_for_itself(tmp_path: Path, redis_url: str) -> None:
    url = f"sqlite:///{tmp_path / 'w.db'}"
    for world in entered(build("sqlite", url)):
        world.states.register_state("u1", "user")
    near = {"SHARED_NEAR_BYTES": "100000", "SHARED_CACHE_URL": redis_url}
    with Child("reader", {"url": url}, environment=near) as child:
        assert child.hear() == "ready"
        for order in ({"do": "read", "name": "u1"}, {"do": "fork", "number": 2, "name": "u1"}):
            child.tell(order)
            told = child.hear()
        for version, early, late in told:
            assert (version, early) == (1, 0)
            assert late > 0
        assert child.rest() == []


def test_closing_ends_its_thread(near_world: World) -> None:
    near_world.states.register_state("u1", "user")
    warm(near_world)
    cache = near_world.runtime.cache
    thread = cache._listener._thread
    assert thread.is_alive()
    cache.close()
    assert not thread.is_alive()
    assert cache.at_hand("state:u1") is None
    assert cache.read(Key("state", "u1"), near_world.runtime.backend.fetch) is not None

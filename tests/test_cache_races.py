"""The read cache when things go wrong between processes: nothing old is served once what was lost is made good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis

from flask_statemanager.cache.keys import SLOTS, CacheKeys, slot_of
from flask_statemanager.cache.redis_cache import PAUSE
from flask_statemanager.cache.shared import SharedEntries
from flask_statemanager.core.entry import Entry
from flask_statemanager.core.record import Key, Record
from flask_statemanager.redis_channel import Channel
from flask_statemanager.redis_line import HungUp, PrivateLine
from flask_statemanager.testing.contract.store import new_record
from tests.processes.child import Child, until
from tests.servers.proxy import TcpProxy
from tests.servers.redis_server import RedisServer
from tests.worlds import World, build, cached_by, entered

PATH = "contract:a"


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with Redis.from_url(redis_url) as found:
        yield found


@pytest.fixture
def shared(client: Any) -> Iterator[SharedEntries]:
    found = SharedEntries(PrivateLine(client), CacheKeys("p:"), 60)
    yield found
    found.close()


def version(number: int, **fields: Any) -> dict[str, Entry]:
    return {PATH: Entry.of(replace(new_record("a", version=number), **fields))}


@contextmanager
def two_worlds(folder: Path, first_url: str, second_url: str) -> Iterator[tuple[World, World]]:
    """Two applications on one database, each with its own way to one Redis; the app context is the second's."""
    uri = f"sqlite:///{folder / 'shared.db'}"
    config = cached_by(first_url) | {"STATEMANAGER_CACHE_PREFIX": "shared"}
    with ExitStack() as stack:
        first = stack.enter_context(contextmanager(entered)(build("sqlite", uri, **config)))
        config |= {"STATEMANAGER_CACHE_URL": second_url}
        second = stack.enter_context(contextmanager(entered)(build("sqlite", uri, **config)))
        yield first, second


def read(world: World, name: str = "u1") -> int | None:
    with world.app.app_context():
        state = world.states.get_state(name)
    return None if state is None else state.version


def pass_time(world: World, seconds: float) -> None:
    """Let a world's cache believe that time has passed."""
    clock = world.runtime.cache._clock
    world.runtime.cache._clock = lambda: clock() + seconds


# -- generations -------------------------------------------------------------------------------------------------------


def test_what_was_read_before_a_new_generation_is_not_kept_under_it(shared: SharedEntries) -> None:
    before = shared.look(PATH).generation
    shared.keep(version(1), {PATH: before})
    assert shared.look(PATH).entry == version(1)[PATH]
    before = shared.look(PATH).generation
    shared.renew(range(SLOTS))
    assert shared.look(PATH).entry is None
    shared.keep(version(1), {PATH: before})
    assert shared.look(PATH).entry is None
    shared.keep(version(1), {PATH: shared.look(PATH).generation})
    assert shared.look(PATH).entry == version(1)[PATH]


def test_a_write_that_comes_late_after_a_new_generation_bars_older_ones_and_is_no_answer(
    shared: SharedEntries,
) -> None:
    """A newer one may have been lost meanwhile, which is why there is a new generation."""
    shared.keep(version(1))
    shared.renew(range(SLOTS))
    shared.keep(version(2))
    found = shared.look(PATH)
    assert found.entry is None
    shared.keep(version(1), {PATH: found.generation})
    assert shared.look(PATH).entry is None
    shared.keep(version(3), {PATH: found.generation})
    assert shared.look(PATH).entry == version(3)[PATH]
    shared.keep(version(3))
    assert shared.look(PATH).entry == version(3)[PATH]


def test_a_generation_that_has_aged_takes_writes_again(shared: SharedEntries, client: Any) -> None:
    shared.renew(range(SLOTS))
    for key in client.keys("*generation"):
        born, token = client.get(key).split(b"-")
        client.set(key, b"%d-%b" % (int(born) - 31_000, token))
    shared.keep(version(2))
    assert shared.look(PATH).entry == version(2)[PATH]


def test_what_was_read_before_everything_was_flushed_is_not_kept(shared: SharedEntries, client: Any) -> None:
    shared.keep(version(1))
    before = shared.look(PATH).generation
    shared.keep(version(2))
    client.flushall()
    shared.keep(version(1), {PATH: before})
    assert shared.look(PATH).entry is None


def test_a_lost_generation_takes_its_entries_with_it(shared: SharedEntries, client: Any) -> None:
    """Redis may evict it; no later one is the same."""
    shared.keep(version(5))
    client.delete(*client.keys("*generation"))
    assert shared.look(PATH).entry is None
    shared.keep({"contract:other": version(1)[PATH]})
    shared.renew(range(SLOTS))
    assert shared.look(PATH).entry is None


def test_a_slow_reader_does_not_keep_what_it_has_read(tmp_path: Path, redis_url: str, client: Any) -> None:
    """By then the tombstone of what it has read may be over."""
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", **cached_by(redis_url))):
        world.states.register_state("u1", "user")
        client.flushdb()
        fetch = world.runtime.backend.fetch

        def slowly(key: Key) -> Record | None:
            pass_time(world, 11)  # noqa: B023
            return fetch(key)  # type: ignore[no-any-return]  # noqa: B023

        assert world.runtime.cache.read(Key("state", "u1"), slowly) is not None
        assert client.keys() == []
        assert world.runtime.cache.read(Key("state", "u1"), fetch) is not None
        assert len(client.keys()) == 2


def fills(client: Any) -> int:
    """Return how many scripts Redis has run."""
    return int(client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))


# -- a way to Redis that fails -----------------------------------------------------------------------------------------


def test_a_write_that_got_lost_is_made_good_for_everybody(
    tmp_path: Path, redis_url: str, redis_proxy: TcpProxy
) -> None:
    with two_worlds(tmp_path, redis_proxy.url(), redis_url) as (writer, reader):
        with writer.app.app_context():
            writer.states.register_state("u1", "user")
            assert read(reader) == 1
            redis_proxy.freeze()
            assert writer.states.update_state("u1").version == 2
            redis_proxy.reset()
            redis_proxy.thaw()
            assert read(writer) == 2
        # The reader cannot know yet, which the lifetime of entries bounds.
        assert read(reader) == 1
        pass_time(writer, PAUSE)
        assert read(writer, "somebody") is None
        assert read(reader) == 2


@pytest.mark.parametrize("error", [RuntimeError("what a task queue's time limit raises"), KeyboardInterrupt()])
def test_a_write_that_is_interrupted_on_its_way_to_redis_is_made_good(
    tmp_path: Path, redis_url: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", **cached_by(redis_url))):
        world.states.register_state("u1", "user")
        assert read(world) == 1

        def interrupted(*_call: Any) -> None:
            raise error

        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(SharedEntries, "keep", interrupted)
            world.states.update_state("u1")
        assert read(world) == 2


def test_a_write_that_is_lost_while_another_is_made_good_is_not_forgotten(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", **cached_by(redis_url))):
        world.states.register_state("u1", "user")
        cache, slot = world.runtime.cache, slot_of("state:u1")
        renew, renewed = cache._shared.renew, list[list[int]]()

        def overtaken(slots: Any) -> None:
            renew(slots)  # noqa: B023
            renewed.append(list(slots))  # noqa: B023
            if len(renewed) == 1:  # noqa: B023
                # Another thread makes all good, and then a further write is lost, before this one is done.
                assert cache._mended()  # noqa: B023
                cache._miss([slot])  # noqa: B023

        monkeypatch.setattr(cache._shared, "renew", overtaken)
        cache._miss([slot])
        assert not cache._believed()
        assert cache._believed()
        assert renewed == [[slot]] * 3


def test_a_fill_that_was_held_up_does_not_bring_back_what_was_deleted(
    tmp_path: Path, redis_url: str, redis_proxy: TcpProxy, client: Any
) -> None:
    with two_worlds(tmp_path, redis_proxy.url(), redis_url) as (slow, other):
        with slow.app.app_context():
            slow.states.register_state("u1", "user")
        client.flushdb()
        fetch = slow.runtime.backend.fetch

        def held_up(key: Key) -> Record | None:
            found: Record | None = fetch(key)
            redis_proxy.freeze()
            return found

        assert slow.runtime.cache.read(Key("state", "u1"), held_up).version == 1
        with other.app.app_context():
            other.states.delete_state("u1")
        before = fills(client)
        redis_proxy.thaw()
        until(lambda: fills(client) > before, "the fill has arrived")
        assert read(other) is None
        pass_time(slow, PAUSE)
        assert read(slow) is None


def test_a_way_that_is_slow_costs_time_and_nothing_else(tmp_path: Path, redis_url: str, redis_proxy: TcpProxy) -> None:
    with two_worlds(tmp_path, redis_proxy.url(), redis_url) as (slow, other):
        with slow.app.app_context():
            slow.states.register_state("u1", "user")
        redis_proxy.delay(0.02)
        for number in range(2, 5):
            with slow.app.app_context():
                assert slow.states.update_state("u1").version == number
            assert (read(slow), read(other)) == (number, number)
        assert slow.runtime.counters.value("cache.error") == 0


def test_a_connection_that_breaks_is_told_from_one_that_never_was(redis_proxy: TcpProxy) -> None:
    with Redis.from_url(redis_proxy.url()) as client:
        line = PrivateLine(client)
        assert line.ask([("PING",)]) == [b"PONG"]
        # As many as threads have asked at once; what has happened to one has happened to all.
        line._idle.get().extend(Channel(line.connect()) for _ in range(2))
        redis_proxy.reset()
        with pytest.raises(HungUp):
            line.ask([("PING",)])
        assert line.ask([("PING",), ("ECHO", "a")]) == [b"PONG", b"a"]
        line.close()


def test_an_older_redis_that_takes_over_is_not_believed(tmp_path: Path, mortal_redis: RedisServer) -> None:
    """A restart from an old file, or a failover to a replica that lagged behind."""
    config = cached_by(mortal_redis.url)
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", **config)):
        world.states.register_state("u1", "user")
        assert read(world) == 1
        with Redis.from_url(mortal_redis.url) as client:
            old = {key: client.dump(key) for key in client.scan_iter()}
        world.states.update_state("u1")
        mortal_redis.restart()
        with Redis.from_url(mortal_redis.url) as client:
            for key, value in old.items():
                client.restore(key, 0, value)
        for _ in range(3):
            assert read(world) == 2
            pass_time(world, PAUSE)
        assert world.runtime.cache.available


def test_a_master_that_has_become_a_replica_is_left_for_the_new_one(
    tmp_path: Path, mortal_redis: RedisServer, redis_server: RedisServer, redis_url: str
) -> None:
    """A failover behind one name breaks no connection: the old master goes on answering, and takes no writes."""
    uri = f"sqlite:///{tmp_path / 'w.db'}"
    with TcpProxy(mortal_redis.port) as proxy, Redis.from_url(mortal_redis.url) as old:
        for world in entered(build("sqlite", uri, **cached_by(proxy.url()))):
            world.states.register_state("u1", "user")
            assert read(world) == 1
            old.replicaof("127.0.0.1", redis_server.port)
            proxy.turn_to(redis_server.port)
            world.states.update_state("u1")
            hits = world.runtime.counters.value("cache.hit")
            for _ in range(3):
                pass_time(world, PAUSE)
                assert read(world) == 2
            assert world.runtime.counters.value("cache.hit") == hits + 2


@pytest.mark.slow
def test_two_processes_agree_after_whatever_has_happened_between_them_and_redis(
    tmp_path: Path, redis_url: str, redis_proxy: TcpProxy
) -> None:
    url = f"sqlite:///{tmp_path / 'w.db'}"
    for world in entered(build("sqlite", url)):
        world.states.register_state("u1", "user")
    near = {"SHARED_NEAR_BYTES": "100000"}
    troubled = Child("reader", {"url": url}, environment=near | {"SHARED_CACHE_URL": redis_proxy.url()})
    healthy = Child("reader", {"url": url}, environment=near | {"SHARED_CACHE_URL": redis_url})
    with troubled, healthy:
        assert (troubled.hear(), healthy.hear()) == ("ready", "ready")
        for turn, trouble in enumerate(["none", "freeze", "reset", "lose", "delay", "freeze"], 2):
            assert ask(healthy, do="read", name="u1") == turn - 1
            afflict(redis_proxy, trouble)
            assert ask(troubled, do="write", name="u1", data={"turn": turn}) == turn
            assert ask(troubled, do="read", name="u1") == turn, trouble
            relieve(redis_proxy, trouble)
            assert ask(troubled, do="read", name="u1") == turn, trouble
            until(lambda turn=turn: agreed(troubled, healthy, turn), f"they agree after {trouble}")  # type: ignore[misc]
        for child in (troubled, healthy):
            assert ask(child, do="warm", name="u1") == turn, "the near cache answers, and as the store does"


def ask(child: Child, **order: Any) -> Any:
    child.tell(order)
    return child.hear()


def agreed(troubled: Child, healthy: Child, turn: int) -> bool:
    """Whoever has lost a write reads on, which makes it good; nobody sees that it was lost."""
    assert ask(troubled, do="read", name="u1") == turn
    return bool(ask(healthy, do="read", name="u1") == turn)


def afflict(proxy: TcpProxy, trouble: str) -> None:
    if trouble in ("freeze", "lose"):
        proxy.freeze()
    elif trouble == "reset":
        proxy.reset()
    elif trouble == "delay":
        proxy.delay(0.05)


def relieve(proxy: TcpProxy, trouble: str) -> None:
    if trouble == "lose":
        proxy.reset()
    proxy.delay(0)
    proxy.thaw()

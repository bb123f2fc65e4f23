"""A Redis that is away, frozen, full, replaced or killed: a clear error in time, nothing lost, and on it goes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, cast

import pytest
import redis
from msgspec.structs import replace
from redis.sentinel import Sentinel

from flask_statemanager.backends.redis.backend import RedisBackend
from flask_statemanager.backends.redis.clock import ServerClock
from flask_statemanager.backends.redis.lines import line_for
from flask_statemanager.backends.redis.link import Link
from flask_statemanager.backends.redis.opening import open_redis
from flask_statemanager.core.buckets import BucketDefinition
from flask_statemanager.core.ports import Alteration
from flask_statemanager.core.record import Key, Record
from flask_statemanager.errors import (
    ConfigurationError,
    StorageError,
    StorageTimeout,
    StorageUnavailable,
)
from flask_statemanager.redis_line import HungUp
from flask_statemanager.testing.contract.store import BUCKET, Store, change_of
from tests.servers import RedisServer
from tests.servers.proxy import TcpProxy
from tests.servers.sentinel_server import MASTER, SentinelServer

LIMIT = 0.5
PATIENCE = 60
KV = BucketDefinition("kv")


@pytest.fixture
def behind(redis_proxy: TcpProxy) -> Iterator[Store]:
    """A store behind a proxy, with a small bound."""
    backend = RedisBackend(open_redis(redis_proxy.url(), timeout=LIMIT))
    yield Store(backend)
    backend.close()


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    backend = RedisBackend(open_redis(redis_url))
    yield Store(backend)
    backend.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def accepted(act: Callable[[], Any]) -> bool:
    """Ask a Sentinel for something, and tell whether it agrees."""
    try:
        act()
    except redis.ResponseError:
        return False
    return True


def written(store: Store, name: str) -> bool:
    """Try to write, and tell whether it worked."""
    try:
        store.update(name)
    except StorageError:
        return False
    return True


# -- away and frozen --------------------------------------------------------------------------------------------------


def test_a_frozen_redis_is_an_error_in_time_and_serves_again_afterwards(redis_proxy: TcpProxy, behind: Store) -> None:
    first = behind.create("a")
    # So that Redis knows the script: what it does not know is not run when it arrives.
    known = change_of(first, replace(first, status="known"), "update")
    stored = behind.backend.alter(first.key, lambda _u, _s: Alteration([known]), seen=first)[-1].after
    redis_proxy.freeze()
    began = time.monotonic()
    following = change_of(stored, replace(stored, status="next"), "update")
    with pytest.raises(StorageUnavailable, match="not known"):
        behind.backend.alter(stored.key, lambda _u, _s: Alteration([following]), seen=stored)
    with pytest.raises(StorageTimeout, match="in time"):
        behind.read("a")
    assert time.monotonic() - began < 10 * LIMIT
    redis_proxy.thaw()
    # What was sent arrives in the end: once.
    until(lambda: behind.found("a").version == 3)
    assert behind.update("a").version == 4


def test_a_connection_that_breaks_in_a_write_is_not_repeated(redis_proxy: TcpProxy, behind: Store) -> None:
    stored = behind.create("a")
    redis_proxy.freeze()
    breaking = threading.Timer(0.1, redis_proxy.reset)
    breaking.start()
    following = change_of(stored, replace(stored, status="next"), "update")
    with pytest.raises(StorageUnavailable, match="not known"):
        behind.backend.alter(stored.key, lambda _u, _s: Alteration([following]), seen=stored)
    breaking.join(PATIENCE)
    redis_proxy.thaw()
    assert behind.found("a").version in {1, 2}
    assert behind.update("a").version in {2, 3}


def test_idle_connections_that_were_closed_are_replaced_without_a_word(redis_proxy: TcpProxy, behind: Store) -> None:
    stored = behind.create("a")
    redis_proxy.reset()
    # The end of the connection is on its way; a new one through the same proxy comes behind it.
    with redis.Redis.from_url(redis_proxy.url()) as other:
        other.ping()
    following = change_of(stored, replace(stored, status="next"), "update")
    assert behind.backend.alter(stored.key, lambda _u, _s: Alteration([following]), seen=stored)[0].version == 2


def test_a_redis_that_is_away_is_unavailable_and_needs_no_restart_of_the_application(mortal_redis: RedisServer) -> None:
    store = Store(RedisBackend(open_redis(mortal_redis.url)))
    store.create("a")
    mortal_redis.stop()
    for ask in (lambda: store.read("a"), lambda: store.create("b"), lambda: store.backend.clock().now()):
        with pytest.raises(StorageUnavailable, match="cannot be reached"):
            ask()
    mortal_redis.start()
    assert store.read("a") is None
    assert store.create("b").version == 1
    store.backend.close()


def test_what_was_acknowledged_survives_a_kill(durable_redis: RedisServer) -> None:
    backend = RedisBackend(open_redis(durable_redis.url))
    store, tried = Store(backend), dict[str, int]()
    created = [store.create(f"n{number}") for number in range(3)]
    acknowledged = {record.key.name: 1 for record in created}

    def write(stored: Record) -> None:
        name = stored.key.name
        while True:
            following = change_of(stored, replace(stored, data={"n": stored.version}), "update")
            tried[name] = following.version
            try:
                stored = backend.alter(stored.key, lambda _u, _s, f=following: Alteration([f]), seen=stored)[-1].after  # type: ignore[misc]
            except StorageError:
                return
            acknowledged[name] = stored.version

    writers = [threading.Thread(target=write, args=(record,)) for record in created]
    for writer in writers:
        writer.start()
    until(lambda: sum(acknowledged.values()) > 60)
    durable_redis.signal(signal.SIGKILL)
    for writer in writers:
        writer.join(PATIENCE)
    until(lambda: not durable_redis.running)
    durable_redis.start()
    for name, version in acknowledged.items():
        assert version <= store.found(name).version <= tried[name]
    revisions = [change.revision for change in backend.follow(BUCKET, "0", limit=100_000).changes]
    assert revisions == list(range(1, len(revisions) + 1))
    assert sum(store.found(name).version for name in acknowledged) == len(revisions)
    backend.close()


def test_another_master_that_sentinels_name_takes_over(
    mortal_redis: RedisServer, redis_server: RedisServer, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as replica, redis.Redis.from_url(mortal_redis.url) as master:
        try:
            # First, so that the Sentinel finds it at once.
            replica.replicaof("127.0.0.1", mortal_redis.port)
            until(lambda: replica.info("replication")["master_link_status"] == "up")
            with SentinelServer(mortal_redis.port) as sentinel, redis.Redis(port=sentinel.port) as watching:
                url = f"redis+sentinel://127.0.0.1:{sentinel.port}/{MASTER}/0"
                backend = RedisBackend(open_redis(url, timeout=2))
                store = Store(backend)
                store.create("a", {"n": 1})
                until(lambda: store.update("a") and master.wait(1, 1000) == 1)
                version = store.found("a").version
                until(lambda: accepted(lambda: watching.sentinel_failover(MASTER)))
                # The old master, on which our connections are, is a replica then: READONLY.
                address = ("127.0.0.1", redis_server.port)
                until(lambda: Sentinel([("127.0.0.1", sentinel.port)]).discover_master(MASTER) == address)
                until(lambda: written(store, "a"))
                assert store.found("a").version == version + 1
                assert store.found("a").data == {"n": 1}
                assert backend.identity == f"redis://{MASTER}/0#statemanager:"
                backend.close()
        finally:
            replica.replicaof("NO", "ONE")


def test_what_changes_nothing_is_asked_again_where_a_connection_was_closed(store: Store, client: redis.Redis) -> None:
    store.create("a")
    link = cast(RedisBackend, store.backend).link
    asked: list[str] = []
    hung_up = partial(hang_up, link.line, asked)
    for look in (
        lambda: store.read("a"),
        lambda: cast(RedisBackend, store.backend).follow(BUCKET, "0"),
    ):
        hung_up()
        assert look() is not None
    assert asked == ["MGET", "EVALSHA"]
    hung_up()
    with pytest.raises(StorageUnavailable, match="not known"):
        link.run("release", [1, b"gate", b"token"])
    assert asked == ["MGET", "EVALSHA", "EVALSHA"]


def hang_up(line: Any, asked: list[str]) -> None:
    """Have the next command meet a connection that its other side has closed just now."""
    ask = line.ask

    def closed(commands: Any) -> Any:
        line.ask = ask
        asked.append(commands[0][0])
        raise HungUp("closed")

    line.ask = closed


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_a_full_redis_names_the_setting_and_writes_nothing(mortal_redis: RedisServer) -> None:
    store = Store(RedisBackend(open_redis(mortal_redis.url)))
    stored = store.create("a")
    with redis.Redis.from_url(mortal_redis.url) as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(StorageError, match="maxmemory") as full:
            store.update("a", status="next")
        assert not isinstance(full.value, StorageUnavailable)
        assert isinstance(full.value.__cause__, redis.RedisError)
        assert store.read("a") == stored
        client.config_set("maxmemory", 0)
    assert store.update("a", status="next").version == 2
    store.backend.close()


def test_a_replica_takes_no_writes(mortal_redis: RedisServer) -> None:
    store = Store(RedisBackend(open_redis(mortal_redis.url)))
    store.create("a")
    with redis.Redis.from_url(mortal_redis.url) as client:
        client.replicaof("127.0.0.1", 1)
        with pytest.raises(StorageUnavailable, match="replica"):
            store.update("a")
        client.replicaof("NO", "ONE")
    assert store.update("a").version == 2
    store.backend.close()


def test_a_user_without_rights_is_told_so(mortal_redis: RedisServer) -> None:
    with redis.Redis.from_url(mortal_redis.url) as client:
        client.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@read", "+@connection")
    url = mortal_redis.url.replace("redis://", "redis://reader:secret@")
    backend = RedisBackend(open_redis(url))
    with pytest.raises(StorageError, match="ACL SETUSER"):
        Store(backend).create("a")
    assert "secret" not in backend.identity
    backend.close()
    wrong = RedisBackend(open_redis(url.replace("secret", "wrong")))
    with pytest.raises(StorageError, match="password"):
        Store(wrong).create("a")
    wrong.close()


def test_a_redis_that_is_busy_with_a_script_is_a_timeout(mortal_redis: RedisServer) -> None:
    store = Store(RedisBackend(open_redis(mortal_redis.url)))
    store.create("a")
    with redis.Redis.from_url(mortal_redis.url) as client, redis.Redis.from_url(mortal_redis.url) as killer:
        client.config_set("lua-time-limit", 1)

        def hog() -> None:
            with pytest.raises(redis.ResponseError):
                client.eval("while true do end", 0)

        busy = threading.Thread(target=hog)
        busy.start()
        errors: list[StorageError] = []

        def asked() -> bool:
            try:
                store.read("a")
            except StorageError as error:
                errors.append(error)
            return bool(errors)

        until(asked)
        killer.script_kill()
        busy.join(PATIENCE)
    assert isinstance(errors[0], StorageTimeout)
    assert store.update("a").version == 2
    store.backend.close()


def test_a_node_of_a_cluster_needs_another_url(redis_cluster_url: str) -> None:
    backend = RedisBackend(open_redis(redis_cluster_url.replace("+cluster", "")))
    keys = [Key(f"bucket{number}", "a") for number in range(20)]
    with pytest.raises(ConfigurationError, match=r"redis\+cluster://"):
        [backend.fetch(key) for key in keys]
    backend.close()


def test_a_gate_that_never_goes_is_a_timeout(
    store: Store, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_statemanager.backends.redis.committing.PATIENCE", 0.1)
    stored = store.create("a")
    assert isinstance(store.backend, RedisBackend)
    client.set(store.backend.shard_of(stored.key).gate, "somebody")
    with pytest.raises(StorageTimeout, match="nothing was written"):
        store.update("a")
    assert store.read("a") == stored


# -- opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://localhost",
        "redis://localhost:port",
        "redis+cluster://localhost:7000/3",
        "redis+sentinel://localhost",
        "redis+sentinel:///service",
        "redis+sentinel://localhost:x/service",
        "redis+sentinel://localhost/service/x",
    ],
)
def test_what_is_no_url_of_a_redis_is_refused_with_what_is_one(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"redis\+sentinel://host:port"):
        open_redis(url)


def test_urls_become_bounded_clients_that_repeat_nothing() -> None:
    for url, where in (
        ("redis://me:secret@somewhere:7000/3", "redis://somewhere:7000/3"),
        ("rediss://somewhere", "redis://somewhere:6379/0"),
        ("unix:///run/redis.sock?db=2", "redis:///run/redis.sock/2"),
        ("redis+sentinel://me:secret@one,two:5000/mine/4", "redis://mine/4"),
        ("rediss+sentinel://[::1]:5000/mine", "redis://mine/0"),
    ):
        client = open_redis(url, timeout=3)
        given = client.connection_pool.connection_kwargs
        assert (given["socket_timeout"], given["socket_connect_timeout"]) == (3, 3)
        assert given["retry"]._retries == 0
        backend = RedisBackend(client)
        assert backend.identity == f"{where}#statemanager:"
        assert "secret" not in backend.identity
        backend.close()


# -- health and time --------------------------------------------------------------------------------------------------


def test_warnings_tell_what_redis_does_not_keep(durable_redis: RedisServer) -> None:
    backend = RedisBackend(open_redis(durable_redis.url))
    with redis.Redis.from_url(durable_redis.url) as client:
        assert backend.warnings(KV) == []
        client.config_set("maxmemory", 10**9)
        client.config_set("maxmemory-policy", "volatile-lru")
        assert backend.warnings(KV) == []
        client.config_set("maxmemory-policy", "allkeys-lru")
        [evicting] = backend.warnings(KV)
        assert "'kv'" in evicting
        assert "noeviction" in evicting
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("appendonly", "no")
        [nothing] = backend.warnings(KV)
        assert "does not outlive a restart" in nothing
        client.config_set("save", "900 1")
        [snapshots] = backend.warnings(KV)
        assert "last snapshot" in snapshots
        client.execute_command("ACL", "SETUSER", "default", "-config")
        assert backend.warnings(KV) == [snapshots]
        client.execute_command("ACL", "SETUSER", "default", "-info")
        assert backend.warnings(KV) == []
    backend.close()


def test_the_clock_is_the_servers_and_never_ahead_of_it(redis_url: str, client: redis.Redis) -> None:
    passed = [0.0]
    backend = RedisBackend(open_redis(redis_url))
    clock = ServerClock(backend.link, monotonic=lambda: passed[0])

    def server() -> datetime:
        seconds, micros = client.time()
        return datetime.fromtimestamp(seconds, timezone.utc) + timedelta(microseconds=micros)

    before = server()
    first = clock.now()
    assert before <= first <= server()
    calls = client.info("commandstats")["cmdstat_time"]["calls"]
    passed[0] = 0.75
    assert clock.now() - first == timedelta(seconds=0.75)
    assert client.info("commandstats")["cmdstat_time"]["calls"] == calls
    passed[0] = 1.5
    assert first <= clock.now() <= server()
    passed[0] = 0.0
    assert first <= clock.now() <= server()
    backend.close()


def test_the_clock_counts_from_when_the_answer_was_heard(redis_proxy: TcpProxy) -> None:
    redis_proxy.delay(0.1)
    clock = ServerClock(Link(line_for(open_redis(redis_proxy.url()))))
    assert clock.now() <= datetime.now(timezone.utc) - timedelta(seconds=0.05)

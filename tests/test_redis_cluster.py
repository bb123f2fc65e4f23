"""The Redis backend on a real cluster of three nodes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from redis.cluster import RedisCluster as RedisClusterClient

from flask_statemanager.backends.redis.backend import RedisBackend
from flask_statemanager.backends.redis.opening import open_redis
from flask_statemanager.core.buckets import BucketDefinition
from flask_statemanager.core.lists import Span
from flask_statemanager.core.ports import Alteration, Backend
from flask_statemanager.core.record import Key
from flask_statemanager.errors import ConfigurationError, StorageError, StorageUnavailable
from flask_statemanager.snapshots.directory import DirectoryStorage
from flask_statemanager.testing.clock import START
from flask_statemanager.testing.contract.store import BUCKET, Store, change_of, patiently
from tests.archives import Kept
from tests.processes.child import KILLED, Child
from tests.servers.redis_cluster import RedisCluster
from tests.test_redis_backend import count_up
from tests.test_redis_contract import RedisContract

SHARDS = 5
NAMES = [f"name:{number}" for number in range(40)]
PATIENCE = 30


class TestRedisCluster(RedisContract):
    @pytest.fixture
    def backend(self, redis_cluster_url: str) -> Iterator[Backend]:
        backend = RedisBackend(open_redis(redis_cluster_url))
        yield backend
        backend.close()
        backend.client.close()


@pytest.fixture
def spread(redis_cluster_url: str) -> Iterator[RedisBackend]:
    """A backend whose buckets are spread over the nodes."""
    backend = RedisBackend(open_redis(redis_cluster_url), shards=lambda _bucket: SHARDS)
    yield backend
    backend.close()
    backend.client.close()


@pytest.fixture
def filled(spread: RedisBackend) -> Store:
    store = Store(spread)
    for place, name in enumerate(NAMES):
        store.create(name, at_place(place), updated_at=START + timedelta(seconds=place))
    return store


def at_place(place: int) -> dict[str, int]:
    return {"place": place}


def test_a_spread_bucket_lies_on_several_nodes(redis_cluster: RedisCluster, filled: Store) -> None:
    sizes = []
    for node in redis_cluster.nodes:
        with node.client() as client:
            sizes.append(client.dbsize())
    assert sum(size > 0 for size in sizes) > 1


def test_what_is_written_to_a_spread_bucket_is_read_listed_and_counted(spread: RedisBackend, filled: Store) -> None:
    assert [filled.found(name).data for name in NAMES] == [at_place(place) for place in range(len(NAMES))]
    with spread.reading() as unit:
        assert spread.listed(unit, Span(BUCKET, START)) == sorted(NAMES)
        assert spread.listed(unit, Span(BUCKET, START, prefix="name:1", limit=3)) == ["name:1", "name:10", "name:11"]
        assert spread.tally(unit, Span(BUCKET, START, prefix="name:3")) == 11
        measure = spread.measure(unit, BUCKET, START, None)
    assert measure is not None
    assert (measure.keys, measure.prefixes) == (len(NAMES), {"name:": len(NAMES)})


def test_a_transaction_over_several_shards_is_refused_with_the_cure(spread: RedisBackend, filled: Store) -> None:
    shards = {spread.shard_of(Key(BUCKET, name)).number: name for name in NAMES}
    one, two, *_others = (filled.found(name) for name in shards.values())
    with pytest.raises(ConfigurationError, match="shards=1"), spread.writing() as unit:  # noqa: PT012 - the second
        spread.apply(unit, change_of(one, replace(one, status="next"), "update"))
        spread.apply(unit, change_of(two, replace(two, status="next"), "update"))
    assert [filled.found(record.key.name).status for record in (one, two)] == ["new", "new"]


def test_a_transaction_that_has_read_for_writing_elsewhere_is_refused_too(spread: RedisBackend, filled: Store) -> None:
    shards = {spread.shard_of(Key(BUCKET, name)).number: name for name in NAMES}
    one, two, *_others = (filled.found(name) for name in shards.values())
    with pytest.raises(ConfigurationError, match="one shard"), spread.writing() as unit:  # noqa: PT012 - its end raises
        spread.apply(unit, change_of(one, replace(one, status="next"), "update"))
        spread.read(unit, two.key, lock=True)
    assert filled.read(one.key.name) == one


def test_a_client_that_decodes_is_refused(redis_cluster: RedisCluster) -> None:
    client = RedisClusterClient(host="127.0.0.1", port=redis_cluster.nodes[0].port, decode_responses=True)
    with pytest.raises(ConfigurationError, match="decode_responses"):
        RedisBackend(client)
    client.close()


def test_the_log_of_all_shards_is_read_once_each_from_any_cursor(spread: RedisBackend, filled: Store) -> None:
    cursor, seen = "0", []
    while True:
        page = spread.follow(BUCKET, cursor, limit=7)
        assert len(page.changes) <= 7
        seen += page.changes
        cursor = page.cursor
        if not page.more:
            break
    # Each shard's are in order, and all of them by time.
    assert [change.key.name for change in seen] == NAMES
    assert cursor == spread.position(BUCKET)
    assert len(cursor.split(".")) == SHARDS
    assert spread.follow(BUCKET, cursor).changes == []


def test_a_follower_of_all_shards_is_woken_by_a_write_to_any(spread: RedisBackend, filled: Store) -> None:
    shards = {spread.shard_of(Key(BUCKET, name)).number: name for name in NAMES}
    with spread.following(BUCKET) as wait:
        for name in shards.values():
            cursor = spread.position(BUCKET)
            assert not wait(cursor, 0.01)
            writer = threading.Timer(0.05, filled.update, [name])
            writer.start()
            assert wait(cursor, PATIENCE)
            writer.join(PATIENCE)
            assert [change.key.name for change in spread.follow(BUCKET, cursor).changes] == [name]


def test_a_bucket_declared_with_other_shards_is_refused(redis_cluster_url: str, filled: Store) -> None:
    other = RedisBackend(open_redis(redis_cluster_url), shards=lambda _bucket: 2)
    with pytest.raises(ConfigurationError, match=f"{SHARDS} shards"):
        other.fetch(Key(BUCKET, NAMES[0]))
    other.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_writes_go_on_while_slots_move_to_another_node(
    redis_cluster: RedisCluster, redis_cluster_url: str, spread: RedisBackend, filled: Store
) -> None:
    shard = spread.shard_of(Key(BUCKET, NAMES[0]))
    client = open_redis(redis_cluster_url)
    slot, owner = client.keyslot(shard.pointer), client.get_node_from_key(shard.pointer)
    source = next(node for node in redis_cluster.nodes if node.port == owner.port)
    target = next(node for node in redis_cluster.nodes if node.port != owner.port)
    cursor = spread.position(BUCKET)
    with source.client() as old, target.client() as new:
        ids = {node.port: each.execute_command("CLUSTER", "MYID") for node, each in ((source, old), (target, new))}

        def assign(owner: int) -> None:
            for node in redis_cluster.nodes:
                with node.client() as each:
                    each.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[owner])

        def move(giver: RedisCluster, taker: RedisCluster, start: int, end: int) -> None:
            taker.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[start])
            giver.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[end])
            keys = giver.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000)
            giver.execute_command("MIGRATE", "127.0.0.1", end, "", 0, 5000, "KEYS", *keys)
            assign(end)

        with spread.following(BUCKET) as wait, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait, cursor, PATIENCE)
            until(lambda: old.info("clients")["blocked_clients"] > 0)
            move(old, new, source.port, target.port)
            try:
                # The node turns away whoever waits for what it has no more, and that is worth a look.
                assert waiting.result(PATIENCE)
                assert filled.update(NAMES[0], status="moved").version == 2
                assert wait(cursor, PATIENCE)
                assert [change.version for change in spread.follow(BUCKET, cursor).changes] == [2]
            finally:
                move(new, old, target.port, source.port)
    assert filled.update(NAMES[0], status="back").version == 3
    client.close()


def test_a_node_that_is_away_is_unavailable_and_serves_again_when_it_is_back(
    redis_cluster: RedisCluster, redis_cluster_url: str
) -> None:
    backend = RedisBackend(open_redis(redis_cluster_url, timeout=1))
    store = Store(backend)
    stored = store.create("a")
    port = backend.client.get_node_from_key(backend.shard_of(stored.key).pointer).port
    node = next(node for node in redis_cluster.nodes if node.port == port)
    asks = (
        lambda: store.read("a"),
        lambda: backend.alter(
            stored.key, lambda _u, _s: Alteration([change_of(stored, stored, "update")]), seen=stored
        ),
        lambda: backend.clock().now(),
    )
    node.stop()
    try:
        for ask in asks:
            began = time.monotonic()
            with pytest.raises(StorageUnavailable):
                ask()
            assert time.monotonic() - began < PATIENCE / 2
    finally:
        redis_cluster.start()
    until(lambda: served(store))
    assert store.read("a") is None
    backend.close()


def served(store: Store) -> bool:
    """Read, and tell whether it worked."""
    try:
        store.read("a")
    except StorageError:
        return False
    return True


def test_a_cluster_that_is_away_is_unavailable() -> None:
    with pytest.raises(StorageUnavailable):
        open_redis("redis+cluster://127.0.0.1:1", timeout=0.5)


def test_no_increment_of_several_threads_is_lost(spread: RedisBackend, filled: Store) -> None:
    filled.create("counter", {"n": 0})
    assert count_up(spread, "counter", threads=4, rounds=10) == []
    assert filled.found("counter").data == {"n": 40}


def test_warnings_are_of_all_nodes_and_the_clock_of_the_slowest(spread: RedisBackend) -> None:
    assert len(spread.warnings(BucketDefinition("kv"))) == 1
    assert spread.clock().now() > START
    assert spread.identity.count("127.0.0.1") == 3


# -- snapshots ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("steps", range(SHARDS + 1))
def test_a_restore_of_a_spread_bucket_that_is_killed_leaves_each_shard_as_it_was_or_restored(
    spread: RedisBackend, redis_cluster_url: str, tmp_path: Path, steps: int
) -> None:
    """And is there as a whole when it is repeated."""
    kept = Kept(spread, DirectoryStorage(tmp_path))
    for name in NAMES:
        kept.set(name, "old")
    made = kept.archive.create_snapshot()
    for name in NAMES:
        kept.set(name, "new")
    point = ("flip", steps, True) if steps else ("flip", 1, False)
    order = {"url": redis_cluster_url, "shards": SHARDS, "folder": str(tmp_path), "id": made.id, "point": point}
    with Child("redis_restorer", order) as child:
        assert child.ended() == KILLED
    found = kept.values()
    by_shard = {number: {found[name] for name in NAMES if shard_of(spread, name) == number} for number in range(SHARDS)}
    assert all(len(values) == 1 for values in by_shard.values())
    assert sum(values == {"old"} for values in by_shard.values()) == steps
    # Its gates go by themselves.
    assert patiently(lambda: kept.set(NAMES[0], "written on")).data == {"value": "written on"}
    again = kept.archive.restore_snapshot(made)
    assert again.changed + again.same == len(NAMES)
    assert kept.values() == dict.fromkeys(NAMES, "old")


def shard_of(backend: RedisBackend, name: str) -> int:
    return backend.shard_of(Key("kv", name)).number

"""Snapshots on Redis: shards of one moment though others write, and restores that lose nothing acknowledged."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from msgspec.structs import replace

from flask_statemanager.backends.redis import restoring
from flask_statemanager.backends.redis.backend import RedisBackend
from flask_statemanager.backends.redis.opening import open_redis
from flask_statemanager.core.record import Key, Record
from flask_statemanager.core.snapshots import Restore, Restored, Scan
from flask_statemanager.errors import Compacted, StateConflict
from flask_statemanager.snapshots.directory import DirectoryStorage
from flask_statemanager.testing.clock import START
from flask_statemanager.testing.contract.snapshotting import LATER, Shots
from flask_statemanager.testing.contract.store import BUCKET, ORIGIN, Store, change_of, new_record, patiently
from tests.archives import Kept, fill
from tests.processes.child import KILLED, Child

PATIENCE = 60
SHARDS = 3


@pytest.fixture(params=[1, SHARDS])
def backend(request: pytest.FixtureRequest, redis_url: str) -> Iterator[RedisBackend]:
    backend = RedisBackend(open_redis(redis_url), shards=lambda _bucket: request.param)
    yield backend
    backend.close()


@pytest.fixture
def store(backend: RedisBackend) -> Store:
    return Store(backend)


@pytest.fixture
def shots(backend: RedisBackend) -> Shots:
    return Shots(backend)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def strays(client: redis.Redis) -> list[bytes]:
    """Return the keys of generations that are not the present ones."""
    found = []
    for key in client.scan_iter():
        shard, mark, name = key.partition(b"}:")
        generation, behind, _part = name.partition(b":")
        if behind and generation != (client.get(shard + mark + b"gen") or b"0"):
            found.append(key)
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it has not come about"
        time.sleep(0.05)


# -- looks -------------------------------------------------------------------------------------------------------------


def test_money_that_four_threads_move_between_two_keys_always_adds_up(
    backend: RedisBackend, store: Store, shots: Shots
) -> None:
    """Though the two are read in different pages, with much in between."""
    store.fill({"a": {"n": 100}, **{f"k{number:03}": {"n": 0} for number in range(100)}, "z": {"n": 100}})
    stop, moved = threading.Event(), threading.Semaphore(0)

    def move() -> None:
        while not stop.is_set():
            with backend.writing() as unit:
                for name, step in (("a", -1), ("z", 1)):
                    before = backend.read(unit, Key(BUCKET, name), lock=True)
                    assert before is not None
                    backend.apply(unit, change_of(before, replace(before, data={"n": before.data["n"] + step}), "move"))
            moved.release()

    def keep_moving() -> None:
        while not stop.is_set():
            patiently(move)

    with ThreadPoolExecutor(4) as pool:
        movers = [pool.submit(keep_moving) for _ in range(4)]
        try:
            for _ in range(15):
                assert moved.acquire(timeout=PATIENCE)
                with shots.power.looking(Scan((BUCKET,), batch=5)) as look:
                    seen = next(look.batches)
                    assert moved.acquire(timeout=PATIENCE)
                    seen += [record for batch in look.batches for record in batch]
                assert [record.key.name for record in seen] == sorted(record.key.name for record in seen)
                assert len(seen) == 102
                assert sum(record.data["n"] for record in seen) == 200
        finally:
            stop.set()
        for mover in movers:
            mover.result(PATIENCE)


def test_what_was_dead_is_dead_in_a_look_whatever_becomes_of_it_meanwhile(shots: Shots, store: Store) -> None:
    names = [f"n{number}" for number in range(6)]
    store.fill({name: {} for name in names})
    for name in names[1::2]:
        store.delete(name)
    before = [store.found(name) for name in names]
    with shots.power.looking(Scan((BUCKET,), batch=1)) as look:
        seen = next(look.batches)
        for name in names[1::2]:
            store.recreate(name, at=LATER)
        for name in names[::2]:
            store.delete(name)
        seen += [record for batch in look.batches for record in batch]
    assert seen == before


def test_a_tombstone_that_is_purged_while_a_look_is_open_is_in_its_floor(
    backend: RedisBackend, shots: Shots, store: Store
) -> None:
    store.fill({"a": {}, "b": {}, "z": {}})
    store.update("z", data={"n": 1})
    store.delete("z")
    with shots.power.looking(Scan((BUCKET,), batch=1)) as look:
        assert look.floors == {BUCKET: 0}
        with backend.writing() as unit:
            assert backend.forget_tombstones(unit, BUCKET, LATER, 10) == 1
        seen = [record.key.name for batch in look.batches for record in batch]
    assert (seen, look.floors) == (["a", "b"], {BUCKET: 3})


def test_a_look_behind_which_the_log_is_trimmed_is_begun_again(
    backend: RedisBackend, client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(backend, DirectoryStorage(tmp_path))
    kept.together({f"n{number}": lambda _value: 1 for number in range(9)})
    ask, turns = backend.link.ask, iter([True, True])

    def disturbed(commands: Sequence[Any]) -> list[Any]:
        answers = ask(commands)
        if commands[0][0] == "MGET" and b":r:" in commands[0][-1] and next(turns, False):
            with monkeypatch.context() as undone:
                undone.setattr(backend.link, "ask", ask)
                for number in range(9):
                    kept.set(f"n{number}", kept.found(f"n{number}").data["value"] + 1)
            for shard in backend.shards("kv"):
                client.xtrim(shard.log, maxlen=1, approximate=False)
        return answers

    monkeypatch.setattr(backend.link, "ask", disturbed)
    made = kept.archive.create_snapshot()
    assert next(turns, None) is None
    assert made.keys == 9
    monkeypatch.undo()
    kept.archive.restore_snapshot(made)
    assert set(kept.values().values()) == {3}


def test_a_look_and_a_restore_of_many_keys_take_little_memory(
    backend: RedisBackend, shots: Shots, tmp_path: Path
) -> None:
    number = 20_000
    names = [f"n{each:05}" for each in range(number)]
    restore = Restore((BUCKET,), "", {}, ORIGIN, LATER)
    shots.position()
    tracemalloc.start()
    try:
        done = backend.put_back(restore, lambda: (new_record(name, {"n": 1}) for name in names))
        peak_of_restore = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        with shots.power.looking(Scan((BUCKET,))) as look:
            seen = sum(len(batch) for batch in look.batches)
        peak_of_look = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (done, seen) == (Restored(created=number), number)
    # All of them at once are more than 30 MB.
    assert peak_of_restore < 12_000_000
    assert peak_of_look < 12_000_000
    with backend.reading() as unit:
        measure = backend.measure(unit, BUCKET, START, None)
    assert measure is not None
    assert (measure.keys, measure.bytes) == (number, number * len('{"n":1}'))


# -- restores ----------------------------------------------------------------------------------------------------------


def test_a_restored_shard_is_found_listed_counted_due_and_purged_as_any(
    backend: RedisBackend, shots: Shots, store: Store, client: redis.Redis
) -> None:
    """What is beside the records is restored with them, and nothing of the old generation is left."""
    store.create("g:1", {"n": 1}, metadata={"m": 1}, expires_at=LATER)
    store.create("g:2", {"n": 22})
    store.create("dead")
    store.delete("dead")
    records = shots.look()
    store.create("g:3")
    store.delete("g:1")
    with backend.reading() as unit:
        before = backend.measure(unit, BUCKET, START, None)
    assert shots.restore(records) == Restored(created=1, same=1, removed=1)
    assert before is not None
    with backend.reading() as unit:
        after = backend.measure(unit, BUCKET, START, None)
        assert after is not None
        assert (after.keys, after.with_metadata, after.prefixes) == (2, 1, {"g:": 2})
        assert after.bytes == len('{"n":1}') + len('{"n":22}')
    with backend.reading() as unit:
        late = backend.measure(unit, BUCKET, LATER, None)
        assert late is not None
        assert (late.keys, late.bytes) == (1, len('{"n":22}'))
    with backend.writing() as unit:
        assert backend.forget_tombstones(unit, BUCKET, LATER + timedelta(days=1), 10) == 2
    assert strays(client) == []


def test_what_others_acknowledge_while_a_restore_is_built_is_not_lost(
    backend: RedisBackend, shots: Shots, store: Store
) -> None:
    """They are behind it or before it: it loses the race, and is begun again while they wait."""
    names = [f"n{number:02}" for number in range(30)]
    store.fill({name: {"n": 0} for name in names})
    records = shots.look()
    stop, written = threading.Event(), threading.Semaphore(0)
    last: dict[str, Record] = {}

    def count(name: str) -> Record:
        return store.update(name, data={"n": store.found(name).data["n"] + 1})

    def write(part: int) -> None:
        while not stop.is_set():
            for name in names[part::4]:
                last[name] = patiently(
                    lambda name=name: store.update(name, data={"n": store.found(name).data["n"] + 1})
                )
            written.release()

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, part) for part in range(4)]
        try:
            for _ in range(5):
                assert written.acquire(timeout=PATIENCE)
                done = shots.restore(records)
                assert done.changed + done.same == 30
        finally:
            stop.set()
        for writer in writers:
            writer.result(PATIENCE)
    # A version is given once, so that what was acknowledged last is what is there, or is behind a restore.
    for name, record in last.items():
        now = store.found(name)
        assert now == record or now.version > record.version
    assert store.update("n00", data={"n": "on"}).data == {"n": "on"}


def test_a_restore_that_loses_a_race_is_begun_again_and_has_the_others_wait(
    backend: RedisBackend, shots: Shots, store: Store
) -> None:
    store.fill({"a": {"n": 1}, "b": {"n": 1}})
    records = shots.look()
    began: list[int] = []

    def disturbed() -> Iterator[Record]:
        began.append(len(began))
        if len(began) == 1:
            store.update("a", data={"n": 2})
        yield from records

    done = shots.power.put_back(Restore((BUCKET,), "", {}, ORIGIN, LATER), disturbed)
    assert (began, done) == ([0, 1], Restored(changed=1, same=1))
    assert store.found("a").version == 3


def test_a_restore_that_loses_every_race_gives_up_and_leaves_nothing(
    backend: RedisBackend, shots: Shots, store: Store, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where its gates went away again and again."""
    store.create("a", {"n": 1})
    monkeypatch.setattr(restoring.Restoring, "_shut", lambda _self, _shards: None)
    records = shots.look()

    def disturbed() -> Iterator[Record]:
        store.update("a", data={"n": store.found("a").version})
        yield from records

    with pytest.raises(StateConflict):
        shots.power.put_back(Restore((BUCKET,), "", {}, ORIGIN, LATER), disturbed)
    assert store.found("a").version == 4
    assert strays(client) == []
    assert {shard.generation for shard in backend.shards(BUCKET)} == {b"0"}


def test_two_restores_take_turns(backend: RedisBackend, shots: Shots, store: Store) -> None:
    names = [f"n{number:02}" for number in range(20)]
    store.fill({name: {"n": 0} for name in names})
    ones = [replace(record, data={"n": 1}) for record in shots.look()]
    twos = [replace(record, data={"n": 2}) for record in ones]
    barrier = threading.Barrier(2)

    def restore(records: Sequence[Record]) -> Restored:
        barrier.wait(PATIENCE)
        return Shots(backend).restore(records)

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(restore, records) for records in (ones, twos)]
        assert [each.result(PATIENCE) for each in both] == [Restored(changed=20)] * 2
    now = shots.look()
    assert len({record.data["n"] for record in now}) == 1
    assert {record.version for record in now} == {3}


def test_a_reader_a_follower_and_a_look_from_before_a_restore_go_on(
    backend: RedisBackend, redis_url: str, shots: Shots, store: Store
) -> None:
    """Another process finds the new generation by itself, and whoever followed is told."""
    store.fill({"a": {"n": 1}, **{f"n{number}": {} for number in range(20)}})
    records = shots.look()
    number = len(backend.shards(BUCKET))
    other = RedisBackend(open_redis(redis_url), shards=lambda _bucket: number)
    assert Store(other).found("a").data == {"n": 1}
    cursor = other.position(BUCKET)
    with shots.power.looking(Scan((BUCKET,), batch=1)) as look:
        next(look.batches)
        Shots(other).restore([replace(record, data={"n": 2}) for record in records])
        with pytest.raises(Compacted):
            list(look.batches)
    assert store.found("a").data == {"n": 2}
    with pytest.raises(Compacted) as refused:
        backend.follow(BUCKET, cursor)
    assert refused.value.restart == backend.position(BUCKET)
    store.update("a", data={"n": 3})
    assert [change.after.data for change in other.follow(BUCKET, refused.value.restart).changes] == [{"n": 3}]
    other.close()


# -- kill -9 -----------------------------------------------------------------------------------------------------------

NUMBER = 700

BEFORE = [("begin", 1, True), ("build", 1, False), ("build", 2, True), ("build", 3, True), ("flip", 1, False)]
BEHIND = [("flip", 1, True), ("clear", 1, True), ("clear", 3, True)]


@pytest.mark.slow
@pytest.mark.parametrize("point", BEFORE + BEHIND, ids=str)
def test_a_killed_restore_leaves_everything_or_nothing(
    backend: RedisBackend, redis_url: str, client: redis.Redis, tmp_path: Path, point: tuple[str, int, bool]
) -> None:
    """And the next one removes what it has left."""
    kept = Kept(backend, DirectoryStorage(tmp_path))
    names = [f"n{number:04}" for number in range(NUMBER)]
    fill(kept, dict.fromkeys(names, "old"))
    made = kept.archive.create_snapshot()
    fill(kept, dict.fromkeys([*names[::2], "added"], "new"))
    before = kept.values()
    shards = len(backend.shards("kv"))
    order = {"url": redis_url, "shards": shards, "folder": str(tmp_path), "id": made.id, "point": point}
    with Child("redis_restorer", order) as child:
        assert child.ended() == KILLED
    restored = point in BEHIND
    assert kept.values() == (dict.fromkeys(names, "old") if restored else before)
    assert patiently(lambda: kept.set("n0000", "written on")).version == 3 + restored
    assert kept.archive.restore_snapshot(made).removed == (0 if restored else 1)
    assert kept.values() == dict.fromkeys(names, "old")
    assert strays(client) == []
    assert kept.archive.create_snapshot(incremental=True).kind == "full"


@pytest.mark.slow
def test_what_a_killed_restore_has_left_is_removed_with_the_tombstones(
    backend: RedisBackend, redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    """As soon as nobody can be there any more who builds."""
    kept = Kept(backend, DirectoryStorage(tmp_path))
    fill(kept, {f"n{number:04}": "old" for number in range(NUMBER)})
    made = kept.archive.create_snapshot()
    shards = len(backend.shards("kv"))
    order = {"url": redis_url, "shards": shards, "folder": str(tmp_path), "id": made.id, "point": ("build", 3, True)}
    with Child("redis_restorer", order) as child:
        assert child.ended() == KILLED
    assert strays(client) != []

    def clean() -> bool:
        with backend.writing() as unit:
            assert backend.forget_tombstones(unit, "kv", START, 10) == 0
        return strays(client) == []

    until(clean)
    assert len(kept.values()) == NUMBER

"""What is the Redis backend's own, on a real Redis: scripts, keys, races."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import count, pairwise
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from flask_statemanager.backends.redis.backend import SHORT, RedisBackend
from flask_statemanager.backends.redis.codec import LARGE
from flask_statemanager.backends.redis.keys import Shard
from flask_statemanager.backends.redis.opening import open_redis
from flask_statemanager.core.bucket import Bucket
from flask_statemanager.core.clock import SystemClock
from flask_statemanager.core.lists import Measure, Span
from flask_statemanager.core.ports import UNSEEN, Alteration
from flask_statemanager.core.publisher import Publisher
from flask_statemanager.core.record import Key, Record
from flask_statemanager.core.step import Policy, Step
from flask_statemanager.errors import ConfigurationError, StateConflict, StorageError
from flask_statemanager.testing.clock import START
from flask_statemanager.testing.contract.store import BUCKET, ORIGIN, Store, change_of, new_record

PATIENCE = 60
HOSTILE = [
    "\u00e4",
    "a\nb",
    "a b",
    "{x}",
    "}",
    "*",
    "a" * 255,
    "\U0001f600",
    "-",
    "0",
    ":",
    "a::b",
    "\x7f",
    "\\",
    "[",
    "(",
]


def bucket_on(backend: Any, lapse: Callable[[Record, Any], Record | None] = lambda _record, _now: None) -> Bucket:
    """Return a bucket, whose tombstones may be purged."""
    return Bucket(BUCKET, Policy(10**7, lapse, purges=True), backend, Publisher(), clock=SystemClock())


def added(record: Record | None, _now: Any) -> Step:
    assert record is not None
    return Step("count", replace(record, data={**record.data, "n": record.data["n"] + 1}))


def count_up(backend: Any, name: str, *, threads: int, rounds: int) -> list[BaseException]:
    """Add to one number in several threads, through the write path, and return what went wrong."""
    bucket, start, errors = bucket_on(backend), threading.Barrier(threads), list[BaseException]()

    def adding() -> None:
        try:
            start.wait(PATIENCE)
            for _ in range(rounds):
                bucket.write(name, added, origin=ORIGIN)
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            errors.append(error)

    running = [threading.Thread(target=adding) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(PATIENCE)
    return errors


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


# -- round trips ------------------------------------------------------------------------------------------------------


@pytest.fixture
def sent(client: redis.Redis) -> Iterator[Callable[[Callable[[], Any]], list[str]]]:
    """What Redis is asked while something is done, scripts' own commands left aside."""
    with client.monitor() as monitor:

        def sent(act: Callable[[], Any]) -> list[str]:
            client.echo("begin")
            act()
            client.echo("end")
            commands: list[str] = []
            while not commands or commands[-1] != "ECHO end":
                told = monitor.next_command()
                if told["client_type"] != "lua":
                    commands.append(told["command"])
            begin = commands.index("ECHO begin")
            return [command.split()[0] for command in commands[begin + 1 : -1]]

        yield sent


def test_a_read_is_one_round_trip(backend: RedisBackend, store: Store, sent: Any) -> None:
    store.create("a")
    assert sent(lambda: backend.fetch(Key(BUCKET, "a"))) == ["MGET"]
    assert sent(lambda: backend.fetch(Key(BUCKET, "nobody"))) == ["MGET"]


def test_a_write_of_what_is_known_is_one_round_trip_and_else_two(
    backend: RedisBackend, store: Store, sent: Any
) -> None:
    store.create("a", {"n": 0})
    bucket = bucket_on(backend)
    seen = bucket.write("a", added, origin=ORIGIN)
    assert sent(lambda: bucket.write("a", added, origin=ORIGIN, seen=seen)) == ["EVALSHA"]
    assert sent(lambda: bucket.write("a", added, origin=ORIGIN)) == ["MGET", "EVALSHA"]
    assert sent(lambda: bucket.write("new", lambda _r, _n: Step("create", new_record("new")), origin=ORIGIN)) == [
        "MGET",
        "EVALSHA",
    ]
    assert store.found("a").data == {"n": 3}


@pytest.mark.parametrize("size", [1, SHORT, 3 * LARGE])
def test_a_write_over_the_version_just_read_is_one_round_trip_whatever_its_size(
    backend: RedisBackend, store: Store, sent: Any, size: int
) -> None:
    store.create("a", {"n": 0, "noise": os.urandom(size).hex()})
    bucket = bucket_on(backend)
    bucket.write("a", added, origin=ORIGIN)
    for number in (2, 3):
        read = bucket.get("a")
        assert read is not None
        version = read.version
        assert sent(lambda: bucket.write("a", added, origin=ORIGIN, expect=version)) == ["EVALSHA"]  # noqa: B023
        assert store.found("a").data["n"] == number
    stale = bucket.get("a")
    assert stale is not None
    # Another process: this one does not hear of it.
    other = RedisBackend(open_redis(backend.identity.partition("#")[0]))
    Store(other).update("a")
    other.close()
    with pytest.raises(StateConflict) as lost:
        bucket.write("a", added, origin=ORIGIN, expect=stale.version)
    assert lost.value.actual == stale.version + 1


def test_a_transaction_reads_each_record_and_commits_in_one_round_trip(
    backend: RedisBackend, store: Store, sent: Any
) -> None:
    one, two = store.create("a"), store.create("b")

    def both() -> None:
        with backend.writing() as unit:
            for record in (one, two):
                backend.read(unit, record.key, lock=True)
                backend.apply(unit, change_of(record, replace(record, status="next"), "update"))

    assert sent(both) == ["MGET", "MGET", "EVALSHA"]


def test_scripts_that_redis_has_forgotten_are_sent_again(
    backend: RedisBackend, store: Store, client: redis.Redis, sent: Any
) -> None:
    store.create("a", {"n": 0})
    client.script_flush()
    bucket = bucket_on(backend)
    assert sent(lambda: bucket.write("a", added, origin=ORIGIN)) == ["MGET", "EVALSHA", "EVAL"]
    assert sent(lambda: bucket.write("a", added, origin=ORIGIN)) == ["MGET", "EVALSHA"]
    assert store.found("a").data == {"n": 2}


# -- races ------------------------------------------------------------------------------------------------------------


def test_no_increment_of_eight_threads_is_lost(backend: RedisBackend, store: Store) -> None:
    store.create("a", {"n": 0})
    assert count_up(backend, "a", threads=8, rounds=25) == []
    assert store.found("a").data == {"n": 200}
    versions = [change.version for change in backend.follow(BUCKET, "0", limit=1000).changes]
    assert versions == list(range(1, 202))


def test_a_transaction_gets_through_in_a_shard_that_others_write_to_all_the_time(
    backend: RedisBackend, store: Store
) -> None:
    store.create("a", {"n": 0})
    over = threading.Event()

    def hammer(stored: Record) -> None:
        while not over.is_set():
            before = stored

            def work(_unit: Any, _stored: Any, before: Record = before) -> Alteration:
                return Alteration([change_of(before, replace(before, status="busy"), "update")])

            stored = backend.alter(before.key, work, seen=before)[-1].after

    writers = [threading.Thread(target=hammer, args=(store.create(f"busy:{number}"),)) for number in range(4)]
    for writer in writers:
        writer.start()
    bucket = bucket_on(backend)
    try:
        for _ in range(30):
            bucket.within(lambda unit: bucket.perform(unit, Key(BUCKET, "a"), added, None, ORIGIN))
    finally:
        over.set()
        for writer in writers:
            writer.join(PATIENCE)
    assert store.found("a").data == {"n": 30}


def test_a_gate_whose_holder_is_gone_opens_by_itself(backend: RedisBackend, store: Store, client: redis.Redis) -> None:
    stored = store.create("a")
    client.set(backend.shard_of(stored.key).gate, "somebody", px=50)
    assert store.update("a", status="next").version == 2


def test_a_transaction_fails_where_what_it_read_has_changed(backend: RedisBackend, store: Store) -> None:
    read, written = store.create("read"), store.create("written")
    with pytest.raises(StateConflict) as lost, backend.writing() as unit:  # noqa: PT012 - its end raises
        backend.read(unit, read.key, lock=True)
        store.update("read", status="other")
        backend.apply(unit, change_of(written, replace(written, status="next"), "update"))
    assert lost.value.expected is None
    assert store.read("written") == written


def test_what_was_read_for_writing_in_another_bucket_must_not_change_either(
    backend: RedisBackend, store: Store
) -> None:
    condition, written = store.create("a", bucket="other"), store.create("a")
    with pytest.raises(StateConflict), backend.writing() as unit:  # noqa: PT012 - its end raises
        backend.read(unit, condition.key, lock=True)
        backend.apply(unit, change_of(written, replace(written, status="next"), "update"))
        store.apply(change_of(condition, replace(condition, status="changed"), "update"))
    assert store.read("a") == written
    with backend.writing() as unit:
        backend.read(unit, condition.key, lock=True)
        backend.apply(unit, change_of(written, replace(written, status="next"), "update"))
    assert store.found("a").status == "next"


def test_a_savepoint_takes_its_own_writes_and_acts_along(backend: RedisBackend, store: Store) -> None:
    told: list[str] = []
    with backend.writing() as unit:
        backend.apply(unit, change_of(None, new_record("a"), "create"))
        unit.after_commit(lambda: told.append("a"))
        with pytest.raises(ZeroDivisionError), unit.savepoint():  # noqa: PT012 - the block itself fails
            backend.apply(unit, change_of(None, new_record("b"), "create"))
            unit.after_commit(lambda: told.append("b"))
            raise ZeroDivisionError
        assert backend.read(unit, Key(BUCKET, "b")) is None
        revision = backend.apply(unit, change_of(None, new_record("c"), "create"))
    assert (store.read("b"), store.found("c").revision, revision, told) == (None, 2, 2, ["a"])


def test_a_fork_goes_on_with_connections_of_its_own(backend: RedisBackend, store: Store) -> None:
    store.create("a", {"n": 0})
    pid = os.fork()
    if pid == 0:  # pragma: no cover - reported by its exit code
        code = 1
        try:
            code = len(count_up(backend, "a", threads=1, rounds=20))
        finally:
            os._exit(code)
    assert count_up(backend, "a", threads=1, rounds=20) == []
    assert os.waitpid(pid, 0)[1] == 0
    assert store.found("a").data == {"n": 40}


def test_the_shortest_way_of_a_write_gives_way_where_anything_is_not_as_it_needs(
    backend: RedisBackend, store: Store, client: redis.Redis, sent: Any
) -> None:
    shard = backend.shard_of(store.create("a", {"n": 0}).key)
    bucket = bucket_on(backend)
    bucket.write("a", added, origin=ORIGIN)  # Redis knows the script from here on
    first = store.found("a")

    def believing(seen: Record) -> Callable[[], Any]:
        following = change_of(seen, replace(seen, data={"n": seen.version}), "count")
        return lambda: backend.alter(seen.key, lambda _unit, _stored: Alteration([following]), seen=seen)

    assert sent(believing(first)) == ["EVALSHA"]
    with pytest.raises(StateConflict) as lost:
        believing(first)()
    assert (lost.value.expected, lost.value.actual) == (2, 3)
    with pytest.raises(StateConflict):
        believing(replace(store.found("a"), label="another"))()
    with pytest.raises(StateConflict):
        believing(replace(store.found("a"), metadata={"not": "there"}))()
    client.set(shard.gate, "somebody", px=30)
    believing(store.found("a"))()
    assert store.found("a").version == 4
    store.delete("a")
    with pytest.raises(StateConflict) as lost:
        believing(replace(first, version=4, revision=4))()
    assert lost.value.actual == 5
    assert [change.version for change in backend.follow(BUCKET, "0").changes] == [1, 2, 3, 4, 5]


# -- what is stored ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_names(backend: RedisBackend, store: Store, name: str) -> None:
    store.create(name, {"n": name})
    store.create("other")
    assert store.update(name, status="next").data == {"n": name}
    with backend.reading() as unit:
        assert backend.listed(unit, Span(BUCKET, START)) == sorted([name, "other"])
        assert backend.listed(unit, Span(BUCKET, START, prefix=name)) == [name]
    assert [change.key.name for change in backend.follow(BUCKET, "0", prefix=name).changes] == [name, name]
    store.delete(name)
    with backend.reading() as unit:
        assert backend.listed(unit, Span(BUCKET, START)) == ["other"]


def test_large_values_are_compressed_and_counted_as_they_were(
    backend: RedisBackend, store: Store, client: redis.Redis
) -> None:
    data = {"text": "x" * 2**20, "number": 2**63 - 1, "least": -(2**63)}
    assert store.create("a", data).data == data
    assert (client.strlen(backend.shard_of(Key(BUCKET, "a")).record("a"))) < 2**15
    with backend.reading() as unit:
        measure = backend.measure(unit, BUCKET, START, None)
    assert measure is not None
    assert 2**20 < measure.bytes < 2**20 + 100
    noise = {"text": os.urandom(LARGE).hex()}
    assert store.create("b", noise).data == noise


@pytest.mark.parametrize(
    "damage", [b"", b"nonsense", b"1 1 - 2 00000000\n[]", None], ids=["empty", "text", "check", "bit"]
)
def test_damage_under_one_key_names_that_key_and_spares_the_others(
    backend: RedisBackend, store: Store, client: redis.Redis, damage: bytes | None
) -> None:
    stored, other = store.create("a", {"n": 1}), store.create("b")
    key = backend.shard_of(stored.key).record("a")
    text = client.get(key)
    assert text is not None
    client.set(key, text.replace(b'"n":1', b'"n":2') if damage is None else damage)
    with pytest.raises(StorageError, match=f"{BUCKET}:a is damaged"):
        backend.fetch(stored.key)
    with pytest.raises(StorageError, match=f"{BUCKET}:a is damaged"):
        bucket_on(backend).write("a", added, origin=ORIGIN)
    assert store.found("b") == other
    assert store.update("b", status="next").version == 2


def test_what_is_no_record_is_not_written_over(backend: RedisBackend, store: Store, client: redis.Redis) -> None:
    stored = store.create("a")
    client.set(backend.shard_of(stored.key).record("a"), b"nonsense")
    following = change_of(stored, replace(stored, status="next"), "update")
    with pytest.raises(StorageError, match=f"{BUCKET}:a is damaged"):
        backend.alter(stored.key, lambda _unit, _stored: Alteration([following]), seen=stored)
    assert client.get(backend.shard_of(stored.key).record("a")) == b"nonsense"


def test_keys_of_something_else_are_refused_with_the_cure(
    backend: RedisBackend, store: Store, client: redis.Redis
) -> None:
    client.lpush(backend.shard_of(Key(BUCKET, "a")).log, "not mine")
    with pytest.raises(StorageError, match="another prefix"):
        store.create("a")


def test_another_generation_replaces_all_at_once_and_revisions_go_on(
    backend: RedisBackend, store: Store, client: redis.Redis
) -> None:
    stored = store.create("a")
    store.create("b")
    cursor = backend.position(BUCKET)
    client.set(backend.shard_of(stored.key).pointer, "1")
    assert store.read("a") is None
    with backend.reading() as unit:
        assert backend.listed(unit, Span(BUCKET, START)) == []
    assert store.create("a", {"n": 1}).revision == 3
    assert [change.revision for change in backend.follow(BUCKET, cursor).changes] == [3]
    client.delete(backend.shard_of(stored.key).pointer)
    assert store.read("a") == stored


def test_a_transaction_over_a_change_of_generation_fails(
    backend: RedisBackend, store: Store, client: redis.Redis
) -> None:
    stored = store.create("a")
    shard = backend.shard_of(stored.key)
    with pytest.raises(StateConflict), backend.writing() as unit:  # noqa: PT012 - its end raises
        backend.apply(unit, change_of(stored, replace(stored, status="next"), "update"))
        client.set(shard.pointer, "1")
    with pytest.raises(StateConflict):
        backend.alter(stored.key, lambda _u, _s: Alteration([change_of(stored, stored, "update")]), seen=stored)
    client.delete(shard.pointer)
    assert store.read("a") == stored


def test_every_way_of_reading_finds_the_present_generation_by_itself(
    backend: RedisBackend, store: Store, redis_url: str, client: redis.Redis
) -> None:
    store.create("a")
    others = [RedisBackend(open_redis(redis_url)) for _ in range(4)]
    shard = backend.shard_of(Key(BUCKET, "a"))
    for other in others:
        assert other.fetch(Key(BUCKET, "a")) is not None
    client.set(shard.pointer, "1")
    fresh = store.create("a", {"n": 1})
    reading, listing, measuring, following = others
    with reading.writing() as unit:
        assert reading.read(unit, fresh.key, lock=True) == fresh
        reading.apply(unit, change_of(fresh, replace(fresh, status="next"), "update"))
    with listing.reading() as unit:
        assert listing.listed(unit, Span(BUCKET, START)) == ["a"]
        assert listing.tally(unit, Span(BUCKET, START)) == 1
    with measuring.reading() as unit:
        assert measuring.measure(unit, BUCKET, START, 0) == Measure(1, 7, 0, {"": 1})
    assert [change.revision for change in following.follow(BUCKET, "1").changes] == [2, 3]
    for other in others:
        other.close()


def test_a_generation_that_changes_all_the_time_is_an_error_in_the_end(
    backend: RedisBackend, store: Store, client: redis.Redis
) -> None:
    shard = backend.shard_of(store.create("a").key)
    numbers = count(1)

    def restless(at: Shard) -> Shard:
        client.set(shard.pointer, next(numbers))
        return at

    with pytest.raises(StorageError, match="again and again"):
        backend.values(shard, lambda at: [restless(at).log])
    with pytest.raises(StorageError, match="again and again"):
        backend.each("past", [shard], lambda at: [2, restless(at).pointer, at.due, at.generation, 0, 1])


def test_a_wrong_belief_is_a_lost_race_also_where_more_is_written(backend: RedisBackend, store: Store) -> None:
    stored = store.create("a")
    wrong = replace(stored, label="other")

    def work(_unit: Any, _seen: Any) -> Alteration:
        change = change_of(wrong, replace(wrong, status="next"), "update")
        return Alteration([change], lambda unit, _done: backend.apply(unit, more) and None)

    more = change_of(None, new_record("b"), "create")
    with pytest.raises(StateConflict):
        backend.alter(stored.key, work, seen=wrong)
    assert (store.read("a"), store.read("b")) == (stored, None)


def test_what_a_decision_writes_elsewhere_belongs_to_its_own_write(backend: RedisBackend, store: Store) -> None:
    stored = store.create("a")

    def work(unit: Any, seen: Any) -> Alteration:
        assert backend.floor(unit, Key(BUCKET, "b")) == 0
        backend.apply(unit, change_of(None, new_record("b"), "create"))
        return Alteration([change_of(seen, replace(seen, status="next"), "update")])

    assert [change.revision for change in backend.alter(stored.key, work)] == [3]
    assert (store.found("a").revision, store.found("b").revision) == (3, 2)


def test_moments_of_other_zones_and_classes_come_back_in_utc(store: Store) -> None:
    class Frozen(datetime):
        """What tools make that stop the time."""

    there = timezone(timedelta(hours=2))
    moment = Frozen(2026, 1, 1, 14, 0, 0, 5, tzinfo=there)
    stored = store.create("a", created_at=moment, updated_at=START.astimezone(there), expires_at=moment)
    assert (stored.created_at, stored.updated_at, stored.expires_at) == (moment, START, moment)
    assert {type(stored.created_at), stored.updated_at.tzinfo} == {datetime, timezone.utc}


def test_two_prefixes_do_not_meet(redis_url: str, store: Store) -> None:
    store.create("a")
    other = RedisBackend(open_redis(redis_url), prefix="other:")
    assert other.fetch(Key(BUCKET, "a")) is None
    assert other.identity != store.backend.identity
    other.close()


def test_braces_in_the_prefix_are_refused(redis_url: str) -> None:
    with pytest.raises(ConfigurationError, match="braces"):
        RedisBackend(open_redis(redis_url), prefix="a{b}:")


def test_what_is_no_client_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="open_redis"):
        RedisBackend(object())


# -- the counters are what one would count -----------------------------------------------------------------------------

WAYS = ["unit", "read", "believed"]
"""How a change gets to Redis: in a unit, or by itself, over what is read or over what is believed."""

_names = st.sampled_from(["a:1", "a:2", "b:1", "plain", ":", "b:2:c"])
_acts = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "delete", "expire"]),
        *(_names, st.integers(0, 3), st.booleans(), st.integers(-2, 2), st.sampled_from(WAYS)),
    ),
    max_size=30,
)


def counted(records: list[Record]) -> Measure:
    """Count by hand."""
    heads = [f"{head}:" if mark else "" for head, mark, _rest in (r.key.name.partition(":") for r in records)]
    return Measure(
        len(records),
        sum(len('{"n":0}') * bool(record.data) or 2 for record in records),
        sum(bool(record.metadata) for record in records),
        {head: heads.count(head) for head in heads},
    )


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_acts)
def test_measures_and_lists_are_what_one_would_count(
    backend: RedisBackend, client: redis.Redis, acts: list[tuple[str, str, int, bool, int, str]]
) -> None:
    client.flushdb()
    store, live = Store(backend), dict[str, Record]()
    for act, name, number, noted, hours, way in acts:
        before = store.read(name)
        expires_at = START + timedelta(hours=hours) if act == "expire" else None
        dead = act == "delete"
        after = new_record(
            name,
            {"n": number} if number else {},
            metadata={"m": 1} if noted else {},
            expires_at=expires_at,
            deleted_at=START if dead else None,
        )
        change = change_of(before, after, act)
        if way == "unit":
            store.apply(change)
        else:
            alteration = Alteration([change])
            seen = before if way == "believed" else UNSEEN
            backend.alter(change.key, lambda _unit, _stored, found=alteration: found, seen=seen)
        live[name] = store.found(name)
    present = [r for r in live.values() if not r.deleted and (r.expires_at is None or r.expires_at > START)]
    names = sorted(record.key.name for record in present)
    with backend.reading() as unit:
        assert backend.measure(unit, BUCKET, START, None) == counted(present)
        assert backend.listed(unit, Span(BUCKET, START)) == names
        for prefix in ("", "a:", "b", "x"):
            wanted = [name for name in names if name.startswith(prefix)]
            assert backend.tally(unit, Span(BUCKET, START, prefix)) == len(wanted)
            for after_name in (None, "a:1", "b"):
                behind = [name for name in wanted if after_name is None or name > after_name]
                span = Span(BUCKET, START, prefix, after_name)
                assert backend.listed(unit, span) == behind
                assert backend.tally(unit, span) == len(behind)
                assert backend.listed(unit, replace(span, limit=2)) == behind[:2]
    revisions = [change.revision for change in backend.follow(BUCKET, "0").changes]
    assert all(later == earlier + 1 for earlier, later in pairwise(revisions))

"""Keys and values: what each verb promises, on every store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flask_statemanager import Revision, StateConflict, StateExists, StateNotFound, StateValidationError, signals
from flask_statemanager.kv import If, KeyValue, Put, Remove
from flask_statemanager.kv.store import KeyValueStore
from tests.worlds import World


@pytest.fixture
def kv(kv_world: World) -> KeyValueStore:
    return kv_world.states.kv


def found(entry: KeyValue | None) -> KeyValue:
    assert entry is not None
    return entry


# -- one key -----------------------------------------------------------------------------------------------------------


VALUES = [None, True, False, 0, 1, -1, 2**63 - 1, 1.5, "", "text", "ä\U0001f600", [], [1, [None]], {}, {"a": {"b": 1}}]


@pytest.mark.parametrize("value", VALUES)
def test_any_json_value_is_read_back_as_it_was(kv: KeyValueStore, value: Any) -> None:
    kv.set("key", value)
    assert kv.get("key", "absent") == value
    assert type(kv.get("key")) is type(value)


def test_what_is_absent_is_the_default(kv: KeyValueStore) -> None:
    assert kv.get("key") is None
    assert kv.get("key", 7) == 7
    assert kv.get_entry("key") is None
    assert kv.get_metadata("key") is None
    assert not kv.exists("key")


def test_an_entry_tells_a_stored_null_from_nothing(kv: KeyValueStore) -> None:
    kv.set("key", None)
    assert kv.get("key", "absent") is None
    assert found(kv.get_entry("key")).value is None
    assert kv.exists("key")


def test_an_entry_tells_version_revision_and_times(kv: KeyValueStore, kv_world: World) -> None:
    first = kv.set("key", 1)
    kv_world.clock.advance(60)
    second = kv.set("key", 2, metadata={"by": "me"})
    assert (first.version, second.version) == (1, 2)
    assert second.revision > first.revision
    assert second.created_at == first.created_at
    assert second.updated_at - first.updated_at == timedelta(seconds=60)
    assert kv.get_entry("key") == second


def test_what_was_returned_can_be_edited_without_harm(kv: KeyValueStore) -> None:
    value = {"list": [1]}
    kv.set("key", value).value["list"].append(2)
    value["list"].append(3)
    kv.get("key")["list"].append(4)
    found(kv.get_entry("key")).value["list"].append(5)
    assert kv.get("key") == {"list": [1]}


def test_versions_count_on_over_removal(kv: KeyValueStore) -> None:
    kv.set("key", 1)
    assert kv.remove("key")
    assert not kv.remove("key")
    assert kv.get("key") is None
    assert kv.set("key", 2).version == 3


def test_a_key_is_created_once(kv: KeyValueStore) -> None:
    assert kv.create("key", 1).version == 1
    with pytest.raises(StateExists, match="set"):
        kv.create("key", 2)
    assert kv.get("key") == 1
    kv.remove("key")
    assert kv.create("key", 3).version == 3


def test_a_version_can_be_expected(kv: KeyValueStore) -> None:
    entry = kv.set("key", 1)
    with pytest.raises(StateConflict) as refused:
        kv.set("key", 2, expect=entry.version + 1)
    assert refused.value.actual == 1
    assert kv.set("key", 2, expect=entry.version).version == 2
    assert kv.set("key", 3, expect=Revision(found(kv.get_entry("key")).revision)).version == 3
    with pytest.raises(StateConflict):
        kv.remove("key", expect=1)
    assert kv.remove("key", expect=3)


@pytest.mark.parametrize("expect", [1, 2, 3, Revision(1)])
def test_a_removed_key_is_never_what_was_expected(kv: KeyValueStore, expect: Any) -> None:
    kv.set("key", 1)
    kv.remove("key")
    with pytest.raises(StateConflict):
        kv.set("key", 2, expect=expect)
    with pytest.raises(StateConflict):
        kv.remove("key", expect=expect)
    assert kv.get("key") is None


# -- compare and swap, increment, update -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "expected", "swapped"),
    [
        (1, 1, True),
        (1, 1.0, True),
        (1.0, 1, True),
        (1, True, False),
        (True, 1, False),
        (True, True, True),
        (0, False, False),
        (0, -0.0, True),
        ("1", 1, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ([1, 2], [2, 1], False),
        (None, None, False),
    ],
)
def test_values_are_compared_as_json(kv: KeyValueStore, stored: Any, expected: Any, swapped: bool) -> None:
    kv.set("key", stored)
    assert kv.compare_and_swap("key", expected, "new", "a test") is swapped
    assert kv.get("key") == ("new" if swapped else stored)


def test_none_stands_for_absent_on_either_side_of_a_swap(kv: KeyValueStore) -> None:
    assert kv.compare_and_swap("key", None, 1)
    assert not kv.compare_and_swap("key", None, 2)
    assert kv.compare_and_swap("key", 1, None)
    assert not kv.exists("key")
    assert kv.compare_and_swap("key", None, None)
    assert not kv.compare_and_swap("key", 1, None)
    assert not kv.exists("key")


def test_a_number_is_added_to_and_an_absent_one_is_0(kv: KeyValueStore) -> None:
    assert kv.increment("n") == 1
    assert kv.increment("n", 4) == 5
    assert kv.increment("n", -7) == -2
    assert kv.increment("n", 0.5) == -1.5
    assert kv.get("n") == -1.5


@pytest.mark.parametrize("value", ["1", True, None, [1], {}])
def test_nothing_is_added_to_what_is_no_number(kv: KeyValueStore, value: Any) -> None:
    kv.set("key", value)
    with pytest.raises(StateValidationError, match="no number"):
        kv.increment("key")
    assert kv.get("key") == value


def test_a_sum_beyond_64_bits_is_refused(kv: KeyValueStore) -> None:
    kv.set("key", 2**63 - 1)
    with pytest.raises(StateValidationError, match="64 bits"):
        kv.increment("key")
    assert kv.get("key") == 2**63 - 1
    kv.set("key", 1e308)
    with pytest.raises(StateValidationError, match="finite"):
        kv.increment("key", 1e308)


def test_an_update_makes_a_new_value_of_the_old_one(kv: KeyValueStore) -> None:
    assert kv.update("tags", lambda tags: [*tags, "a"], default=[]).value == ["a"]
    assert kv.update("tags", lambda tags: [*tags, "b"], default=[]).value == ["a", "b"]
    with pytest.raises(ZeroDivisionError):
        kv.update("tags", lambda _tags: 1 // 0)
    assert kv.get("tags") == ["a", "b"]


# -- metadata and time to live -----------------------------------------------------------------------------------------


def test_metadata_stay_until_they_are_set_or_cleared(kv: KeyValueStore) -> None:
    kv.set("key", 1, metadata={"by": "me"})
    assert kv.set("key", 2).metadata == {"by": "me"}
    assert kv.set_metadata("key", {"for": ["you"]}).version == 3
    assert kv.get_metadata("key") == {"for": ["you"]}
    assert kv.get("key") == 2
    assert kv.set("key", 3, metadata=None).metadata == {}
    assert kv.get_metadata("key") == {}


def test_metadata_need_a_key(kv: KeyValueStore) -> None:
    with pytest.raises(StateNotFound, match="set"):
        kv.set_metadata("key", {"a": 1})
    kv.set("key", 1)
    kv.remove("key")
    with pytest.raises(StateNotFound):
        kv.set_metadata("key", {"a": 1})


@pytest.mark.parametrize("ttl", [30, 30.0, "30", "30.0"])
def test_a_ttl_in_the_metadata_sets_the_expiry(kv: KeyValueStore, kv_world: World, ttl: Any) -> None:
    kv.set("key", 1)
    entry = kv.set_metadata("key", {"ttl": ttl})
    assert found(entry).expires_at == kv_world.clock.now() + timedelta(seconds=30)
    kv_world.clock.advance(29.9)
    assert kv.get("key") == 1
    kv_world.clock.advance(0.1)
    assert kv.get("key") is None


@pytest.mark.parametrize("ttl", ["soon", "-1", "", 0, -5, True, [1], float("1e12")])
def test_a_bad_ttl_in_the_metadata_is_refused(kv: KeyValueStore, ttl: Any) -> None:
    kv.set("key", 1)
    with pytest.raises(StateValidationError, match="ttl"):
        kv.set_metadata("key", {"ttl": ttl})
    assert found(kv.get_entry("key")).version == 1


def test_a_key_expires_to_the_moment_and_is_absent_for_every_verb(kv: KeyValueStore, kv_world: World) -> None:
    entry = kv.set("key", 1, ttl=10)
    kv.set("other", 1)
    kv_world.clock.advance(10)
    assert kv.get("key") is None
    assert kv.get_many(["key", "other"]) == {"other": 1}
    assert kv.keys() == ["other"]
    assert kv.count() == 1
    assert kv.stats()["total_keys"] == 1
    assert not kv.remove("key")
    assert not kv.compare_and_swap("key", 1, 2)
    with pytest.raises(StateConflict):
        kv.set("key", 2, expect=entry.version)
    again = kv.create("key", 3)
    assert again.version == entry.version + 2  # the expiry is a version of its own
    assert again.expires_at is None


def test_a_ttl_stays_is_set_anew_or_cleared(kv: KeyValueStore, kv_world: World) -> None:
    ends = found(kv.set("key", 1, ttl=timedelta(seconds=10))).expires_at
    kv_world.clock.advance(5)
    assert kv.set("key", 2).expires_at == ends
    assert kv.set("key", 3, ttl=10).expires_at == kv_world.clock.now() + timedelta(seconds=10)
    assert kv.set("key", 4, ttl=None).expires_at is None


def test_a_bucket_has_a_ttl_for_new_keys(kv_world: World) -> None:
    kv_world.states.define_bucket("brief", ttl=60)
    brief = kv_world.states.bucket("brief").kv
    first = brief.set("key", 1)
    kv_world.clock.advance(30)
    assert brief.set("key", 2).expires_at == first.expires_at
    assert brief.set("for ever".replace(" ", "-"), 1, ttl=None).expires_at is None
    kv_world.clock.advance(30)
    assert brief.keys() == ["for-ever"]


def test_the_worker_writes_an_expiry_down_once(kv: KeyValueStore, kv_world: World) -> None:
    kv.set("key", 1, ttl=10)
    kv_world.clock.advance(10)
    kv_world.states.run_worker()
    kv_world.states.run_worker()
    with kv.watch(since="0", timeout=0) as watch:
        assert [(each.event, each.key, each.version) for each in watch] == [("create", "key", 1), ("expire", "key", 2)]
    assert kv.set("key", 2).version == 3


# -- many keys ---------------------------------------------------------------------------------------------------------


def test_many_are_set_and_read_at_once(kv: KeyValueStore) -> None:
    values = {f"k:{number}": number for number in range(50)}
    entries = kv.set_many(values)
    assert {key: entry.value for key, entry in entries.items()} == values
    assert kv.get_many([*values, "absent"]) == values
    assert kv.get_many([]) == {}


def test_keys_come_in_order_page_by_page(kv: KeyValueStore) -> None:
    names = sorted(["a", "a:1", "a:10", "a:2", "a=", "b:1", "A:1", "a/x", "a~"])
    kv.set_many(dict.fromkeys(names, 1))
    assert kv.keys() == names
    assert kv.keys("a:") == ["a:1", "a:10", "a:2"]
    assert kv.keys("a:", 2) == ["a:1", "a:10"]
    assert kv.keys("a:", 2, "a:10") == ["a:2"]
    assert kv.count("a") == 7
    assert kv.count() == len(names)
    kv.remove("a:1")
    assert kv.keys("a:") == ["a:10", "a:2"]


def test_a_prefix_is_no_pattern(kv: KeyValueStore) -> None:
    kv.set_many(dict.fromkeys(["ab", "a_b", "axb"], 1))
    assert kv.keys("a_") == ["a_b"]
    assert kv.keys("%") == []
    assert kv.keys("*") == []


def test_all_that_begin_alike_are_removed(kv: KeyValueStore) -> None:
    kv.set_many({f"session:{number}": number for number in range(25)} | {"user:1": 1})
    assert kv.remove_prefix("session:", "cleanup") == 25
    assert kv.remove_prefix("session:") == 0
    assert kv.keys() == ["user:1"]
    with pytest.raises(StateValidationError, match="everything"):
        kv.remove_prefix("")


def test_stats_tell_how_much_there_is(kv: KeyValueStore) -> None:
    assert kv.stats()["total_keys"] == 0
    kv.set("user:1", "abc", metadata={"by": "me"})
    kv.set("user:2", "abc")
    last = kv.set("plain", "abc")
    stats = kv.get_stats()
    assert (stats["total_keys"], stats["metadata_keys"]) == (3, 1)
    assert stats["prefixes"] == {"": 1, "user:": 2}
    assert 15 <= stats["total_size"] <= 20
    assert stats["version"] == last.revision
    assert stats["as_of"] is None
    kv.remove_prefix("user:")
    assert kv.stats()["prefixes"] == {"": 1}
    assert kv.stats()["metadata_keys"] == 0


# -- all or nothing ----------------------------------------------------------------------------------------------------


def test_writes_happen_together_if_all_conditions_hold(kv: KeyValueStore) -> None:
    kv.set_many({"a": 1, "b": 2})
    conditions = [If.value("a", 1.0), If.present("b"), If.version("b", 1), If.absent("c"), If.value("d", None)]
    entries = kv.apply(conditions, [Put("c", 3, {"m": 1}, 60), Remove("a"), Put("b", 4), Remove("nobody")], "a test")
    assert {key: entry and entry.value for key, entry in entries.items()} == {"a": None, "b": 4, "c": 3, "nobody": None}
    assert kv.get_many(["a", "b", "c"]) == {"b": 4, "c": 3}
    revisions = sorted(entry.revision for entry in entries.values() if entry is not None)
    assert revisions[1] - revisions[0] <= 2


@pytest.mark.parametrize(
    "condition",
    [If.value("a", 2), If.value("a", True), If.value("a", None), If.absent("a"), If.present("c"), If.version("a", 2)],
    ids=lambda condition: f"{condition.kind} {condition.operand}",
)
def test_nothing_happens_where_a_condition_does_not_hold(kv: KeyValueStore, condition: If) -> None:
    kv.set_many({"a": 1, "b": 2})
    with pytest.raises(StateConflict, match=condition.key):
        kv.apply([If.present("b"), condition], [Put("b", 3), Put("d", 4)])
    assert kv.get_many(["a", "b", "c", "d"]) == {"a": 1, "b": 2}
    assert found(kv.get_entry("b")).version == 1


def test_one_refused_write_keeps_the_others_from_happening(kv: KeyValueStore) -> None:
    kv.set("a", 1)
    with pytest.raises(StateValidationError):
        kv.apply([], [Put("a", 2), Put("b", float("nan"))])
    with pytest.raises(StateValidationError, match="twice"):
        kv.apply([], [Put("a", 2), Remove("a")])
    assert kv.get_many(["a", "b"]) == {"a": 1}


# -- leases, counters, documents ---------------------------------------------------------------------------------------


def test_a_lease_has_one_holder(kv: KeyValueStore, kv_world: World) -> None:
    mine, other = kv.lease("lease:report", 30), kv.lease("lease:report", 30)
    assert mine.acquire()
    assert not other.acquire()
    kv_world.clock.advance(20)
    mine.renew()
    kv_world.clock.advance(20)
    assert not other.acquire()
    assert mine.release()
    assert not mine.release()
    assert other.acquire()
    assert other.token > mine.token


def test_a_holder_that_outlived_its_lease_has_its_writes_refused(kv: KeyValueStore, kv_world: World) -> None:
    late = kv.lease("lease:report", 30)
    assert late.acquire()
    assert late.set("report", "first").version == 1
    kv_world.clock.advance(30)
    with kv.lease("lease:report", 30) as next_one:
        next_one.set("report", "second")
        with pytest.raises(StateConflict):
            late.set("report", "too late")
        with pytest.raises(StateConflict):
            late.renew()
        assert not late.release()
        with pytest.raises(StateConflict), kv.lease("lease:report", 30):
            pytest.fail("it is held")
    assert kv.get("report") == "second"


def test_a_window_admits_its_limit_and_begins_anew(kv: KeyValueStore, kv_world: World) -> None:
    counter = kv.counter("rate:1", limit=3, window=60)
    assert counter.resets_at() is None
    assert [counter.hit() for _ in range(5)] == [True, True, True, False, False]
    assert counter.remaining() == 0
    kv_world.clock.advance(59)
    assert not counter.hit()
    kv_world.clock.advance(1)
    assert counter.hit()
    assert counter.remaining() == 2


def test_a_document_is_changed_in_parts(kv: KeyValueStore) -> None:
    preferences = kv.document("user:1:preferences")
    assert preferences.read({"theme": "light"}) == {"theme": "light"}
    preferences.update({"theme": "dark", "mail": {"news": True}}, "a form")
    assert preferences.update({"mail": {"offers": False}}) == {"theme": "dark", "mail": {"news": True, "offers": False}}
    assert preferences.read({"language": "en", "theme": "light"})["theme"] == "dark"
    assert "mail" not in preferences.update({"mail": None})
    kv.set("user:1:preferences", 7)
    with pytest.raises(StateValidationError, match="no JSON object"):
        preferences.read()


# -- who is told -------------------------------------------------------------------------------------------------------


def test_subscribers_are_told_after_the_commit(kv: KeyValueStore) -> None:
    told: list[Any] = []
    end = kv.subscribe(lambda event: told.append((event.key, event.old_value, event.new_value, event.source)), "user:")
    kv.set("user:1", 1, "a test")
    kv.set("other", 1)
    kv.remove("user:1")
    end()
    kv.set("user:1", 2)
    assert told == [("user:1", None, 1, "a test"), ("user:1", 1, None, None)]


def test_a_failing_subscriber_hurts_nobody(kv: KeyValueStore, kv_world: World) -> None:
    told: list[str] = []
    kv.subscribe(lambda _event: 1 // 0)
    kv.subscribe(lambda event: told.append(event.key))
    kv.set("key", 1)
    assert told == ["key"]
    assert kv_world.runtime.counters.value("subscriber.failed") == 1


def test_a_signal_tells_of_every_change(kv: KeyValueStore) -> None:
    told: list[Any] = []

    def hear(_sender: Any, change: Any) -> None:
        told.append((change.key.bucket, change.key.name, change.event))

    with signals.key_changed.connected_to(hear):
        kv.set("key", 1)
        kv.remove("key")
    assert told == [("kv", "key", "create"), ("kv", "key", "remove")]


def test_buckets_do_not_see_each_other(kv: KeyValueStore, kv_world: World) -> None:
    kv_world.states.define_bucket("other")
    other = kv_world.states.bucket("other").kv
    kv.set("key", 1)
    other.set("key", 2)
    other.remove("key")
    assert kv.get("key") == 1
    assert other.keys() == []

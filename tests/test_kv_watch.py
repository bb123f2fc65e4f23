"""Watching keys: ordered, complete, resumable, and never silently incomplete."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from flask_statemanager import Compacted, ConfigurationError, Revision, StateValidationError
from flask_statemanager.kv import KeyEvent
from flask_statemanager.kv.store import KeyValueStore
from tests.worlds import World, build, entered

PATIENCE = 60.0
"""Seconds until a watch that hears nothing fails the test."""


@pytest.fixture
def kv(kv_world: World) -> KeyValueStore:
    return kv_world.states.kv


def told(kv: KeyValueStore, **options: Any) -> list[KeyEvent]:
    """All that there is to be told now."""
    with kv.watch(**{"timeout": 0, **options}) as watch:
        return list(watch)


def test_a_watch_tells_each_change_with_both_values(kv: KeyValueStore) -> None:
    kv.set("a", 1, "first")
    kv.set("a", {"n": 2}, "second", actor="ada")
    kv.remove("a", "third")
    first, second, third = told(kv, since="0")
    assert (first.event, first.old_value, first.new_value, first.source) == ("create", None, 1, "first")
    assert (second.event, second.old_value, second.new_value, second.actor) == ("set", 1, {"n": 2}, "ada")
    assert (third.event, third.old_value, third.new_value, third.source) == ("remove", {"n": 2}, None, "third")
    assert [(each.existed, each.exists) for each in (first, second, third)] == [
        (False, True),
        (True, True),
        (True, False),
    ]
    assert [each.version for each in (first, second, third)] == [1, 2, 3]
    assert first.revision < second.revision < third.revision
    assert first.timestamp is not None


def test_a_watch_begins_now_unless_it_is_told_otherwise(kv: KeyValueStore) -> None:
    kv.set("a", 1)
    with kv.watch(timeout=0) as watch:
        kv.set("a", 2)
        assert [event.new_value for event in watch] == [2]


def test_a_watch_goes_on_from_any_event(kv: KeyValueStore) -> None:
    for number in range(5):
        kv.set(f"k:{number}", number)
    events = told(kv, since="0")
    for place, event in enumerate(events):
        assert told(kv, since=event.cursor) == events[place + 1 :]
    assert told(kv, since=events[1].revision)[0] == events[2]
    assert told(kv, since=Revision(events[1].revision))[0] == events[2]


def test_a_prefix_leaves_the_others_out(kv: KeyValueStore) -> None:
    kv.set_many({"user:1": 1, "order:1": 1, "user:2": 2})
    assert [event.key for event in told(kv, prefix="user:", since="0")] == ["user:1", "user:2"]


def test_other_buckets_are_not_told_of(kv: KeyValueStore, kv_world: World) -> None:
    kv_world.states.define_bucket("other")
    kv_world.states.register_state("user_1", "user", {})
    kv_world.states.bucket("other").kv.set("a", 1)
    kv.set("a", 2)
    assert [event.new_value for event in told(kv, since="0")] == [2]


def test_a_watch_wakes_when_somebody_writes(kv_world: World) -> None:
    kv = kv_world.states.kv
    heard: list[Any] = []
    watching = threading.Event()

    def listen() -> None:
        with kv_world.app.app_context(), kv.watch(timeout=PATIENCE, bookmark=PATIENCE) as watch:
            watching.set()
            heard.append(next(watch).new_value)
            heard.append(next(watch).new_value)

    listener = threading.Thread(target=listen)
    listener.start()
    assert watching.wait(PATIENCE)
    kv.set("a", 1)
    kv.set("a", 2)
    listener.join(PATIENCE)
    assert heard == [1, 2]


def test_a_watch_that_is_closed_ends(kv_world: World) -> None:
    watch = kv_world.states.kv.watch(timeout=PATIENCE)
    closer = threading.Timer(0.2, watch.close)
    closer.start()
    assert list(watch) == []
    closer.join()
    assert list(watch) == []


def test_an_idle_watch_tells_how_far_it_has_come(kv: KeyValueStore) -> None:
    with kv.watch("user:", timeout=PATIENCE, bookmark=0) as watch:
        bookmark = next(watch)
        assert (bookmark.kind, bookmark.key) == ("bookmark", None)
        kv.set("order:1", 1)
        later = next(watch)
        assert later.kind == "bookmark"
        assert told(kv, since=later.cursor) == []
        assert [event.key for event in told(kv, since=bookmark.cursor)] == ["order:1"]
        assert watch.cursor == later.cursor


def test_what_is_not_kept_any_more_is_not_skipped(kv_world: World) -> None:
    kv_world.states.define_bucket("brief", history=60, tombstones=60, log_length=1)
    kv = kv_world.states.bucket("brief").kv
    for number in range(300):
        kv.set("a", number)
    before = told(kv, since="0")[0].cursor if kv_world.kind != "redis" else "1"
    kv_world.clock.advance(61)
    kv.set("a", "last")
    kv_world.states.run_worker()
    with pytest.raises(Compacted) as gone:
        told(kv, since=before)
    kv.set("a", "newest")
    assert [event.new_value for event in told(kv, since=gone.value.restart)] == ["newest"]


@pytest.mark.parametrize("since", ["nonsense", "-1", "", "1.5.7.9", 1.5])
def test_what_is_no_cursor_is_refused(kv: KeyValueStore, since: Any) -> None:
    kv.set("a", 1)
    with pytest.raises(StateValidationError, match="cursor"):
        told(kv, since=since)


def test_a_cursor_ahead_of_the_log_is_of_another_life_of_the_store(kv: KeyValueStore) -> None:
    last = kv.set("a", 1).revision
    with pytest.raises(Compacted) as gone:
        told(kv, since=last + 1000)
    assert told(kv, since=gone.value.restart) == []


@pytest.mark.parametrize("option", [{"timeout": -1}, {"timeout": "1"}, {"bookmark": None}, {"prefix": "ä"}])
def test_unusable_options_are_refused(kv: KeyValueStore, option: dict[str, Any]) -> None:
    with pytest.raises(StateValidationError, match=next(iter(option))):
        kv.watch(**option)


def test_live_events_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_BROADCAST_CHANGES", "false")
    for world in entered(build("memory", "sqlite://")):
        kv = world.states.kv
        with pytest.raises(ConfigurationError, match="STATEMANAGER_BROADCAST_CHANGES"):
            kv.watch()
        with pytest.raises(ConfigurationError, match="STATEMANAGER_BROADCAST_CHANGES"):
            kv.subscribe(print)
        assert kv.set("a", 1).version == 1

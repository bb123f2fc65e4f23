"""The key-value service's Python-side usages, one after another as its description has them, on every store."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_statemanager import ConfigurationError, LimitExceeded, StateConflict, StateManager, StateValidationError
from flask_statemanager.config import Settings
from flask_statemanager.kv.store import KeyValueStore
from tests.worlds import World

PATIENCE = 60.0


@pytest.fixture
def kv(kv_world: World) -> KeyValueStore:
    return kv_world.states.kv


# -- features ----------------------------------------------------------------------------------------------------------


def test_atomic_state_operations(kv: KeyValueStore) -> None:
    value, expected_value, new_value = {"count": 1}, {"count": 1}, {"count": 2}
    kv.set("key", value, "source")
    assert kv.get("key") == value
    kv.remove("key", "source")
    assert kv.get("key") is None
    kv.set("key", value, "source")
    assert kv.compare_and_swap("key", expected_value, new_value, "source")
    assert not kv.compare_and_swap("key", expected_value, new_value, "source")
    assert kv.get("key") == new_value


def test_state_metadata(kv: KeyValueStore) -> None:
    metadata = {"created_by": "user123", "purpose": "session_data"}
    kv.set("key", 1)
    kv.set_metadata("key", metadata)
    assert kv.get_metadata("key") == metadata


def test_event_broadcasting_within_the_process(kv: KeyValueStore) -> None:
    printed: list[str] = []
    kv.subscribe(lambda event: printed.append(f"State changed: {event.key} -> {event.new_value}"))
    kv.set("key", 7, "source")
    assert printed == ["State changed: key -> 7"]


def test_event_broadcasting_to_a_loop_of_its_own(kv_world: World) -> None:
    kv, ready = kv_world.states.kv, threading.Event()
    received: list[tuple[Any, ...]] = []

    def receive() -> None:
        with kv_world.app.app_context(), kv.watch(timeout=PATIENCE, bookmark=PATIENCE) as receiver:
            ready.set()
            for event in receiver:
                received.append((event.key, event.old_value, event.new_value, event.source))
                if event.new_value == "stop":
                    return

    thread = threading.Thread(target=receive)
    thread.start()
    assert ready.wait(PATIENCE)
    kv.set("market:BTC-USD", 61_000, "price_feed")
    kv.set("market:BTC-USD", "stop", "price_feed")
    thread.join(PATIENCE)
    assert received == [
        ("market:BTC-USD", None, 61_000, "price_feed"),
        ("market:BTC-USD", 61_000, "stop", "price_feed"),
    ]


def test_an_event_has_what_the_message_of_the_web_socket_has(kv: KeyValueStore) -> None:
    kv.set("market:BTC-USD", {"price": 1}, "price_feed")
    with kv.watch(since="0", timeout=0) as watch:
        [event] = watch
    assert {"key", "old_value", "new_value", "timestamp", "source"} <= set(event.__struct_fields__)
    assert event.timestamp is not None
    assert event.timestamp.timestamp() > 0


def test_state_persistence(kv_world: World) -> None:
    kv, snapshots = kv_world.states.kv, kv_world.states.snapshots
    kv.set("key", "good", "source")
    snapshot = snapshots.create_snapshot(["kv"])
    kv.set("key", "bad", "a mistake")
    kv.set("another", 1, "a mistake")
    snapshots.restore_snapshot(snapshot)
    assert kv.get_many(["key", "another"]) == {"key": "good"}


def test_keys_are_listed_by_their_prefix_with_a_total(kv: KeyValueStore) -> None:
    kv.set_many({"session:user123": 1, "session:user456": 2, "user:1": 3})
    assert {"keys": kv.keys("session:"), "total": kv.count("session:")} == {
        "keys": ["session:user123", "session:user456"],
        "total": 2,
    }


def test_statistics(kv: KeyValueStore) -> None:
    entry = kv.set("session:user123", {"a": 1}, metadata={"created_by": "user123"})
    stats = kv.get_stats()
    assert (stats["total_keys"], stats["metadata_keys"]) == (1, 1)
    # PostgreSQL writes JSON with spaces.
    assert 7 <= stats["total_size"] <= 9
    assert stats["version"] == entry.revision


# -- synchronisation ---------------------------------------------------------------------------------------------------


def test_requests_and_sessions_are_keys_that_end_by_themselves(kv_world: World) -> None:
    kv_world.states.define_bucket("tracking", ttl=300)
    tracking = kv_world.states.bucket("tracking").kv
    tracking.set("request:abc-123", {"method": "POST", "uri": "/api/trade/place"}, "middleware")
    tracking.set("request:abc-123:completion", {"status": 200, "duration_ms": 150}, "middleware")
    tracking.set("session:user123", {"correlation_id": "abc-123", "active": True}, "middleware", ttl=3600)
    kv_world.clock.advance(300)
    assert tracking.keys() == ["session:user123"]
    kv_world.clock.advance(3300)
    assert tracking.keys() == []


# -- configuration -----------------------------------------------------------------------------------------------------


def test_the_environment_variables_are_read() -> None:
    found = Settings.from_mapping(
        {},
        {
            "STATE_SNAPSHOT_INTERVAL_SECS": "300",
            "STATE_MAX_SNAPSHOTS": "100",
            "STATE_PERSISTENCE_ENABLED": "true",
            "STATE_BROADCAST_CHANGES": "true",
        },
    )
    assert (found.snapshot_interval, found.max_snapshots) == (300.0, 100)
    assert (found.persistence_enabled, found.broadcast_changes) == (True, True)


# -- usage examples ----------------------------------------------------------------------------------------------------


def test_storing_user_preferences(kv: KeyValueStore) -> None:
    user_id, preferences = 17, {"theme": "dark", "notifications": True, "language": "en"}
    kv.set(f"user:{user_id}:preferences", preferences, "user_service")
    assert kv.get(f"user:{user_id}:preferences") == preferences
    changed = kv.document(f"user:{user_id}:preferences").update({"language": "de"}, "user_service")
    assert changed == {**preferences, "language": "de"}


def test_a_distributed_cache_whose_ttl_is_in_the_metadata(kv: KeyValueStore, kv_world: World) -> None:
    cache_key = "cache:market:7"
    kv.set(cache_key, {"odds": [1.5, 2.5]}, "market_service")
    kv.set_metadata(cache_key, {"ttl": "300"})
    kv_world.clock.advance(299)
    assert kv.get(cache_key) == {"odds": [1.5, 2.5]}
    kv_world.clock.advance(1)
    assert kv.get(cache_key) is None
    with pytest.raises(StateValidationError, match="no time to live"):
        kv.set(cache_key, 1, metadata={"ttl": "five minutes"})


def test_rate_limiting_as_it_was_printed(kv: KeyValueStore) -> None:
    def limited(user_id: str, endpoint: str, limit: int) -> bool:
        key = f"rate_limit:{user_id}:{endpoint}"
        current = kv.get(key)
        if (current or 0) >= limit:
            return True
        assert kv.compare_and_swap(key, current, (current or 0) + 1, "rate_limiter")
        return False

    assert [limited("u1", "orders", 2) for _ in range(3)] == [False, False, True]


def test_rate_limiting_by_a_counter_that_begins_anew(kv: KeyValueStore, kv_world: World) -> None:
    calls = kv.counter("rate_limit:u1:orders", limit=2, window=60)
    assert [calls.hit() for _ in range(3)] == [True, True, False]
    assert calls.resets_at() == kv_world.clock.now() + timedelta(seconds=60)
    kv_world.clock.advance(60)
    assert calls.hit()


def test_feature_flags(kv: KeyValueStore) -> None:
    flag = {"enabled": True, "rollout_percentage": 50, "target_users": ["user123"]}
    kv.set("feature_flag:new_checkout", flag, "feature_service")
    assert kv.get("feature_flag:new_checkout") == flag


# -- monitoring, security ----------------------------------------------------------------------------------------------


def test_a_high_key_count_is_found_by_the_statistics(
    kv: KeyValueStore, kv_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    kv.set_many({f"key:{number}": number for number in range(11)})
    with caplog.at_level(logging.WARNING):
        stats = kv.get_stats()
        if stats["total_keys"] > 10:
            kv_world.app.logger.warning("High state key count: %s", stats["total_keys"])
    assert caplog.messages == ["High state key count: 11"]


def test_data_validation(kv: KeyValueStore, kv_world: World) -> None:
    kv_world.states.define_bucket("small", max_value_bytes=100)
    with pytest.raises(LimitExceeded):
        kv_world.states.bucket("small").kv.set("key", "x" * 101)
    with pytest.raises(StateValidationError):
        kv.set("key", object())
    with pytest.raises(StateValidationError, match="not a key"):
        kv.set("key; DROP TABLE", 1)


def test_the_audit_trail_says_who_when_and_what(kv: KeyValueStore) -> None:
    kv.set("key", 1, "first", actor="ada")
    kv.set("key", 2, "second", actor="bob")
    with kv.watch(since="0", timeout=0) as watch:
        trail = [(event.old_value, event.new_value, event.source, event.actor) for event in watch]
    assert trail == [(None, 1, "first", "ada"), (1, 2, "second", "bob")]


# -- troubleshooting ---------------------------------------------------------------------------------------------------


def test_a_service_that_is_not_available_says_what_to_do() -> None:
    StateManager.reset_instance()
    app = Flask("shop")
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    SQLAlchemy(app)
    manager = StateManager(app)
    with pytest.raises(ConfigurationError, match="app"):
        manager.kv.get("key")
    StateManager.reset_instance()


def test_a_failed_swap_is_tried_again_by_the_verbs_that_can(kv: KeyValueStore, kv_world: World) -> None:
    entry = kv.set("key", 1)
    kv.set("key", 2)
    assert not kv.compare_and_swap("key", 1, 3)
    with pytest.raises(StateConflict):
        kv.set("key", 3, expect=entry.version)
    racers = [threading.Thread(target=_adding, args=(kv_world, 10)) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(PATIENCE)
    assert kv.get("key") == 42


def _adding(world: World, times: int) -> None:
    with world.app.app_context():
        for _ in range(times):
            world.states.kv.update("key", lambda value: value + 1)


def test_what_is_temporary_goes_away(kv: KeyValueStore, kv_world: World) -> None:
    kv.set_many({f"temp:{number}": number for number in range(5)}, ttl=60)
    kv.set("user:1", 1)
    assert kv.stats()["prefixes"] == {"temp:": 5, "user:": 1}
    kv_world.clock.advance(60)
    kv_world.states.run_worker()
    assert kv.stats()["prefixes"] == {"user:": 1}

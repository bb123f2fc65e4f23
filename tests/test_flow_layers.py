"""What lies below and beside a session: atomic values, failures, secrets, round trips, what the worker does."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from flask_statemanager import (
    ConfigurationError,
    StateConflict,
    StateManager,
    StateValidationError,
    StorageUnavailable,
    signals,
)
from flask_statemanager.core.secrets import REDACTED
from flask_statemanager.flows import (
    ErrorContext,
    ErrorHandler,
    InMemoryMessaging,
    RedisAtomic,
    StateValidator,
    ValidationResult,
)
from flask_statemanager.redis_channel import Channel as RedisChannel
from tests.flow_worlds import stored
from tests.worlds import World

pytest_plugins = ["tests.flow_worlds"]


# -- atomic values ------------------------------------------------------------------------------------------------


def test_atomic_values_are_set_updated_read_deleted_and_expire(flow_world):
    atomic = flow_world.states.flows.open("web", "ada").atomic_state
    assert atomic.execute_atomic("k", "get") == (True, None, None)
    assert atomic.execute_atomic("k", "update", {"a": 1}) == (True, {"a": 1}, None)
    assert atomic.atomic_update("k", {"b": {"c": None}, "a": None}) == {"b": {}}
    assert atomic.atomic_set("k", [1, None], ttl=10) == [1, None]
    flow_world.clock.advance(10 - 1e-6)
    assert atomic.atomic_get("k") == [1, None]
    flow_world.clock.advance(1e-6)
    assert atomic.atomic_get("k") is None
    atomic.atomic_set("k", "again")
    atomic.atomic_delete("k")
    atomic.atomic_delete("k")
    assert atomic.atomic_get("k") is None


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("k", "incr"), "operation"),
        (("", "get"), "key"),
        ((7, "get"), "key"),
        (("x" * 161, "get"), "key"),
        (("k", "update", [1]), "value"),
        (("k", "set", object()), "value"),
        (("k", "set", 1, 0), "ttl"),
        (("k", "set", 1, None, -1), "max_retries"),
    ],
)
def test_an_impossible_operation_is_answered_and_not_raised(memory_flow_world, arguments, problem):
    atomic = memory_flow_world.states.flows.open("web", "ada").atomic_state
    done, data, error = atomic.execute_atomic(*arguments)
    assert (done, data) == (False, None)
    assert problem in error
    assert (atomic.tracking["error"], atomic.tracking["in_progress"]) == (error, True)


def test_attempts_are_tracked(memory_flow_world):
    atomic = memory_flow_world.states.flows.open("web", "ada").atomic_state
    assert atomic.tracking == {"in_progress": False, "attempts": {}, "last_attempt": None, "error": None}
    with pytest.raises(StateValidationError):
        atomic.atomic_update("k", [])
    atomic.atomic_update("k", {})
    atomic.atomic_get("k")
    tracking = atomic.tracking
    assert (tracking["attempts"], tracking["error"]) == ({"update": 2, "get": 1}, None)
    assert tracking["last_attempt"] == {"operation": "get", "key": "k", "at": "2026-01-01T12:00:00.000000Z"}


def test_a_value_is_changed_again_on_what_somebody_else_has_written(flow_world):
    one, other = flow_world.states.flows.atomic, flow_world.states.flows.atomic
    one.execute_atomic("k", "update", {"a": 1})
    other.execute_atomic("k", "update", {"b": 2})
    assert one.execute_atomic("k", "update", {"c": 3}) == (True, {"a": 1, "b": 2, "c": 3}, None)


def test_retries_are_bounded(memory_flow_world, monkeypatch):
    parts, calls = memory_flow_world.runtime.reception.parts(), []

    def lost(*_arguments: Any, **_more: Any) -> None:
        calls.append(1)
        raise StateConflict("k", None, None)

    monkeypatch.setattr(parts.bucket, "write", lost)
    done, _, error = RedisAtomic(parts).execute_atomic("k", "set", 1, max_retries=2)
    assert (done, len(calls)) == (False, 3)
    assert "somebody else" in error


def test_the_sessions_own_key_goes_through_everything_that_is_checked(flow_world):
    session = flow_world.states.flows.open("web", "ada")
    session.authenticate("m1", "secret")
    atomic = session.atomic_state
    for key in ("channel:web:ada", "channel:ada", "member:m1"):
        assert atomic.atomic_get(key)["member_id"] == "m1"
    assert atomic.atomic_update("channel:ada", {"profile": {"name": "Ada"}})["profile"] == {"name": "Ada"}
    done, _, error = atomic.execute_atomic("member:m1", "set", {"member_id": "m2"})
    assert (done, "link_member" in error) == (False, True)
    atomic.atomic_delete("channel:ada")
    assert flow_world.states.flows.open("web", "ada").get_member_id() is None


# -- results and failures -----------------------------------------------------------------------------------------


def test_a_result_is_true_when_it_is_good():
    good = ValidationResult.success([1], metadata={"source": "menu"})
    bad = ValidationResult.failure("Send a number.", field="amount", details={"given": "x"})
    assert (bool(good), good.value, good.message, good.metadata) == (True, [1], None, {"source": "menu"})
    assert bad.error == {"message": "Send a number.", "field": "amount", "details": {"given": "x"}}
    assert (bool(bad), bad.value) == (False, None)


@pytest.mark.parametrize(
    ("error", "context", "kind"),
    [
        (StateConflict("k", None, None), None, "conflict"),
        (StorageUnavailable("gone"), None, "storage"),
        (RuntimeError("boom at 0x1"), None, "system"),
        (RuntimeError("boom"), ErrorContext(error_type="api", message="boom", details={"code": "E1"}), "system"),
    ],
)
def test_the_user_reads_nothing_of_the_inside(memory_flow_world, error, context, kind):
    session = memory_flow_world.states.flows.open("web", "ada")
    told = ErrorHandler.handle_error(error, session, context)
    assert (told.valid, told.message) == (False, ErrorHandler.sentences[kind])
    assert told.error["details"].get("code") == (None if context is None else "E1")
    assert session.notes == ()


def test_what_the_user_can_mend_is_told_as_it_is(memory_flow_world):
    session = memory_flow_world.states.flows.open("web", "ada")
    told = ErrorHandler.handle_error(StateValidationError({"amount": ["Must be positive."]}), session)
    assert told.message == "amount: Must be positive."


def test_a_failure_that_cannot_be_noted_is_logged_and_told_all_the_same(memory_flow_world, monkeypatch, caplog):
    session = memory_flow_world.states.flows.open("web", "ada")

    def unavailable(*_arguments: Any, **_more: Any) -> None:
        raise StorageUnavailable("s3cret host")

    monkeypatch.setattr(session, "commit", unavailable)
    assert ErrorHandler.handle_error(RuntimeError("boom"), session).message == ErrorHandler.sentences["system"]
    assert caplog.messages == ["A failure in a conversation could not be noted: StorageUnavailable"]


def test_a_whole_state_can_be_looked_at():
    validator = StateValidator()
    state = {"channel": {"type": "web", "identifier": "ada"}, "member_id": None, "profile": {}, "flow_data": {}}
    assert validator.validate_state(state)
    for changed, field in (
        ({"channel": None}, "channel.type"),
        ({"member_id": ""}, "member_id"),
        ({"profile": 1}, "profile"),
        ({"flow_data": 1}, "flow_data"),
        ({"flow_data": {"data": 1}}, "flow_data.data"),
        ({"cart": {}}, "cart"),
    ):
        assert validator.validate_state({**state, **changed}).error["field"] == field


def test_what_sends_has_to_be_able_to(memory_flow_world):
    flows = memory_flow_world.states.flows
    with pytest.raises(ConfigurationError, match="method send"):
        flows.use_messaging(SimpleNamespace())
    flows.use_messaging(InMemoryMessaging())
    with memory_flow_world.app.test_request_context(), pytest.raises(ConfigurationError, match="during a request"):
        flows.use_messaging(InMemoryMessaging())


def test_messages_are_told_apart_by_their_keys(memory_flow_world):
    messaging = InMemoryMessaging()
    memory_flow_world.states.flows.use_messaging(messaging)
    session = memory_flow_world.states.flows.open("web", "ada")
    session.messaging.send_text("hello", key="1")
    session.messaging.send_text("hello", key="1")
    session.messaging.send_text("hello")
    messaging.send_text(session.channel, "directly")
    assert messaging.sent_to("web", "ada") == ["hello", "hello", "directly"]


# -- secrets ------------------------------------------------------------------------------------------------------


def test_no_event_shows_a_token(flow_world):
    kept, told = flow_world.runtime.shelves.kept("flows"), []
    since = kept.watches.position("flows")
    kept.subscribers.add(told.append, "")

    def hear(_sender: Any, change: Any) -> None:
        told.append(change)

    with signals.key_changed.connected_to(hear):
        session = flow_world.states.flows.open("web", "ada")
        session.authenticate("m1", "s3cret")
        session.update_state({"profile": {"name": "Ada"}})
        session.clear_all_state()
    told += kept.watches.follow("flows", since).changes
    assert len(told) >= 9
    assert REDACTED in repr(told)
    assert "s3cret" not in repr(told)


def test_what_holds_secrets_is_neither_cached_nor_in_snapshots(flow_world):
    session = flow_world.states.flows.open("web", "ada")
    session.authenticate("m1", "s3cret")
    assert flow_world.runtime.shelves.kept("flows").bucket.cache is None
    assert "flows" not in flow_world.states.snapshots.create_snapshot().buckets


def test_nobody_else_writes_to_conversations(memory_flow_world):
    states = memory_flow_world.states
    with pytest.raises(ConfigurationError, match="conversations of flows"):
        states.bucket("flows").kv.get("channel:web:ada")
    with pytest.raises(ConfigurationError, match="conversations of flows"):
        states.define_bucket("flows")


def test_any_bucket_may_have_secrets(kv_world):
    kv_world.states.define_bucket("vault", secrets=("password", "nested.pin"))
    kv, told = kv_world.states.bucket("vault").kv, []
    kv.subscribe(told.append)
    kv.set("ada", {"password": "s3cret", "nested": {"pin": 1234567}, "name": "Ada"})
    kv.set("bob", "no object")
    assert kv.get("ada")["password"] == "s3cret"
    assert told[0].new_value == {"password": REDACTED, "nested": {"pin": REDACTED}, "name": "Ada"}
    with kv.watch(since="0", timeout=0) as watch:
        assert "s3cret" not in repr(list(watch))
    with pytest.raises(ConfigurationError, match="secrets"):
        kv_world.states.define_bucket("vault", secrets="password")


# -- how many steps -----------------------------------------------------------------------------------------------


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The round trips to Redis."""
    counted: list[int] = []
    exchange = RedisChannel.exchange

    def counting(self: RedisChannel, text: bytes, number: int) -> list[Any]:
        counted.append(number)
        return exchange(self, text, number)

    monkeypatch.setattr(RedisChannel, "exchange", counting)
    return counted


def turn(world: World, number: int) -> None:
    with world.states.flows.open("web", "ada") as session:
        session.update_state({"flow_data": {"path": "offer", "component": "amount", "data": {"n": number}}})
        session.set_component_awaiting(True)


@pytest.mark.parametrize("linked", [False, True])
def test_the_usual_turn_takes_two_round_trips(redis_flow_world, trips, linked):
    turn(redis_flow_world, 0)
    if linked:
        redis_flow_world.states.flows.open("web", "ada").authenticate("m1", "secret")
    turn(redis_flow_world, 1)
    trips.clear()
    turn(redis_flow_world, 2)
    assert trips == [1, 1]
    assert redis_flow_world.states.flows.open("web", "ada").get_flow_data() == {"n": 2}


def test_an_atomic_operation_on_what_was_read_takes_one(redis_flow_world, trips):
    atomic = redis_flow_world.states.flows.open("web", "ada").atomic_state
    atomic.atomic_set("k", {"a": 1})
    trips.clear()
    for operation in ("set", "update", "get", "delete"):
        assert atomic.execute_atomic("k", operation, {"b": 2})[0]
    assert trips == [1, 1, 1, 1]


def test_several_keys_are_read_in_one(redis_flow_world, trips):
    bucket = redis_flow_world.runtime.shelves.kept("flows").bucket
    session = redis_flow_world.states.flows.open("web", "ada")
    session.link_member("m1")
    trips.clear()
    assert len(bucket.stored(["channel:web:ada", "member:m1", "member:m2"])) == 2
    assert trips == [1]


# -- beside the requests ------------------------------------------------------------------------------------------


def test_the_worker_writes_down_what_has_expired(flow_world):
    session = flow_world.states.flows.open("web", "ada")
    session.link_member("m1")
    flow_world.clock.advance(2 * 3600)
    for chore in flow_world.runtime.shelves.chores():
        chore.run()
    assert stored(flow_world, "member:m1") is stored(flow_world, "channel:web:ada") is None
    found = flow_world.runtime.shelves.kept("flows").bucket.stored(["member:m1", "channel:web:ada"])
    assert all(record.deleted_at is not None for record in found.values())


@pytest.mark.parametrize("ttl", [0.5, 60])
def test_the_time_to_live_is_a_setting(ttl):
    StateManager.reset_instance()
    app = Flask("flows")
    app.config.update(STATEMANAGER_BACKEND="memory", STATEMANAGER_FLOWS_TTL=ttl)
    states = StateManager(app)
    with app.app_context():
        states.flows.open("web", "ada").touch()
        record = app.extensions["statemanager"].shelves.kept("flows").bucket.get("channel:web:ada")
    assert record.expires_at - record.updated_at == timedelta(seconds=ttl)
    assert json.dumps(record.data)
    StateManager.reset_instance()


def test_a_backend_that_cannot_be_had_is_a_clear_error():
    StateManager.reset_instance()
    app = Flask("flows")
    app.config.update(STATEMANAGER_BACKEND="memory", STATEMANAGER_FLOWS_BACKEND="redis")
    with pytest.raises(ConfigurationError, match="STATEMANAGER_REDIS_URL"):
        StateManager(app)
    StateManager.reset_instance()


def test_channels_and_members_lie_together_on_a_cluster(redis_cluster_url, trips):
    StateManager.reset_instance()
    app = Flask("flows")
    app.config.update(
        STATEMANAGER_BACKEND="memory", STATEMANAGER_FLOWS_BACKEND="redis", STATEMANAGER_REDIS_URL=redis_cluster_url
    )
    states = StateManager(app)
    with app.app_context():
        for number in range(5):
            session = states.flows.open("web", f"visitor-{number}")
            session.update_state({"profile": {f"f{number}": number}})
            session.authenticate("m1", "secret")
        with states.flows.open("web", "visitor-0") as session:
            session.update_state({"profile": {"more": True}})
        assert states.flows.open("web", "visitor-4").get("profile") == {**{f"f{n}": n for n in range(5)}, "more": True}
        app.extensions["statemanager"].close()
    StateManager.reset_instance()


def test_by_the_clock_of_redis_nothing_ends_early(redis_url):
    StateManager.reset_instance()
    app = Flask("flows")
    app.config.update(
        STATEMANAGER_BACKEND="memory",
        STATEMANAGER_FLOWS_BACKEND="redis",
        STATEMANAGER_REDIS_URL=redis_url,
        STATEMANAGER_FLOWS_TTL=0.5,
    )
    states = StateManager(app)
    with app.app_context():
        began = time.monotonic()
        states.flows.open("web", "ada").authenticate("m1", "secret", ttl=0.3)
        ended: dict[str, float] = {}
        while len(ended) < 2:
            assert time.monotonic() - began < 60, ended
            found = states.flows.open("web", "ada")
            if not found.is_authenticated():
                ended.setdefault("token", time.monotonic() - began)
            if found.get_member_id() is None:
                ended.setdefault("conversation", time.monotonic() - began)
        app.extensions["statemanager"].close()
    assert ended["token"] >= 0.3
    assert ended["conversation"] >= 0.5
    StateManager.reset_instance()

"""Callbacks and signals: before with a veto, after isolated."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytest

from flask_statemanager import ConfigurationError, Machine, StateManagerError, StateValidationError, Transition, signals
from flask_statemanager.testing.capture import Captured
from tests.worlds import World


def log_of(calls: list[Any], label: str = "") -> Any:
    def callback(state_id: str, old_state: dict[str, Any], new_state: dict[str, Any], transition_type: str) -> None:
        calls.append((label, state_id, old_state.get("status"), new_state["status"], transition_type))

    return callback


@pytest.mark.parametrize(
    ("event", "heard"),
    [
        ("user_suspended", ["suspend"]),
        ("user_created", ["create"]),
        ("user_deleted", ["delete"]),
        ("user_rolled_back", ["rollback"]),
        ("user", ["create", "suspend", "rollback", "delete"]),
        ("suspend", ["suspend"]),
        ("suspended", ["suspend"]),
        ("*", ["create", "suspend", "rollback", "delete"]),
        ("u1", ["create", "suspend", "rollback", "delete"]),
        ("session_suspended", []),
        ("u2", []),
    ],
)
def test_a_callback_hears_the_events_of_its_name(world: World, event: str, heard: list[str]) -> None:
    calls: list[Any] = []
    world.states.register_callback(event, log_of(calls))
    world.states.register_state("u1", "user")
    world.states.update_state("u1", transition="suspend")
    world.states.rollback_state("u1", to_version=1)
    world.states.delete_state("u1")
    assert [call[4] for call in calls] == heard


def test_old_state_is_empty_at_creation_and_the_last_state_tells_of_a_deletion(world: World) -> None:
    calls: list[Any] = []
    world.states.register_callback("*", lambda *call: calls.append(call))
    world.states.register_state("u1", "user", {"a": 1})
    world.states.delete_state("u1")
    assert calls[0][1] == {}
    assert (calls[1][1]["status"], calls[1][2]["status"], calls[1][2]["data"]) == ("created", "deleted", {"a": 1})


def test_a_callback_for_one_state_hears_only_of_it(world: World) -> None:
    calls: list[Any] = []

    @world.states.register_callback("user", state_id="u2")
    def heard(*call: Any) -> None:
        calls.append(call[0])

    for name in ("u1", "u2"):
        world.states.register_state(name, "user")
    assert calls == ["u2"]
    assert heard.__name__ == "heard"


def test_a_state_whose_id_is_an_event_name_does_not_take_the_event(world: World) -> None:
    calls: list[Any] = []
    world.states.register_callback("session", log_of(calls))
    world.states.register_state("session", "user")
    assert calls == []


def test_an_event_registered_before_its_type_is_heard_once_the_type_is_declared(world: World) -> None:
    calls: list[Any] = []
    world.states.register_callback("parcel_shipped", log_of(calls))
    ship = Transition("ship", ["created"], "shipped", past="shipped")
    world.states.define("parcel", Machine(transitions=[ship]))
    world.states.register_state("p", "parcel")
    world.states.update_state("p", transition="ship")
    assert [call[4] for call in calls] == ["ship"]


def test_a_name_that_looks_like_a_slip_is_warned_of(world: World) -> None:
    with pytest.warns(UserWarning, match="'user_suspended' meant"):
        world.states.register_callback("user_suspendet", log_of([]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        world.states.register_callback("order:12345", log_of([]))
    with pytest.raises(StateValidationError):
        world.states.register_callback("no id", log_of([]))
    with pytest.raises(ConfigurationError, match="when="):
        world.states.register_callback("user", log_of([]), when="during")  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="callable"):
        world.states.register_callback("user", 5)  # type: ignore[call-overload]


def test_a_before_callback_vetoes_and_nothing_is_left(world: World, captured_states: Captured) -> None:
    calls: list[Any] = []

    def veto(state_id: str, old: dict[str, Any], new: dict[str, Any], transition: str) -> None:
        raise PermissionError("not today")

    world.states.register_callback("user_suspended", veto, when="before")
    world.states.register_callback("*", log_of(calls))
    before = world.states.register_state("u1", "user")
    with pytest.raises(PermissionError, match="not today"):
        world.states.update_state("u1", {"a": 1}, "suspend")
    assert world.states.get_state("u1") == before
    assert len(world.states.get_state_history("u1")) == 1
    assert [call[4] for call in calls] == ["create"]
    assert captured_states.names == ["state-registered", "state-changed"]


def test_a_state_changing_receiver_vetoes_too(world: World) -> None:
    def veto(sender: Any, change: Any) -> None:
        assert change.revision == 0
        raise PermissionError(change.event)

    with signals.state_changing.connected_to(veto), pytest.raises(PermissionError, match="create"):
        world.states.register_state("u1", "user")
    assert world.states.get_state_history("u1") == []


def test_a_failing_callback_hurts_neither_the_change_nor_the_others(
    world: World, captured_states: Captured, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Any] = []

    def broken(*call: Any) -> None:
        raise RuntimeError("boom")

    world.states.register_callback("user", broken)
    world.states.register_callback("user", log_of(calls, "second"))
    with caplog.at_level(logging.ERROR, "flask_statemanager"):
        assert world.states.register_state("u1", "user").version == 1
    assert [call[0] for call in calls] == ["second"]
    assert "broken" in caplog.text
    assert "boom" in caplog.text
    failed = captured_states.sent[-1]
    assert failed.name == "callback-failed"
    assert isinstance(failed.payload["error"], RuntimeError)
    assert world.runtime.counters.value("callback.failed") == 1


def test_a_failing_receiver_does_not_stop_the_others(world: World, caplog: pytest.LogCaptureFixture) -> None:
    heard = []

    def broken(sender: Any, **payload: Any) -> None:
        raise RuntimeError("boom")

    def second(sender: Any, change: Any) -> None:
        heard.append(change.event)

    with signals.state_changed.connected_to(broken), signals.state_changed.connected_to(second):
        world.states.register_state("u1", "user")
    assert heard == ["create"]
    assert world.runtime.counters.value("signal.failed") == 1


def test_signals_tell_of_each_change_with_the_app_as_sender(world: World, captured_states: Captured) -> None:
    named: list[Any] = []

    def suspended(sender: Any, change: Any) -> None:
        named.append((sender, change.before.status, change.after.status))

    with signals.transition_signal("suspend").connected_to(suspended, sender=world.app):
        world.states.register_state("u1", "user")
        world.states.update_state("u1", {"a": 1})
        world.states.update_state("u1", transition="suspend")
        world.states.delete_state("u1")
    assert captured_states.names == [
        *("state-registered", "state-changed"),
        "state-changed",
        *("state-changed", "state-transitioned"),
        *("state-changed", "state-transitioned", "state-deleted"),
    ]
    assert all(sent.sender is world.app for sent in captured_states.sent)
    assert named == [(world.app, "created", "suspended")]
    versions = [(change.version, change.revision > 0) for change in captured_states.changes]
    assert versions == [(1, True), (2, True), (3, True), (4, True)]


def test_a_refused_transition_is_told_and_nothing_else(world: World, captured_states: Captured) -> None:
    world.states.register_state("u1", "user")
    captured_states.sent.clear()
    with pytest.raises(StateManagerError):
        world.states.update_state("u1", transition="resume")
    with pytest.raises(StateValidationError):
        world.states.update_state("u1", {"a": float("nan")})
    assert captured_states.names == ["transition-refused"]
    payload = captured_states.sent[0].payload
    assert (payload["state_id"], payload["transition"]) == ("u1", "resume")


def test_what_a_callback_writes_is_announced_behind_what_caused_it(world: World) -> None:
    order: list[Any] = []

    @world.states.register_callback("user_created")
    def activate(state_id: str, *_rest: Any) -> None:
        world.states.update_state(state_id, transition="activate")

    world.states.register_callback("user", lambda *call: order.append(call[3]))
    world.states.register_state("u1", "user")
    assert order == ["create", "activate"]


def test_callbacks_that_keep_triggering_each_other_are_stopped(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_statemanager.core.publisher.MAX_CASCADE", 20)
    world.states.register_callback("user", lambda state_id, *_rest: world.states.update_state(state_id))
    world.states.register_state("u1", "user")
    assert "keep triggering each other" in caplog.text
    state = world.states.get_state("u1")
    assert state is not None
    assert state.version == 21


def test_a_before_callback_may_write_in_the_same_transaction(world: World) -> None:
    @world.states.register_callback("user_suspended", when="before")
    def suspend_sessions(state_id: str, *_rest: Any) -> None:
        world.states.update_state(f"{state_id}/session", transition="expire")

    world.states.register_state("u1", "user")
    world.states.register_state("u1/session", "session")
    world.states.update_state("u1", transition="suspend")
    assert world.states.get_state("u1/session").status == "expired"  # type: ignore[union-attr]
    world.states.update_state("u1", transition="resume")
    with pytest.raises(StateManagerError, match="'expired'"):
        world.states.update_state("u1", transition="suspend")
    assert world.states.get_state("u1").status == "active"  # type: ignore[union-attr]

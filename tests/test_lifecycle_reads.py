"""The reading verbs, on every backend."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from flask_statemanager import State, StateTransition, StateValidationError
from flask_statemanager.lifecycle import query as query_module
from flask_statemanager.testing.clock import START
from tests.worlds import World


def fill(world: World, count: int) -> list[str]:
    """Register states whose times go by threes, so that ties occur."""
    names = []
    for number in range(count):
        world.clock.advance(number % 3 == 0)
        names.append(
            world.states.register_state(f"u{number:03}", "user", {"n": number, "even": number % 2 == 0}).state_id
        )
    return names


def test_a_state_is_a_dict_that_json_takes_and_edits_do_not_reach_the_store(world: World) -> None:
    world.states.register_state("u1", "user", {"list": [1], "nested": {"a": 1}})
    state = world.states.get_state("u1")
    assert isinstance(state, State)
    assert json.loads(json.dumps(state)) == state
    state["data"]["list"].append(2)
    state["data"]["nested"]["a"] = 2
    again = world.states.get_state("u1")
    assert again is not None
    assert again.data == {"list": [1], "nested": {"a": 1}}


def test_reading_the_past_by_version_and_by_moment(world: World) -> None:
    start = world.clock.now()
    world.states.register_state("u1", "user", {"a": 1}, ttl=100)
    world.clock.advance(10)
    world.states.update_state("u1", {"a": 2})
    world.clock.advance(200)
    world.states.update_state("u1", transition="activate")
    world.clock.advance(10)
    world.states.delete_state("u1")

    def data(at: Any) -> Any:
        state = world.states.get_state("u1", at=at)
        return None if state is None else (state.data["a"], state.status)

    assert [data(at) for at in (1, 2, 3, 4, 5, 6, 0, -1, 2**70)] == [
        (1, "created"),
        (2, "created"),
        (2, "expired"),
        (2, "active"),
        None,
        None,
        None,
        None,
        None,
    ]
    assert data(start) == (1, "created")
    assert data(start + timedelta(seconds=9)) == (1, "created")
    assert data(start + timedelta(seconds=150)) == (2, "expired")
    assert data(start + timedelta(seconds=215)) == (2, "active")
    assert data(start - timedelta(seconds=1)) is None
    assert data(world.clock.now()) is None
    for wrong in (datetime(2026, 1, 1), "2026-01-01", True, 1.5):  # noqa: DTZ001
        with pytest.raises(StateValidationError, match="at"):
            world.states.get_state("u1", at=wrong)  # type: ignore[arg-type]


def test_history_tells_who_what_when_and_how(world: World) -> None:
    world.states.register_state("u1", "user", {"a": 1}, actor="ann", source="shop", reason="signed up")
    world.clock.advance(1)
    world.states.update_state("u1", {"a": None, "b": [1, 2]}, StateTransition.SUSPEND)
    first, second = world.states.get_state_history("u1")
    assert (first.actor, first.source, first.reason, first.request_id) == ("ann", "shop", "signed up", None)
    assert (first.from_status, first.to_status, first.old_data, first.new_data) == (None, "created", {}, {"a": 1})
    assert second["timestamp"] == "2026-01-01T12:00:01.000000Z"
    assert (second.actor, second.transition_type, second.version) == ("system", "suspend", 2)
    assert second.diff() == [{"op": "remove", "path": "/a"}, {"op": "add", "path": "/b", "value": [1, 2]}]
    assert second.revision > first.revision
    assert json.loads(json.dumps(second)) == second
    with pytest.raises(AttributeError, match="has no 'colour'"):
        second.colour  # noqa: B018


def test_changes_are_listed_by_state_transition_and_age(world: World) -> None:
    for name in ("a", "b"):
        world.states.register_state(name, "user")
        world.states.update_state(name, transition="suspend")
        world.states.update_state(name, transition="resume")
        world.states.update_state(name, transition="suspend")
    events = [e.transition_type for e in world.states.get_state_history("a")]
    assert events == ["create", "suspend", "resume", "suspend"]
    page = world.states.get_state_history("a", limit=2)
    assert [e.version for e in page] == [1, 2]
    assert [e.version for e in world.states.get_state_history("a", 10, page[-1].revision)] == [3, 4]
    newest = world.states.get_state_history("a", 2, newest_first=True)
    older = world.states.get_state_history("a", 2, newest[-1].revision, newest_first=True)
    assert [e.version for e in [*newest, *older]] == [4, 3, 2, 1]
    assert [(e.state_id, e.version) for e in world.states.get_recent_changes(limit=3)] == [("b", 4), ("b", 3), ("b", 2)]
    assert [e.version for e in world.states.get_recent_changes("a")] == [4, 3, 2, 1]
    assert [e.version for e in world.states.get_changes_by_transition("a", StateTransition.SUSPEND)] == [2, 4]
    assert len(world.states.get_changes_by_transition(None, "suspend", limit=3)) == 3
    assert world.states.get_state_history("nobody") == []
    assert world.states.get_recent_changes(limit=0) == []
    for wrong in (-1, True, "5"):
        with pytest.raises(StateValidationError, match="limit"):
            world.states.get_recent_changes(limit=wrong)  # type: ignore[arg-type]


def test_a_search_is_lazy_sliceable_and_counts(world: World) -> None:
    names = fill(world, 20)
    found = world.states.search_states("user")
    assert bool(found)
    assert [state.state_id for state in found] == names
    assert found.count() == len(found) == 20
    assert [state.state_id for state in found[3:6]] == names[3:6]
    fresh = world.states.get_states_by_type("user")
    assert fresh[4].state_id == names[4]
    assert [state.state_id for state in fresh[5:8]] == names[5:8]
    assert [state.state_id for state in fresh[18:]] == names[18:]
    assert fresh[5:5] == []
    assert fresh[-1].state_id == names[-1]
    assert fresh[::7][1].state_id == names[7]
    assert fresh[2:4][0].state_id == names[2]
    assert fresh.count(found[0]) == 1
    with pytest.raises(IndexError):
        world.states.search_states("user")[20]
    assert world.states.search_states("session").first() is None
    assert "user" in repr(fresh)


def test_pages_follow_each_other_by_cursor(world: World) -> None:
    names = fill(world, 10)
    found, seen, cursor = world.states.search_states("user"), [], None
    while True:
        page = found.page(3, after=cursor)
        seen.append([state.state_id for state in page])
        cursor = page.next
        if cursor is None:
            break
    assert seen == [names[0:3], names[3:6], names[6:9], names[9:]]
    assert len(found.page(10)) == 10
    assert found.page(10).next is None
    for wrong in (0, 1001, True, "3"):
        with pytest.raises(StateValidationError, match="size"):
            found.page(wrong)  # type: ignore[arg-type]
    for bad in ("x", "e30", found.page(1).next):
        with pytest.raises(StateValidationError, match="cursor"):
            world.states.search_states("user", order_by="-state_id").page(3, after=bad)


@pytest.mark.parametrize("order", ["-created_at", "state_id", "-revision"])
def test_pages_go_back_by_cursor_in_the_order_of_the_search(world: World, order: str) -> None:
    fill(world, 8)
    found = world.states.search_states("user", order_by=order)
    names = [state.state_id for state in found]
    first = found.page(3)
    second = found.page(3, first.next)
    third = found.page(3, second.next)
    assert first.previous is None
    back = found.page(3, before=third.previous)
    assert [state.state_id for state in back] == [state.state_id for state in second] == names[3:6]
    assert (back.next, back.previous) == (second.next, second.previous)
    start = found.page(3, before=back.previous)
    assert ([state.state_id for state in start], start.previous) == (names[:3], None)
    assert [state.state_id for state in found.page(3, start.next)] == names[3:6]
    one = found.page(2, before=second.previous)
    assert [state.state_id for state in one] == names[1:3], "those just before"
    assert one.previous is not None
    for name in names[:3]:
        world.states.delete_state(name)
    gone = found.page(3, before=second.previous)
    assert (gone.items, gone.next, gone.previous) == ([], None, None)
    with pytest.raises(StateValidationError, match="either after or before"):
        found.page(3, second.next, before=second.previous)


def test_a_prefix_finds_the_ids_that_begin_so(world: World) -> None:
    for name in ("user:1", "user:10", "user:2", "user=", "use", "User:1", "zz~"):
        world.states.register_state(name, "user", {"n": len(name)})

    def found(prefix: str, **asked: Any) -> list[str]:
        return [state.state_id for state in world.states.search_states(prefix=prefix, order_by="state_id", **asked)]

    assert found("user:") == ["user:1", "user:10", "user:2"]
    assert found("user:1") == ["user:1", "user:10"], "the id itself is among them"
    assert found("user:", filters={"data.n": 6}) == ["user:1", "user:2"]
    assert found("~") == []
    assert found("zz~") == ["zz~"]
    everything = world.states.search_states(prefix="user:", order_by="-created_at")
    assert everything.count() == 3
    assert [state.state_id for state in everything.page(2, everything.page(2).next)] == ["user:1"]
    done = world.states.transition_many(world.states.search_states("user", prefix="user:1"), "suspend")
    assert done.done == 2
    for wrong in ("ä", "a\n", "a" * 256, 5):
        with pytest.raises(StateValidationError, match="beginning of an id"):
            found(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ["created_at", "updated_at", "state_id", "version", "revision"])
def test_every_order_goes_both_ways(world: World, order: str) -> None:
    names = fill(world, 7)
    world.clock.advance(5)
    world.states.update_state("u003", {"x": 1})
    up = [state.state_id for state in world.states.search_states("user", order_by=order)]
    down = [state.state_id for state in world.states.search_states("user", order_by=f"-{order}")]
    assert up == list(reversed(down))
    assert sorted(up) == names
    assert up[-1] == ("u003" if order in ("updated_at", "version", "revision") else "u006")


def test_iteration_finds_each_lasting_state_once_whatever_is_written_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_module, "MAX_PAGE", 6)
    names = fill(world, 20)
    seen = []
    for number, state in enumerate(world.states.search_states("user")):
        seen.append(state.state_id)
        world.clock.advance(1)
        world.states.update_state(names[(number * 7) % 20], {"touched": number})
        if number < 15:
            world.states.register_state(f"new{number:03}", "user")
    assert [name for name in seen if name.startswith("u")] == names
    assert len(seen) == len(set(seen))


def test_filters_status_and_owner_narrow_together(world: World) -> None:
    fill(world, 10)
    world.states.update_state("u004", transition="suspend", owner="ann")
    world.states.update_state("u005", transition="suspend", owner="ann")

    def found(**conditions: Any) -> list[str]:
        return [state.state_id for state in world.states.search_states("user", **conditions)]

    assert found(filters={"data.n__gte": 8}) == ["u008", "u009"]
    assert found(filters={"data.even": True, "data.n__lt": 4}) == ["u000", "u002"]
    assert found(status="suspended") == ["u004", "u005"]
    assert found(status="suspended", filters={"data.even": True}, owner="ann") == ["u004"]
    assert found(owner="nobody") == []
    updated = {"updated_at__gte": world.clock.now()}
    assert found(filters=updated, owner="ann") == ["u004", "u005"]
    assert found(filters=updated | {"data.even": True, "created_at__lt": world.clock.now()}) == ["u004"]
    assert found(status=[]) == []
    assert [s.state_id for s in world.states.search_states(None, {"data.n": 3})] == ["u003"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"filters": {"data.n__near": 5}},
        {"filters": {"created_at": START}},
        {"filters": {"updated_at__in": [START]}},
        {"filters": {"updated_at__gt": "2026-01-01T00:00:00Z"}},
        {"filters": {"updated_at__gt": datetime(2026, 1, 1)}},  # noqa: DTZ001
        {"filters": {"status": "active"}},
        {"filters": {"data": 5}},
        {"filters": {"data..n": 5}},
        {"filters": {'data.a"b': 5}},
        {"filters": {"data.n": [1]}},
        {"filters": {"data.n": float("nan")}},
        {"filters": {"data.n": 2**64}},
        {"filters": {"data.n": b"x"}},
        {"filters": {"data.n": "\x00"}},
        {"filters": {"data.n__gt": None}},
        {"filters": {"data.n__in": 5}},
        {"filters": {"data.n__exists": 1}},
        {"filters": {"data.n__startswith": 1}},
        {"filters": {5: 5}},
        {"filters": ["data.n"]},
        {"order_by": "colour"},
        {"order_by": 5},
        {"owner": ""},
        {"status": "no such word"},
    ],
)
def test_an_unusable_search_is_refused_before_it_runs(world: World, arguments: dict[str, Any]) -> None:
    with pytest.raises(StateValidationError):
        world.states.search_states("user", **arguments)


@pytest.mark.parametrize("wrong", ["", "/a", "a/", "a//b", "a/../b", ".", "a b", "ä", "a" * 256, "a\n", None, 5])
def test_ids_outside_the_rule_are_refused_with_the_rule(world: World, wrong: Any) -> None:
    for verb in (world.states.get_state, world.states.update_state, world.states.get_state_history):
        with pytest.raises(StateValidationError, match="1 to 255 ASCII characters"):
            verb(wrong)
    if wrong is not None:
        with pytest.raises(StateValidationError):
            world.states.register_state(wrong, "user")


def test_a_state_of_a_type_no_longer_declared_can_still_be_read(world: World) -> None:
    world.states.define("gone")
    world.states.register_state("g1", "gone", ttl=5)
    del world.runtime.declarations.definitions._types["gone"]
    world.clock.advance(10)
    state = world.states.get_state("g1")
    assert state is not None
    assert state.status == "created"
    assert [found.state_id for found in world.states.search_states("gone", declared=False)] == ["g1"]
    for verb in (lambda: world.states.update_state("g1"), lambda: world.states.search_states("gone")):
        with pytest.raises(StateValidationError, match="no type 'gone'"):
            verb()

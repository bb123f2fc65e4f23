"""The writing verbs, on every backend."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from marshmallow import INCLUDE, Schema, fields

from flask_statemanager import (
    ConfigurationError,
    Guard,
    GuardFailed,
    Machine,
    Revision,
    StateConflict,
    StateExists,
    StateNotFound,
    StateTransition,
    StateType,
    StateValidationError,
    Transition,
    TransitionNotAllowed,
)
from tests.worlds import World

ENVELOPE = {"name": "account", "type": "user", "data": {"email": "a@example.com"}, "metadata": {"version": "1.0"}}

PAYMENT = Machine(
    initial=["pending", "draft"],
    transitions=[
        Transition("complete", ["pending"], "completed"),
        Transition("fail", ["pending"], "failed"),
        Transition("refund", ["completed"], "refunded"),
        Transition("expire", "pending", "failed"),
    ],
    final=["refunded"],
)


def test_a_registered_state_is_what_was_given_and_version_one(world: World) -> None:
    state = world.states.register_state("u1", StateType.USER, ENVELOPE, owner="me")
    assert (state.name, state.type, state.status, state.version) == ("account", "user", "created", 1)
    assert state["data"] == {"email": "a@example.com"}
    assert state.metadata == {"version": "1.0"}
    assert state.owner == "me"
    assert state.created_at == state.updated_at == "2026-01-01T12:00:00.000000Z"
    assert world.states.get_state("u1") == state


@pytest.mark.parametrize(
    ("given", "data", "metadata"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"data": {"a": None}}, {"a": None}, {}),
        ({"data": 5}, {"data": 5}, {}),
        ({"data": {"a": 1}, "other": 2}, {"data": {"a": 1}, "other": 2}, {}),
        ({"metadata": {"a": 1}}, {}, {"a": 1}),
        ({"name": "x"}, {"name": "x"}, {}),
        (None, {}, {}),
        ({"a": {"b": None}}, {"a": {"b": None}}, {}),
    ],
)
def test_an_envelope_is_told_from_bare_data(world: World, given: Any, data: Any, metadata: Any) -> None:
    state = world.states.register_state("u1", "user", given)
    assert (state.data, state.metadata) == (data, metadata)


def test_a_state_handed_back_is_an_envelope(world: World) -> None:
    state = world.states.register_state("u1", "user", {"a": 1}, owner="o", ttl=60)
    state["data"]["a"] = 2
    assert world.states.update_state("u1", state).data == {"a": 2}


def test_an_envelope_of_another_type_or_id_is_refused(world: World) -> None:
    with pytest.raises(StateValidationError, match="type 'session'"):
        world.states.register_state("u1", "user", {"type": "session", "data": {}})
    with pytest.raises(StateValidationError, match="state_id 'u2'"):
        world.states.register_state("u1", "user", {"state_id": "u2", "data": {}})
    assert world.states.register_state("u1", "user", {"type": "USER", "data": {}}).type == "user"


def test_without_an_id_a_time_ordered_one_is_made(world: World) -> None:
    made = [world.states.register_state(None, "user").state_id for _ in range(50)]
    assert made == sorted(made)
    assert len(set(made)) == 50


def test_a_taken_id_is_refused_ignored_or_updated(world: World) -> None:
    world.states.register_state("u1", "user", {"a": 1, "b": 1})
    with pytest.raises(StateExists, match="'u1'"):
        world.states.register_state("u1", "user", {"a": 2})
    same = world.states.register_state("u1", "user", {"a": 2}, if_exists="ignore")
    assert (same.version, same.data) == (1, {"a": 1, "b": 1})
    updated = world.states.register_state("u1", "user", {"a": 2, "b": None}, if_exists="update")
    assert (updated.version, updated.data) == (2, {"a": 2})
    with pytest.raises(StateExists, match="'user'"):
        world.states.register_state("u1", "session", if_exists="update")
    with pytest.raises(StateValidationError, match="if_exists"):
        world.states.register_state("u1", "user", if_exists="maybe")  # type: ignore[arg-type]


def test_merge_is_a_json_merge_patch_and_replace_keeps_metadata(world: World) -> None:
    world.states.register_state("u1", "user", {"data": {"a": {"x": 1, "y": 2}, "b": 1}, "metadata": {"m": 1}})
    merged = world.states.update_state("u1", {"data": {"a": {"x": None, "z": 3}, "b": None}, "metadata": {"n": 2}})
    assert (merged.data, merged.metadata) == ({"a": {"y": 2, "z": 3}}, {"m": 1, "n": 2})
    replaced = world.states.update_state("u1", {"c": None}, mode="replace")
    assert (replaced.data, replaced.metadata) == ({"c": None}, {"m": 1, "n": 2})
    assert world.states.update_state("u1", {"data": {}, "metadata": {}}, mode="replace").metadata == {}
    with pytest.raises(StateValidationError, match="mode"):
        world.states.update_state("u1", {}, mode="patch")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (["activate"], "active"),
        (["suspend", "resume"], "active"),
        (["suspend", "activate"], "active"),
        (["expire", "activate", "suspend"], "suspended"),
        (["activate", "expire"], "expired"),
        (["suspend", "expire"], "expired"),
        (["activate", "update"], "active"),
    ],
)
def test_the_default_machine_allows_these_ways(world: World, path: list[str], status: str) -> None:
    world.states.register_state("u1", "user")
    for transition in path:
        state = world.states.update_state("u1", transition=transition)
    assert state.status == status


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ([], "resume"),
        (["activate"], "activate"),
        (["activate"], "resume"),
        (["suspend"], "suspend"),
        (["expire"], "suspend"),
    ],
)
def test_the_default_machine_refuses_these_ways(world: World, path: list[str], refused: str) -> None:
    world.states.register_state("u1", "user")
    for transition in path:
        world.states.update_state("u1", transition=transition)
    before = world.states.get_state("u1")
    with pytest.raises(TransitionNotAllowed) as caught:
        world.states.update_state("u1", {"x": 1}, refused)
    assert before is not None
    assert caught.value.status == before.status
    assert caught.value.allowed == tuple(world.states.allowed_transitions("u1"))
    assert world.states.get_state("u1") == before
    assert len(world.states.get_state_history("u1")) == len(path) + 1


def test_unknown_names_are_refused_with_the_known_ones(world: World) -> None:
    with pytest.raises(StateValidationError, match="known are feature, session, subscription, transaction, user"):
        world.states.register_state("u1", "userr")
    world.states.register_state("u1", "user")
    with pytest.raises(StateValidationError, match="known are activate, suspend, resume, expire, update, delete"):
        world.states.update_state("u1", transition="fly")
    with pytest.raises(StateValidationError, match="register_state"):
        world.states.update_state("u1", transition=StateTransition.CREATE)
    for absent in (lambda: world.states.update_state("nobody"), lambda: world.states.delete_state("nobody")):
        with pytest.raises(StateNotFound, match="'nobody'"):
            absent()
    with pytest.raises(LookupError):
        world.states.can("nobody", "activate")


def test_a_deleted_state_is_gone_keeps_history_and_goes_on_from_its_version(world: World) -> None:
    world.states.register_state("u1", "user", {"a": 1})
    last = world.states.delete_state("u1", reason="asked for")
    assert (last.status, last.version, last.data) == ("deleted", 2, {"a": 1})
    assert world.states.get_state("u1") is None
    assert not world.states.search_states("user")
    with pytest.raises(StateNotFound):
        world.states.update_state("u1")
    again = world.states.register_state("u1", "session")
    assert (again.version, again.type, again.data) == (3, "session", {})
    assert [entry["version"] for entry in world.states.get_state_history("u1")] == [1, 2, 3]
    assert world.states.get_state_history("u1")[2].old_data == {}


def test_expect_takes_a_version_or_a_revision_and_nothing_else(world: World) -> None:
    world.states.register_state("other", "user")
    first = world.states.register_state("u1", "user")
    second = world.states.update_state("u1", {"a": 1}, expect=first.version)
    third = world.states.update_state("u1", {"a": 2}, expect=Revision(second.revision))
    for stale in (first.version, Revision(second.revision), 99):
        with pytest.raises(StateConflict) as caught:
            world.states.update_state("u1", {"a": 3}, expect=stale)
        assert caught.value.actual == 3
    for wrong in (0, True, "1", 1.0):
        with pytest.raises(StateValidationError, match="expect"):
            world.states.update_state("u1", expect=wrong)  # type: ignore[arg-type]
    assert world.states.get_state("u1") == third


def test_expect_fails_after_deletion_and_recreation(world: World) -> None:
    version = world.states.register_state("u1", "user").version
    world.states.delete_state("u1")
    world.states.register_state("u1", "user")
    with pytest.raises(StateConflict):
        world.states.update_state("u1", expect=version)


def test_past_its_expiry_a_state_counts_as_expired_without_a_write(world: World) -> None:
    world.states.register_state("s1", "session", ttl=60)
    world.states.update_state("s1", transition="activate")
    world.clock.advance(60)
    state = world.states.get_state("s1")
    assert state is not None
    assert (state.status, state.version) == ("expired", 2)
    assert [s.status for s in world.states.search_states("session", status="expired")] == ["expired"]
    assert not world.states.search_states("session", status="active")
    assert world.states.search_states("session", status=["expired", "active"]).count() == 1
    assert len(world.states.get_state_history("s1")) == 2


def test_a_write_past_the_expiry_puts_the_expiry_on_record_first(world: World) -> None:
    state = world.states.register_state("s1", "session", ttl=timedelta(seconds=60))
    world.clock.advance(61)
    again = world.states.update_state("s1", {"a": 1}, "activate", expect=state.version, actor="me")
    assert (again.status, again.version, again.expires_at) == ("active", 3, None)
    assert [(e.transition_type, e.from_status, e.actor) for e in world.states.get_state_history("s1")] == [
        ("create", None, "system"),
        ("expire", "created", "system"),
        ("activate", "expired", "me"),
    ]


def test_a_refused_write_past_the_expiry_writes_nothing(world: World) -> None:
    world.states.register_state("s1", "session", ttl=60)
    world.clock.advance(61)
    with pytest.raises(TransitionNotAllowed, match="'expired'"):
        world.states.update_state("s1", transition="suspend")
    assert len(world.states.get_state_history("s1")) == 1


def test_leaving_the_expired_status_takes_a_new_expiry(world: World) -> None:
    world.states.register_state("s1", "session", ttl=60)
    world.clock.advance(61)
    renewed = world.states.update_state("s1", transition="activate", ttl=10)
    assert renewed.expires_at == "2026-01-01T12:01:11.000000Z"


@pytest.mark.parametrize(
    "lifetime",
    [
        {"ttl": 0},
        {"ttl": -1},
        {"ttl": True},
        {"ttl": "60"},
        {"ttl": float("nan")},
        {"ttl": float("inf")},
        {"expires_at": datetime(2027, 1, 1)},  # noqa: DTZ001
        {"expires_at": "2027-01-01"},
        {"ttl": 1, "expires_at": datetime(2027, 1, 1, tzinfo=timezone.utc)},
    ],
)
def test_an_unusable_lifetime_is_refused(world: World, lifetime: dict[str, Any]) -> None:
    with pytest.raises(StateValidationError):
        world.states.register_state("s1", "session", **lifetime)
    assert world.states.get_state_history("s1") == []


def test_a_type_that_cannot_expire_refuses_a_ttl(world: World) -> None:
    world.states.define("eternal", Machine(transitions=[Transition("open", ["created"], "opened")]))
    with pytest.raises(StateValidationError, match="no 'expire' transition"):
        world.states.register_state("e", "eternal", ttl=5)


def test_a_machine_of_ones_own_rules_its_type(world: World) -> None:
    world.states.define("payment", PAYMENT)
    assert world.states.register_state("p1", "payment").status == "pending"
    assert world.states.register_state("p2", "payment", initial_status="draft").status == "draft"
    with pytest.raises(StateValidationError, match="no initial status"):
        world.states.register_state("p3", "payment", initial_status="completed")
    world.states.update_state("p1", transition="complete")
    with pytest.raises(TransitionNotAllowed, match="allowed now: refund, update, delete"):
        world.states.update_state("p1", transition="fail")


def test_a_guard_refuses_with_its_name_and_reason(world: World) -> None:
    def paid_in_full(old: Any, new: Any) -> bool:
        """The amount is not paid in full."""
        return bool(new["data"].get("paid", 0) >= old["data"]["amount"])

    ship = Transition("ship", ["created"], "shipped", past="shipped", guards=[paid_in_full])
    world.states.define("order", Machine(transitions=[ship]))
    world.states.register_state("o1", "order", {"amount": 10})
    with pytest.raises(GuardFailed) as caught:
        world.states.update_state("o1", transition="ship")
    assert (caught.value.guard, caught.value.reason) == ("paid_in_full", "The amount is not paid in full.")
    answer = world.states.explain("o1", "ship")
    assert (bool(answer), answer.rule, answer.guard, answer.reason) == (
        False,
        "guard",
        "paid_in_full",
        "The amount is not paid in full.",
    )
    assert not world.states.can("o1", "ship")
    assert world.states.allowed_transitions("o1") == ["update", "delete"]
    assert world.states.update_state("o1", {"paid": 10}, "ship").status == "shipped"


def test_explain_says_which_rule_refuses(world: World) -> None:
    world.states.register_state("u1", "user")
    answer = world.states.explain("u1", "resume")
    assert (answer.possible, answer.rule) == (False, "status")
    assert "allows only: activate, suspend, expire, update, delete" in answer.reason
    assert world.states.explain("u1", "activate").possible
    with pytest.raises(StateValidationError, match="There is no 'fly'"):
        world.states.explain("u1", "fly")


def test_validators_see_what_would_be_stored_and_cannot_change_it(world: World) -> None:
    seen = []

    def complete(state: dict[str, Any]) -> bool:
        seen.append(dict(state["data"]))
        state["data"]["email"] = "changed"
        return {"user_id", "email"} <= state["data"].keys()

    world.states.register_validator("user", complete)
    with pytest.raises(StateValidationError, match="complete"):
        world.states.register_state("u1", "user", {"email": "a"})
    world.states.register_state("u1", "user", {"email": "a", "user_id": 1})
    assert world.states.update_state("u1", {"extra": 1}).data == {"email": "a", "user_id": 1, "extra": 1}
    assert seen[-1] == {"email": "a", "user_id": 1, "extra": 1}
    assert world.states.delete_state("u1").status == "deleted"


def test_a_validator_that_raises_refuses_with_its_message(world: World) -> None:
    def broken(state: dict[str, Any]) -> bool:
        raise KeyError("boom")

    world.states.register_validator("user", broken)
    with pytest.raises(StateValidationError, match="broken refuses: 'boom'"):
        world.states.register_state("u1", "user")
    assert world.states.get_state_history("u1") == []


class Address(Schema):
    city = fields.String(required=True)


class Customer(Schema):
    email = fields.Email(required=True)
    address = fields.Nested(Address)


def test_a_schema_gives_errors_per_field_and_refuses_unknown_ones(world: World) -> None:
    world.states.register_schema("user", Customer)
    with pytest.raises(StateValidationError) as caught:
        world.states.register_state("u1", "user", {"email": "nobody", "address": {}, "extra": 1})
    assert set(caught.value.errors) == {"data.email", "data.address.city", "data.extra"}
    good = world.states.register_state("u1", "user", {"email": "a@example.com"})
    with pytest.raises(StateValidationError, match=r"data\.email"):
        world.states.update_state("u1", {"email": None})
    assert world.states.get_state("u1") == good


def test_a_schema_that_includes_unknown_fields_keeps_them(world: World) -> None:
    world.states.register_schema("user", Customer(unknown=INCLUDE))
    assert world.states.register_state("u1", "user", {"email": "a@example.com", "x": 1}).data["x"] == 1


def test_a_rollback_appends_the_old_content_and_keeps_owner_and_expiry(world: World) -> None:
    world.states.register_state("u1", "user", {"name": "first", "data": {"a": 1}, "metadata": {"m": 1}})
    world.clock.advance(10)
    moment = world.clock.now()
    world.clock.advance(10)
    state = {"name": "second", "data": {"a": 2}, "metadata": {"m": None}}
    world.states.update_state("u1", state, "suspend", owner="o", ttl=1000)
    back = world.states.rollback_state("u1", to_version=1, reason="mistake")
    assert (back.version, back.name, back.data, back.metadata, back.status) == (
        3,
        "first",
        {"a": 1},
        {"m": 1},
        "created",
    )
    assert (back.owner, back.expires_at) == ("o", "2026-01-01T12:17:00.000000Z")
    assert world.states.rollback_state("u1", to_version=2).status == "suspended"
    assert world.states.rollback_state("u1", at=moment).data == {"a": 1}
    entry = world.states.get_recent_changes("u1", limit=1)[0]
    assert (entry.transition_type, entry.from_status, entry.to_status) == ("rollback", "suspended", "created")


def test_a_rollback_is_refused_where_it_cannot_be(world: World) -> None:
    world.states.define("payment", PAYMENT)
    world.states.register_state("p1", "payment")
    world.states.update_state("p1", transition="complete")
    world.states.update_state("p1", transition="refund")
    with pytest.raises(TransitionNotAllowed, match="final"):
        world.states.rollback_state("p1", to_version=1)
    world.states.define("payment", Machine(initial="new", transitions=[Transition("refund", ["new"], "refunded")]))
    with pytest.raises(TransitionNotAllowed, match="no longer has the status 'pending'"):
        world.states.rollback_state("p1", to_version=1)
    with pytest.raises(StateNotFound):
        world.states.rollback_state("p1", to_version=99)
    with pytest.raises(StateNotFound):
        world.states.rollback_state("nobody", to_version=1)
    for arguments in ({}, {"to_version": 1, "at": world.clock.now()}, {"to_version": 0}, {"to_version": "1"}):
        with pytest.raises(StateValidationError):
            world.states.rollback_state("p1", **arguments)  # type: ignore[arg-type]


def test_old_data_goes_through_todays_schema_when_rolled_back(world: World) -> None:
    world.states.register_state("u1", "user", {"email": "nobody"})
    world.states.update_state("u1", {"email": "a@example.com"})
    world.states.register_schema("user", Customer)
    with pytest.raises(StateValidationError, match=r"data\.email"):
        world.states.rollback_state("u1", to_version=1)


def test_a_deleted_state_comes_back_only_when_told_so(world: World) -> None:
    world.states.register_state("u1", "user", {"a": 1})
    world.states.delete_state("u1")
    with pytest.raises(StateNotFound):
        world.states.rollback_state("u1", to_version=1)
    with pytest.raises(StateValidationError, match="deleted then"):
        world.states.rollback_state("u1", to_version=2, undelete=True)
    assert world.states.rollback_state("u1", to_version=1, undelete=True).version == 3
    assert world.states.get_state("u1") is not None


def test_a_rollback_over_a_past_expiry_does_not_expire_again(world: World) -> None:
    world.states.register_state("s1", "session", ttl=60)
    world.clock.advance(61)
    back = world.states.rollback_state("s1", to_version=1)
    assert (back.status, back.expires_at, back.version) == ("created", None, 3)


def test_time_never_runs_backwards_within_a_state(world: World) -> None:
    first = world.states.register_state("u1", "user")
    world.clock.advance(-3600)
    assert world.states.update_state("u1").updated_at == first.updated_at


@pytest.mark.parametrize(
    "parts",
    [
        {"transitions": [Transition("create", ["a"], "b")]},
        {"transitions": [Transition("go", ["a"], "deleted")]},
        {"transitions": [Transition("delete", ["a"], "b")]},
        {"transitions": [Transition("go", ["a"], "b")], "final": ["a"]},
        {"transitions": [Transition("go", ["a"], "b"), Transition("go", ["a"], "c")]},
        {"transitions": [Transition("go on", ["a"], "b")]},
        {"transitions": [], "initial": []},
        {"transitions": [], "initial": "deleted"},
    ],
)
def test_a_machine_that_contradicts_itself_is_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Machine(**parts)


def test_a_machine_may_narrow_update_and_delete(world: World) -> None:
    machine = Machine(
        transitions=[
            Transition("seal", ["created"], "sealed"),
            Transition("update", ["created"]),
            Transition("delete", ["created"], "deleted", guards=[Guard(lambda old, new: False, "kept", "It is kept.")]),
        ]
    )
    world.states.define("letter", machine)
    world.states.register_state("l1", "letter")
    with pytest.raises(GuardFailed, match="kept"):
        world.states.delete_state("l1")
    world.states.update_state("l1", transition="seal")
    for verb in (world.states.update_state, world.states.delete_state):
        with pytest.raises(TransitionNotAllowed, match="allowed now: none"):
            verb("l1")


def test_declarations_that_are_none_are_refused(world: World) -> None:
    for declare in (
        lambda: world.states.define("no good"),
        lambda: world.states.define("x", "machine"),  # type: ignore[arg-type]
        lambda: world.states.register_validator("user", "no function"),  # type: ignore[arg-type]
        lambda: world.states.register_schema("user", dict),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigurationError):
            declare()
    with pytest.raises(StateValidationError, match="unknown_type"):
        world.states.register_validator("unknown_type", lambda state: True)

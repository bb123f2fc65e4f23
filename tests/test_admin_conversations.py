"""The admin pages of conversations: found, understood, and helped along with a reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_statemanager.admin import conversations
from tests.admin_client import ADMIN, Operator, an_admin_world, text_of, with_logins
from tests.flow_application import define
from tests.flow_worlds import flows_in
from tests.worlds import KV_KINDS, World, build, entered, uri_for


@pytest.fixture(params=KV_KINDS)
def any_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    kind = request.param
    config = flows_in(request.getfixturevalue("redis_url")) if kind == "redis" else {}
    yield from entered(with_logins(build(kind, uri_for(kind, tmp_path, request), **ADMIN, **config)))


@pytest.fixture
def world() -> Iterator[World]:
    with an_admin_world() as world:
        yield world


@pytest.fixture
def ada(world: World) -> Operator:
    return Operator(world)


def begun(world: World) -> Any:
    """A member in the middle of an offer, and a channel without a member."""
    session = world.states.flows.open("web", "ada lovelace")
    session.authenticate("m1", "s3cret")
    session.transition_flow("offer", "amount")
    session.update_component_data({"amount": 5, "password": "hunter2"})
    session.transition_flow("offer", "handle")
    world.states.flows.open("whatsapp", "+1").update_state({"profile": {"name": "Bob"}})
    return session


def test_conversations_are_listed_and_found(any_world: World) -> None:
    ada = Operator(any_world)
    assert "no conversation is going on" in text_of(ada.get("/conversations"))
    begun(any_world)
    page = text_of(ada.get("/conversations"))
    for word in ("m1", "offer", "handle", "whatsapp:+1"):
        assert word in page
    assert "m1" not in text_of(ada.get("/conversations?kind=channel"))
    assert "whatsapp:+1" not in text_of(ada.get("/conversations?kind=member"))
    assert "m1 member" in text_of(ada.get("/conversations?member=m1"))
    assert "whatsapp:+1 channel" in text_of(ada.get("/conversations?channel_type=whatsapp&channel_id=%2B1"))
    assert "No conversation is going on there" in text_of(ada.get("/conversations?member=nobody"))
    assert "is not a name" in text_of(ada.get("/conversations?channel_type=%21&channel_id=1"))


@pytest.mark.parametrize("name", ["member:%00", "channel:a:b%00", "trail/member:%00"])
def test_what_can_be_no_conversation_is_none(any_world: World, name: str) -> None:
    assert Operator(any_world).get(f"/conversations/{name}").status_code == 404
    assert Operator(any_world).get("/conversations?after=member:%00").status_code == 422


def test_the_list_has_pages_that_pass_links_over(world: World, ada: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("PAGE", 3), ("STEP", 2), ("LOOK_AT", 5)):
        monkeypatch.setattr(conversations, name, number)
    flows = world.states.flows
    for number in range(8):
        flows.open("linked", str(number)).authenticate(f"m{number}", "token")
    for number in range(2):
        flows.open("sms", str(number)).update_state({"profile": {}})
    found: list[str] = []
    after = None
    for _ in range(20):
        parts = world.runtime.reception.parts()
        listing = conversations._listing(parts, "", after)
        assert len(listing.rows) <= 3
        found += [row.name for row in listing.rows]
        after = listing.next
        if after is None:
            break
    assert found == ["channel:sms:0", "channel:sms:1", *(f"member:m{number}" for number in range(8))]


def test_a_conversation_is_shown_without_its_secrets(any_world: World) -> None:
    begun(any_world)
    page = Operator(any_world).get("/conversations/member:m1")
    text = text_of(page)
    for word in ("offer", "handle", '"amount": 5', "web ada lovelace", "transition"):
        assert word in text
    for secret in ("s3cret", "hunter2"):
        assert secret not in page.text


def test_secrets_are_shown_for_a_reason(world: World, ada: Operator) -> None:
    begun(world)
    at = "/conversations/member:m1"
    assert ada.post("/conversations/reveal/member:m1", at=at).status_code == 422
    assert "s3cret" in ada.post("/conversations/reveal/member:m1", {"reason": "asked"}, at=at).text


def test_a_channel_without_a_member_is_shown(world: World, ada: Operator) -> None:
    begun(world)
    assert "whatsapp +1" in text_of(ada.get("/conversations/channel:whatsapp:+1"))
    for nobody in ("channel:whatsapp:+2", "member:m9", "audit:member:m1", "nonsense"):
        assert ada.get(f"/conversations/{nobody}").status_code == 404


def test_the_steps_of_a_flow_show_where_it_is(world: World, ada: Operator) -> None:
    define(world.states)
    begun(world)
    page = text_of(ada.get("/conversations/member:m1"))
    assert "handle here input" in page
    listed = text_of(ada.get("/conversations"))
    assert "Make an offer" in listed
    assert "stateDiagram-v2" in listed


def test_a_stuck_conversation_is_recovered_and_the_trail_says_by_whom(any_world: World) -> None:
    session, ada = begun(any_world), Operator(any_world)
    at = "/conversations/member:m1"
    fields = {"how": "previous", "reason": "stuck since noon"}
    ada.follow(ada.post("/conversations/recover/member:m1", fields, at=at))
    assert session.refresh().get_component() == "amount"
    page = text_of(ada.get(at))
    for word in ("intervention", '"by": "ada"', "stuck since noon"):
        assert word in page
    assert "intervention" in text_of(ada.get(at + "?event=intervention"))
    assert "is known" in text_of(ada.get(at + "?event=nothing"))


def test_a_trail_is_sent_as_a_file(world: World, ada: Operator) -> None:
    begun(world)
    lines = [json.loads(line) for line in ada.get("/conversations/trail/member:m1").text.splitlines()]
    assert [line["event"] for line in lines] == ["authenticated", "transition", "data", "transition"]
    assert "s3cret" not in str(lines)
    assert ada.get("/conversations/trail/member:m1?event=data").text.count("\n") == 1
    assert ada.get("/conversations/trail/member:nobody").status_code == 404


def test_the_gentlest_way_is_taken_by_itself(world: World, ada: Operator) -> None:
    begun(world)
    answer = ada.post("/conversations/recover/member:m1", {"how": ""}, at="/conversations/member:m1")
    assert "Ask the same step again: done" in text_of(ada.follow(answer))
    bad = ada.post("/conversations/recover/member:m1", {"how": "magic"}, at="/conversations/member:m1")
    assert bad.status_code == 422


def test_a_conversation_goes_back(world: World, ada: Operator) -> None:
    session = begun(world)
    at, act = "/conversations/member:m1", "/conversations/rollback/member:m1"
    for steps in ("9", "0", "x", ""):
        assert ada.post(act, {"steps": steps}, at=at).status_code == 422
    assert session.refresh().get_component() == "handle"
    ada.follow(ada.post(act, {"steps": "1", "reason": "wrong handle"}, at=at))
    assert session.refresh().get_component() == "amount"


def test_a_flow_or_everything_is_cleared_after_a_question(world: World, ada: Operator) -> None:
    session, at = begun(world), "/conversations/member:m1"
    asked = ada.post("/conversations/clear-flow/member:m1", at=at)
    assert "End the flow of member:m1?" in text_of(asked)
    ada.follow(ada.post("/conversations/clear-flow/member:m1", {"confirmed": "yes"}, at=at))
    assert session.refresh().is_authenticated()
    assert session.get_component() is None
    ada.follow(ada.post("/conversations/clear/member:m1", {"confirmed": "yes"}, at=at))
    assert session.refresh().get_member_id() is None


def test_a_change_in_the_history_names_the_operator(world: World, ada: Operator) -> None:
    begun(world)
    fields = {"how": "retry", "reason": "asked for"}
    ada.follow(ada.post("/conversations/recover/member:m1", fields, at="/conversations/member:m1"))
    page = text_of(ada.get("/audit?bucket=flows&actor=ada"))
    assert "asked for" in page
    assert "admin" in page

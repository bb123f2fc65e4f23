"""The routes for what becomes of a state, and of timers and types, through Flask's client."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from marshmallow import Schema, fields

from flask_statemanager import Deadline, Guard, Machine, Transition
from flask_statemanager.core.clock import iso
from tests.rest_client import PREFIX, Ask, asking, data_of, next_of, problem_of
from tests.worlds import World, build, entered, uri_for

PAYMENT = Machine(
    initial="pending",
    transitions=[
        Transition("complete", ["pending"], "completed"),
        Transition("fail", ["pending"], "failed"),
        Transition("refund", ["completed"], "refunded", guards=Guard.where({"data.days__lte": 30}, reason="Too late")),
    ],
    final=["failed", "refunded"],
    deadlines=Deadline("pending", 900, "fail"),
)


class Paid(Schema):
    """What a payment holds."""

    amount = fields.Integer(required=True, strict=True)
    days = fields.Integer()


@pytest.fixture
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application with payments, which answers at its API."""
    world = build("sqlite", uri_for("sqlite", tmp_path, request), STATEMANAGER_API_ENABLED=True)
    world.states.define("payment", PAYMENT)
    world.states.register_schema("payment", Paid)
    yield from entered(world)


@pytest.fixture
def ask(served: World) -> Ask:
    """Ask the API, where there is a payment ``pay/1``."""
    served.states.register_state("pay/1", "payment", {"amount": 5})
    return asking(served)


def test_a_transition_takes_data_owner_expiry_and_a_reason(served: World, ask: Ask) -> None:
    moved = ask(
        "POST", "/states/pay/1/transitions/complete", json={"data": {"days": 40}, "reason": "paid", "owner": "7"}
    )
    state = data_of(moved)
    assert (state["status"], state["data"], state["owner"]) == ("completed", {"amount": 5, "days": 40}, "7")
    assert moved.headers["ETag"] == '"2"'
    replaced = ask("POST", "/states/pay/1/transitions/update", json={"data": {"amount": 6}, "mode": "replace"})
    assert data_of(replaced)["data"] == {"amount": 6}
    kept = ask("POST", "/states/pay/1/transitions/update", json={"mode": "replace", "name": "The first"})
    assert (data_of(kept)["data"], data_of(kept)["name"]) == ({"amount": 6}, "The first")
    entry = served.states.get_state_history("pay/1")[1]
    assert (entry.reason, entry.actor, entry.source) == ("paid", "local", "statemanager_api.make_transition")
    ask("POST", "/states", json={"state_id": "s", "type": "session"})
    expiring = data_of(ask("POST", "/states/s/transitions/activate", json={"ttl": 60}))
    assert expiring["expires_at"] == iso(served.clock.now() + timedelta(seconds=60))


def test_what_is_not_allowed_is_told_with_what_is(ask: Ask) -> None:
    problem = problem_of(ask("POST", "/states/pay/1/transitions/refund"), 409)
    assert problem["type"].endswith(":transition-not-allowed")
    assert (problem["transition"], problem["state_status"]) == ("refund", "pending")
    assert problem["allowed"] == ["complete", "fail", "update", "delete"]
    ask("POST", "/states/pay/1/transitions/complete", json={"data": {"days": 40}})
    problem = problem_of(ask("POST", "/states/pay/1/transitions/refund"), 409)
    assert problem["type"].endswith(":guard-failed")
    assert problem["reason"] == "Too late"
    assert "refund" in problem["allowed"]


def test_what_a_schema_or_a_machine_refuses_is_422_by_field(ask: Ask) -> None:
    problem = problem_of(ask("POST", "/states/pay/1/transitions/complete", json={"data": {"amount": "5"}}), 422)
    assert problem["errors"] == {"data.amount": ["Not a valid integer."]}
    assert problem_of(ask("POST", "/states/pay/1/transitions/fly"), 422)["errors"].keys() == {"transition"}
    assert problem_of(ask("POST", "/states", json={"type": "payment"}), 422)["errors"].keys() == {"data.amount"}
    problem = problem_of(ask("POST", "/states", json={"type": "payment", "data": {"amount": 1}, "ttl": 5}), 422)
    assert problem["errors"].keys() == {"ttl"}
    problem_of(ask("POST", "/states", json={"state_id": "pay/1", "type": "user"}), 409)


def test_what_is_possible_now_is_explained(ask: Ask) -> None:
    ask("POST", "/states/pay/1/transitions/complete", json={"data": {"days": 40}})
    found = data_of(ask("GET", "/states/pay/1/allowed"))
    assert (found["status"], found["allowed"]) == ("completed", ["update", "delete"])
    assert found["transitions"][0] == {
        "transition": "refund",
        "possible": False,
        "guard": "data.days__lte=30",
        "reason": "Too late.",
    }
    problem_of(ask("GET", "/states/nobody/allowed"), 404)


def test_the_history_is_paged_both_ways(ask: Ask) -> None:
    for number in range(5):
        ask("PATCH", "/states/pay/1", json={"data": {"days": number}})
    for order, wanted in (("oldest", [1, 2, 3, 4, 5, 6]), ("newest", [6, 5, 4, 3, 2, 1])):
        path: str | None = f"/states/pay/1/history?limit=4&order={order}"
        seen: list[int] = []
        while path is not None:
            answer = ask("GET", path)
            seen += [each["version"] for each in data_of(answer)["items"]]
            path = next_of(answer)
        assert seen == wanted
    problem_of(ask("GET", "/states/nobody/history"), 404)
    for cursor in ("bm90aGluZw", "4pGg", "MTIzNDU2Nzg5MDEyMzQ1Njc4OQ"):
        assert problem_of(ask("GET", f"/states/pay/1/history?cursor={cursor}"), 422)["errors"].keys() == {"cursor"}


def test_two_versions_are_compared(served: World, ask: Ask) -> None:
    ask("POST", "/states/pay/1/transitions/complete", json={"data": {"days": 1}, "owner": "7"})
    ask("PATCH", "/states/pay/1", json={"data": {"days": None}, "name": "One"})
    difference = {"state_id": "pay/1", "from": 2, "to": 3}
    last = [{"op": "replace", "path": "/name", "value": "One"}, {"op": "remove", "path": "/data/days"}]
    assert data_of(ask("GET", "/states/pay/1/diff")) == {**difference, "patch": last}
    both = data_of(ask("GET", "/states/pay/1/diff?from=1&to=2"))["patch"]
    assert {(each["op"], each["path"]) for each in both} == {
        ("replace", "/status"),
        ("add", "/data/days"),
        ("add", "/owner"),
    }
    assert data_of(ask("GET", "/states/pay/1/diff?to=1"))["patch"][0] == {
        "op": "add",
        "path": "/name",
        "value": "pay/1",
    }
    back = data_of(ask("GET", "/states/pay/1/diff?from=3&to=1"))["patch"]
    assert {"op": "replace", "path": "/status", "value": "pending"} in back
    problem_of(ask("GET", "/states/pay/1/diff?from=9"), 404)
    problem_of(ask("GET", "/states/nobody/diff"), 404)
    served.states.delete_state("pay/1")
    served.states.register_state("pay/1", "payment", {"amount": 1})
    again = data_of(ask("GET", "/states/pay/1/diff"))
    assert (again["from"], again["to"], again["patch"][0]["path"]) == (4, 5, "/name")


def test_a_state_is_read_as_it_was(served: World, ask: Ask) -> None:
    then = served.clock.now()
    served.clock.advance(60)
    ask("POST", "/states/pay/1/transitions/complete")
    assert data_of(ask("GET", "/states/pay/1?version=1"))["status"] == "pending"
    earlier = data_of(ask("GET", f"/states/pay/1?at={iso(then)}"))
    assert (earlier["status"], earlier["version"]) == ("pending", 1)
    assert "is on record for 9" in problem_of(ask("GET", "/states/pay/1?version=9"), 404)["detail"]
    assert problem_of(ask("GET", f"/states/pay/1?version=1&at={iso(then)}"), 422)["errors"].keys() == {"version"}
    assert problem_of(ask("GET", "/states/pay/1?at=2026-01-01T00:00:00"), 422)["errors"].keys() == {"at"}


def test_a_rollback_restores_by_version_or_moment_also_what_was_deleted(served: World, ask: Ask) -> None:
    served.states.register_state("u", "user", {"n": 1})
    then = served.clock.now()
    served.clock.advance(60)
    ask("PATCH", "/states/u", json={"data": {"n": 2}})
    assert data_of(ask("POST", "/states/u/rollback", json={"to_version": 1, "reason": "oops"}))["data"] == {"n": 1}
    ask("PATCH", "/states/u", json={"data": {"n": 3}})
    assert data_of(ask("POST", "/states/u/rollback", json={"at": iso(then)}))["data"] == {"n": 1}
    ask("DELETE", "/states/u")
    problem_of(ask("POST", "/states/u/rollback", json={"to_version": 1}), 404)
    back = ask("POST", "/states/u/rollback", json={"to_version": 2, "undelete": True}, headers={"If-Match": '"6"'})
    assert data_of(back)["data"] == {"n": 2}
    for wrong in ({}, {"to_version": 1, "at": iso(then)}):
        assert problem_of(ask("POST", "/states/u/rollback", json=wrong), 422)["errors"].keys() == {"to_version"}
    for wrong in ({"to_version": "1"}, {"to_version": 0}, {"to_version": True}, {"to_version": 1.5}):
        assert problem_of(ask("POST", "/states/u/rollback", json=wrong), 422)["errors"].keys() == {"to_version"}
    problem_of(ask("POST", "/states/u/rollback", json={"to_version": 1, "undelete": "yes"}), 422)


def test_an_id_that_ends_like_a_route_is_reached_with_a_slash_behind_it(served: World, ask: Ask) -> None:
    served.states.register_state("a/history", "user")
    served.states.register_state("history", "user")
    problem_of(ask("GET", "/states/a/history"), 404)
    assert data_of(ask("GET", "/states/a/history/"))["state_id"] == "a/history"
    assert data_of(ask("PATCH", "/states/a/history/", json={}))["version"] == 2
    assert data_of(ask("GET", "/states/a/history/history"))["items"][0]["version"] == 1
    assert data_of(ask("GET", "/states/history"))["state_id"] == "history"
    assert data_of(ask("DELETE", "/states/a/history"))["state_id"] == "a/history"
    for name in ("a:b@c/d~e", "a/diff", "a/transitions/b", "a/transitions/b/c", "timers", "a+b=c"):
        made = ask("POST", "/states", json={"state_id": name, "type": "user"})
        assert data_of(ask("GET", made.headers["Location"].removeprefix(PREFIX)))["state_id"] == name


def test_timers_are_set_listed_and_cancelled(served: World, ask: Ask) -> None:
    deadline = data_of(ask("GET", "/states/pay/1/timers"))["items"]
    assert [(each["transition"], each["deadline"]) for each in deadline] == [("fail", "pending")]
    body = {"transition": "complete", "after": 60, "data": {"days": 1}, "key": "k", "only_in": ["pending"]}
    made = ask("POST", "/states/pay/1/timers", json=body, headers={"Idempotency-Key": "t"})
    again = ask("POST", "/states/pay/1/timers", json=body, headers={"Idempotency-Key": "t"})
    assert (made.status_code, made.data) == (201, again.data)
    timer = data_of(made)
    assert (timer["key"], timer["due_at"]) == ("k", iso(served.clock.now() + timedelta(seconds=60)))
    at = iso(served.clock.now() + timedelta(seconds=90))
    assert data_of(ask("POST", "/states/pay/1/timers", json={"transition": "fail", "at": at}))["due_at"] == at
    path: str | None = "/states/pay/1/timers?limit=2"
    seen: list[str] = []
    while path is not None:
        answer = ask("GET", path)
        seen += [each["transition"] for each in data_of(answer)["items"]]
        path = next_of(answer)
    assert seen == ["fail", "complete", "fail"]
    assert data_of(ask("DELETE", "/states/pay/1/timers?key=k&reason=paid")) == {"cancelled": 1}
    [cancelled] = data_of(ask("GET", "/states/pay/1/timers?status=cancelled,done"))["items"]
    assert cancelled["error"] == "cancelled by local: paid"
    assert data_of(ask("DELETE", "/states/pay/1/timers?transition=fail")) == {"cancelled": 1}
    for wrong in ({"transition": "fail"}, {"transition": "fail", "at": at, "after": 5}, {"after": 5}):
        problem_of(ask("POST", "/states/pay/1/timers", json=wrong), 422)
    problem_of(ask("POST", "/states/nobody/timers", json={"transition": "fail", "after": 5}), 404)


def test_types_show_their_machine_and_their_schema(ask: Ask) -> None:
    listed = {each["type"]: each for each in data_of(ask("GET", "/types"))["items"]}
    assert {"user", "payment"} <= listed.keys()
    payment = data_of(ask("GET", "/types/payment"))
    assert payment == listed["payment"]
    assert (payment["initial"], payment["final"], payment["validators"]) == (["pending"], ["failed", "refunded"], 0)
    assert payment["deadlines"] == [
        {"status": "pending", "after": 900.0, "transition": "fail", "policy": "restart"},
    ]
    refund = next(each for each in payment["transitions"] if each["transition"] == "refund")
    assert refund == {
        "transition": "refund",
        "source": "completed",
        "target": "refunded",
        "guards": ["data.days__lte=30"],
    }
    assert payment["schema"]["required"] == ["amount"]
    assert listed["user"]["schema"] is None
    problem_of(ask("GET", "/types/nothing"), 404)


@pytest.mark.parametrize(
    ("accept", "media_type", "beginning"),
    [
        (None, "text/vnd.mermaid", "stateDiagram-v2"),
        ("*/*", "text/vnd.mermaid", "stateDiagram-v2"),
        ("text/plain", "text/plain", "stateDiagram-v2"),
        ("text/vnd.graphviz, text/plain;q=0.5", "text/vnd.graphviz", 'digraph "payment"'),
    ],
)
def test_a_diagram_is_drawn_in_the_accepted_language(
    ask: Ask, accept: str | None, media_type: str, beginning: str
) -> None:
    answer = ask("GET", "/types/payment/diagram", headers={} if accept is None else {"Accept": accept})
    assert (answer.status_code, answer.mimetype, answer.headers["Vary"]) == (200, media_type, "Accept")
    assert answer.text.startswith(beginning)
    assert "delete" not in answer.text
    assert "delete" in ask("GET", "/types/payment/diagram?deletion=true").text
    problem_of(ask("GET", "/types/payment/diagram", headers={"Accept": "image/png"}), 406)
    problem_of(ask("GET", "/types/nothing/diagram"), 404)


def test_who_may_only_read_changes_nothing(served: World) -> None:
    served.states.identity_loader(lambda: ("bob", ["clerk"]))
    served.states.register_state("u", "user")
    ask = asking(served)
    writes: list[tuple[str, str, Any]] = [
        ("POST", "/states", {"type": "user"}),
        ("PATCH", "/states/u", {}),
        ("DELETE", "/states/u", None),
        ("POST", "/states/u/transitions/activate", {}),
        ("POST", "/states/u/rollback", {"to_version": 1}),
        ("POST", "/states/u/timers", {"transition": "suspend", "after": 5}),
        ("DELETE", "/states/u/timers", None),
    ]
    for method, path, body in writes:
        problem_of(ask(method, path, json=body), 403)
    for path in ("/states", "/states/u", "/states/u/history", "/states/u/allowed", "/states/u/diff", "/types"):
        data_of(ask("GET", path))
    assert served.states.get_state("u", consistency="strong")["version"] == 1

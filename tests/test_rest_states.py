"""The routes of states, through Flask's client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rest_client import PREFIX, Ask, asking, data_of, next_of, problem_of
from tests.worlds import World, build, entered, uri_for

everywhere = pytest.mark.parametrize("served", ["memory", "sqlite", "postgresql"], indirect=True)
"""For what the store has a part in."""


@pytest.fixture
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application that answers at its API; its states are in memory, where the test asks for nothing else."""
    kind = getattr(request, "param", "memory")
    yield from entered(build(kind, uri_for(kind, tmp_path, request), STATEMANAGER_API_ENABLED=True))


@pytest.fixture
def ask(served: World) -> Ask:
    """Ask the API."""
    return asking(served)


@everywhere
def test_a_state_is_created_read_patched_and_deleted(ask: Ask) -> None:
    made = ask("POST", "/states", json={"state_id": "user_1", "type": "user", "data": {"plan": "pro"}, "owner": "42"})
    state = data_of(made)
    assert (made.status_code, made.headers["ETag"]) == (201, '"1"')
    assert made.headers["Location"] == f"{PREFIX}/states/user_1"
    assert data_of(ask("GET", "/states/user_1")) == state
    assert (state["data"], state["owner"], state["status"]) == ({"plan": "pro"}, "42", "created")
    patch = {"data": {"plan": None, "seats": 3}, "metadata": {"by": "hand"}, "name": "Ann", "owner": "43"}
    patched = ask("PATCH", "/states/user_1?reason=moved", json=patch)
    state = data_of(patched)
    assert patched.headers["ETag"] == '"2"'
    assert (state["data"], state["metadata"], state["name"]) == ({"seats": 3}, {"by": "hand"}, "Ann")
    assert data_of(ask("DELETE", "/states/user_1?reason=gone"))["status"] == "deleted"
    problem_of(ask("GET", "/states/user_1"), 404)
    history = data_of(ask("GET", "/states/user_1/history"))["items"]
    assert [(each["transition_type"], each["reason"], each["actor"]) for each in history] == [
        ("create", None, "local"),
        ("update", "moved", "local"),
        ("delete", "gone", "local"),
    ]


@pytest.mark.parametrize("media_type", ["application/json", "application/merge-patch+json"])
def test_a_patch_is_a_merge_patch_in_either_media_type(ask: Ask, media_type: str) -> None:
    ask("POST", "/states", json={"state_id": "a", "type": "user", "data": {"n": {"x": 1, "y": 2}}})
    answer = ask("PATCH", "/states/a", data='{"data": {"n": {"x": null}}}', content_type=media_type)
    assert data_of(answer)["data"] == {"n": {"y": 2}}


def test_a_patch_without_data_leaves_the_data(ask: Ask) -> None:
    ask("POST", "/states", json={"state_id": "a", "type": "user", "data": {"n": 1}})
    assert data_of(ask("PATCH", "/states/a", json={"name": "A"}))["data"] == {"n": 1}
    assert data_of(ask("PATCH", "/states/a", json={"metadata": {"m": 1}}))["name"] == "A"
    for wrong in ({"version": 7}, {"data": None}, {"owner": None}, {"status": "active"}, {"data": [1]}):
        assert problem_of(ask("PATCH", "/states/a", json=wrong), 422)["errors"].keys() == wrong.keys()


@everywhere
def test_conditions_hold_for_every_write(ask: Ask) -> None:
    ask("POST", "/states", json={"state_id": "a", "type": "user"})
    stale = {"If-Match": '"7"'}
    writes: list[tuple[str, str, Any]] = [
        ("PATCH", "/states/a", {"data": {}}),
        ("POST", "/states/a/transitions/activate", {}),
        ("POST", "/states/a/rollback", {"to_version": 1}),
        ("DELETE", "/states/a", None),
    ]
    for version, (method, path, body) in enumerate(writes, start=1):
        assert problem_of(ask(method, path, json=body, headers=stale), 412)["actual"] == version
        assert ask(method, path, json=body, headers={"If-Match": f'"{version}"'}).headers["ETag"] == f'"{version + 1}"'
    # What is 404 without a condition is 404 with one (RFC 9110, 13.2.1).
    for condition in ({}, {"If-Match": '"1"'}, {"If-Match": "*"}, {"If-Match": '"1", "2"'}):
        problem_of(ask("PATCH", "/states/b", json={}, headers=condition), 404)


def test_conditions_may_name_several_versions_or_any(ask: Ask) -> None:
    ask("POST", "/states", json={"state_id": "a", "type": "user"})
    assert ask("PATCH", "/states/a", json={}, headers={"If-Match": "*"}).headers["ETag"] == '"2"'
    assert ask("PATCH", "/states/a", json={}, headers={"If-Match": '"2", "7"'}).headers["ETag"] == '"3"'
    for none in ('"7", "8"', '"9999999999999999999"', '"x,3"', 'W/"3"'):
        problem_of(ask("PATCH", "/states/a", json={}, headers={"If-Match": none}), 412)
    problem_of(ask("PATCH", "/states/a", json={}, headers={"If-None-Match": "*"}), 412)


def test_a_reader_who_has_the_version_gets_304(ask: Ask) -> None:
    ask("POST", "/states", json={"state_id": "a", "type": "user"})
    answer = ask("GET", "/states/a", headers={"If-None-Match": '"1"'})
    assert (answer.status_code, answer.data, answer.headers["ETag"]) == (304, b"", '"1"')
    assert ask("GET", "/states/a", headers={"If-None-Match": '"2"'}).status_code == 200


@everywhere
def test_a_repeated_request_is_answered_as_the_first_time(ask: Ask) -> None:
    key = {"Idempotency-Key": "k1"}
    body = {"type": "user", "data": {"n": 1}}
    first, again = ask("POST", "/states", json=body, headers=key), ask("POST", "/states", json=body, headers=key)
    assert (first.data, first.status_code, first.headers["Location"]) == (
        again.data,
        again.status_code,
        again.headers["Location"],
    )
    name = data_of(first)["state_id"]
    problem_of(ask("POST", "/states", json={"type": "session"}, headers=key), 422)
    matching = {"Idempotency-Key": "k2", "If-Match": '"1"'}
    assert data_of(ask("DELETE", f"/states/{name}", headers=matching))["version"] == 2
    assert data_of(ask("DELETE", f"/states/{name}", headers=matching))["version"] == 2
    assert len(data_of(ask("GET", f"/states/{name}/history"))["items"]) == 2


@everywhere
def test_states_are_searched_by_fields_status_owner_and_time(served: World, ask: Ask) -> None:
    for number, plan in enumerate(["free", "pro", "pro", "10"]):
        ask("POST", "/states", json={"state_id": f"u{number}", "type": "user", "data": {"plan": plan, "n": number}})
        served.clock.advance(60)
    ask("POST", "/states/u1/transitions/activate", json={"owner": "ann"})
    ask("POST", "/states", json={"state_id": "s", "type": "session"})

    def found(query: str) -> str:
        return " ".join(each["state_id"] for each in data_of(ask("GET", f"/states?{query}"))["items"])

    assert found("type=user&data.plan=pro") == "u1 u2"
    assert found("data.n__gte=2&data.plan__ne=pro") == "u3"
    assert found('data.plan="10"') == "u3"
    assert found("data.plan=10") == ""
    assert found("data.plan=NaN") == ""
    assert found("data.plan__in=free,pro&data.n__in=[0,2]") == "u0 u2"
    assert found("data.nothing__exists=false&type=session") == "s"
    assert found("status=active,suspended") == "u1"
    assert found("owner=ann") == "u1"
    assert found("type=user&sort=-state_id") == "u3 u2 u1 u0"
    first = data_of(ask("GET", "/states/u0"))["created_at"]
    assert found(f"type=user&created_at__gt={first}&updated_at__lt={served.clock.now():%Y-%m-%dT%H:%M:%SZ}") == "u2 u3"


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("type=nothing", 422, "type"),
        ("sort=colour", 422, "sort"),
        ("limit=0", 422, "limit"),
        ("limit=1001", 422, "limit"),
        ("limit=many", 422, "limit"),
        ("cursor=%25", 422, "cursor"),
        ("cursor=bm90aGluZw", 422, "cursor"),
        ("data.n__near=5", 422, "data.n__near"),
        ("colour=red", 422, "colour"),
        ("filters=5", 422, "filters"),
        ("updated_at__gt=yesterday", 422, "updated_at__gt"),
        ("updated_at__gt=2026-01-01T00:00:00", 422, "updated_at__gt"),
        ("updated_at=2026-01-01T00:00:00Z", 422, "updated_at"),
        ("status=a%20b", 422, "status"),
        ("data.n=1&data.n=2", 400, None),
    ],
)
def test_an_unusable_search_is_refused(ask: Ask, query: str, status: int, field: str | None) -> None:
    problem = problem_of(ask("GET", f"/states?{query}"), status)
    assert list(problem.get("errors", [None])) == [field]


def test_pages_follow_the_link(ask: Ask) -> None:
    for number in range(7):
        ask("POST", "/states", json={"state_id": f"u{number}", "type": "user", "data": {"a b": number}})
    path: str | None = "/states?limit=3&sort=-state_id&data.a%20b__gte=1"
    seen = []
    while path is not None:
        answer = ask("GET", path)
        seen.append([each["state_id"] for each in data_of(answer)["items"]])
        path = next_of(answer)
        assert (path is None) == (data_of(answer)["next"] is None)
    assert seen == [["u6", "u5", "u4"], ["u3", "u2", "u1"]]


def test_what_is_refused_is_named_as_the_request_names_it(ask: Ask) -> None:
    for body, field in (
        ({"type": "nothing"}, "type"),
        ({"type": "user", "status": "active"}, "status"),
        ({"type": "user", "state_id": "a b"}, "state_id"),
        ({"type": "user", "data": {"n": 2**70}}, None),
        ({"type": "user", "ttl": -1}, "ttl"),
        ({"type": "user", "ttl": "60"}, "ttl"),
        ({"type": "user", "ttl": True}, "ttl"),
        ({}, "type"),
    ):
        problem = problem_of(ask("POST", "/states", json=body), 400 if field is None else 422)
        assert list(problem.get("errors", [None])) == [field]

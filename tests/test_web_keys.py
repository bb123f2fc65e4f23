"""Keys and values over HTTP, on every store: the routes and bodies of the key-value service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rest_client import Ask, asking, data_of, next_of, problem_of
from tests.worlds import KV_KINDS, World, build, entered, kept_by, uri_for


def made(kind: str, folder: Path, request: pytest.FixtureRequest, **config: Any) -> Iterator[World]:
    """An application whose keys and values live where the kind says, and which answers at its API."""
    kept = kept_by(request.getfixturevalue("redis_url")) if kind == "redis" else {}
    config |= {"STATEMANAGER_API_ENABLED": True, "STATEMANAGER_SNAPSHOTS": str(folder / "snapshots")}
    yield from entered(build(kind, uri_for(kind, folder, request), **kept, **config))


@pytest.fixture(params=KV_KINDS)
def everywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application on each store."""
    yield from made(request.param, tmp_path, request)


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application on SQLite, for what the store has no part in."""
    yield from made("sqlite", tmp_path, request)


@pytest.fixture
def ask(world: World) -> Ask:
    return asking(world)


VALUES = [None, True, 0, -1.5, 2**63 - 1, 1e300, "", 'ä\U0001f600\n"\\', [], {}, {"value": {"value": [1, None]}}]


def test_a_key_is_set_looked_at_and_removed(everywhere: World) -> None:
    ask = asking(everywhere)
    body = {"key": "session:user123", "value": {"theme": "dark"}, "metadata": {"by": "me"}, "source": "web"}
    first = ask("PUT", "/session:user123", json=body)
    assert (first.status_code, first.headers["ETag"]) == (201, '"1"')
    entry = data_of(first)
    assert (entry["value"], entry["metadata"], entry["version"]) == ({"theme": "dark"}, {"by": "me"}, 1)
    everywhere.clock.advance(1)
    second = ask("PUT", "/session:user123", json={"value": [1]})
    assert (second.status_code, second.headers["ETag"]) == (200, '"2"')
    looked = ask("GET", "/session:user123")
    assert looked.headers["ETag"] == '"2"'
    assert data_of(looked) == {"key": "session:user123", "value": [1], "version": 2}
    whole = data_of(ask("GET", "/session:user123?include_metadata=true"))
    assert whole == data_of(second)
    assert whole["metadata"] == {"by": "me"}
    assert whole["created_at"] < whole["updated_at"]
    assert whole["expires_at"] is None
    assert data_of(ask("DELETE", "/session:user123?source=web")) == {"key": "session:user123", "removed": True}
    problem_of(ask("GET", "/session:user123"), 404)
    problem_of(ask("DELETE", "/session:user123"), 404)
    assert data_of(ask("PUT", "/session:user123", json={"value": 1}))["version"] == 4


def test_any_value_is_answered_as_it_was_sent(everywhere: World) -> None:
    ask = asking(everywhere)
    for number, value in enumerate(VALUES):
        ask("PUT", f"/value/{number}", json={"value": value, "metadata": {"value": value}})
        found = json.loads(ask("GET", f"/value/{number}?include_metadata=1").data)["data"]
        assert found["value"] == value
        assert type(found["value"]) is type(value)
        assert found["metadata"] == {"value": value}


def test_who_asks_is_in_the_event(everywhere: World) -> None:
    ask = asking(everywhere)
    ask("PUT", "/key", json={"value": 1, "source": "feed", "reason": "moved"})
    ask("DELETE", "/key?source=feed&reason=gone")
    with everywhere.states.kv.watch(since="0", timeout=30) as watch:
        told = [next(watch) for _ in range(2)]
    assert [(each.actor, each.source) for each in told] == [("local", "feed"), ("local", "feed")]


def test_a_key_expires_and_the_time_to_live_can_be_cleared(everywhere: World) -> None:
    ask = asking(everywhere)
    assert data_of(ask("PUT", "/a", json={"value": 1, "ttl": 30}))["expires_at"] is not None
    ask("PUT", "/b", json={"value": 1, "ttl": 30})
    assert data_of(ask("PUT", "/b", json={"value": 1, "ttl": None}))["expires_at"] is None
    ask("PUT", "/c", json={"value": 1, "metadata": {"ttl": "20"}})
    everywhere.clock.advance(25)
    assert data_of(ask("GET", "/a"))["value"] == 1
    problem_of(ask("GET", "/c"), 404)
    everywhere.clock.advance(10)
    problem_of(ask("GET", "/a"), 404)
    assert data_of(ask("GET", "/keys"))["keys"] == ["b"]


def test_keys_are_listed_by_prefix_page_by_page(everywhere: World) -> None:
    ask = asking(everywhere)
    for name in ("session:user123", "session:user456", "session:x", "other"):
        ask("PUT", f"/{name}", json={"value": 1})
    found = data_of(ask("GET", "/keys?prefix=session:"))
    assert found == {"keys": ["session:user123", "session:user456", "session:x"], "total": 3}
    path, pages = "/keys?prefix=session:&limit=2", []
    while path is not None:
        answer = ask("GET", path)
        pages.append(data_of(answer))
        path = next_of(answer)
    assert [page["keys"] for page in pages] == [["session:user123", "session:user456"], ["session:x"]]
    assert {page["total"] for page in pages} == {3}
    assert data_of(ask("GET", "/keys?prefix=nothing")) == {"keys": [], "total": 0}


def test_a_value_is_swapped_if_it_is_the_expected_one(everywhere: World) -> None:
    ask = asking(everywhere)
    swap = {"key": "counter", "expected": None, "new_value": 10}
    assert data_of(ask("POST", "/cas", json=swap)) == {"key": "counter", "swapped": True}
    assert data_of(ask("POST", "/cas", json={"key": "counter", "expected": 10, "new_value": 11, "ttl": 60}))
    refused = problem_of(ask("POST", "/cas", json={"key": "counter", "expected": 10, "new_value": 12}), 409)
    assert refused["type"] == "urn:problem-type:statemanager:not-swapped"
    assert data_of(ask("GET", "/counter"))["value"] == 11
    assert data_of(ask("POST", "/cas", json={"key": "counter", "expected": 11, "new_value": None}))
    problem_of(ask("GET", "/counter"), 404)


def test_statistics_tell_how_much_there_is(everywhere: World) -> None:
    ask = asking(everywhere)
    ask("PUT", "/user:1", json={"value": "abc", "metadata": {"a": 1}})
    ask("PUT", "/user:2", json={"value": 12})
    found = data_of(ask("GET", "/stats"))
    assert (found["total_keys"], found["metadata_keys"]) == (2, 1)
    assert 7 <= found["total_size"] <= 9  # PostgreSQL puts a space behind each colon
    assert found["version"] >= 2


def test_conditions_hold_for_writes(everywhere: World) -> None:
    ask = asking(everywhere)

    def put(value: int, **headers: str) -> Any:
        return ask("PUT", "/key", json={"value": value}, headers={k.replace("_", "-"): v for k, v in headers.items()})

    problem_of(put(1, If_Match="*"), 412)
    problem_of(put(1, If_Match='"1"'), 412)
    assert put(1, If_None_Match="*").status_code == 201
    assert problem_of(put(2, If_None_Match="*"), 412)["actual"] == 1
    assert put(2, If_Match='"1"').headers["ETag"] == '"2"'
    assert problem_of(put(3, If_Match='"1"'), 412)["actual"] == 2
    problem_of(put(3, If_Match='"1", "7"'), 412)
    assert put(3, If_Match='"1", "2"').status_code == 200
    assert put(4, If_Match="*").status_code == 200
    problem_of(put(5, If_Match='W/"4"'), 412)
    problem_of(put(5, If_None_Match='W/"4"'), 412)
    assert put(5, If_None_Match='"3"').status_code == 200
    problem_of(put(6, If_Match='"5"', If_None_Match='"5"'), 412)
    problem_of(put(6, If_Match='"tag"'), 412)
    problem_of(ask("DELETE", "/key", headers={"If-Match": '"4"'}), 412)
    problem_of(ask("DELETE", "/key", headers={"If-None-Match": "*"}), 412)
    assert data_of(ask("GET", "/key"))["value"] == 5
    assert data_of(ask("DELETE", "/key", headers={"If-Match": '"5"'}))
    problem_of(ask("DELETE", "/key", headers={"If-Match": '"5"'}), 412)
    problem_of(ask("DELETE", "/key", headers={"If-None-Match": "*"}), 404)


def test_several_operations_are_done_or_none(everywhere: World) -> None:
    ask = asking(everywhere)
    ask("PUT", "/a", json={"value": 1})
    ask("PUT", "/b", json={"value": 1})
    operations: list[dict[str, Any]] = [
        {"op": "set", "key": "a", "value": None, "metadata": {"m": 1}, "ttl": 60, "expect": 1},
        {"op": "remove", "key": "b"},
        {"op": "set", "key": "c", "value": 3, "expect": None},
        {"op": "check", "key": "d", "expect": None},
    ]
    results = data_of(ask("POST", "/bulk", json={"operations": operations, "reason": "why"}))["results"]
    assert [(each["op"], each["key"], each["version"]) for each in results] == [
        ("set", "a", 2),
        ("remove", "b", None),
        ("set", "c", 1),
    ]
    assert results[0]["expires_at"] is not None
    again = [{"op": "set", "key": "b", "value": 2}, operations[0]]
    assert problem_of(ask("POST", "/bulk", json={"operations": again}), 409)["actual"] == 2
    problem_of(ask("GET", "/b"), 404)
    assert data_of(ask("GET", "/a"))["value"] is None


@pytest.mark.parametrize(
    ("operations", "field"),
    [
        ([], "operations"),
        ([{"op": "set", "key": "a"}], "operations.0.value"),
        ([{"op": "remove", "key": "a", "value": 1}], "operations.0.value"),
        ([{"op": "remove", "key": "a", "ttl": 1}], "operations.0.ttl"),
        ([{"op": "check", "key": "a"}], "operations.0.expect"),
        ([{"op": "check", "key": "a", "expect": None, "metadata": {}}], "operations.0.metadata"),
        ([{"op": "put", "key": "a", "value": 1}], "operations.0.op"),
        ([{"op": "remove", "key": "a", "expect": "1"}], "operations.0.expect"),
        ([{"op": "remove", "key": "a"}, {"op": "set", "key": "a", "value": 1}], "writes"),
        ([{"op": "set", "key": "a//b", "value": 1}], "key"),
        ([1], "operations.0"),
    ],
)
def test_several_operations_that_make_no_sense_are_refused(ask: Ask, operations: Any, field: str) -> None:
    assert field in problem_of(ask("POST", "/bulk", json={"operations": operations}), 422)["errors"]


KEYS = ["a/b/c", "user:1/x@y+z=~-._", "keys:1", "stats:x", "a/stats", "A" * 255]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_with_slashes_colons_and_other_signs_is_reached(ask: Ask, key: str) -> None:
    assert ask("PUT", f"/{key}", json={"value": key}).status_code == 201
    assert data_of(ask("GET", f"/{key}"))["key"] == key
    assert data_of(ask("GET", f"/keys/{key}"))["value"] == key
    escaped = "".join(f"%{ord(sign):02X}" for sign in key)
    assert data_of(ask("GET", f"/{escaped}"))["key"] == key


RESERVED = ["stats", "keys", "cas/x", "snapshot", "bulk", "states/a", "types", "events", "openapi.json", "docs/a"]


@pytest.mark.parametrize("key", RESERVED)
def test_a_key_that_begins_with_a_reserved_word_is_reached_below_keys(ask: Ask, key: str) -> None:
    assert ask("PUT", f"/keys/{key}", json={"value": 1}).status_code == 201
    assert data_of(ask("GET", f"/keys/{key}"))["key"] == key
    assert ask("PUT", f"/{key}", json={"value": 2}).status_code in (404, 405)
    assert ask("DELETE", f"/{key}").status_code in (404, 405)
    assert data_of(ask("DELETE", f"/keys/{key}"))["removed"] is True


def test_a_reserved_path_tells_its_own_methods(ask: Ask) -> None:
    refused = ask("PUT", "/stats", json={"value": 1})
    assert "/keys/" in problem_of(refused, 405)["detail"]
    assert set(refused.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert "/keys/" in problem_of(ask("GET", "/stats/more"), 404)["detail"]


@pytest.mark.parametrize("path", ["/a//b", "/a/", "/./a", "/a/../b", "/ä", "/a%20b", "/a%00b", f"/{'a' * 256}", "/%FF"])
def test_an_impossible_key_is_refused_and_never_another_one(ask: Ask, world: World, path: str) -> None:
    for method, more in (("GET", {}), ("PUT", {"json": {"value": 1}}), ("DELETE", {})):
        assert ask(method, path, **more).status_code in (404, 422)
    assert world.states.kv.count() == 0


def test_the_key_of_the_body_is_that_of_the_path(ask: Ask) -> None:
    problem_of(ask("PUT", "/a", json={"key": "b", "value": 1}), 422)
    problem_of(ask("GET", "/b"), 404)


def test_another_bucket_is_asked_for_by_its_name(world: World, ask: Ask) -> None:
    world.states.define_bucket("flags")
    ask("PUT", "/key?bucket=flags", json={"value": "there"})
    assert data_of(ask("GET", "/key?bucket=flags"))["value"] == "there"
    problem_of(ask("GET", "/key"), 404)
    assert data_of(ask("GET", "/stats?bucket=flags"))["total_keys"] == 1
    assert "bucket" in problem_of(ask("GET", "/key?bucket=unknown"), 422)["errors"]
    assert "bucket" in problem_of(ask("GET", "/key?bucket=state"), 422)["errors"]


def test_buckets_can_be_kept_from_the_api(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    for world in made("memory", tmp_path, request, STATEMANAGER_API_BUCKETS=["flags"]):
        world.states.define_bucket("flags")
        ask = asking(world)
        assert data_of(ask("PUT", "/key?bucket=flags", json={"value": 1}))
        problem_of(ask("GET", "/key"), 422)


def test_secrets_of_a_bucket_are_shown_to_nobody_and_not_lost_by_sending_back_what_was_shown(everywhere: World) -> None:
    ask, vault = asking(everywhere), everywhere.states.bucket("vault").kv
    everywhere.states.define_bucket("vault", secrets=["auth.password"])
    value = {"name": "ada", "auth": {"password": "s3cret", "since": 5}}
    shown = {"name": "ada", "auth": {"password": "[redacted]", "since": 5}}
    assert data_of(ask("PUT", "/key?bucket=vault", json={"value": value}))["value"] == shown
    assert data_of(ask("GET", "/key?bucket=vault&include_metadata=true"))["value"] == shown
    assert vault.get("key") == value
    refusals = [
        ("PUT", "/key", {"value": shown}, "value.auth.password"),
        ("POST", "/cas", {"key": "key", "expected": value, "new_value": shown}, "new_value.auth.password"),
        (
            "POST",
            "/bulk",
            {"operations": [{"op": "set", "key": "key", "value": shown}]},
            "operations.0.value.auth.password",
        ),
    ]
    for method, path, body, field in refusals:
        assert field in problem_of(ask(method, f"{path}?bucket=vault", json=body), 422)["errors"]
    assert vault.get("key") == value
    assert data_of(ask("PUT", "/key?bucket=vault", json={"value": {"auth": None}}))["value"] == {"auth": None}


def test_what_the_cache_has_is_answered_as_what_the_store_has(
    request: pytest.FixtureRequest, tmp_path: Path, redis_url: str
) -> None:
    cached = {"STATEMANAGER_CACHE": "on", "STATEMANAGER_CACHE_URL": redis_url}
    for world in made("sqlite", tmp_path, request, **cached):
        ask = asking(world)
        ask("PUT", "/key", json={"value": {"a": [1, "ä"]}, "metadata": {"m": None}, "ttl": 60})
        world.runtime.cache.put(world.runtime.shelves.parts("kv").bucket.get("key", strong=True))
        found = data_of(ask("GET", "/key?include_metadata=true"))
        assert world.runtime.counters.snapshot().get("cache.hit", 0) >= 1
        bucket = world.runtime.shelves.parts("kv").bucket
        bucket.cache = None
        assert data_of(ask("GET", "/key?include_metadata=true")) == found
        assert found["value"] == {"a": [1, "ä"]}


def test_snapshots_are_made_listed_checked_restored_and_removed(ask: Ask, world: World) -> None:
    ask("PUT", "/a", json={"value": 1})
    answer = ask("POST", "/snapshot")
    made = data_of(answer)
    assert (answer.status_code, made["kind"], made["buckets"]) == (201, "full", ["kv", "state"])
    assert answer.headers["Location"].endswith(f"/snapshot/{made['id']}")
    later = data_of(ask("POST", "/snapshot", json={"incremental": True}))
    assert later["base"] == made["id"]
    assert data_of(ask("GET", "/snapshot"))["items"] == [made, later]
    assert data_of(ask("GET", f"/snapshot/{made['id']}")) == made
    assert data_of(ask("POST", f"/snapshot/{later['id']}/verify")) == later
    ask("PUT", "/a", json={"value": 2})
    ask("PUT", "/b", json={"value": 2})
    restore = f"/snapshot/{made['id']}/restore"
    counted = data_of(ask("POST", restore, json={"dry_run": True}))
    assert counted == {"created": 0, "changed": 1, "same": 0, "removed": 1, "dry_run": True}
    assert data_of(ask("GET", "/a"))["value"] == 2
    assert data_of(ask("POST", restore, json={"mode": "merge", "reason": "again"}))["removed"] == 0
    assert data_of(ask("GET", "/a")) == {"key": "a", "value": 1, "version": 3}
    assert data_of(ask("GET", "/b"))["value"] == 2
    assert data_of(ask("POST", restore))["removed"] == 1
    problem_of(ask("GET", "/b"), 404)
    assert problem_of(ask("DELETE", f"/snapshot/{made['id']}"), 409)["needed_by"] == [later["id"]]
    for each in (later, made):
        assert data_of(ask("DELETE", f"/snapshot/{each['id']}"))["removed"] is True
    problem_of(ask("GET", f"/snapshot/{made['id']}"), 404)
    problem_of(ask("POST", restore), 404)


def test_a_damaged_snapshot_restores_nothing(ask: Ask, tmp_path: Path) -> None:
    ask("PUT", "/a", json={"value": "x" * 1000})
    made = data_of(ask("POST", "/snapshot"))
    [file] = (tmp_path / "snapshots").glob(f"*{made['id']}*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    for what in ("verify", "restore"):
        refused = problem_of(ask("POST", f"/snapshot/{made['id']}/{what}"), 409)
        assert refused["type"].endswith(":snapshot-damaged")
    assert data_of(ask("GET", "/a"))["version"] == 1

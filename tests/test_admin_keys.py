"""The admin pages of keys: browsed like folders, changed without losing what was typed, removed after counting."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_statemanager.admin.key_browsing import PAGE, Browser
from flask_statemanager.admin.keys import PAST
from flask_statemanager.kv.store import KeyValueStore
from tests.admin_client import ADMIN, Operator, an_admin_world, text_of, with_logins
from tests.worlds import KV_KINDS, World, build, entered, kept_by, uri_for


@pytest.fixture
def world() -> Iterator[World]:
    with an_admin_world() as world:
        world.states.define_bucket("vault", secrets=["auth.code"], ttl=60.0)
        yield world


@pytest.fixture
def ada(world: World) -> Operator:
    return Operator(world)


@pytest.fixture(params=KV_KINDS)
def any_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    config = kept_by(request.getfixturevalue("redis_url")) if request.param == "redis" else {}
    kind = "sqlite" if request.param == "redis" else request.param
    yield from entered(with_logins(build(kind, uri_for(kind, tmp_path, request), **ADMIN, **config)))


def listed(world: World, prefix: str = "", *, flat: bool = False) -> list[str]:
    """Return all entries of a folder, page by page."""
    browser, after, found = Browser(world.runtime.shelves.parts("kv")), None, []
    for _ in range(100):
        folder = browser.page(prefix, after, flat=flat)
        assert len(folder.entries) <= PAGE
        found += [f"{each.name}…" if each.folder else each.name for each in folder.entries]
        after = folder.next
        if after is None:
            return found
    raise AssertionError("the folder never ends")


def value_typed(page: str, name: str) -> str:
    found = re.search(rf'<textarea id="{name}"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def test_keys_are_browsed_like_folders(any_world: World) -> None:
    kv = any_world.states.kv
    kv.set_many({f"user:{number:03}": number for number in range(250)})
    kv.set_many({"a/b/c": 1, "a/b/d": 2, "a/e": 3, "plain": 4, "user": 5, "zoo:1": 6, "a:b": 7})
    assert listed(any_world) == ["a/…", "a:…", "plain", "user", "user:…", "zoo:…"]
    assert listed(any_world, "a/") == ["a/b/…", "a/e"]
    assert listed(any_world, "a/b/") == ["a/b/c", "a/b/d"]
    assert listed(any_world, "us") == ["user", "user:…"]
    assert listed(any_world, "user:") == [f"user:{number:03}" for number in range(250)]
    assert len(listed(any_world, flat=True)) == 257
    assert listed(any_world, "nobody") == []


def test_many_folders_have_pages_that_miss_none(any_world: World) -> None:
    any_world.states.kv.set_many({f"f{number:03}/x": 1 for number in range(2 * PAGE + 1)})
    assert listed(any_world) == [f"f{number:03}/…" for number in range(2 * PAGE + 1)]


def test_the_buckets_are_listed_without_those_of_others(world: World, ada: Operator) -> None:
    world.states.kv.set("a", 1)
    page = text_of(ada.get("/keys"))
    assert "vault" in page
    assert "refusals" not in page
    assert ada.get("/keys/nowhere").status_code == 422
    assert ada.get("/keys/flows").status_code == 422


def test_a_folder_leads_to_its_keys_and_back(world: World, ada: Operator) -> None:
    world.states.kv.set("a/b", 1)
    page = ada.get("/keys/kv").text
    assert 'href="/admin/state/keys/kv?prefix=a/"' in page
    inside = ada.get("/keys/kv?prefix=a/").text
    assert 'href="/admin/state/keys/kv/key/a/b"' in inside
    assert "No key begins with" in ada.get("/keys/kv?prefix=b").text
    assert ada.get("/keys/kv?prefix=ä").status_code == 422


def test_one_key_is_shown_with_its_history(any_world: World) -> None:
    kv, ada = any_world.states.kv, Operator(any_world)
    kv.set("a", {"n": 1}, actor="bob", reason="first")
    kv.set("a", {"n": 2}, metadata={"by": "hand"}, ttl=60, actor="eve")
    page = text_of(ada.get("/keys/kv/key/a"))
    assert '"n": 2' in page
    assert '"by": "hand"' in page
    assert "in 1 min" in page
    for word in ("bob", "first", "eve"):
        assert word in page
    assert ada.get("/keys/kv/key/nobody").status_code == 404


def test_history_has_pages(world: World, ada: Operator) -> None:
    for number in range(PAST + 3):
        world.states.kv.set("a", number, reason=f"turn-{number:02}.")
    first = ada.get("/keys/kv/key/a").text
    assert "turn-02." not in first
    before = re.search(r"before=(\d+)", first)
    assert before is not None
    assert "turn-02." in ada.get(f"/keys/kv/key/a?before={before[1]}").text


def test_a_removed_key_still_shows_what_it_was(world: World, ada: Operator) -> None:
    world.states.kv.set("a", {"was": "here"})
    world.states.kv.remove("a", actor="bob")
    page = text_of(ada.get("/keys/kv/key/a"))
    assert "no such key any more" in page
    assert "here" in page


def test_a_key_is_made_and_changed_with_who_and_why(world: World, ada: Operator) -> None:
    kv = world.states.kv
    fields = {"key": "a/b", "value": '{"n": 1}', "metadata": '{"m": 1}', "ttl": "60", "reason": "asked for"}
    ada.follow(ada.post("/keys/kv/create", fields, at="/keys/kv/new"))
    entry = kv.get_entry("a/b")
    assert (entry.value, entry.metadata, entry.version) == ({"n": 1}, {"m": 1}, 1)
    assert entry.expires_at is not None
    changed = {"value": "[2]", "metadata": "", "ttl": "never", "expect": "1"}
    page = ada.follow(ada.post("/keys/kv/set/a/b", changed, at="/keys/kv/key/a/b"))
    assert "has version 2 now" in page.text
    entry = kv.get_entry("a/b")
    assert (entry.value, entry.metadata, entry.expires_at) == ([2], {}, None)
    text = text_of(page)
    for word in ("ada", "admin", "asked for"):
        assert word in text


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ('{"n": 1,}', "Line 1, column 9"),
        ("{'n': 1}", "double quotes"),
        ("", "Line 1, column 1"),
        ("NaN", "NaN is no JSON"),
        ('{"a": 1, "a": 2}', "is there twice"),
        ("[" * 100_000, "nested more than 100 levels deep"),
        ("[" * 900 + "]" * 900, "nested more than 100 levels deep"),
        ("123456789012345678901234567890", "64 bit"),
        ("9" * 5000, "has 5,000 digits, more than can be stored: write it as text"),
    ],
)
def test_what_was_typed_is_never_lost(world: World, ada: Operator, typed: str, message: str) -> None:
    world.states.kv.set("a", 1)
    answer = ada.post("/keys/kv/set/a", {"value": typed, "metadata": "{ }", "expect": "1"}, at="/keys/kv/key/a")
    assert answer.status_code == 422
    assert message in text_of(answer)
    assert value_typed(answer.text, "value") == typed
    assert value_typed(answer.text, "metadata") == "{ }"
    assert world.states.kv.get("a") == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": "[1]"},
        {"ttl": "soon"},
        {"ttl": "-1"},
        {"key": "/slash"},
        {"key": "there"},
        {"value": '{"n": '},
    ],
)
def test_a_new_key_that_cannot_be_is_typed_once(world: World, ada: Operator, fields: dict[str, str]) -> None:
    world.states.kv.set("there", 1)
    typed = {"key": "new", "value": '{"typed": "<b>"}', "metadata": "", "ttl": "", **fields}
    answer = ada.post("/keys/kv/create", typed, at="/keys/kv/new")
    assert answer.status_code in (409, 422)
    assert value_typed(answer.text, "value") == typed["value"]
    assert world.states.kv.get("new") is None


def test_of_two_who_change_a_key_the_later_sees_both(world: World, ada: Operator) -> None:
    world.states.kv.set("a", "old")
    world.states.kv.set("a", "theirs", actor="bob")
    answer = ada.post("/keys/kv/set/a", {"value": '"mine"', "expect": "1"}, at="/keys/kv/key/a")
    assert answer.status_code == 409
    assert value_typed(answer.text, "value") == '"mine"'
    assert "theirs" in text_of(answer)
    assert 'name="expect" value="2"' in answer.text
    again = ada.post("/keys/kv/set/a", {"value": '"mine"', "expect": "2"}, at="/keys/kv/key/a")
    assert again.status_code == 303
    assert world.states.kv.get("a") == "mine"


def test_secrets_are_covered_and_outlive_a_change(world: World, ada: Operator) -> None:
    kv = world.states.bucket("vault").kv
    kv.set("a", {"auth": {"code": "s3cret"}, "list": [{"password": "hunter2"}], "n": 1}, metadata={"token": "t0ken"})
    page = ada.get("/keys/vault/key/a").text
    assert not any(secret in page for secret in ("s3cret", "hunter2", "t0ken"))
    typed = value_typed(page, "value").replace('"n": 1', '"n": 2')
    fields = {"value": typed, "metadata": value_typed(page, "metadata"), "expect": "1"}
    ada.follow(ada.post("/keys/vault/set/a", fields, at="/keys/vault/key/a"))
    entry = kv.get_entry("a")
    assert entry.value == {"auth": {"code": "s3cret"}, "list": [{"password": "hunter2"}], "n": 2}
    assert entry.metadata == {"token": "t0ken"}
    moved = {"value": '{"other": "[redacted]"}', "expect": "2"}
    refused = ada.post("/keys/vault/set/a", moved, at="/keys/vault/key/a")
    assert refused.status_code == 422
    assert "no secret is stored" in text_of(refused)


def test_secrets_are_shown_for_a_reason(world: World, ada: Operator) -> None:
    world.states.bucket("vault").kv.set("a", {"auth": {"code": "s3cret"}})
    refused = ada.post("/keys/vault/reveal/a", at="/keys/vault/key/a")
    assert refused.status_code == 422
    assert "s3cret" not in refused.text
    shown = ada.post("/keys/vault/reveal/a", {"reason": "the customer asked"}, at="/keys/vault/key/a")
    assert "s3cret" in shown.text


def test_a_key_is_removed_after_a_question(world: World, ada: Operator) -> None:
    kv = world.states.kv
    kv.set("a", 1)
    asked = ada.post("/keys/kv/remove/a", {"expect": "1"}, at="/keys/kv/key/a")
    assert "Remove the key a from kv?" in text_of(asked)
    assert kv.get("a") == 1
    yes = {"expect": "1", "confirmed": "yes", "reason": "old"}
    ada.follow(ada.post("/keys/kv/remove/a", yes, at="/keys/kv/key/a"))
    assert not kv.exists("a")
    kv.set("a", 2)
    late = ada.post("/keys/kv/remove/a", yes, at="/keys/kv/key/a")
    assert late.status_code == 409
    assert kv.exists("a")


def test_what_begins_alike_is_counted_and_then_removed(world: World, ada: Operator) -> None:
    kv = world.states.kv
    kv.set_many({f"tmp:{number}": number for number in range(12)} | {"tmp": 1})
    at = "/keys/kv/removal?prefix=tmp:"
    page = text_of(ada.get(at))
    assert "12 keys begin with tmp:" in page
    fields = {"prefix": "tmp:", "number": "12", "reason": "tidy"}
    asked = ada.post("/keys/kv/removal?prefix=tmp:", fields, at=at)
    assert "Remove 12 keys of kv, all that begin with tmp:?" in text_of(asked)
    kv.set("tmp:new", 1)
    more = ada.post("/keys/kv/removal?prefix=tmp:", {**fields, "confirmed": "yes"}, at=at)
    assert more.status_code == 422
    assert "13 keys by now" in text_of(more)
    done = ada.post("/keys/kv/removal?prefix=tmp:", {**fields, "number": "13", "confirmed": "yes"}, at=at)
    assert "13 keys were removed" in ada.follow(done).text
    assert kv.keys() == ["tmp"]
    assert ada.get("/keys/kv/removal").status_code == 422
    assert "No key begins" in ada.get("/keys/kv/removal?prefix=none").text


def test_a_lease_is_shown_as_one(world: World, ada: Operator) -> None:
    with world.states.kv.lease("lease:report", 30, "worker-7"):
        page = text_of(ada.get("/keys/kv/key/lease:report"))
    assert "held by worker-7" in page
    assert "whoever holds it loses it" in page


def test_a_value_that_is_too_long_is_not_cut_into_a_form(world: World, ada: Operator) -> None:
    world.states.kv.set("a", "x" * 150_000)
    page = ada.get("/keys/kv/key/a").text
    assert "too large to be edited here" in page
    assert "<textarea" not in page


def test_a_bucket_that_cannot_be_had_says_why(world: World, ada: Operator) -> None:
    world.states.define_bucket("far", backend="redis")
    page = text_of(ada.get("/keys"))
    assert "STATEMANAGER_REDIS_URL" in page


def test_no_key_of_another_bucket_is_reached(world: World, ada: Operator) -> None:
    parts: Any = world.runtime.shelves.kept("flows")
    KeyValueStore(lambda: parts).set("member:1", {"auth": {"token": "s3cret"}})
    for path in ("/keys/flows", "/keys/flows/key/member:1", "/keys/state"):
        answer = ada.get(path)
        assert answer.status_code >= 400
        assert "s3cret" not in answer.text

"""The admin pages of sessions, requests and the stores of user interfaces."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flask_statemanager.kv.store import KeyValueStore
from flask_statemanager.stores import StateManager as Stores
from flask_statemanager.stores.names import store_name
from flask_statemanager.stores.opened import present_stores
from tests.admin_client import ADMIN, Operator, an_admin_world, text_of, with_logins
from tests.worlds import KV_KINDS, World, build, entered, uri_for

ON = {"STATEMANAGER_TRACK_REQUESTS": True, "STATEMANAGER_TRACK_SHARE": 1.0}
KINDS = {"memory": "memory", "sqlite": "database", "postgresql": "database", "redis": "redis"}


@pytest.fixture
def tracked() -> Iterator[World]:
    with an_admin_world(**ON) as world:
        world.states.actor_loader(lambda: None)
        yield world


@pytest.fixture(params=KV_KINDS)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    kind = request.param
    config: dict[str, Any] = {"STATEMANAGER_STORES_BACKEND": KINDS[kind], "STATEMANAGER_STORES_HISTORY": ["kept"]}
    if kind == "redis":
        config["STATEMANAGER_REDIS_URL"] = request.getfixturevalue("redis_url")
        kind = "sqlite"
    yield from entered(with_logins(build(kind, uri_for(kind, tmp_path, request), **ADMIN, **config)))


def flushed(world: World) -> None:
    assert world.states.tracking.flush(60.0)


def test_sessions_are_listed_found_and_forgotten(tracked: World) -> None:
    ada = Operator(tracked)
    tracked.states.tracking.heartbeat("zoë/1")
    tracked.states.tracking.heartbeat("bob")
    tracked.states.tracking.end_session("bob")
    ada.get("/sessions")
    flushed(tracked)
    page = text_of(ada.get("/sessions"))
    for word in ("zoë/1 active", "bob ended", "ada active"):
        assert word in page
    assert "bob" not in text_of(ada.get("/sessions?user=zoë/1")).partition("Find")[2]
    assert "No session of nobody" in text_of(ada.get("/sessions?user=nobody"))
    asked = ada.post("/sessions/forget", {"user": "bob"}, at="/sessions")
    assert "Forget the session of bob?" in text_of(asked)
    ada.follow(ada.post("/sessions/forget", {"user": "bob", "confirmed": "yes"}, at="/sessions"))
    assert "No session of bob" in text_of(ada.get("/sessions?user=bob"))
    again = ada.post("/sessions/forget", {"user": "bob", "confirmed": "yes"}, at="/sessions")
    assert again.status_code == 404
    assert "look whether it has ended meanwhile" in text_of(again)


def test_requests_are_listed_found_and_shown(tracked: World) -> None:
    ada = Operator(tracked)
    ada.get("/keys?token=s3cret", headers={"X-Correlation-ID": "abc-1", "User-Agent": "<b>agent</b>"})
    flushed(tracked)
    page = ada.get("/requests?id=abc")
    assert "GET /admin/state/keys?token=*** 200" in text_of(page)
    one = ada.get("/requests/abc-1")
    assert "&lt;b&gt;agent" in one.text
    assert "s3cret" not in one.text
    assert ada.get("/requests/nobody").status_code == 404
    assert "abc-1" in text_of(ada.get("/requests"))
    assert "No request is noted" in text_of(ada.get("/requests?id=zzz"))


def test_damaged_notes_break_no_page(tracked: World) -> None:
    kv = tracked.states.bucket("tracking").kv
    kv.set("session:eve", ["nonsense"])
    kv.set("session:mallory", {"active": 7, "last_heartbeat": "never", "correlation_id": 5})
    kv.set("request:odd", 1)
    ada = Operator(tracked)
    assert "mallory ended" in text_of(ada.get("/sessions"))
    assert ada.get("/requests").status_code == 200
    assert ada.get("/requests/odd").status_code == 404


def test_where_nothing_is_tracked_the_pages_say_how_to(tmp_path: Path) -> None:
    with an_admin_world() as world:
        ada = Operator(world)
        for path in ("/sessions", "/requests"):
            assert "STATEMANAGER_TRACK_REQUESTS" in text_of(ada.get(path))
        assert ada.get("/requests/abc").status_code == 404


# -- stores ------------------------------------------------------------------------------------------------------------


def filled() -> None:
    stores = Stores()
    stores.set_store_data("filters", {"age": [18, 65], "token": "s3cret"}, user_id="zoë/1")
    stores.set_store_data("price", Decimal("1.50"), user_id="zoë/1")
    stores.set_store_data("kept", [1, 2], user_id="zoë/1")
    stores.set_store_data("filters", {"n": 1}, user_id="bob")


def test_stores_are_listed_by_user_and_shown(stored: World) -> None:
    ada = Operator(stored)
    assert "Nothing is kept." in text_of(ada.get("/stores"))
    filled()
    page = ada.get("/stores")
    assert "bob" in page.text
    assert "zoë/1" in text_of(page)
    assert "bob" not in text_of(ada.get("/stores?kept=yes")).partition("User")[2]
    theirs = ada.get("/stores/user?user=zoë/1")
    for word in ("filters", "price", "kept"):
        assert word in text_of(theirs)
    assert "n" in text_of(ada.get("/stores/user?user=bob"))
    value = ada.get("/stores/value/stores/" + name_of("zoë/1", "filters"))
    assert "65" in text_of(value)
    assert "s3cret" not in value.text
    assert "1.50" in text_of(ada.get("/stores/value/stores/" + name_of("zoë/1", "price")))


def name_of(user: str, store: str) -> str:

    server = present_stores().server
    assert server is not None
    return store_name(server.config.key_prefix, user, store)


def test_secrets_of_a_store_are_shown_for_a_reason(stored: World) -> None:
    filled()
    ada, place = Operator(stored), name_of("zoë/1", "filters")
    at, act = f"/stores/value/stores/{place}", f"/stores/reveal/stores/{place}"
    assert ada.post(act, at=at).status_code == 422
    assert "s3cret" in ada.post(act, {"reason": "asked"}, at=at).text


def test_a_users_stores_are_cleared_for_good_and_the_log_says_by_whom(
    stored: World, caplog: pytest.LogCaptureFixture
) -> None:
    filled()
    ada, at = Operator(stored), "/stores/user?user=zoë/1"
    asked = ada.post("/stores/clear", {"user": "zoë/1"}, at=at)
    assert "for zoë/1, for good" in text_of(asked)
    fields = {"user": "zoë/1", "confirmed": "yes", "reason": "their wish"}
    with caplog.at_level(logging.WARNING, "flask_statemanager.admin"):
        done = ada.follow(ada.post("/stores/clear", fields, at=at))
    assert "3 stores of zoë/1 were removed" in text_of(done)
    assert "their wish" in caplog.text
    assert Stores().get_store_data("filters", user_id="zoë/1") is None
    assert Stores().get_store_data("filters", user_id="bob") == {"n": 1}
    assert "Nothing is kept for this user" in text_of(ada.get(at))
    nobody = ada.post("/stores/clear", {"user": "", "confirmed": "yes"}, at="/stores/user?user=bob")
    assert nobody.status_code == 422
    assert Stores().get_store_data("filters", user_id="bob") == {"n": 1}


def test_one_store_is_removed(stored: World) -> None:
    filled()
    ada, place = Operator(stored), name_of("bob", "filters")
    at, act = f"/stores/value/stores/{place}", f"/stores/remove/stores/{place}"
    assert "Remove the store filters?" in text_of(ada.post(act, {"label": "filters"}, at=at))
    ada.follow(ada.post(act, {"confirmed": "yes"}, at=at))
    assert Stores().get_store_data("filters", user_id="bob") is None
    assert ada.get(at).status_code == 404


def test_only_stores_are_reached_as_stores(stored: World) -> None:
    ada = Operator(stored)
    stored.states.kv.set("all/x", 1)
    for path in ("kv/all/x", "stores/elsewhere", "flows/member:1", "state/u1"):
        assert ada.get(f"/stores/value/{path}").status_code == 404


def test_a_damaged_store_is_said_to_be_one(stored: World) -> None:
    filled()
    place = name_of("bob", "filters")
    parts = stored.runtime.shelves.kept("stores")

    KeyValueStore(lambda: parts).set(place, {"form": "zstd", "size": 5, "body": "!!"})
    page = Operator(stored).get(f"/stores/value/stores/{place}")
    assert page.status_code == 200
    assert 'class="refused"' in page.text


def test_a_long_id_is_not_guessed(stored: World) -> None:
    user = "x" * 300
    Stores().set_store_data("filters", 1, user_id=user)
    ada = Operator(stored)
    assert "a long id: type it above" in text_of(ada.get("/stores"))
    assert "filters" in text_of(ada.get(f"/stores/user?user={user}"))


def test_where_browsers_keep_the_stores_the_page_says_so() -> None:
    with an_admin_world(STATEMANAGER_STORES_BACKEND="client") as world:
        ada = Operator(world)
        assert "browsers keep these values" in text_of(ada.get("/stores"))
        assert ada.get("/stores/user?user=bob").status_code == 422


def test_everybodys_stores_are_shown_where_there_is_no_isolation() -> None:
    config = {"STATEMANAGER_STORES_BACKEND": "memory", "STATEMANAGER_STORES_USER_ISOLATION": False}
    with an_admin_world(**config) as world:
        Stores().set_store_data("filters", {"n": 1})
        ada = Operator(world)
        assert "Everybody's" in text_of(ada.get("/stores"))
        assert "filters" in text_of(ada.get("/stores/user"))
        clear = ada.post(
            "/stores/clear", {"user": "bob", "confirmed": "yes"}, at="/stores/value/stores/" + everybodys()
        )
        assert clear.status_code == 422


def everybodys() -> str:

    server = present_stores().server
    assert server is not None
    return store_name(server.config.key_prefix, None, "filters")

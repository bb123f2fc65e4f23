"""The admin page of live changes, and its event stream."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_statemanager.admin import live
from tests.admin_client import ADMIN, PREFIX, Operator, an_admin_world, text_of, with_logins
from tests.worlds import World, build, entered, kept_by, uri_for

PATIENCE = 120
STREAM = PREFIX + "/live/stream"
QUICK = {"STATEMANAGER_LIVE_HEARTBEAT": 0.2, "STATEMANAGER_SERVER_THREADS": 8}


@pytest.fixture
def world() -> Iterator[World]:
    with an_admin_world(**QUICK) as world:
        yield world


@pytest.fixture
def ada(world: World) -> Operator:
    return Operator(world)


class Listening:
    """A stream, read in the test's own thread."""

    def __init__(self, operator: Operator, query: str = "", **headers: str) -> None:
        self.answer = operator.client.get(STREAM + query, headers=headers, buffered=False)
        self._pieces = self.answer.iter_encoded()

    def __enter__(self) -> Listening:
        assert self.answer.status_code == 200, text_of(self.answer)
        assert next(self._pieces).startswith(b"retry:")
        while b": subscribed" not in next(self._pieces):
            pass
        return self

    def __exit__(self, *_error: object) -> None:
        self.answer.close()

    def message(self) -> dict[str, Any]:
        """Return the next message that is no heartbeat."""
        for piece in self._pieces:
            for line in piece.decode().splitlines():
                if line.startswith("data: "):
                    found: dict[str, Any] = json.loads(line.removeprefix("data: "))
                    return found
        raise AssertionError("the stream has ended")


def test_the_latest_changes_are_there_without_a_script(world: World, ada: Operator) -> None:
    assert "Nothing lately" in text_of(ada.get("/live"))
    world.states.register_state("u1", "user", {"data": {"password": "hunter2"}}, actor="bob")
    world.states.update_state("u1", transition="activate", actor="bob")
    world.states.kv.set("a/b", {"secret": "s3cret"}, actor="eve")
    page = ada.get("/live")
    text = text_of(page)
    for word in ("u1", "created → active", "activate", "bob", "a/b", "eve"):
        assert word in text
    assert "hunter2" not in page.text
    assert "s3cret" not in page.text
    assert 'href="/admin/state/keys/kv/key/a/b"' in page.text


@pytest.mark.parametrize(
    ("query", "shown", "hidden"),
    [
        ("bucket=kv", "a/b", "u1"),
        ("type=user", "u1", "a/b"),
        ("event=activate", "created → active", "a/b"),
        ("prefix=a/", "a/b", "u1"),
        ("prefix=u", "u1", "a/b"),
    ],
)
def test_changes_are_filtered(world: World, ada: Operator, query: str, shown: str, hidden: str) -> None:
    world.states.register_state("u1", "user")
    world.states.update_state("u1", transition="activate")
    world.states.kv.set("a/b", 1)
    text = text_of(ada.get(f"/live?{query}")).partition("Version By")[2]
    assert shown in text
    assert hidden not in text


@pytest.mark.parametrize("query", ["bucket=nowhere", "type=%21", "prefix=%C3%A4"])
def test_what_cannot_be_asked_for_is_said(world: World, ada: Operator, query: str) -> None:
    assert 'role="alert"' in ada.get(f"/live?{query}").text
    assert ada.get(f"/live/stream?{query}").status_code == 422


def test_the_stream_tells_what_comes_and_no_values(world: World, ada: Operator) -> None:
    with Listening(ada) as stream:
        world.states.kv.set("a", {"token": "s3cret", "n": 1}, actor="bob")
        message = stream.message()
        assert message["type"] == "state_change"
        assert (message["data"]["key"], message["data"]["actor"]) == ("a", "bob")
        assert "value" not in str(message["data"])
        assert "s3cret" not in str(message)
        world.states.flows.open("web", "x").update_state({"profile": {"said": "my diagnosis is bad"}})
        assert "diagnosis" not in str(stream.message())


def test_the_stream_goes_on_where_it_was(world: World, ada: Operator) -> None:
    with Listening(ada, "?bucket=kv") as stream:
        world.states.kv.set("a", 1)
        cursor = stream.message()["cursor"]
    world.states.kv.set("b", 2)
    answer = ada.client.get(STREAM + "?bucket=kv", headers={"Last-Event-ID": cursor}, buffered=False)
    found = b"".join(piece for piece, _ in zip(answer.iter_encoded(), range(3), strict=False))
    answer.close()
    assert b'"key":"b"' in found
    assert b"_value" not in found
    assert b'"key":"a"' not in found


def test_the_stream_is_for_who_may(world: World) -> None:
    assert Operator(world, None).get("/live/stream").status_code == 401
    assert Operator(world, "ben", ("service",)).get("/live/stream").status_code == 403
    assert world.runtime.counters.value("live.clients") == 0


def test_whoever_may_see_no_more_hears_no_more(world: World, ada: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LONGEST", 0.1)
    answer = ada.client.get(STREAM, buffered=False)
    assert answer.status_code == 200
    assert b"goodbye" in b"".join(answer.iter_encoded())
    answer.close()
    ada.client.environ_base["test.user"] = ("ada", ("service",))
    assert ada.get("/live/stream").status_code == 403


def test_a_beginning_is_looked_for_behind_the_newest_changes(
    world: World, ada: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LATEST", 2)
    for name in ("rare/1", "rare/2", "rare/3", "often/1", "often/2", "often/3"):
        world.states.kv.set(name, 1)
    text = text_of(ada.get("/live?prefix=rare/")).partition("Version By")[2]
    assert [name in text for name in ("rare/3", "rare/2", "rare/1", "often")] == [True, True, False, False]


def test_places_are_given_back(world: World, ada: Operator) -> None:
    for _ in range(2):
        with Listening(ada):
            assert world.runtime.counters.value("live.clients") == 1
        assert world.runtime.counters.value("live.clients") == 0


def test_a_full_house_is_told_as_such() -> None:
    with an_admin_world(STATEMANAGER_LIVE_CLIENTS=1, **QUICK) as world:
        ada = Operator(world)
        with Listening(ada):
            assert ada.get("/live/stream").status_code == 503


def test_where_changes_are_not_told_the_page_says_how_to_switch_it_on() -> None:
    with an_admin_world(STATEMANAGER_BROADCAST_CHANGES=False) as world:
        ada = Operator(world)
        page = ada.get("/live")
        assert "STATEMANAGER_BROADCAST_CHANGES" in page.text
        assert "live.js" not in page.text
        assert ada.get("/live/stream").status_code == 404


def test_a_bucket_in_redis_begins_empty_and_is_followed(redis_url: str, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'world.sqlite'}"
    for world in entered(with_logins(build("sqlite", uri, **ADMIN, **QUICK, **kept_by(redis_url)))):
        ada = Operator(world)
        world.states.kv.set("a", 1)
        assert "does not tell what was last" in text_of(ada.get("/live?bucket=kv"))
        with Listening(ada, "?bucket=kv") as stream:
            world.states.kv.set("b", 2)
            assert stream.message()["data"]["key"] == "b"


WRITE = """
import sys
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_statemanager import StateManager
app = Flask("other")
app.config["SQLALCHEMY_DATABASE_URI"] = sys.argv[1]
db = SQLAlchemy(app)
states = StateManager(app, db=db)
with app.app_context():
    states.kv.set("from-elsewhere", 1, actor="other process")
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_change_of_another_process_comes(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    uri = uri_for(kind, tmp_path, request)
    for world in entered(with_logins(build(kind, uri, **ADMIN, **QUICK))):
        with Listening(Operator(world)) as stream:
            subprocess.run([sys.executable, "-c", WRITE, uri], check=True, timeout=PATIENCE)
            assert stream.message()["data"]["key"] == "from-elsewhere"


WITHOUT_THE_EXTRA = """
import sys
for name in ("webargs", "apispec", "wsproto"):
    sys.modules[name] = None
from flask import Flask
from flask_statemanager import StateManager
app = Flask("app")
app.config.update(
    STATEMANAGER_BACKEND="memory", STATEMANAGER_ADMIN_ENABLED=True, SECRET_KEY="key", STATEMANAGER_LIVE_HEARTBEAT=0.2,
    STATEMANAGER_SERVER_THREADS=8,
)
states = StateManager(app)
states.identity_loader(lambda: ("ada", ["admin"]))
client = app.test_client()
assert client.get("/admin/state/live").status_code == 200
answer = client.get("/admin/state/live/stream", buffered=False)
pieces = answer.iter_encoded()
while b"subscribed" not in next(pieces):
    pass
with app.app_context():
    states.kv.set("a", 1)
while b'"key":"a"' not in next(pieces):
    pass
answer.close()
with app.app_context():
    app.extensions["statemanager"].close()
"""


def test_nothing_of_the_extra_web_is_needed() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_THE_EXTRA], check=True, timeout=PATIENCE)

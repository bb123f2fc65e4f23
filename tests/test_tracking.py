"""Tracking: every request and session is noted, without the request noticing."""

from __future__ import annotations

import gc
import json
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, abort, request, stream_with_context
from flask.testing import FlaskClient

from flask_statemanager import ConfigurationError, Key, StateManager, StateValidationError, StorageUnavailable
from flask_statemanager.kv.store import KeyValueStore
from flask_statemanager.tracking.backlog import TRIES, Backlog, Pace
from flask_statemanager.tracking.correlation import sampled
from flask_statemanager.tracking.redaction import MAX_URI, shown_uri
from flask_statemanager.tracks import track
from tests.worlds import KV_KINDS, World, build, entered, kept_by, uri_for

PATIENCE = 60.0
ROOT = Path(__file__).resolve().parent.parent
ON = {"STATEMANAGER_TRACK_REQUESTS": True, "STATEMANAGER_TRACK_SHARE": 1.0}


class Tracked:
    """An application whose requests are tracked, and its notes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.app = world.app
        self.client: FlaskClient = world.app.test_client()

    @property
    def kv(self) -> KeyValueStore:
        return self.world.states.bucket("tracking").kv

    def notes(self) -> dict[str, Any]:
        """Return all notes, once all that was taken down is written."""
        assert self.world.states.tracking.flush(PATIENCE)
        return {key: self.kv.get(key) for key in self.kv.keys()}  # noqa: SIM118 - no dict

    def count(self, name: str) -> int:
        return self.world.states.tracking.counts()[name]


def views(world: World) -> None:
    app = world.app

    @app.post("/api/trade/place")
    def place() -> Any:
        world.clock.advance(1)
        return {"placed": True}

    @app.get("/hello")
    def hello() -> Any:
        return {"hello": "world"}

    @app.get("/reset/<token>/<name>")
    def reset(token: str, name: str) -> Any:
        return {"name": name}

    @app.get("/broken")
    def broken() -> Any:
        raise ZeroDivisionError

    @app.get("/streamed")
    def streamed() -> Any:
        return Response(iter(["one", "two"]), mimetype="text/plain")

    @app.get("/streamed-in-context")
    def streamed_in_context() -> Any:
        return Response(stream_with_context(iter([request.path])), mimetype="text/plain")

    @app.get("/outer")
    def outer() -> Any:
        inner = app.test_client().get("/hello", headers={"X-Correlation-ID": "inner"})
        return {"inner": inner.headers["X-Correlation-ID"], "own": world.states.tracking.correlation_id}


def tracked_world(kind: str, uri: str, **config: Any) -> Iterator[Tracked]:
    world = build(kind, uri, **{**ON, **config})
    views(world)
    for each in entered(world):
        yield Tracked(each)


@pytest.fixture
def tracked(request: pytest.FixtureRequest) -> Iterator[Tracked]:
    """An application in memory; ``indirect`` parametrization adds config keys."""
    yield from tracked_world("memory", "sqlite://", **getattr(request, "param", {}))


@pytest.fixture(params=KV_KINDS)
def tracked_anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tracked]:
    """An application whose notes live in memory, in an SQLite file, in PostgreSQL, in Redis."""
    kind = request.param
    config = kept_by(request.getfixturevalue("redis_url")) if kind == "redis" else {}
    yield from tracked_world(kind, uri_for(kind, tmp_path, request), **config)


def configured(**config: Any) -> Any:
    names = {f"STATEMANAGER_{name.upper()}": value for name, value in config.items()}
    return pytest.mark.parametrize("tracked", [names], indirect=True)


# -- what is noted -----------------------------------------------------------------------------------------------------


def test_a_request_and_its_session_are_noted_on_every_store(tracked_anywhere: Tracked) -> None:
    tracked = tracked_anywhere
    tracked.world.states.actor_loader(lambda: 17)
    answer = tracked.client.post(
        "/api/trade/place",
        json={"amount": 1},
        headers={"X-Correlation-ID": "abc-123", "User-Agent": "shop/1", "Authorization": "Bearer s3cret"},
        query_string={"token": "s3cret"},
    )
    assert answer.headers["X-Correlation-ID"] == "abc-123"
    notes = tracked.notes()
    began, later = "2026-01-01T12:00:00.000000Z", "2026-01-01T12:00:01.000000Z"
    duration = notes["request:abc-123:completion"].pop("duration_ms")
    assert notes == {
        "request:abc-123": {
            "method": "POST",
            "uri": "/api/trade/place?token=***",
            "started_at": began,
            "headers": {
                "Content-Length": "13",
                "Content-Type": "application/json",
                "Host": "localhost",
                "User-Agent": "shop/1",
            },
        },
        "request:abc-123:completion": {"completed_at": later, "status": 200},
        "session:17": {"last_request": later, "correlation_id": "abc-123", "active": True, "last_heartbeat": later},
    }
    assert 0 <= duration < PATIENCE * 1000
    entry = tracked.kv.get_entry("request:abc-123")
    assert entry is not None
    assert entry.expires_at == tracked.world.clock.now() + timedelta(seconds=300)
    tracked.world.clock.advance(301)
    assert tracked.kv.keys() == ["session:17"]
    tracked.world.clock.advance(3600)
    assert tracked.kv.keys() == []


def test_what_is_over_is_cleaned_up_by_the_worker(tracked: Tracked) -> None:
    tracked.client.get("/hello", headers={"X-Correlation-ID": "abc"})
    tracked.notes()
    for _ in range(2):
        tracked.world.clock.advance(400)
        tracked.world.states.run_worker()
    entry = tracked.world.runtime.shelves.parts("tracking").bucket.backend.fetch(Key("tracking", "request:abc"))
    assert entry is None, "removed, and its tombstone too"


def test_nothing_is_noted_where_it_is_not_asked_for() -> None:
    world = build("memory", "sqlite://")
    views(world)
    for each in entered(world):
        answer = each.app.test_client().get("/hello", headers={"X-Correlation-ID": "abc"})
        assert "X-Correlation-ID" not in answer.headers
        tracking = each.states.tracking
        tracking.heartbeat("u1")
        assert (tracking.enabled, tracking.correlation_id, tracking.flush()) == (False, None, True)
        with pytest.raises(StateValidationError, match="There is no bucket 'tracking'"):
            each.states.bucket("tracking").kv.keys()


# -- correlation ids ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", ["a" * 65, "no spaces", "a//b", "..", "", "héllo", "abc:completion"])
def test_an_unusable_correlation_id_is_replaced(tracked: Tracked, sent: str) -> None:
    answer = tracked.client.get("/hello", headers={"X-Correlation-ID": sent})
    made = answer.headers["X-Correlation-ID"]
    assert made != sent
    assert len(made) == 32
    assert sorted(tracked.notes()) == [f"request:{made}", f"request:{made}:completion"]


def test_a_request_that_is_noted_is_never_overwritten(tracked_anywhere: Tracked) -> None:
    tracked = tracked_anywhere
    for path in ("/hello", "/nowhere"):
        tracked.client.get(path, headers={"X-Correlation-ID": "one"})
    first = tracked.notes()
    tracked.client.get("/nowhere", headers={"X-Correlation-ID": "one"})
    assert tracked.notes() == first
    assert first["request:one"]["uri"] == "/hello"
    assert first["request:one:completion"]["status"] == 200
    assert (tracked.count("kept"), tracked.count("duplicate")) == (1, 2)


def test_the_end_of_a_request_is_not_noted_behind_the_beginning_of_another(tracked: Tracked) -> None:
    mine = {"method": "GET", "uri": "/elsewhere"}
    tracked.kv.set("request:one", mine)
    tracked.client.get("/hello", headers={"X-Correlation-ID": "one"})
    assert tracked.notes() == {"request:one": mine}


# -- what requests may be ----------------------------------------------------------------------------------------------


def test_requests_that_fail_are_noted_too(tracked: Tracked) -> None:
    tracked.app.config["PROPAGATE_EXCEPTIONS"] = False
    for path, code in (("/nowhere", 404), ("/broken", 500)):
        answer = tracked.client.get(path, headers={"X-Correlation-ID": path[1:]})
        assert (answer.status_code, answer.headers["X-Correlation-ID"]) == (code, path[1:])
        assert tracked.notes()[f"request:{path[1:]}:completion"]["status"] == code


def test_an_error_that_the_server_gets_is_noted(tracked: Tracked) -> None:
    with pytest.raises(ZeroDivisionError):
        tracked.client.get("/broken", headers={"X-Correlation-ID": "one"})
    assert tracked.notes()["request:one:completion"]["status"] == 500


def test_a_stream_ends_with_its_last_part(tracked: Tracked) -> None:
    answer = tracked.client.get("/streamed", headers={"X-Correlation-ID": "one"})
    assert sorted(tracked.notes()) == ["request:one"]
    tracked.world.clock.advance(5)
    answer.close()
    notes = tracked.notes()
    assert notes["request:one:completion"]["completed_at"] > notes["request:one"]["started_at"]
    assert tracked.count("duplicate") == 0


def test_a_stream_in_the_context_of_its_request_is_noted(tracked: Tracked) -> None:
    answer = tracked.client.get("/streamed-in-context", headers={"X-Correlation-ID": "one"}, buffered=True)
    assert answer.text == "/streamed-in-context"
    assert tracked.notes()["request:one:completion"]["status"] == 200


def test_a_nested_request_is_one_of_its_own(tracked: Tracked) -> None:
    answer = tracked.client.get("/outer", headers={"X-Correlation-ID": "outer"})
    assert answer.json == {"inner": "inner", "own": "outer"}
    notes = tracked.notes()
    assert (notes["request:inner"]["uri"], notes["request:outer"]["uri"]) == ("/hello", "/outer")


def test_a_socket_is_noted_while_it_is_open(tracked: Tracked) -> None:
    opened, over = threading.Event(), threading.Event()

    @tracked.app.get("/socket/<token>", websocket=True)
    def socket(token: str) -> Any:
        opened.set()
        assert over.wait(PATIENCE)
        return ""

    headers = {"X-Correlation-ID": "one", "Upgrade": "WebSocket", "Connection": "Upgrade"}
    thread = threading.Thread(target=lambda: tracked.app.test_client().get("/socket/s3cret", headers=headers))
    thread.start()
    assert opened.wait(PATIENCE)
    assert {key: note["uri"] for key, note in tracked.notes().items()} == {"request:one": "/socket/***"}
    over.set()
    thread.join(PATIENCE)
    assert tracked.notes()["request:one:completion"]["status"] == 101


def test_hooks_that_answer_early_or_fail_leave_a_note() -> None:
    StateManager.reset_instance()
    app = Flask("early")
    app.config.update(ON, STATEMANAGER_BACKEND="memory")

    @app.before_request
    def refuse() -> None:
        if request.path == "/refused":
            abort(401)

    states = StateManager(app)
    views_of = {"/late": lambda: "late"}
    for path, view in views_of.items():
        app.add_url_rule(path, path, view)

    @app.after_request
    def fail(response: Response) -> Response:
        if request.path == "/late":
            raise ZeroDivisionError
        return response

    client = app.test_client()
    assert client.get("/refused", headers={"X-Correlation-ID": "a"}).headers["X-Correlation-ID"] == "a"
    logging.disable(logging.CRITICAL)
    try:
        assert client.get("/late", headers={"X-Correlation-ID": "b"}).status_code == 500
    finally:
        logging.disable(logging.NOTSET)
    with app.app_context():
        assert states.tracking.flush(PATIENCE)
        kv = states.bucket("tracking").kv
        assert [kv.get(f"request:{name}:completion")["status"] for name in "ab"] == [401, 500]
        app.extensions["statemanager"].close()


def test_an_application_whose_own_teardown_fails_leaves_a_note(tracked: Tracked) -> None:
    @tracked.app.teardown_request
    def fail(_error: BaseException | None) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tracked.client.get("/hello", headers={"X-Correlation-ID": "one"})
    assert tracked.notes() == {}
    # A server that has got the answer closes it.
    with tracked.app.test_request_context("/hello", headers={"X-Correlation-ID": "two"}) as context:
        answer = tracked.app.full_dispatch_request()
        answer.close()
        context.request.environ["kept"] = True
        assert sorted(tracked.notes()) == ["request:two", "request:two:completion"]
        tracked.app.teardown_request_funcs[None].pop()


# -- sessions ----------------------------------------------------------------------------------------------------------


def test_the_newest_sign_of_life_of_a_user_counts(tracked: Tracked) -> None:
    tracking, clock = tracked.world.states.tracking, tracked.world.clock
    tracked.world.states.actor_loader(lambda: "u1")
    tracked.client.get("/hello", headers={"X-Correlation-ID": "one"})
    seen = tracked.notes()["session:u1"]
    clock.advance(30)
    tracking.heartbeat("u1")
    beaten = tracked.notes()["session:u1"]
    assert beaten == {**seen, "last_heartbeat": "2026-01-01T12:00:30.000000Z"}
    tracking.end_session("u1")
    ended = tracked.notes()["session:u1"]
    assert ended == {**beaten, "active": False}
    # Another process, whose note comes late, takes nothing back.
    clock.advance(-60)
    tracking.heartbeat("u1")
    assert tracked.notes()["session:u1"] == ended
    clock.advance(90)
    tracked.client.get("/hello", headers={"X-Correlation-ID": "two"})
    again = tracked.notes()["session:u1"]
    assert (again["active"], again["correlation_id"]) == (True, "two")


def test_the_request_that_ends_a_session_does_not_begin_another(tracked: Tracked) -> None:
    tracked.world.states.actor_loader(lambda: "u1")

    @tracked.app.get("/leave")
    def leave() -> Any:
        tracked.world.states.tracking.end_session("u1")
        return ""

    tracked.client.get("/hello")
    assert tracked.notes()["session:u1"]["active"] is True
    tracked.client.get("/leave", headers={"X-Correlation-ID": "last"})
    session = tracked.notes()["session:u1"]
    assert (session["active"], session["correlation_id"]) == (False, "last")


def test_what_somebody_else_has_put_there_is_replaced(tracked: Tracked) -> None:
    tracked.kv.set("session:7", "no note")
    tracked.world.states.tracking.heartbeat(7)
    assert tracked.notes()["session:7"]["active"] is True


def test_a_view_can_say_whose_request_it_is(tracked: Tracked) -> None:
    tracking = tracked.world.states.tracking

    @tracked.app.get("/by/<user>")
    def by(user: str) -> Any:
        tracking.name_user(user)
        return ""

    tracked.client.get("/by/ada")
    assert "session:ada" in tracked.notes()
    tracking.name_user("nobody, as there is no request")


@configured(api_enabled=True, api_tokens={sha256(b"s3cret").hexdigest(): {"user": "robot", "roles": ["admin"]}})
def test_who_uses_the_api_by_a_token_has_a_session(tracked: Tracked) -> None:
    headers = {"Authorization": "Bearer s3cret", "X-Correlation-ID": "one"}
    answer = tracked.client.get("/api/v1/state/keys?bucket=tracking&prefix=session:", headers=headers)
    assert (answer.status_code, answer.headers["X-Correlation-ID"]) == (200, "one")
    assert tracked.notes()["session:robot"]["correlation_id"] == "one"


@pytest.mark.parametrize(
    ("user", "key"),
    [
        ("auth0|1", "session:auth0=7C1"),
        ("Jörg", "session:J=C3=B6rg"),
        ("a=7C", "session:a=3D7C"),
        ("a/b", "session:a/b"),
        ("a//b", "session:a=2F=2Fb"),
        ("/", "session:=2F"),
        ("x" * 200, f"session:{'x' * 200}"),
    ],
)
def test_every_user_has_a_key_of_their_own(tracked: Tracked, user: str, key: str) -> None:
    tracked.world.states.tracking.heartbeat(user)
    assert list(tracked.notes()) == [key]


def test_a_user_whose_id_is_too_long_is_counted(tracked: Tracked) -> None:
    tracked.world.states.tracking.heartbeat("ü" * 100)
    assert tracked.notes() == {}
    assert tracked.count("user_failed") == 1
    for user in ("", None, 1.5, True):
        with pytest.raises(StateValidationError, match="user_id"):
            tracked.world.states.tracking.heartbeat(user)  # type: ignore[arg-type]


def test_an_application_that_cannot_say_who_it_is_still_answers(tracked: Tracked) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    tracked.world.states.actor_loader(fail)
    assert tracked.client.get("/hello").status_code == 200
    assert len(tracked.notes()) == 2
    assert tracked.count("user_failed") == 1


# -- secrets -----------------------------------------------------------------------------------------------------------


@configured(track_headers=["User-Agent", "X-Request-ID"], track_query=["page"])
def test_only_what_is_allowed_is_noted(tracked: Tracked) -> None:
    headers = {"X-Correlation-ID": "one", "Cookie": "a=b", "X-Request-ID": "r1", "Accept": "*/*"}
    tracked.client.get("/reset/s3cret/ada?page=2&q=s3cret&page=s p&flag", headers=headers)
    note = tracked.notes()["request:one"]
    assert note["uri"] == "/reset/***/ada?page=2&q=***&page=s%20p&flag=***"
    assert note["headers"] == {"User-Agent": note["headers"]["User-Agent"], "X-Request-ID": "r1"}


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/key/5F0C1E6A-0000-4000-8000-00000000000A", "/key/<uuid:secret>"),
        ("/key/5f0c1e6a-0000-4000-8000-00000000000a", "/key/***"),
        ("/pin/0042/0042", "/pin/<int:pin>/<name>"),
        ("/pin/0000/x", "/pin/<int:pin>/<name>"),
        ("/pin/42/x", "/pin/***/x"),
        ("/mail-s3cret", "/mail-<token>"),
    ],
)
def test_what_a_converter_has_changed_is_not_noted_either(tracked: Tracked, path: str, shown: str) -> None:
    for rule in ("/key/<uuid:secret>", "/pin/<int:pin>/<name>", "/mail-<token>"):
        tracked.world.app.add_url_rule(rule, rule.replace(".", ""), lambda **_arguments: "done")
    assert tracked.client.get(path, headers={"X-Correlation-ID": "one"}).status_code == 200
    assert tracked.notes()["request:one"]["uri"] == shown


@pytest.mark.parametrize(
    ("path", "query", "shown"),
    [
        ("/a", "", "/a"),
        ("/a\x00\ud800", "", "/a\\x00\\ud800"),
        ("/a", "&&", "/a?"),
        ("/a", "%00=1&%ff=2", "/a?%00=***&%EF%BF%BD=***"),
        ("/" + "a" * 5000, "", "/" + "a" * (MAX_URI - 1)),
    ],
)
def test_an_address_can_always_be_written_down(path: str, query: str, shown: str) -> None:
    assert shown_uri(path, query, None, ()) == shown


def test_an_address_with_very_many_arguments_is_cut() -> None:
    shown = shown_uri("/a", "&".join(f"a{number}=1" for number in range(100_000)), {"token": ""}, ())
    assert shown.startswith("/a?a0=***&a1=***")
    assert len(shown) <= MAX_URI


# -- settings ----------------------------------------------------------------------------------------------------------


@configured(request_prefix="req/", session_prefix="user:", request_state_ttl=10, session_state_ttl=20)
def test_prefixes_and_times_are_as_configured(tracked: Tracked) -> None:
    tracked.world.states.actor_loader(lambda: "u1")
    tracked.client.get("/hello", headers={"X-Correlation-ID": "one"})
    assert sorted(tracked.notes()) == ["req/one", "req/one:completion", "user:u1"]
    tracked.world.clock.advance(15)
    assert tracked.kv.keys() == ["user:u1"]
    tracked.world.clock.advance(6)
    assert tracked.kv.keys() == []


@configured(track_sample=0.5)
def test_a_sample_is_the_same_in_every_service(tracked: Tracked) -> None:
    tracked.world.states.actor_loader(lambda: "u1")
    ids = [f"id-{number}" for number in range(40)]
    for correlation_id in ids:
        answer = tracked.client.get("/hello", headers={"X-Correlation-ID": correlation_id})
        assert answer.headers["X-Correlation-ID"] == correlation_id
    noted = {key.removeprefix("request:") for key in tracked.notes() if key.count(":") == 1} - {"session:u1"}
    assert noted == {correlation_id for correlation_id in ids if sampled(correlation_id, 0.5)}
    assert 5 < len(noted) < 35
    assert tracked.kv.get("session:u1")["correlation_id"] == ids[-1]
    assert not any(sampled(correlation_id, 0.0) for correlation_id in ids)


def test_a_bucket_of_the_applications_own_is_taken() -> None:
    StateManager.reset_instance()
    app = Flask("own")
    app.config.update(ON, STATEMANAGER_BACKEND="memory", STATEMANAGER_TRACK_BUCKET="visits")
    states = StateManager()
    states.define_bucket("visits", history=5)
    states.init_app(app)
    with app.app_context():
        app.test_client().get("/", headers={"X-Correlation-ID": "one"})
        assert states.tracking.flush(PATIENCE)
        assert states.bucket("visits").kv.count("request:") == 2
        app.extensions["statemanager"].close()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"REQUEST_PREFIX": "a:", "SESSION_PREFIX": "a:b"}, "begin alike"),
        ({"REQUEST_PREFIX": "no spaces"}, "STATEMANAGER_REQUEST_PREFIX='no spaces' is unusable"),
        ({"SESSION_PREFIX": "s" * 101}, "STATEMANAGER_SESSION_PREFIX is too long"),
        ({"TRACK_HEADERS": ["Accept", "authorization"]}, "carries secrets"),
        ({"TRACK_HEADERS": ["X_Api_Key"]}, "carries secrets"),
        ({"TRACK_HEADERS": "Accept"}, "must be a list of names"),
        ({"TRACK_SAMPLE": 2}, "must be a number from 0 to 1"),
        ({"TRACK_BUCKET": "state"}, "holds the lifecycle states"),
        ({"TRACK_BUCKET": "wide"}, "declare it with shards=1"),
    ],
)
def test_unusable_settings_are_refused(config: dict[str, Any], message: str) -> None:
    StateManager.reset_instance()
    app = Flask("refused")
    app.config.update(ON, STATEMANAGER_BACKEND="memory")
    app.config.update({f"STATEMANAGER_{name}": value for name, value in config.items()})
    states = StateManager()
    states.define_bucket("wide", shards=2)
    with pytest.raises(ConfigurationError, match=message):
        states.init_app(app)


def test_in_memory_sqlite_which_is_one_connection_is_refused(memory_sqlite_world: World) -> None:
    with pytest.raises(ConfigurationError, match="cannot work on in-memory SQLite"):
        track(memory_sqlite_world.app, memory_sqlite_world.runtime)


# -- the backlog -------------------------------------------------------------------------------------------------------


class Store:
    """Takes batches; fails, hangs or works as it is told."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.error: Exception | None = None
        self.hanging = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.counts: dict[str, int] = {}
        self.lock = threading.Lock()

    def write(self, items: Any) -> None:
        if not self.go_on.is_set():
            self.hanging.set()
            assert self.go_on.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        self.batches.append(list(items))

    def count(self, name: str, by: int) -> None:
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + by

    def backlog(self, most: int = 10) -> Backlog[int]:
        return Backlog(self.write, pace=Pace(most, 1.0), context=threading.Lock, count=self.count)

    @property
    def written(self) -> list[int]:
        return [item for batch in self.batches for item in batch]


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.go_on.set()


def test_a_full_queue_drops_and_counts(store: Store) -> None:
    backlog = store.backlog()
    store.go_on.clear()
    backlog.add(0)
    assert store.hanging.wait(PATIENCE)
    for number in range(1, 16):
        backlog.add(number)
    assert not backlog.flush(0.01)
    store.go_on.set()
    assert backlog.flush(PATIENCE)
    assert store.written == list(range(11))
    assert store.counts["tracking.dropped"] == 5
    backlog.close()


def test_what_waits_is_written_at_the_end(store: Store) -> None:
    backlog = store.backlog()
    for number in range(5):
        backlog.add(number)
    backlog.close(PATIENCE)
    assert store.written == [0, 1, 2, 3, 4]
    backlog.add(5)
    assert store.counts["tracking.dropped"] >= 1
    assert store.written == [0, 1, 2, 3, 4]


def test_a_store_that_hangs_does_not_hold_up_the_end(store: Store) -> None:
    backlog = store.backlog()
    store.go_on.clear()
    backlog.add(0)
    assert store.hanging.wait(PATIENCE)
    backlog.close(0.01)
    assert store.batches == []


def test_a_process_that_has_no_thread_to_give_counts_what_it_drops(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    backlog = store.backlog()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        backlog.add(0)
    backlog.close(PATIENCE)
    assert store.counts == {"tracking.dropped": 1}


def test_a_store_that_fails_is_asked_again_and_then_no_more(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    backlog = store.backlog()
    store.error = StorageUnavailable("away")
    backlog.add(0)
    assert backlog.flush(PATIENCE)
    assert store.counts == {"tracking.failed": TRIES, "tracking.dropped": 1}
    store.error = None
    backlog.add(1)
    assert backlog.flush(PATIENCE)
    assert store.written == [1]
    assert [record.getMessage() for record in caplog.records] == [
        "Writing down requests fails (away); it is tried until it works.",
        "Writing down requests works again.",
    ]
    backlog.close()


def test_a_batch_that_cannot_be_written_is_dropped(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    backlog = store.backlog()
    store.error = ZeroDivisionError("poison")
    backlog.add(0)
    assert backlog.flush(PATIENCE)
    assert store.counts == {"tracking.dropped": 1}
    assert "Requests cannot be written down." in caplog.text
    backlog.close()


def test_a_failing_store_breaks_no_request(tracked: Tracked, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = tracked.world.runtime.shelves.parts("tracking")

    def fail(*_arguments: Any, **_named: Any) -> Any:
        raise StorageUnavailable("away")

    monkeypatch.setattr(parts.bucket.backend, "writing", fail)
    assert tracked.client.get("/hello").status_code == 200
    assert tracked.notes() == {}
    assert tracked.count("failed") == TRIES
    assert tracked.count("dropped") == 1


def test_the_writing_thread_keeps_to_its_share() -> None:
    assert Pace(1, 1.0).rest(2.0) == 0.0
    assert Pace(1, 0.05).rest(0.01) == pytest.approx(0.19)
    assert Pace(1, 0.05).rest(60.0) == 5.0
    assert Pace(1, 0.0).rest(60.0) == 5.0


def test_an_application_that_nobody_holds_any_more_is_let_go() -> None:
    StateManager.reset_instance()

    def made() -> Callable[[], Any]:
        app = Flask("gone")
        app.config.update(ON, STATEMANAGER_BACKEND="memory")
        StateManager(app)
        app.test_client().get("/")
        return weakref.ref(app)

    left = made()
    StateManager.reset_instance()
    gc.collect()
    assert left() is None


# -- processes ---------------------------------------------------------------------------------------------------------


def ended(uri: str, mode: str) -> list[str]:
    """Run a process that is tracked until it ends, and return what it and its fork say."""
    order = json.dumps({"uri": uri, "mode": mode})
    command = [sys.executable, "-m", "tests.processes.tracked", order]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert found.returncode == 0, found.stderr
    return found.stdout.split()


def test_a_fork_writes_what_is_its_own_and_a_process_that_ends_writes_what_is_left(tmp_path: Path) -> None:
    world = build("sqlite", f"sqlite:///{tmp_path / 'forked.sqlite'}")
    world.states.define_bucket("tracking")
    for each in entered(world):
        said = ended(f"sqlite:///{tmp_path / 'forked.sqlite'}", "fork")
        assert len(set(said)) == 2
        kv = each.states.bucket("tracking").kv
        keys = [f"request:{name}" for name in ("before", "child", "parent")]
        assert kv.keys() == sorted([*keys, *(f"{key}:completion" for key in keys)])
        assert [kv.get_entry(key).version for key in keys] == [1, 1, 1]


def test_a_process_whose_store_hangs_serves_and_ends_all_the_same(tmp_path: Path) -> None:
    assert len(ended(f"sqlite:///{tmp_path / 'hanging.sqlite'}", "hang")) == 1

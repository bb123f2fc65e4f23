"""Which of a user's stores changed is pushed to the user's pages: to nobody else's, and never what they hold."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from dash import Dash, html
from flask import Flask, request
from httpx_sse import connect_sse
from werkzeug.serving import make_server

from flask_statemanager import ConfigurationError, StateValidationError
from flask_statemanager.integrations.dash import StoreListener, push_stores
from flask_statemanager.stores import StateManager as Stores
from flask_statemanager.stores import StateManagerConfig, refresh_state_manager, set_user_context
from flask_statemanager.stores.names import name_part
from tests.processes.child import until
from tests.worlds import build

PATIENCE = 120.0
STREAM = "/_statemanager/stores"
SECRET = "nobody's business"


class Place:
    """A Dash app that a real server serves, and a manager of the same stores as another process has it."""

    def __init__(self, stack: ExitStack, url: str, **config: Any) -> None:
        self.server = Flask("push")
        kind = "redis" if url.startswith("redis") else "database"
        prefix = f"t{id(self)}"
        self.config = StateManagerConfig(kind, key_prefix=prefix, **{f"{kind}_url": url}, history=("kept",))
        self.server.config.update(
            SECRET_KEY="signed",
            STATEMANAGER_LIVE_HEARTBEAT=1,
            STATEMANAGER_STORES_BACKEND=kind,
            STATEMANAGER_STORES_PREFIX=prefix,
            STATEMANAGER_STORES_HISTORY=["kept"],
            **{f"STATEMANAGER_STORES_{kind.upper()}_URL": url},
            **config,
        )
        self.server.before_request(lambda: set_user_context(request.headers.get("X-User")))
        self.app = Dash("push", server=self.server)
        self.app.layout = lambda: html.Div([StoreListener("filters"), StoreListener("other", id="mine")])
        push_stores(self.app)
        self.elsewhere = Stores(self.config)
        stack.callback(self.elsewhere.close)
        served = make_server("127.0.0.1", 0, self.server, threaded=True)
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        stack.callback(thread.join, PATIENCE)
        stack.callback(served.server_close)
        stack.callback(served.shutdown)
        stack.callback(self._renew)
        self.url = f"http://127.0.0.1:{served.port}"

    def _renew(self) -> None:
        """Give back what the server has opened."""
        with self.server.app_context():
            refresh_state_manager(StateManagerConfig("client"))

    def cursor(self, user: str) -> str | None:
        """Return the cursor that a page of a user is given with its layout."""
        found = httpx.get(f"{self.url}/_dash-layout", headers={"X-User": user}, timeout=PATIENCE, trust_env=False)
        cursors = {each["props"]["cursor"] for each in found.json()["props"]["children"]}
        assert len(cursors) == 1
        return cursors.pop()

    @contextmanager
    def listening(self, user: str, since: str | None) -> Iterator[Callable[[], dict[str, Any]]]:
        """Listen as a page of a user does; what is yielded returns the next message about a change."""
        with (
            httpx.Client(timeout=PATIENCE, trust_env=False) as client,
            connect_sse(
                client, "GET", f"{self.url}{STREAM}", params={"since": since or ""}, headers={"X-User": user}
            ) as source,
        ):
            source.response.raise_for_status()
            events = (event for event in source.iter_sse() if event.data)

            def heard() -> dict[str, Any]:
                event = next(events)
                assert SECRET not in event.data
                found: dict[str, Any] = json.loads(event.data)
                assert found["cursor"] == event.id
                return found

            yield heard


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else f"sqlite:///{tmp_path / 'stores.db'}"
    with ExitStack() as stack:
        yield Place(stack, url)


def told(message: dict[str, Any]) -> tuple[str, int, bool]:
    data = message["data"]
    assert data.keys() == {"store", "version", "exists", "request"}
    return data["store"], data["version"], data["exists"]


def readers() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name.startswith("statemanager: live")}


def test_a_page_hears_of_its_users_stores_alone_from_when_it_was_made(place: Place) -> None:
    write = place.elsewhere.set_store_data
    write("filters", SECRET, user_id="ada")
    since = place.cursor("ada")
    # Whoever is called like a part of others' names, or as the beginning of another one, is told of nothing of theirs.
    for stranger in ("filters", "u", "s", "ad", "adalbert", "ada/s:filters", "x:ada"):
        write("filters", SECRET, user_id=stranger)
    write("filters", SECRET, user_id="ada")
    write("kept", SECRET, user_id="ada")
    with place.listening("ada", since) as heard:
        assert {told(heard()), told(heard())} == {("filters", 2, True), ("kept", 1, True)}
        place.elsewhere.delete_store_data("filters", user_id="ada")
        assert told(heard()) == ("filters", 3, False)
    with place.listening("filters", since) as heard:
        assert told(heard()) == ("filters", 1, True)
        write("ada", SECRET, user_id="filters")
        assert told(heard()) == ("ada", 1, True)


def test_a_stream_goes_on_behind_the_last_message_and_no_other_cursor_ends_it(place: Place) -> None:
    write = place.elsewhere.set_store_data
    since = place.cursor("ada")
    for number in range(3):
        write(f"store {number}", number, user_id="ada")
    with place.listening("ada", since) as heard:
        first = heard()
    with place.listening("ada", first["cursor"]) as heard:
        assert [told(heard())[0] for _ in range(2)] == ["store~201", "store~202"]
    for foreign in ("redis.stores=1,redis.other=2", "no cursor", "9" * 18):
        with place.listening("ada", foreign) as heard:
            # As if all of it was news, or none of it known any more.
            message = heard()
            assert message["type"] == "compacted" or told(message)[0] == "store~200"


def test_who_listens_holds_a_place_of_the_server(tmp_path: Path) -> None:
    with ExitStack() as stack:
        place = Place(stack, f"sqlite:///{tmp_path / 'stores.db'}", STATEMANAGER_LIVE_CLIENTS=1)
        stack.enter_context(place.listening("ada", None))
        found = httpx.get(f"{place.url}{STREAM}", timeout=PATIENCE, trust_env=False)
        assert found.status_code == 503
        assert found.headers["Retry-After"] == "5"


def test_the_streams_are_of_the_backend_that_is_in_use(tmp_path: Path) -> None:
    with ExitStack() as stack:
        place = Place(stack, f"sqlite:///{tmp_path / 'stores.db'}")
        before = place.cursor("ada")
        others = readers()
        with place.listening("ada", before) as heard:
            place.elsewhere.set_store_data("filters", SECRET, user_id="ada")
            assert told(heard()) == ("filters", 1, True)
            until(lambda: readers() - others, "a thread reads for the page")
            with place.server.app_context():
                refresh_state_manager(StateManagerConfig("memory", history=()))
            # Nobody reads on in a database that is closed.
            until(lambda: readers() <= others, "it has ended")
            assert place.cursor("ada") is not None  # a page of now
            assert heard()["data"] == {"reason": "closing"}
        with place.listening("ada", before) as heard, place.server.app_context():
            Stores().set_store_data("filters", SECRET, user_id="ada")
            assert told(heard()) == ("filters", 1, True)
        with place.server.app_context():
            refresh_state_manager(StateManagerConfig("client"))
        assert place.cursor("ada") is None
        assert httpx.get(f"{place.url}{STREAM}", timeout=PATIENCE, trust_env=False).status_code == 204


def test_stores_of_everybody_are_told_to_everybody() -> None:
    with ExitStack() as stack:
        place = Place(stack, "sqlite://")
        with place.server.app_context():
            refresh_state_manager(StateManagerConfig("memory", enable_user_isolation=False))
        since = place.cursor("ada")
        with place.server.app_context():
            Stores().set_store_data("filters", SECRET)
        for user in ("ada", "bob"):
            with place.listening(user, since) as heard:
                assert told(heard()) == ("filters", 1, True)


def test_in_an_app_with_the_extension_it_is_the_apps_stores_and_threads(tmp_path: Path) -> None:
    stores = {"STATEMANAGER_STORES_BACKEND": "database", "STATEMANAGER_RESERVED_THREADS": 1}
    stores |= {"STATEMANAGER_LIVE_HEARTBEAT": 1}
    world = build("sqlite", f"sqlite:///{tmp_path / 'app.db'}", SECRET_KEY="signed", **stores)
    server = world.app
    app = Dash("extended", server=server)
    app.layout = lambda: html.Div([StoreListener("filters")])
    push_stores(app)
    with server.app_context():
        client = server.test_client()
        shown = client.get("/_dash-layout").json
        since = shown["props"]["children"][0]["props"]["cursor"]
        # The visitor is known by the signed cookie.
        with client.session_transaction() as session:
            visitor = session["statemanager_visitor"]
        Stores().set_store_data("filters", 1, user_id=visitor)
        crowded = client.get(f"{STREAM}?since={since}", environ_overrides={"wsgi.multithread": False})
        assert crowded.status_code == 503  # a server with one thread, which is reserved
        others = readers()
        with client.get(f"{STREAM}?since={since}", environ_overrides={"wsgi.multithread": True}) as answer:
            pieces = iter(answer.response)
            body = b""
            while b"filters" not in body:
                body += next(pieces)
            # What is stored already is told first; a thread reads on from there.
            until(lambda: next(pieces) and readers() - others, "a thread reads on")
            (reader,) = readers() - others
            world.runtime.close()
            assert not reader.is_alive()
            assert b"filters" not in b"".join(pieces)
        assert b'"version":1' in body


def test_a_page_is_shown_though_the_log_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    with ExitStack() as stack:
        place = Place(stack, "redis://127.0.0.1:1/0")
        with caplog.at_level(logging.WARNING, "flask_statemanager.stores"):
            assert place.cursor("ada") == ""
        assert "cannot be read" in caplog.text
        assert httpx.get(f"{place.url}{STREAM}", timeout=PATIENCE, trust_env=False).status_code == 503


def test_what_is_missing_is_said() -> None:
    server = Flask("missing")
    app = Dash("missing", server=server)
    with server.app_context(), pytest.raises(ConfigurationError, match="push_stores"):
        StoreListener("filters").to_plotly_json()
    push_stores(app)
    with pytest.raises(ConfigurationError, match="once is enough"):
        push_stores(app)
    with pytest.raises(ConfigurationError, match="init_app"):
        push_stores(Dash("none", server=False))
    with pytest.raises(StateValidationError):
        StoreListener("")


def test_a_listener_is_a_component_whose_script_dash_serves() -> None:
    long = "s" * 200
    shown = StoreListener(long, id={"of": "filters"}, changes=3).to_plotly_json()
    assert shown["props"] == {"id": {"of": "filters"}, "store_id": long, "name": name_part(long), "changes": 3}
    assert (shown["namespace"], shown["type"]) == ("flask_statemanager", "StoreListener")
    server = Flask("script")
    push_stores(app := Dash("script", server=server))
    app.layout = html.Div()
    page = server.test_client().get("/").text
    (path,) = [each.split('"')[0] for each in page.split('src="') if "push.v" in each]
    served = server.test_client().get(path)
    assert b"StoreListener" in served.data
    assert b"eval(" not in served.data

"""The signed session id of a page of Dash: good in one browser and for one user, for a time, and never a claim."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dash
import flask
import pytest
from dash import Input, Output, State, html

from flask_statemanager import ConfigurationError, StorageUnavailable
from flask_statemanager.integrations.dash import (
    create_session_component,
    create_state_store_component,
    get_state_manager,
    get_user_session_from_context,
    state_managed_callback,
    validate_state_manager_config,
)
from flask_statemanager.stores import StateManagerConfig, get_store, get_user_context
from tests.dash_browser import Browser, dash_app
from tests.forging import tampered
from tests.worlds import World, build, entered

ID = "user-session-id.data"
WEEK = 7 * 86400


def page(app: dash.Dash, fired: list[Any]) -> dash.Dash:
    app.layout = lambda: html.Div([create_session_component(), html.Div(id="shown")])

    @app.callback(Output("shown", "children"), Input("age", "value"), State("user-session-id", "data"))
    @state_managed_callback({"filters": "filters"})
    def show(age: int, user_session_id: str | None, filters: Any) -> Any:
        fired.append(user_session_id)
        return age

    return app


@pytest.fixture
def fired() -> list[Any]:
    return []


@pytest.fixture
def world() -> Iterator[World]:
    yield from entered(build("memory", "sqlite://", SECRET_KEY="signed", STATE_BACKEND="memory"))


def refused(app: dash.Dash) -> int:
    with app.server.app_context():
        return int(get_state_manager().get_backend_stats()["refused"])


def test_an_id_is_good_in_its_own_browser_alone(fired: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    app = page(dash_app(), fired)
    mine, other, fresh = Browser(app).open(), Browser(app).open(), Browser(app)
    mine.fire("shown.children")
    for stranger in (other, fresh):
        stranger.props[ID] = mine.props[ID]
        stranger.fire("shown.children")
        assert stranger.status == 403
        assert "reload the page" in stranger.text
    assert (len(fired), refused(app)) == (1, 2)
    assert "reload the page" in caplog.text
    mine.fire("shown.children")
    assert mine.status == 200


@pytest.mark.parametrize("forged", ["", "session-abc", 7, {"user": "ada"}, ["x"], "a.b.c", "\0.é.\ud800"])
def test_a_forged_id_is_refused(fired: list[Any], forged: Any) -> None:
    app = page(dash_app(), fired)
    browser = Browser(app).open()
    good = browser.props[ID]
    for claimed in (forged, tampered(good), good.replace("session-", "session_", 1)):
        browser.fire("shown.children", **{"user-session-id__data": claimed})
        assert browser.status == 403
    assert fired == []


def test_another_apps_id_with_another_key_is_refused(fired: list[Any]) -> None:
    app, other = page(dash_app(), fired), page(dash_app(SECRET_KEY="other"), fired)
    browser, stranger = Browser(app).open(), Browser(other).open()
    browser.fire("shown.children", **{"user-session-id__data": stranger.props[ID]})
    assert (browser.status, fired) == (403, [])


def test_a_key_that_is_replaced_stays_good_while_it_is_named_as_a_fallback(fired: list[Any]) -> None:
    app = page(dash_app(), fired)
    browser = Browser(app).open()
    with browser.client.session_transaction() as cookie:
        kept = dict(cookie)
    app.server.config.update(SECRET_KEY="next", SECRET_KEY_FALLBACKS=["signed"])
    # Flask before 3.1 does not read its own cookie with an earlier key, so it is written with the next one.
    with browser.client.session_transaction() as cookie:
        cookie.update(kept)
    browser.fire("shown.children")
    assert (browser.status, len(fired)) == (200, 1)
    app.server.config.update(SECRET_KEY_FALLBACKS=None)
    browser.fire("shown.children")
    assert browser.status == 403


def test_who_logs_in_needs_another_page_and_has_other_stores(world: World, fired: list[Any]) -> None:
    world.states.actor_loader(lambda: flask.session.get("login"))
    app = page(dash.Dash("dashboard", server=world.app), fired)

    @world.app.post("/login/<user>")
    def login(user: str) -> str:
        flask.session["login"] = user
        return ""

    browser = Browser(app).open()
    browser.fire("shown.children")
    browser.client.post("/login/ada")
    browser.fire("shown.children")
    assert browser.status == 403
    browser.open().fire("shown.children")
    other = Browser(app)
    other.client.post("/login/ada")
    other.open().props[ID] = browser.props[ID]
    other.fire("shown.children")
    assert (other.status, fired[1:]) == (403, ["ada"])
    assert fired[0].startswith("session-")


def test_an_id_ends_and_an_open_page_gets_another_one_in_time(world: World, fired: list[Any]) -> None:
    app = page(dash.Dash("dashboard", server=world.app), fired)
    browser, closed = Browser(app).open(), Browser(app).open()
    first = browser.props[ID]
    browser.fire("shown.children")
    assert browser.props[ID] == first
    world.clock.advance(WEEK / 2 + 1)
    browser.fire("shown.children")
    assert browser.props[ID] != first
    world.clock.advance(WEEK / 2)
    browser.fire("shown.children")
    closed.fire("shown.children")
    assert (browser.status, closed.status) == (200, 403)
    assert "too long ago" in closed.text


def test_an_id_that_starts_callbacks_is_not_replaced_under_them(world: World) -> None:
    app = dash.Dash("dashboard", server=world.app)
    app.layout = lambda: html.Div([create_session_component(), html.Div(id="shown")])

    @app.callback(Output("shown", "children"), Input("user-session-id", "data"))
    @state_managed_callback()
    def show(user_session_id: str) -> Any:
        return user_session_id == get_user_context()

    browser = Browser(app).open()
    first = browser.props[ID]
    world.clock.advance(WEEK - 1)
    assert browser.fire("shown.children") == {"shown": {"children": True}}
    assert browser.props[ID] == first


def test_without_a_secret_key_a_page_says_so(fired: list[Any]) -> None:
    app = page(dash_app(SECRET_KEY=None), fired)
    with app.server.test_request_context(), pytest.raises(ConfigurationError, match="set SECRET_KEY"):
        app.layout()
    app.server.config["STATE_ENABLE_USER_ISOLATION"] = "false"
    app.server.extensions.pop("statemanager_stores")
    browser = Browser(app).open()
    browser.fire("shown.children")
    assert (browser.props[ID], browser.status, fired) == (None, 200, [None])


def test_where_the_browser_keeps_everything_nobody_needs_to_be_known(fired: list[Any]) -> None:
    app = page(dash_app(SECRET_KEY=None, STATE_BACKEND="client"), fired)
    app.layout = html.Div([html.Div(id="shown"), create_session_component()])
    browser = Browser(app).open()
    browser.fire("shown.children")
    assert (browser.status, fired, browser.client.get_cookie("session")) == (200, [None], None)
    with app.server.test_request_context():
        assert get_state_manager().set_store_data("filters", 1) == 1
        assert get_state_manager().clear_user_data("ada") == 0


def test_without_an_id_it_is_the_cookie_that_counts(fired: list[Any]) -> None:
    app = page(dash_app(), fired)
    app.layout = html.Div([create_session_component(), html.Div(id="shown")])
    browser = Browser(app).open()
    assert browser.props[ID] is None
    browser.fire("shown.children")
    browser.fire("shown.children")
    assert len(set(fired)) == 1
    assert fired[0].startswith("session-")


def test_the_user_is_known_to_any_callback() -> None:
    app = dash_app()
    app.layout = lambda: html.Div([create_session_component(), html.Div(id="shown")])

    @app.callback(Output("shown", "children"), Input("user-session-id", "data"))
    def show(_sent: str) -> Any:
        return get_user_session_from_context() == get_user_context()

    browser = Browser(app).open()
    assert browser.fire("shown.children") == {"shown": {"children": True}}
    browser.fire("shown.children", **{"user-session-id__data": "forged"})
    assert browser.status == 403
    with app.server.app_context():
        assert get_user_session_from_context() is None


def test_what_an_asynchronous_callback_leaves_behind_is_not_taken_for_the_next_requests() -> None:
    app = dash_app()
    app.layout = lambda: html.Div([create_session_component(), html.Div(id="shown")])
    found: list[Any] = []

    @app.callback(Output("shown", "children"), Input("age", "value"), State("user-session-id", "data"))
    @state_managed_callback({"filters": "filters"})
    async def show(age: int, user_session_id: str, filters: Any) -> Any:
        return user_session_id

    @app.server.get("/plain")
    def plain() -> str:
        found.append((get_user_session_from_context(), dash.ctx.inputs))
        return ""

    def one_after_another() -> None:
        found.append(Browser(app).open().fire("shown.children", age__value=7)["shown"]["children"])
        app.server.test_client().get("/plain")

    thread = threading.Thread(target=one_after_another)
    thread.start()
    thread.join()
    fired, (user, inputs) = found
    assert inputs == {"age.value": 7}, "Dash does not leave it behind any more: then this is needed no longer"
    assert user != fired
    assert user.startswith("session-")


# -- components --------------------------------------------------------------------------------------------------------


def test_a_store_begins_with_its_data_and_keeps_what_it_has() -> None:
    for kind, shown in (("memory", None), ("client", [1])):
        app = dash_app(STATE_BACKEND=kind)
        app.layout = lambda: html.Div([create_state_store_component("filters", [1]), create_session_component()])
        browser = Browser(app).open()
        assert browser.props["filters.data"] == shown
        if kind == "memory":
            with browser.at_work():
                assert get_store("filters") == [1]
                get_state_manager().set_store_data("filters", [2])
            browser.open()
            with browser.at_work():
                assert get_store("filters") == [2]


@pytest.mark.parametrize("unavailable", ["error", "client"])
def test_a_store_begins_in_the_browser_while_the_server_cannot_be_reached_and_it_helps_out(unavailable: str) -> None:
    app = dash_app(
        STATE_BACKEND="redis", STATE_REDIS_URL="redis://127.0.0.1:1/0", STATEMANAGER_STORES_UNAVAILABLE=unavailable
    )
    app.layout = lambda: html.Div([create_state_store_component("filters", [1]), create_session_component()])
    if unavailable == "client":
        assert Browser(app).open().props["filters.data"] == [1]
    else:
        with app.server.test_request_context(), pytest.raises(StorageUnavailable):
            app.layout()


def test_a_component_of_a_pattern_and_options_of_dcc_store() -> None:
    found = create_state_store_component({"type": "row", "index": 1}, storage_type="local", clear_data=True)
    assert (found.id, found.storage_type, found.clear_data) == ({"type": "row", "index": 1}, "local", True)
    with pytest.raises(ConfigurationError, match="storage_type"):
        create_state_store_component("filters", storage_type="disk")  # type: ignore[arg-type]


# -- configuration -----------------------------------------------------------------------------------------------------


def test_a_configuration_is_asked_of_its_storage(tmp_path: Path) -> None:
    app = dash_app()
    with app.server.app_context():
        assert validate_state_manager_config()
        assert validate_state_manager_config({"backend_type": "client"})
        assert validate_state_manager_config(
            StateManagerConfig("database", database_url=f"sqlite:///{tmp_path / 'stores.db'}")
        )
        for wrong, sentence in (
            ({"backend_type": "mongo"}, "no backend 'mongo'"),
            ({"backend_type": "client", "rollout": {"filters": 25}}, "a server that they move to"),
            ({"backend_type": "redis"}, "STATE_REDIS_URL"),
            ({"backend": "redis"}, "no configuration"),
            ({"rollout": {"filters": 101}}, "from 0 to 100"),
        ):
            with pytest.raises(ConfigurationError, match=sentence):
                validate_state_manager_config(wrong)
        with pytest.raises(StorageUnavailable):
            validate_state_manager_config({"backend_type": "redis", "redis_url": "redis://127.0.0.1:1/0"})
        app.server.config["SECRET_KEY"] = None
        with pytest.raises(ConfigurationError, match="SECRET_KEY"):
            validate_state_manager_config()

"""Stores that move gradually from the browser to the server and back: some users first, and nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dash
import pytest
from dash import Input, Output, State, html

from flask_statemanager import ConfigurationError, StateConflict, StateValidationError, StorageUnavailable
from flask_statemanager.integrations.dash import (
    create_session_component,
    create_state_store_component,
    get_state_manager,
    state_managed_callback,
)
from flask_statemanager.stores import (
    CLIENT_MANAGED,
    NO_UPDATE,
    StateManager,
    StateManagerConfig,
    get_store,
    handing,
    refresh_state_manager,
)
from flask_statemanager.stores.handing import AS_IT_IS, MOVED, Settled
from flask_statemanager.stores.rollout import included
from tests.dash_browser import PATIENCE, UPDATE, Browser, dash_app

DATA = "filters.data"
USERS = [f"user{number}" for number in range(400)]


class Dashboard:
    """An app with one store that moves, and its percentage."""

    def __init__(self, folder: Path) -> None:
        self.app = dash_app(STATE_BACKEND="database", STATE_DATABASE_URL=f"sqlite:///{folder / 'stores.db'}")
        self.app.layout = lambda: html.Div(
            [create_session_component(), create_state_store_component("filters", ["first"]), html.Div(id="shown")]
        )

        @self.app.callback(Output("filters", "data"), Input("age", "value"), State("filters", "data"))
        @state_managed_callback({"filters": "filters"}, outputs="filters")
        def change(age: Any, filters: Any) -> Any:
            return [*(filters or ()), age]

        @self.app.callback(Output("other", "data"), Input("age", "value"))
        @state_managed_callback(outputs="filters")
        def replace(age: Any) -> Any:
            return [age]

        @self.app.callback(Output("shown", "children"), Input("filters", "data"))
        @state_managed_callback({"filters": "filters"})
        def show(filters: Any) -> Any:
            return [filters]

    def move(self, percent: float) -> None:
        """Have the server keep the store for so many percent of the users."""
        self.app.server.config["STATEMANAGER_STORES_ROLLOUT"] = {"filters": percent}
        with self.app.server.app_context():
            refresh_state_manager()

    def given(self, browser: Browser) -> list[Any]:
        """Return what the component of the store gets, beside what the callback shows."""
        answer = browser.client.post(UPDATE, json=browser.body("shown.children")).json
        assert answer is not None
        found = list(answer.get("sideUpdate", {}).values())
        for each in found:
            browser.props[DATA] = each["data"]
        return found

    def shown(self, browser: Browser) -> Any:
        """Return what a callback gets."""
        answer = browser.fire("shown.children")
        assert browser.status == 200, browser.text
        return answer["shown"]["children"][0]


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Dashboard]:
    made = Dashboard(tmp_path)
    made.move(0)
    yield made
    with made.app.server.app_context():
        refresh_state_manager(StateManagerConfig())


def test_what_a_browser_has_goes_to_the_server_and_comes_back(board: Dashboard) -> None:
    browser = Browser(board.app).open()
    browser.fire(DATA, age__value="client")
    assert browser.props[DATA] == ["first", "client"]
    board.move(100)
    assert board.shown(browser) == ["first", "client"]
    assert browser.props[DATA] == MOVED
    assert browser.fire(DATA, age__value="server") == {}
    assert board.shown(browser) == ["first", "client", "server"]
    with browser.at_work():
        assert get_store("filters") == ["first", "client", "server"]
    board.move(0)
    assert board.shown(browser) == ["first", "client", "server"]
    assert browser.props[DATA] == ["first", "client", "server"]
    browser.fire(DATA, age__value="client again")
    assert board.shown(browser) == browser.props[DATA] == ["first", "client", "server", "client again"]
    board.move(100)
    assert board.shown(browser) == ["first", "client", "server", "client again"]
    assert browser.props[DATA] == MOVED


def test_an_answer_that_was_lost_on_its_way_is_given_again(board: Dashboard) -> None:
    browser = Browser(board.app).open()
    before = ["first"]

    def lost(shown: Any) -> None:
        assert board.shown(browser) == shown
        browser.props[DATA] = before

    board.move(100)
    lost(["first"])
    browser.fire(DATA, age__value=1)
    browser.props[DATA] = before
    lost(["first", 1])
    board.move(0)
    lost(["first", 1])
    lost(["first", 1])
    # In the share again before it had arrived, and out of it.
    board.move(100)
    lost(["first", 1])
    board.move(0)
    assert board.shown(browser) == ["first", 1]
    assert browser.props[DATA] == ["first", 1]
    browser.props[DATA] = ["mine"]
    assert board.shown(browser) == ["mine"]


def test_who_has_the_servers_value_already_is_not_given_it_for_ever(board: Dashboard) -> None:
    browser = Browser(board.app).open()
    board.move(100)
    assert board.shown(browser) == ["first"]
    board.move(0)
    # A tab of before the move.
    browser.props[DATA] = ["first"]
    assert board.given(browser) == []
    browser.fire("other.data", age__value="client")
    browser.fire("other.data", age__value=None)
    browser.props[DATA] = [None]
    assert board.given(browser) == []
    browser.props[DATA] = MOVED
    assert board.given(browser) == [{"data": [None]}]
    assert board.given(browser) == []


def test_what_is_written_without_being_read_is_not_lost_either(board: Dashboard) -> None:
    browser = Browser(board.app).open()
    board.move(100)
    assert browser.fire("other.data", age__value="server") == {}
    assert browser.props[DATA] == ["first"]
    board.move(0)
    with browser.at_work():
        assert get_store("filters") == ["server"]
        assert get_state_manager().batch_get_stores(["filters"]) == {"filters": ["server"]}
        assert get_state_manager().store_exists("filters")
    browser.fire("other.data", age__value="client")
    with browser.at_work():
        assert get_store("filters") is CLIENT_MANAGED
        assert not get_state_manager().store_exists("filters")
    browser.props[DATA] = browser.props["other.data"]
    assert board.shown(browser) == ["client"]
    with browser.at_work():
        assert get_state_manager().delete_store_data("filters")
        assert get_state_manager().set_store_data("filters", 1) == 1
        assert get_state_manager().batch_set_stores({"filters": 2, "all": 3}) == {"filters": 2, "all": dash.no_update}
        with pytest.raises(ConfigurationError, match="STATEMANAGER_STORES_ROLLOUT"):
            get_state_manager().update_store_data("filters", {})


def test_many_pages_of_one_browser_take_over_once(board: Dashboard) -> None:
    browser = Browser(board.app).open()
    board.move(100)
    barrier, found = threading.Barrier(4, timeout=PATIENCE), []

    def use(number: int) -> None:
        page = Browser(board.app)
        page.props = {**browser.props, DATA: [number]}
        body = page.body("shown.children")
        barrier.wait()
        client = board.app.server.test_client(use_cookies=False)
        found.append(client.post("/_dash-update-component", json=body, headers=cookie).json)

    saved = browser.client.get_cookie("session")
    assert saved is not None
    cookie = {"Cookie": f"session={saved.value}"}
    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    shown = [each["response"]["shown"]["children"] for each in found]
    assert len(shown) == 4
    assert shown == [shown[0]] * 4


def test_the_same_users_are_in_and_more_with_each_percent() -> None:
    before: set[str] = set()
    for percent in (0, 10, 25, 50, 100):
        now = {user for user in USERS if included({"filters": percent}, "filters", user)}
        assert before <= now
        assert abs(len(now) - percent * 4) < 40
        before = now
    assert {user for user in USERS if included({"filters": 25}, "filters", user)} != {
        user for user in USERS if included({"*": 25}, "notes", user)
    }
    assert all(included({"filters": 0}, "notes", user) for user in USERS)


def test_a_percentage_decides_for_each_user_in_every_verb() -> None:
    manager = StateManager(StateManagerConfig("memory", rollout={"filters": 50}))
    inside = [user for user in USERS[:20] if included({"filters": 50}, "filters", user)]
    for user in USERS[:20]:
        answer = manager.set_store_data("filters", user, user_id=user)
        assert answer is (NO_UPDATE if user in inside else user)
        assert manager.get_store_data("filters", user_id=user) == (user if user in inside else CLIENT_MANAGED)
        assert manager.store_exists("filters", user_id=user) is (user in inside)
        assert manager.set_store_data("notes", user, user_id=user) is NO_UPDATE
    assert 0 < len(inside) < 20
    assert manager.get_backend_stats()["total_keys"] == 20 + len(inside)
    manager.close()


def test_percentages_can_be_written_as_text_and_are_checked() -> None:
    app = dash_app(STATEMANAGER_STORES_ROLLOUT="filters=25, notes=50.5")
    with app.server.app_context():
        assert get_state_manager().config.rollout == {"filters": 25.0, "notes": 50.5}
        assert not get_state_manager().is_client_managed()
        assert get_state_manager().is_client_managed("filters") is not included({"filters": 25}, "filters", None)
        assert not get_state_manager().is_client_managed("other")
    for wrong in ("filters", {"filters": 101}, {"filters": "x"}, ["filters"], {7: 1}, {"": 1}):
        with pytest.raises(ConfigurationError, match="rollout"):
            StateManagerConfig(rollout=wrong)  # type: ignore[arg-type]


def test_while_the_server_cannot_be_reached_the_browser_goes_on_with_what_it_has() -> None:
    gone = StateManagerConfig("redis", redis_url="redis://127.0.0.1:1/0", rollout={"filters": 0})
    manager = StateManager(gone)
    assert manager.settle_store_data("filters", [1], user_id="ada") == Settled([1])
    assert manager.get_store_data("filters", user_id="ada") is CLIENT_MANAGED
    assert manager.set_store_data("filters", 1, user_id="ada") == 1
    assert not manager.delete_store_data("filters", user_id="ada")
    with pytest.raises(StorageUnavailable):
        manager.settle_store_data("filters", MOVED, user_id="ada")
    manager.close()
    inside = StateManagerConfig("redis", redis_url="redis://127.0.0.1:1/0", rollout={"*": 100}, on_unavailable="client")
    manager = StateManager(inside)
    assert manager.settle_store_data("filters", [1], user_id="ada") == Settled([1])
    assert manager.settle_store_data("filters", MOVED, user_id="ada") == Settled(None)
    manager.close()


def test_a_store_that_does_not_move_is_settled_as_it_is() -> None:
    manager = StateManager(StateManagerConfig("memory"))
    assert manager.settle_store_data("filters", [1]) == Settled([1], AS_IT_IS)
    with pytest.raises(StateValidationError):
        manager.settle_store_data("", [1])
    manager.close()


def test_racers_win_every_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = StateManager(StateManagerConfig("memory", rollout={"filters": 100}))
    server = manager._open().server
    assert server is not None
    server.set("filters", [0])
    before = server.noted("filters")
    monkeypatch.setattr(server, "noted", lambda *_args: None)
    with pytest.raises(StateConflict):
        handing.taken_over(server, "filters", None, [1])
    server.delete("filters")
    monkeypatch.setattr(server, "noted", lambda *_args: before)
    for give in (handing.handed_back, handing.passed_on):
        with pytest.raises(StateConflict):
            give(server, "filters", None, [1])
    manager.close()


def test_a_move_to_another_backend_carries_what_was_handed_to_whom(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'stores.db'}"
    manager = StateManager(StateManagerConfig("memory", database_url=url, rollout={"filters": 0}))
    server = manager._open().server
    assert server is not None
    server.set("filters", "server", user_id="ada")
    assert manager.settle_store_data("filters", "old", user_id="ada") == Settled("server", "server")
    manager.migrate_to_server_backend("database")
    assert manager.settle_store_data("filters", "old", user_id="ada") == Settled("server", "server")
    assert manager.settle_store_data("filters", "newer", user_id="ada") == Settled("newer")
    manager.close()

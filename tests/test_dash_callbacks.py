"""Callbacks of Dash that are filled from stores and keep what they return, as a browser fires them over HTTP."""

from __future__ import annotations

import functools
import sqlite3
import threading
from pathlib import Path
from typing import Any

import dash
import diskcache
import pandas as pd
import pytest
from dash import ALL, MATCH, Input, Output, State, dcc, html
from dash.exceptions import BackgroundCallbackError

from flask_statemanager import ConfigurationError, StateValidationError, StorageUnavailable
from flask_statemanager.integrations.dash import (
    create_session_component,
    create_state_store_component,
    get_state_manager,
    get_user_session_from_context,
    migrate_callback_to_state_manager,
    set_store,
    state_managed_callback,
)
from flask_statemanager.integrations.dash import registered as taken
from flask_statemanager.stores import (
    NO_UPDATE,
    MemoryStateBackend,
    StateManagerConfig,
    get_store,
    refresh_state_manager,
    set_user_context,
    user_context,
)
from tests.dash_browser import PATIENCE, Browser, dash_app

SESSION = State("user-session-id", "data")
CHANGE = {"output": Output("filters", "data"), "inputs": Input("age", "value")}


def page(app: dash.Dash) -> None:
    app.layout = lambda: html.Div(
        [create_session_component(), create_state_store_component("filters"), html.Div(id="shown"), dcc.Input(id="age")]
    )


@pytest.fixture(params=["memory", "client"])
def dashboard(request: pytest.FixtureRequest) -> dash.Dash:
    made = dash_app(STATE_BACKEND=request.param)
    page(made)
    return made


def kept_by_server(app: dash.Dash) -> bool:
    return bool(app.server.config["STATE_BACKEND"] == "memory")


# -- parameters --------------------------------------------------------------------------------------------------------


def test_what_one_callback_returns_another_one_is_filled_with(dashboard: dash.Dash) -> None:
    @dashboard.callback(**CHANGE)
    @state_managed_callback(outputs="filters")
    def change(age: int) -> dict[str, int]:
        return {"age": age}

    @dashboard.callback(Output("shown", "children"), Input("age", "value"), State("filters", "data"), SESSION)
    @state_managed_callback({"filters": "filters"})
    def show(age: int, filters: Any, user_session_id: str) -> list[Any]:
        return [age, filters, user_session_id == get_user_session_from_context()]

    browser = Browser(dashboard).open()
    assert browser.fire("filters.data", age__value=18) == (
        {} if kept_by_server(dashboard) else {"filters": {"data": {"age": 18}}}
    )
    assert browser.props["filters.data"] == (None if kept_by_server(dashboard) else {"age": 18})
    assert browser.fire("shown.children", age__value=19) == {"shown": {"children": [19, {"age": 18}, True]}}
    other = Browser(dashboard).open()
    assert other.fire("shown.children", age__value=20) == {"shown": {"children": [20, None, True]}}


@pytest.mark.parametrize("place", ["above", "below", "migrated"])
def test_the_decorator_works_above_and_below_the_one_of_dash(dashboard: dash.Dash, place: str) -> None:
    managed = state_managed_callback({"filters": "filters"}, outputs="filters")
    registered = dashboard.callback(Output("filters", "data"), Input("age", "value"), State("filters", "data"))

    def change(age: int, filters: Any) -> dict[str, Any]:
        return {**(filters or {}), str(age): age}

    if place == "above":
        managed(registered(change))
    elif place == "below":
        registered(managed(change))
    else:
        migrate_callback_to_state_manager(registered(change), {"filters": "filters"}, outputs="filters")
    browser = Browser(dashboard).open()
    for age in (1, 2):
        browser.fire("filters.data", age__value=age)
    with browser.at_work():
        found = get_store("filters") if kept_by_server(dashboard) else browser.props["filters.data"]
    assert found == {"1": 1, "2": 2}


def test_above_it_takes_the_place_in_every_app_and_in_the_global_list() -> None:
    earlier, latest = dash_app(), dash_app()
    shown = Output("shown", "children"), Input("age", "value")

    def show(filters: Any) -> Any:
        return [filters]

    for app in (earlier, latest):
        page(app)
        state_managed_callback({"filters": "filters"})(app.callback(*shown)(show))
    state_managed_callback({"filters": "filters"})(dash.callback(Output("other", "children"), shown[1])(show))
    for app in (earlier, latest):
        assert Browser(app).open().fire("shown.children") == {"shown": {"children": [None]}}
    assert Browser(earlier).open().fire("other.children") == {"other": {"children": [None]}}


def test_above_in_an_app_that_was_not_known_yet_it_takes_the_place_when_a_page_is_opened() -> None:
    app = dash_app()
    page(app)
    dash_app()
    taken._apps.discard(app)

    @state_managed_callback({"filters": "filters"})
    @app.callback(Output("shown", "children"), Input("age", "value"))
    def show(filters: Any) -> Any:
        return [filters]

    assert Browser(app).open().fire("shown.children", age__value=7) == {"shown": {"children": [None]}}


def test_above_a_background_callback_it_is_refused() -> None:
    app = dash_app()
    with pytest.raises(ConfigurationError, match="below @callback"):

        @state_managed_callback({"filters": "filters"})
        @app.callback(Output("shown", "children"), Input("age", "value"), background=True)
        def show(filters: Any) -> Any:
            return filters


def test_above_a_decorator_that_stands_above_the_one_of_dash_it_is_refused() -> None:
    app = dash_app()

    def logged(function: Any) -> Any:
        @functools.wraps(function)
        def called(*args: Any) -> Any:
            return function(*args)

        return called

    with pytest.raises(ConfigurationError, match="callback show before it was managed"):

        @state_managed_callback({"filters": "filters"})
        @logged
        @app.callback(Output("shown", "children"), Input("age", "value"))
        def show(filters: Any) -> Any:
            return filters


def test_a_method_is_managed_wherever_dash_has_it() -> None:
    class Board:
        def show(self, filters: Any) -> Any:
            return [filters]

    app, one, other = dash_app(), Board(), Board()
    page(app)
    shown = {name: app.callback(Output(name, "children"), Input("filters", "data")) for name in ("one", "other")}
    shown["one"](one.show)
    shown["other"](other.show)
    migrate_callback_to_state_manager(one.show, {"filters": "filters"})
    browser = Browser(app).open()
    assert browser.fire("one.children", filters__data="sent") == {"one": {"children": [None]}}
    assert browser.fire("other.children") == {"other": {"children": ["sent"]}}


def test_parameters_are_found_whatever_the_signature() -> None:
    app = dash_app()
    page(app)
    managed = state_managed_callback({"filters": "filters"})
    shown: list[Any] = []

    @app.callback(Output("a", "children"), Input("age", "value"))
    @managed
    def first(filters: Any, user_session_id: str, age: int) -> None:
        shown.append((filters, user_session_id.startswith("session-"), age))

    @app.callback(Output("b", "children"), inputs={"age": Input("age", "value")}, state={"user_session_id": SESSION})
    @managed
    def named(*, filters: Any = None, **others: Any) -> None:
        shown.append((filters, others["user_session_id"].startswith("session-"), others["age"]))

    @app.callback(Output("c", "children"), inputs={"all": (Input("age", "value"), {"old": State("filters", "data")})})
    @managed
    def grouped(all: Any, filters: Any) -> None:  # noqa: A002 - a name as any
        shown.append((filters, len(all) == 2, all[0]))

    @app.callback(Output("d", "children"), Input("age", "value"), State("filters", "data"))
    @managed
    def rest(*sent: Any, filters: Any) -> None:
        shown.append((filters, len(sent) == 2, sent[0]))

    @app.callback(Output("e", "children"), Input("age", "value"), State("filters", "data"), SESSION)
    @managed
    def everything(age: int, /, filters: Any, user_session_id: str, more: str = "x") -> None:
        shown.append((filters, user_session_id.startswith("session-"), age))

    browser = Browser(app).open()
    with browser.at_work():
        set_store("filters", {"sex": "f"})
    for output in "abcde":
        browser.fire(f"{output}.children", age__value=18)
        assert browser.status == 200, browser.text
    assert shown == [({"sex": "f"}, True, 18)] * 5


def test_a_parameter_that_the_browser_keeps_has_its_default_where_it_was_not_sent() -> None:
    app = dash_app(STATE_BACKEND="client")
    page(app)

    @app.callback(Output("shown", "children"), Input("age", "value"))
    @state_managed_callback({"filters": "filters", "notes": "notes"})
    def show(age: int, filters: Any, notes: str = "none") -> list[Any]:
        return [age, filters, notes]

    assert Browser(app).open().fire("shown.children", age__value=1) == {"shown": {"children": [1, None, "none"]}}


def test_a_parameter_that_does_not_exist_is_refused_at_import() -> None:
    with pytest.raises(ConfigurationError, match="no parameter 'filter'"):

        @state_managed_callback({"filter": "filters"})
        def show(filters: Any) -> None:
            pass

    with pytest.raises(ConfigurationError, match="no function"):
        state_managed_callback()("filters")  # type: ignore[type-var]


def test_too_many_or_too_few_arguments_are_pythons_own_error() -> None:
    @state_managed_callback({"filters": "filters"})
    def show(age: int, filters: Any) -> None:
        pass

    for wrong in ((), (1, 2, 3)):
        with user_context("ada"), pytest.raises(TypeError):
            show(*wrong)


# -- answers -----------------------------------------------------------------------------------------------------------


def test_of_several_outputs_some_are_stores(dashboard: dash.Dash) -> None:
    several = [Output("filters", "data"), Output("shown", "children"), Output("notes", "data")]

    @dashboard.callback(several, Input("age", "value"))
    @state_managed_callback(outputs=["filters", None, "notes"])
    def change(age: int) -> tuple[Any, ...]:
        return {"age": age}, age, (dash.no_update if age == 1 else ["note"])

    @dashboard.callback(
        output={"one": Output("one", "data"), "two": Output("two", "children")}, inputs=[Input("age", "value")]
    )
    @state_managed_callback(outputs={"one": "one"})
    def named(age: int) -> dict[str, Any]:
        return {"one": [age], "two": age}

    browser = Browser(dashboard).open()
    mine = kept_by_server(dashboard)
    first = browser.fire("..filters.data...shown.children...notes.data..", age__value=1)
    assert first == {"shown": {"children": 1}} | ({} if mine else {"filters": {"data": {"age": 1}}})
    browser.fire("..filters.data...shown.children...notes.data..", age__value=2)
    second = browser.fire("..one.data...two.children..", age__value=3)
    assert second == {"two": {"children": 3}} | ({} if mine else {"one": {"data": [3]}})
    if mine:
        with browser.at_work():
            found = get_state_manager().batch_get_stores(["filters", "notes", "one"])
        assert found == {"filters": {"age": 2}, "notes": ["note"], "one": [3]}


FILTERS, LITERAL = Output("filters", "data"), {"type": "store", "index": "a"}
BOTH = [FILTERS, Output("shown", "children")]


@pytest.mark.parametrize(
    ("output", "outputs", "answer", "sentence"),
    [
        (FILTERS, ["filters"], [18, 65], "pass the store alone"),
        (FILTERS, {"filters": "filters"}, {"age": 1}, "pass the store alone"),
        (BOTH, "filters", ({}, 1), "a list with None"),
        (BOTH, ["filters", None, "notes"], ({}, 1), "the part 2, which the callback has not returned"),
        ([], ["filters", "notes"], 7, "the callback returned only one"),
    ],
)
def test_stores_that_do_not_fit_what_is_returned_are_an_error_and_nothing_is_kept_by_halves(
    output: Any, outputs: Any, answer: Any, sentence: str
) -> None:
    app = dash_app()
    page(app)
    handled: list[Exception] = []
    managed = state_managed_callback(outputs=outputs)(lambda _age: answer)
    app.callback(output, Input("age", "value"), on_error=handled.append)(managed)
    browser = Browser(app).open()
    browser.fire(app._callback_list[0]["output"])
    assert sentence in str(handled[0])
    with browser.at_work():
        assert get_state_manager().get_backend_stats()["total_keys"] == 0


def test_a_component_without_wildcards_is_a_store_and_no_stores_by_name() -> None:
    app = dash_app()
    page(app)
    app.callback(Output(LITERAL, "data"), Input("age", "value"))(
        state_managed_callback(outputs=LITERAL)(lambda age: {"index": age})
    )
    browser = Browser(app).open()
    assert browser.fire('{"index":"a","type":"store"}.data', age__value=1) == {}
    with browser.at_work():
        assert get_store('{"index":"a","type":"store"}') == {"index": 1}


def test_a_callback_without_outputs_keeps_what_it_returns() -> None:
    app = dash_app()
    page(app)
    one, both = Input("age", "value"), Input("filters", "data")
    app.callback(one)(state_managed_callback(outputs="filters", announce=True)(lambda age: age))
    app.callback(both)(state_managed_callback(outputs=["one", "two"])(lambda filters: filters))
    browser = Browser(app).open()
    first, second = (each["output"] for each in app._callback_list)
    browser.fire(first, age__value=18)
    assert browser.status == 204, browser.text
    for sent in ([1, 2], None):
        browser.fire(second, filters__data=sent)
        assert browser.status == 204, browser.text
    with browser.at_work():
        assert get_state_manager().batch_get_stores(["filters", "one", "two"]) == {"filters": 18, "one": 1, "two": 2}


def test_a_verb_within_a_callback_answers_what_dash_understands(dashboard: dash.Dash) -> None:
    @dashboard.callback(**CHANGE)
    def change(age: int) -> Any:
        if age == 1:
            return get_state_manager().set_store_data("filters", age)
        return get_state_manager().batch_set_stores({"filters": age})["filters"]

    @dashboard.callback(Output("a", "data"), Output("shown", "children"), Input("age", "value"))
    @state_managed_callback()
    def sentinels(age: int) -> Any:
        return (NO_UPDATE, age) if age < 3 else NO_UPDATE

    browser = Browser(dashboard).open()
    for age in (1, 2):
        assert browser.fire("filters.data", age__value=age) == (
            {} if kept_by_server(dashboard) else {"filters": {"data": age}}
        )
    assert browser.fire("..a.data...shown.children..") == {"shown": {"children": 2}}
    assert browser.fire("..a.data...shown.children..", age__value=3) == {}


def test_a_new_value_can_be_announced_so_that_callbacks_behind_it_run() -> None:
    app = dash_app()
    page(app)

    @app.callback(**CHANGE)
    @state_managed_callback(outputs="filters", announce=True)
    def change(age: int) -> Any:
        return {"age": age}

    @app.callback(Output("shown", "children"), Input("filters", "data"))
    @state_managed_callback({"filters": "filters"})
    def show(filters: Any) -> Any:
        return [filters]

    browser = Browser(app).open()
    first = browser.fire("filters.data", age__value=1)
    assert first != browser.fire("filters.data", age__value=1)
    assert browser.fire("shown.children") == {"shown": {"children": [{"age": 1}]}}
    with app.server.app_context():
        get_state_manager()
        app.server.extensions.clear()
        app.server.config["STATE_BACKEND"] = "client"
    assert browser.fire("shown.children") == {"shown": {"children": [None]}}


def test_what_cannot_be_kept_is_an_error_and_nothing_is_kept() -> None:
    app = dash_app()
    page(app)
    handled: list[Exception] = []

    @app.callback(Output("filters", "data"), Output("notes", "data"), Input("age", "value"), on_error=handled.append)
    @state_managed_callback(outputs={0: "filters", 1: "notes"})
    def change(age: int) -> Any:
        return age, dash.Patch()

    browser = Browser(app).open()
    browser.fire("..filters.data...notes.data..", age__value=1)
    assert [type(error) for error in handled] == [StateValidationError]
    with app.server.test_request_context():
        assert get_state_manager().get_backend_stats()["total_keys"] == 0


def test_an_unusable_mapping_of_outputs_is_refused() -> None:
    for wrong in (7, {None: "filters"}, [7]):
        with pytest.raises(ConfigurationError, match="outputs"):
            state_managed_callback(outputs=wrong)(lambda: None)  # type: ignore[arg-type]


def test_a_frame_stays_a_frame() -> None:
    app = dash_app()
    page(app)

    @app.callback(**CHANGE)
    @state_managed_callback(outputs="filters")
    def change(age: int) -> Any:
        return {"frame": pd.DataFrame({"age": [age, 65], "name": ["ada", None]})}

    @app.callback(Output("shown", "children"), Input("age", "value"))
    @state_managed_callback({"filters": "filters"})
    def show(age: int, filters: Any) -> Any:
        return [int(filters["frame"]["age"].sum()), type(filters["frame"]).__name__]

    browser = Browser(app).open()
    assert browser.fire("filters.data", age__value=18) == {}
    assert browser.fire("shown.children") == {"shown": {"children": [83, "DataFrame"]}}


@pytest.mark.parametrize("unavailable", ["error", "client"])
def test_while_the_server_cannot_be_reached_it_is_as_configured(unavailable: str) -> None:
    app = dash_app(
        STATE_BACKEND="redis",
        STATE_REDIS_URL="redis://127.0.0.1:1/0",
        STATEMANAGER_STORES_UNAVAILABLE=unavailable,
    )
    page(app)
    handled: list[Exception] = []

    @app.callback(
        Output("filters", "data"), Input("age", "value"), State("filters", "data"), SESSION, on_error=handled.append
    )
    @state_managed_callback({"filters": "filters"}, outputs="filters")
    def change(age: int, filters: Any, user_session_id: str) -> Any:
        return [*(filters or ()), age]

    browser = Browser(app).open()
    for age in (1, 2):
        browser.fire("filters.data", age__value=age)
    assert browser.props["filters.data"] == ([1, 2] if unavailable == "client" else None)
    assert [type(error) for error in handled] == ([] if unavailable == "client" else [StorageUnavailable] * 2)


def test_what_was_made_without_the_servers_value_does_not_take_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    app = dash_app(STATEMANAGER_STORES_UNAVAILABLE="client")
    page(app)

    @app.callback(Output("filters", "data"), Input("age", "value"), State("filters", "data"))
    @state_managed_callback({"filters": "filters"}, outputs="filters")
    def change(age: int, filters: Any) -> Any:
        return [*(filters or ()), age]

    browser = Browser(app).open()
    for age in (1, 2):
        browser.fire("filters.data", age__value=age)

    def gone(*_args: Any) -> Any:
        raise StorageUnavailable("gone for a moment")

    with monkeypatch.context() as patched:
        patched.setattr(MemoryStateBackend, "get_many", gone)
        assert browser.fire("filters.data", age__value=3) == {"filters": {"data": [3]}}
    with browser.at_work():
        assert get_store("filters") == [1, 2]


# -- components of a pattern -------------------------------------------------------------------------------------------


def test_each_component_of_a_pattern_is_a_store() -> None:
    app = dash_app()
    page(app)
    store, all_of_them = {"type": "row", "index": MATCH}, {"type": "row", "index": ALL}

    @app.callback(Output(store, "data"), Input({"type": "age", "index": MATCH}, "value"), State(store, "data"))
    @state_managed_callback({"row": store}, outputs=store)
    def change(age: int, row: Any) -> Any:
        return [*(row or ()), age]

    @app.callback(Output("shown", "children"), inputs={"rows": Input(all_of_them, "data")})
    @state_managed_callback({"rows": all_of_them})
    def show(rows: Any) -> Any:
        return rows

    @app.callback(Output(all_of_them, "data"), Input("age", "value"), State(all_of_them, "data"))
    @state_managed_callback({"rows": all_of_them}, outputs=all_of_them)
    def double(age: int, rows: Any) -> Any:
        return [None if row is None else row * age for row in rows] if age else [1]

    browser = Browser(app).open()
    ids = [{"index": number, "type": "row"} for number in (1, 2)]
    sent = [{"id": each, "property": "data", "value": None} for each in ids]

    def fire_one(number: int, age: int) -> None:
        body = browser.body('{"index":["MATCH"],"type":"row"}.data')
        body["outputs"] = {"id": ids[number - 1], "property": "data"}
        body["inputs"] = [{"id": {"index": number, "type": "age"}, "property": "value", "value": age}]
        body["state"] = [sent[number - 1]]
        assert browser.post(body) == {}

    def fire_all(age: int) -> None:
        body = browser.body('{"index":["ALL"],"type":"row"}.data')
        body["outputs"] = [{"id": each, "property": "data"} for each in ids]
        body["inputs"] = [{"id": "age", "property": "value", "value": age}]
        body["state"] = [sent]
        browser.post(body)

    fire_one(1, 18)
    fire_one(1, 19)
    fire_one(2, 20)
    fire_all(2)
    assert browser.status == 200, browser.text
    body = browser.body("shown.children")
    body["inputs"] = [sent]
    assert browser.post(body) == {"shown": {"children": [[18, 19, 18, 19], [20, 20]]}}
    app.server.testing = True
    with pytest.raises(StateValidationError, match="2 components"):
        fire_all(0)
    for foreign in ({"type": "other", "index": 1}, {"type": "row"}, "filters", None):
        body["inputs"] = [[{"id": foreign, "property": "data", "value": None}]]
        with pytest.raises(StateValidationError, match="no component of the pattern"):
            browser.post(body)


# -- what Dash has besides ---------------------------------------------------------------------------------------------


def test_running_no_initial_call_context_set_props_and_prevent_update_work_as_ever() -> None:
    app = dash_app()
    page(app)

    @app.callback(
        Output("shown", "children"),
        Input("age", "value"),
        running=[(Output("age", "disabled"), True, False)],
        prevent_initial_call=True,
    )
    @state_managed_callback({"filters": "filters"})
    def show(age: int, filters: Any) -> Any:
        if age == 0:
            raise dash.exceptions.PreventUpdate
        dash.set_props("note", {"children": dash.ctx.triggered_id})
        return age

    browser = Browser(app).open()
    spec = next(each for each in browser.client.get("/_dash-dependencies").json if each["output"] == "shown.children")
    assert spec["prevent_initial_call"]
    assert spec["running"] == {"running": {"age.disabled": True}, "runningOff": {"age.disabled": False}}
    assert browser.fire("shown.children", age__value=5) == {"shown": {"children": 5}}
    assert browser.props["note.children"] == "age"
    browser.fire("shown.children", age__value=0)
    assert browser.status == 204
    assert show.__name__ == "show"


def test_a_callback_may_be_asynchronous_above_and_below() -> None:
    app = dash_app()
    page(app)

    @app.callback(Output("shown", "children"), Input("age", "value"))
    @state_managed_callback({"filters": "filters"})
    async def show(age: int, filters: Any) -> Any:
        return [age, filters]

    @state_managed_callback(outputs="filters")
    @app.callback(**CHANGE)
    async def change(age: int) -> Any:
        return {"age": age}

    browser = Browser(app).open()
    assert browser.fire("filters.data", age__value=1) == {}
    assert browser.fire("shown.children") == {"shown": {"children": [1, {"age": 1}]}}


def test_a_callback_without_an_output_and_one_with_an_endpoint_are_managed_too() -> None:
    app = dash_app()
    page(app)
    seen: list[Any] = []

    @app.callback(Input("age", "value"))
    @state_managed_callback({"filters": "filters"})
    def see(age: int, filters: Any) -> None:
        seen.append((age, filters))

    @state_managed_callback({"filters": "filters"})
    @app.callback(Output("shown", "children"), Input("age", "value"), SESSION, api_endpoint="/api/shown")
    def show(age: int, user_session_id: str, filters: Any) -> Any:
        return [age, filters, user_session_id]

    app.setup_apis()
    browser = Browser(app).open()
    body = browser.body(browser.client.get("/_dash-dependencies").json[0]["output"])
    body["outputs"] = []
    browser.post({**body, "inputs": [{"id": "age", "property": "value", "value": 3}]})
    assert (browser.status, seen) == (204, [(3, None)])
    user = browser.fire("shown.children", age__value=1)["shown"]["children"][2]
    for claimed, status in (({}, 200), ({"user_session_id": user}, 200), ({"user_session_id": "session-other"}, 403)):
        answer = browser.client.post("/api/shown", json={"age": 2, "filters": "forged", **claimed})
        assert answer.status_code == status
        if status == 200:
            assert answer.json == [2, None, user]


class ThreadsCache(diskcache.Cache):
    """Closes the connection of a thread as the thread ends; diskcache leaves it to whoever collects it."""

    @property
    def _con(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = super()._con
        known = getattr(self._local, "ends", None)
        if known is None or known.connection is not connection:
            self._local.ends = Closed(connection)
        return connection


class Closed:
    """Closes a connection when it goes itself, which for what is local to a thread is in the thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


@pytest.mark.slow
def test_a_background_callback_reads_and_keeps_in_a_process_of_its_own(tmp_path: Path) -> None:
    app = dash_app(STATE_BACKEND="database", STATE_DATABASE_URL=f"sqlite:///{tmp_path / 'stores.db'}")
    page(app)
    cache = ThreadsCache(str(tmp_path / "cache"))
    manager = dash.DiskcacheManager(cache)

    @app.callback(
        Output("filters", "data"),
        Input("age", "value"),
        State("filters", "data"),
        SESSION,
        background=True,
        manager=manager,
        progress=Output("progress", "children"),
    )
    @state_managed_callback({"filters": "filters"}, outputs="filters")
    def change(set_progress: Any, age: int, filters: Any, user_session_id: str) -> Any:
        set_progress("half")
        return [*(filters or ()), age]

    browser = Browser(app).open()
    for age in (1, 2):
        browser.background("filters.data", age__value=age)
        assert browser.status == 204, browser.text
    with browser.at_work():
        assert get_store("filters") == [1, 2]
    cache.close()


class InThreads(dash.DiskcacheManager):
    """Runs background callbacks in threads, which know no more of the request than another process does."""

    def call_job_fn(self, key: str, job_fn: Any, args: Any, context: Any) -> int:
        thread = threading.Thread(target=job_fn, args=(key, self._make_progress_key(key), args, context))
        thread.start()
        thread.join(PATIENCE)
        return 0


def test_a_background_callback_knows_its_app_and_user_without_the_request(tmp_path: Path) -> None:
    cache = ThreadsCache(str(tmp_path / "cache"))
    manager = InThreads(cache)
    inputs = Input("age", "value"), State("filters", "data")
    apps = [
        dash_app(STATE_BACKEND="database", STATE_DATABASE_URL=f"sqlite:///{tmp_path / name}", SECRET_KEY=name)
        for name in ("first.db", "second.db")
    ]
    for number, app in enumerate(apps):
        page(app)

        # Dash tells background callbacks apart by their outputs and their source, not by their app.
        @app.callback(Output(f"kept{number}", "data"), *inputs, SESSION, background=True, manager=manager)
        @state_managed_callback({"filters": "filters"}, outputs="filters")
        def change(age: int, filters: Any, user_session_id: str) -> Any:
            return [*(filters or ()), age]

        @app.callback(Output("shown", "children"), *inputs, background=True, manager=manager)
        @state_managed_callback({"filters": "filters"})
        def anonymous(age: int, filters: Any) -> Any:
            return filters

    browsers = [Browser(app).open() for app in apps]
    for number, browser in enumerate(browsers):
        for _turn in range(2):
            browser.background(f"kept{number}.data", age__value=number)
        assert browser.status == 204, browser.text
        with browser.at_work():
            assert get_store("filters") == [number, number]
    mine, other = browsers[0], Browser(apps[0]).open()
    with apps[0].server.app_context():
        refresh_state_manager(StateManagerConfig("memory"))
    with pytest.raises(BackgroundCallbackError, match="a process of its own"):
        fails(mine, "kept0.data")
    with apps[0].server.app_context():
        refresh_state_manager()
    other.props["user-session-id.data"] = mine.props["user-session-id.data"]
    other.fire("kept0.data")
    assert (other.status, "not made for this browser" in other.text) == (403, True)
    with pytest.raises(BackgroundCallbackError, match="create_session_component"):
        fails(other, "shown.children")
    cache.close()


def fails(browser: Browser, output: str) -> None:
    """Fire a background callback of which the error is to be seen."""
    browser.app.server.testing = True
    try:
        browser.background(output, age__value=3)
    finally:
        browser.app.server.testing = False


# -- whose stores ------------------------------------------------------------------------------------------------------


def test_sixteen_browsers_at_once_see_their_own_only() -> None:
    app = dash_app()
    page(app)

    @app.callback(Output("filters", "data"), Input("age", "value"), State("filters", "data"), SESSION)
    @state_managed_callback({"filters": "filters"}, outputs="filters")
    def change(age: int, filters: Any, user_session_id: str) -> Any:
        set_user_context(user_session_id)
        return [*(filters or ()), age]

    @app.callback(Output("shown", "children"), Input("age", "value"), SESSION)
    @state_managed_callback({"filters": "filters"})
    def show(age: int, user_session_id: str, filters: Any) -> Any:
        return [user_session_id, filters]

    Browser(app).open()
    barrier, shown = threading.Barrier(16, timeout=PATIENCE), {}

    def use(number: int) -> None:
        browser = Browser(app).open()
        barrier.wait()
        for turn in range(3):
            browser.fire("filters.data", age__value=[number, turn])
        shown[number] = browser.fire("shown.children")["shown"]["children"]

    threads = [threading.Thread(target=use, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert {number: found for number, (_user, found) in shown.items()} == {
        number: [[number, turn] for turn in range(3)] for number in range(16)
    }
    assert len({user for user, _found in shown.values()}) == 16


def test_outside_of_dash_a_callback_is_a_function() -> None:
    @state_managed_callback({"filters": "filters"}, outputs="filters")
    def change(filters: Any, user_session_id: str) -> Any:
        return [*(filters or ()), user_session_id]

    app = dash_app()
    with app.server.app_context(), user_context("ada"):
        change(None, "ada")
        change(None, None)
        assert get_store("filters") == ["ada", "ada"]
    manager = type(get_state_manager())(StateManagerConfig("memory"))
    assert manager.set_store_data("a", 1) is dash.no_update
    manager.close()

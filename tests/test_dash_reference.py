"""The usages that a description of a Dash app's own state manager prints, as printed; only import lines are others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dash
import pytest
from dash import Input, Output, State, html

from flask_statemanager.integrations.dash import create_session_component, create_state_store_component
from flask_statemanager.stores import CLIENT_MANAGED, get_store, set_store
from tests.dash_browser import Browser, dash_app

PRINTED = """\
### Basic Usage
```python
from state_manager import get_state_manager

# Get global StateManager instance
sm = get_state_manager()

# Set user context
sm.set_user_context('user-123')

# Store and retrieve data
sm.set_store_data('my-store', {'key': 'value'})
data = sm.get_store_data('my-store')
```

### Convenience Functions
```python
from state_manager import get_store, set_store

# Simple store operations
set_store('filters', {'age': [18, 65]})
filters = get_store('filters')
```

### Callback Integration
```python
from state_utils import state_managed_callback

@state_managed_callback(store_mappings={'filters': 'phenotypic-filters-store'})
@callback(...)
def my_callback(filters, user_session_id):
    # filters automatically loaded from StateManager
    return process_data(filters)
```
"""

MODULES = {"state_manager": "flask_statemanager.stores", "state_utils": "flask_statemanager.integrations.dash"}
SHOWN = Output("shown", "children")
STORE, SESSION = "phenotypic-filters-store", State("user-session-id", "data")


def block(title: str, **modules: str) -> str:
    """Return a printed block with its import line changed."""
    found = re.search(rf"### {title}\n```python\n(.*?)```", PRINTED, re.S)
    assert found is not None
    return re.sub(
        r"^from (\w+) import", lambda line: f"from {(MODULES | modules)[line[1]]} import", found[1], flags=re.M
    )


def typed(text: str, **names: Any) -> dict[str, Any]:
    """Run what is printed, and return the names that it leaves."""
    exec(compile(text, "dash-stores", "exec", dont_inherit=True), names)  # noqa: S102 - the text above
    return names


@pytest.fixture(params=["client", "memory", "database"])
def dashboard(request: pytest.FixtureRequest, tmp_path: Path) -> dash.Dash:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    made = dash_app(STATE_BACKEND=request.param, STATE_DATABASE_URL=url)
    made.layout = lambda: html.Div(
        [create_session_component(), create_state_store_component(STORE), html.Div(id="shown")]
    )
    return made


@pytest.mark.parametrize("module", ["flask_statemanager.stores", "flask_statemanager.integrations.dash"])
def test_the_verbs_within_a_dash_app(dashboard: dash.Dash, module: str) -> None:
    client = dashboard.server.config["STATE_BACKEND"] == "client"
    with dashboard.server.test_request_context():
        assert typed(block("Basic Usage", state_manager=module))["data"] == (
            CLIENT_MANAGED if client else {"key": "value"}
        )
        assert typed(block("Convenience Functions", state_manager=module))["filters"] == (
            CLIENT_MANAGED if client else {"age": [18, 65]}
        )


@pytest.mark.parametrize(
    "dependencies",
    [(SHOWN, Input(STORE, "data"), SESSION), (SHOWN, Input("user-session-id", "data"))],
    ids=["with the store", "without it"],
)
def test_the_callback_is_filled_as_printed(dashboard: dash.Dash, dependencies: tuple[Any, ...]) -> None:
    names = typed(
        block("Callback Integration"),
        callback=lambda _dots: dash.callback(*dependencies),
        process_data=lambda filters: [filters, "processed"],
    )
    browser = Browser(dashboard).open()
    if dashboard.server.config["STATE_BACKEND"] != "client":
        with browser.at_work():
            set_store(STORE, {"age": [18, 65]})
            assert names["my_callback"](None, None) == [{"age": [18, 65]}, "processed"]
        browser.props[f"{STORE}.data"] = {"age": "made up"}
        expected: Any = {"age": [18, 65]}
    else:
        browser.props[f"{STORE}.data"] = {"age": [30, 40]}
        expected = {"age": [30, 40]} if len(dependencies) == 3 else None
    assert browser.fire("shown.children") == {"shown": {"children": [expected, "processed"]}}
    other = Browser(dashboard).open()
    assert other.fire("shown.children") == {"shown": {"children": [None, "processed"]}}
    with other.at_work():
        assert not get_store(STORE)

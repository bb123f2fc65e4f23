"""Callbacks of Dash that are filled from stores, as a browser fires them over HTTP."""

from __future__ import annotations

from typing import Any

import dash
from flask import Flask

from flask_statemanager.integrations.dash import create_session_component, state_managed_callback


def test_a_parameter_is_filled_from_the_store() -> None:
    server = Flask("dash")
    server.config.update(STATE_BACKEND="memory", SECRET_KEY="signed")
    app = dash.Dash("dash", server=server)
    app.layout = lambda: dash.html.Div([create_session_component(), dash.html.Div(id="shown")])

    @app.callback(dash.Output("shown", "children"), dash.Input("add", "n_clicks"))
    @state_managed_callback({"filters": "filters"})
    def show(clicks: int, filters: Any) -> str:
        return f"{clicks} {filters}"

    fired = {
        "output": "shown.children",
        "outputs": {"id": "shown", "property": "children"},
        "inputs": [{"id": "add", "property": "n_clicks", "value": 1}],
        "changedPropIds": ["add.n_clicks"],
    }
    answer = server.test_client().post("/_dash-update-component", json=fired)
    assert answer.json == {"multi": True, "response": {"shown": {"children": "1 None"}}}

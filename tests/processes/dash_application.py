"""A Dash app whose pages hear of their stores, for real servers: where the stores are says the environment."""

from __future__ import annotations

import json
import math
import os
from typing import Any

from dash import Dash, Input, Output, State, dcc, html
from flask import Flask, Response
from flask_sqlalchemy import SQLAlchemy

from flask_statemanager import StateManager
from flask_statemanager.integrations.dash import (
    StoreListener,
    create_session_component,
    create_state_store_component,
    push_stores,
    state_managed_callback,
    validate_state_manager_config,
)
from flask_statemanager.stores.opened import present_stores
from tests.processes.live_application import SETTINGS

WORKER = "X-Worker"
"""The header of each answer that tells which process it is of."""


def layout() -> html.Div:
    """Return a page."""
    return html.Div(
        [
            create_session_component(),
            create_state_store_component("filters"),
            StoreListener("filters"),
            dcc.Input(id="age"),
        ]
    )


def change(age: int, user_session_id: str) -> Any:
    """Return what the store is to hold."""
    return {"age": age}


def build(config: dict[str, Any]) -> Flask:
    """Put the application together, with the extension where it has a database of its own.

    :param config: its config.
    """
    server = Flask("dashboard")
    server.config.update(config)
    if "SQLALCHEMY_DATABASE_URI" in config:
        StateManager.reset_instance()
        db = SQLAlchemy()
        db.init_app(server)
        StateManager(server, db=db)
        with server.app_context():
            db.create_all()
    app = Dash("dashboard", server=server)
    push_stores(app)
    app.layout = layout
    app.callback(Output("filters", "data"), Input("age", "value"), State("user-session-id", "data"))(
        state_managed_callback(outputs="filters")(change)
    )

    @server.get("/pid")
    def pid() -> str:
        return str(os.getpid())

    @server.after_request
    def signed(answer: Response) -> Response:
        answer.headers[WORKER] = str(os.getpid())
        return answer

    # With --preload this uses the storage in the process from which the workers are forked.
    with server.app_context():
        validate_state_manager_config()
        backend = present_stores().server
        assert backend is not None
        # A slow machine takes longer than the time after which changes are cleared away, and could not be told them.
        backend._broom._next = math.inf
    return server


def from_environment() -> Flask:
    """Put the application together as the environment says."""
    return build(json.loads(os.environ[SETTINGS]))

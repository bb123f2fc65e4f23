"""An application with the API, for real servers: what it is like says the environment."""

from __future__ import annotations

import json
import os
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_statemanager import StateManager

SETTINGS = "LIVE_APPLICATION"
"""The environment variable with the config, as JSON."""


def build(config: dict[str, Any]) -> Flask:
    """Put the application together.

    :param config: its config.
    """
    StateManager.reset_instance()
    app = Flask("live")
    app.config.update(config)
    db = SQLAlchemy()
    db.init_app(app)
    StateManager(app, db=db)

    @app.get("/pid")
    def pid() -> str:
        return str(os.getpid())

    return app


def from_environment() -> Flask:
    """Put the application together as the environment says."""
    return build(json.loads(os.environ[SETTINGS]))

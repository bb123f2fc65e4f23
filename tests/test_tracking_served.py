"""Tracking on real servers of several processes: what was answered is noted once the server has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import websocket

from flask_statemanager import StateManager
from tests.processes.live_application import build
from tests.servers.web_server import WebServer
from tests.test_live_servers import OPERATOR, token

PATIENCE = 60
REQUESTS = 40
OPTIONS = {"gthread": ("--workers", "2", "--threads", "8"), "gevent": ("--workers", "2")}


@pytest.mark.parametrize("kind", OPTIONS)
def test_every_answer_is_noted_when_a_server_ends(kind: str, tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path / 'tracked.sqlite'}",
        "SQLALCHEMY_ENGINE_OPTIONS": {"connect_args": {"timeout": 60}},
        "STATEMANAGER_API_ENABLED": True,
        "STATEMANAGER_API_TOKENS": token("of-the-operator", "operator", "admin"),
        "STATEMANAGER_TRACK_REQUESTS": True,
        "STATEMANAGER_TRACK_SHARE": 1.0,
    }
    app = build(config)
    database = app.extensions["sqlalchemy"]
    with app.app_context():
        database.create_all()
        names = [f"{kind}-{number}" for number in range(REQUESTS)]
        with WebServer(kind, config, *OPTIONS[kind]) as server:
            address = f"127.0.0.1:{server.port}"
            with httpx.Client(trust_env=False, timeout=PATIENCE, headers=OPERATOR) as client:
                for name in names:
                    answer = client.get(f"http://{address}/api/v1/state/stats", headers={"X-Correlation-ID": name})
                    assert (answer.status_code, answer.headers["X-Correlation-ID"]) == (200, name)
            opened = websocket.create_connection(
                f"ws://{address}/api/v1/state/events", PATIENCE, header={**OPERATOR, "X-Correlation-ID": "socket"}
            )
            assert "subscribed" in opened.recv()
            opened.close(timeout=1)
            server.stop()
            notes = StateManager.get_instance().bucket("tracking").kv
            kept = set(notes.keys("request:", limit=10_000))
        wanted = {f"request:{name}{end}" for name in (*names, "socket") for end in ("", ":completion")}
        assert wanted <= kept
        assert notes.get("request:socket:completion")["status"] == 101
        assert notes.get("session:operator")["active"] is True
        app.extensions["statemanager"].close()
        database.engine.dispose()
    StateManager.reset_instance()

"""Live events on real servers of several processes, to clients that others wrote."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from flask_statemanager import StateManager
from tests.listeners import PATH, PATIENCE, WAYS, Listener, listening
from tests.processes.live_application import build
from tests.servers.web_server import WebServer

KILLS = 20
LISTENERS = 10
"""Of each kind."""

OPTIONS = {
    "development": (),
    "gthread": ("--workers", "2", "--threads", "24"),
    "gevent": ("--workers", "2"),
}


def token(text: str, user: str, *roles: str) -> dict[str, Any]:
    """What the settings say of a token."""
    return {hashlib.sha256(text.encode()).hexdigest(): {"user": user, "roles": list(roles)}}


def bearing(text: str) -> dict[str, str]:
    """The headers of whoever has a token."""
    return {"Authorization": f"Bearer {text}"}


OPERATOR, ADA = bearing("of-the-operator"), bearing("of-ada")


@dataclass
class Here:
    """An application on an SQLite file, in this process, and its config for others."""

    config: dict[str, Any]
    states: StateManager

    def serve(self, stack: ExitStack, kind: str, *options: str) -> WebServer:
        """Start a server of the same application."""
        return stack.enter_context(WebServer(kind, self.config, *options))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    config = {
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path / 'live.sqlite'}",
        "SQLALCHEMY_ENGINE_OPTIONS": {"connect_args": {"timeout": 60}},
        "STATEMANAGER_API_ENABLED": True,
        "STATEMANAGER_API_TOKENS": token("of-the-operator", "operator", "admin") | token("of-ada", "ada"),
        "STATEMANAGER_LIVE_HEARTBEAT": 1,
    }
    app = build(config)
    database = app.extensions["sqlalchemy"]
    with app.app_context():
        database.create_all()
        yield Here(config, StateManager.get_instance())
        app.extensions["statemanager"].close()
        database.engine.dispose()
    StateManager.reset_instance()


def address_of(server: WebServer) -> str:
    return f"127.0.0.1:{server.port}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", OPTIONS)
def test_what_any_process_commits_reaches_every_listener(here: Here, kind: str) -> None:
    """Two processes serve; this one writes, and so do they."""
    with ExitStack() as stack:
        servers = [here.serve(stack, kind, *OPTIONS[kind])]
        if kind == "development":
            servers.append(here.serve(stack, kind))
        everyone = [Listener(way, address_of(server), headers=OPERATOR) for server in servers for way in WAYS]
        everyone += [Listener(way, address_of(servers[0]), headers=OPERATOR) for way in WAYS for _ in range(4)]
        adas = [Listener(way, address_of(servers[0]), headers=ADA) for way in WAYS]
        with listening(everyone + adas):
            for each in everyone + adas:
                each.listens()
            here.states.kv.set("global:a", 1)
            here.states.register_state("user_1", "user", {"password": "x", "plan": "pro"}, owner="ada")
            address = address_of(servers[-1])
            answer = httpx.put(
                f"http://{address}/api/v1/state/job:1", json={"value": 2}, headers=OPERATOR, timeout=PATIENCE
            )
            assert answer.status_code in (200, 201)
            here.states.kv.set("user:ada:x", 3)
            keys = ["global:a", "user_1", "job:1", "user:ada:x"]
            for each in everyone:
                assert each.wait(lambda listener: len(listener.changes) >= 4).keys() == keys
                assert each.changes[1]["data"]["new_value"] == {"plan": "pro"}
            for each in adas:
                assert each.wait(lambda listener: len(listener.changes) >= 3).keys() == [
                    "global:a",
                    "user_1",
                    "user:ada:x",
                ]
            for server in servers:
                server.stop()
        for each in everyone + adas:
            each.join()


@pytest.mark.slow
def test_threads_are_left_for_requests(here: Here) -> None:
    """Of four threads two; a further listener is told when to come again."""
    with ExitStack() as stack:
        server = here.serve(stack, "gthread", "--workers", "1", "--threads", "4")
        url = f"http://{address_of(server)}"
        with listening([Listener(way, address_of(server), headers=OPERATOR) for way in WAYS]) as both:
            for each in both:
                each.listens()
            refused = httpx.get(f"{url}{PATH}/stream", headers=OPERATOR, timeout=PATIENCE)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
            assert httpx.get(f"{url}/api/v1/state/stats", headers=OPERATOR, timeout=PATIENCE).status_code == 200
            server.stop()
        for each in both:
            each.join()
            assert "goodbye" in each.kinds


@pytest.mark.slow
def test_nothing_is_missed_and_nothing_comes_twice_while_the_server_is_killed_again_and_again(here: Here) -> None:
    with ExitStack() as stack:
        server = here.serve(stack, "gthread", "--preload", "--workers", "1", "--threads", "40")
        address = address_of(server)
        listeners = [
            Listener(way, address, {"since": "0", "bucket": "kv"}, OPERATOR) for way in WAYS for _ in range(LISTENERS)
        ]
        with listening(listeners):
            for number in range(KILLS):
                here.states.kv.set_many({f"before:{number}:{each}": each for each in range(3)})
                # Every one is listening when the server is killed, on a slow machine too.
                for each in listeners:
                    each.wait(lambda listener, key=f"before:{number}:2": key in listener.keys()[-9:])
                here.states.kv.set(f"at:{number}", number)
                os.kill(server.worker(), signal.SIGKILL)
                here.states.kv.set(f"behind:{number}", number)
            here.states.kv.set("last", "one")
            with here.states.kv.watch(since="0", timeout=0) as watch:
                written = [event.revision for event in watch]
            assert len(written) == KILLS * 5 + 1
            for each in listeners:
                each.wait(lambda listener: listener.keys()[-1:] == ["last"])
                assert [change["data"]["revision"] for change in each.changes] == written
            assert min(each.begun for each in listeners) > KILLS
            server.stop()
        for each in listeners:
            each.join()

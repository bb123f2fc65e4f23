"""The embedded worker of a real application: started by a request, never by a command."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_statemanager.cli import state
from tests.worlds import World, build, entered, uri_for

PATIENCE = 60.0


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A world with an embedded worker that looks by itself once an hour only, and a view that registers a state."""
    uri = uri_for(request.param, tmp_path, request)
    world = build(request.param, uri, STATEMANAGER_WORKER="embedded", STATEMANAGER_WORKER_POLL=3600)

    @world.app.get("/<name>")
    def register(name: str) -> str:
        world.states.register_state(name, "user")
        return "registered"

    inside = entered(world)
    next(inside)
    try:
        yield world
    finally:
        assert world.runtime.workshop.embedded.stop(PATIENCE)
        next(inside, None)


def test_the_effect_of_a_request_is_done_behind_it_by_a_thread_of_the_process(shop: World) -> None:
    done, threads = threading.Semaphore(0), []

    def mail(*_call: Any) -> None:
        threads.append(threading.current_thread())
        done.release()

    shop.states.register_callback("user_created", mail, durable=True, name="mail")
    client = shop.app.test_client()
    for name in ("u1", "u2", "u3"):
        assert client.get(f"/{name}").text == "registered"
        assert done.acquire(timeout=PATIENCE)
    assert threading.current_thread() not in threads
    assert len([thread for thread in threading.enumerate() if thread.name == "statemanager-embedded"]) == 1


def test_neither_a_command_nor_a_script_starts_it(shop: World) -> None:
    shop.states.register_callback("user_created", lambda *call: None, durable=True, name="mail")
    shop.states.register_state("u1", "user")
    result = shop.app.test_cli_runner().invoke(state, ["show", "u1"])
    assert result.exit_code == 0, result.output
    assert not shop.runtime.workshop.embedded.running
    assert [effect.status for effect in shop.states.list_effects()] == ["pending"]

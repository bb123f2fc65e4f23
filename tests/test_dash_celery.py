"""Background callbacks of Dash in Celery: a real worker on a real broker reads and keeps stores of who has asked."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from dash.background_callback.managers import BaseBackgroundCallbackManager
from dash.exceptions import BackgroundCallbackError
from werkzeug.test import TestResponse

from flask_statemanager.stores import StateManagerConfig, get_store, refresh_state_manager
from tests.dash_browser import Browser

PATIENCE = 300.0

DASHBOARD = """
import os
import time
from pathlib import Path

from celery import Celery
from dash import CeleryManager, Dash, Input, Output, State, callback, html
from flask import Flask
from flask_statemanager.integrations.dash import (
    create_session_component,
    get_state_manager,
    state_managed_callback,
    validate_state_manager_config,
)

celery_app = Celery("dashboard", broker=os.environ["BROKER"], backend=os.environ["BROKER"], set_as_current=False)
celery_app.conf.broker_connection_retry_on_startup = True
celery_app.conf.worker_proc_alive_timeout = 240.0


@callback(
    Output("filters", "data"),
    Output("shown", "children"),
    Input("age", "value"),
    State("user-session-id", "data"),
    background=True,
    manager=CeleryManager(celery_app),
    progress=Output("progress", "children"),
)
@state_managed_callback({"filters": "filters"}, outputs=["filters", None])
def change(set_progress, age, filters, user_session_id):
    told = f"{user_session_id} at {age}"
    set_progress(told)
    ends = time.monotonic() + 240
    while not (Path(os.environ["FOLDER"]) / told).exists() and time.monotonic() < ends:
        time.sleep(0.02)
    get_state_manager().update_store_data("tried", lambda tried: (tried or 0) + 1)
    if age < 0:
        raise ValueError("nobody is as young as that")
    return [*(filters or ()), age], user_session_id


def create_app():
    server = Flask("dashboard")
    server.config.update(
        SECRET_KEY="signed",
        STATE_BACKEND=os.environ["KIND"],
    )
    server.config[f"STATE_{os.environ['KIND'].upper()}_URL"] = os.environ["PLACE"]
    app = Dash("dashboard", server=server, suppress_callback_exceptions=True)
    app.layout = lambda: html.Div([create_session_component()])
    # In a worker this uses the storage in the process from which its children are forked.
    with server.app_context():
        validate_state_manager_config()
    return app


app = None if os.environ.get("WITHOUT_APP") else create_app()
"""


class Watching(Browser):
    """A browser that leaves a file behind for what it is shown of the progress, which the callback waits for."""

    def _answered(self, answer: TestResponse) -> Any:
        found = super()._answered(answer)
        told = self.props.get("progress.children")
        if told is not None:
            Path(os.environ["FOLDER"], told).touch()
        return found


class Dashboard:
    """The application in this process, and Celery workers that import the same file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "dashboard.py").write_text(DASHBOARD)
        self.module = self._imported()
        self.app = self.module.app

    def _imported(self) -> ModuleType:
        found = importlib.util.spec_from_file_location("dashboard_of_the_test", self.folder / "dashboard.py")
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        return module

    @contextmanager
    def worker(self, **environment: str) -> Iterator[None]:
        """Run a Celery worker for the block, from the moment at which it is ready."""
        path = self.folder / f"worker{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "celery", "-A", "dashboard:celery_app", "worker", "--loglevel", "INFO"]
        with (
            path.open("wb") as log,
            subprocess.Popen(
                [*command, "--pool", "prefork", "--concurrency", "2", "--without-gossip", "--without-mingle"],
                cwd=self.folder,
                env={**os.environ, "C_FORCE_ROOT": "1", **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            ) as process,
        ):
            try:
                ends = time.monotonic() + PATIENCE
                while " ready." not in path.read_text(errors="replace"):
                    assert time.monotonic() < ends, path.read_text(errors="replace")
                    time.sleep(0.05)
                yield
            finally:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)

    def fails(self, browser: Browser, age: int, match: str) -> None:
        """Fire the callback, and see the error that it ends with."""
        self.app.server.testing = True
        with pytest.raises(BackgroundCallbackError, match=match):
            browser.background("..filters.data...shown.children..", age__value=age)
        self.app.server.testing = False

    def close(self) -> None:
        with self.app.server.app_context():
            refresh_state_manager(StateManagerConfig("client"))
        self.module.celery_app.close()


@pytest.fixture(params=["database", "redis"])
def dashboard(
    request: pytest.FixtureRequest, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Dashboard]:
    place = redis_url if request.param == "redis" else request.getfixturevalue("postgres_url")
    for name, value in {
        "KIND": request.param,
        "PLACE": place,
        "BROKER": redis_url,
        "FOLDER": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("managers", "functions"):
        monkeypatch.setattr(BaseBackgroundCallbackManager, name, [])
    dashboard = Dashboard(tmp_path)
    yield dashboard
    dashboard.close()


def change(browser: Browser, age: int) -> None:
    """Fire the callback, and hold what comes of it against what was asked."""
    browser.background("..filters.data...shown.children..", age__value=age)
    assert browser.status == 200, browser.text
    assert browser.props["progress.children"] == f"{browser.props['shown.children']} at {age}"


def stores_of(browser: Browser) -> tuple[Any, Any]:
    with browser.at_work():
        return get_store("filters"), get_store("tried")


@pytest.mark.slow
def test_a_celery_worker_reads_and_keeps_the_stores_of_who_has_asked(dashboard: Dashboard) -> None:
    ada, bob = Watching(dashboard.app).open(), Watching(dashboard.app).open()
    with dashboard.worker():
        together = [threading.Thread(target=change, args=(browser, 1)) for browser in (ada, bob)]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join(PATIENCE)
        change(ada, 2)
        assert (stores_of(ada), stores_of(bob)) == (([1, 2], 2), ([1], 1))
        assert ada.props["shown.children"] != bob.props["shown.children"]
        dashboard.fails(ada, -1, "nobody is as young")
        assert stores_of(ada) == ([1, 2], 3)
        bob.props["user-session-id.data"] = ada.props["user-session-id.data"]
        bob.fire("..filters.data...shown.children..", age__value=3)
        assert bob.status == 403
        assert "not made for this browser" in bob.text
    assert (stores_of(ada), stores_of(bob)) == (([1, 2], 3), ([1], 1))


@pytest.mark.slow
@pytest.mark.parametrize("dashboard", ["redis"], indirect=True)
def test_a_celery_worker_without_the_app_says_what_to_do(dashboard: Dashboard) -> None:
    browser = Watching(dashboard.app).open()
    with dashboard.worker(WITHOUT_APP="1"):
        dashboard.fails(browser, 1, "has no app.*celery -A dashboard:celery_app worker")
    assert stores_of(browser) == (None, None)

"""Clients that nobody here wrote use the API of the example: curl, websocket-client, httpx-sse, Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import websocket
from flask import Flask
from httpx_sse import ServerSentEvent, connect_sse
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from werkzeug.serving import make_server

from example_app import create_app
from example_app.browser import Browser
from example_app.extensions import db, state_manager
from example_app.features import set_rollout
from example_app.sample import LOGINS, load
from flask_statemanager import StateManager
from tests.servers.browser import ChromeDriver, complaints
from tests.servers.executables import ServerMissing
from tests.servers.fixtures import required

pytest_plugins = ["tests.servers.browser"]

PATIENCE = 60
TOKEN = "t0ken"
ADMIN, DEMO = "user_1", "user_2"


@dataclass(frozen=True)
class Demo:
    """The example, served on a port."""

    app: Flask
    root: str

    @property
    def api(self) -> str:
        return f"{self.root}api/v1/state"

    def do(self, act: Callable[[], Any]) -> Any:
        """Do something beside the server, in a context of the application."""
        with self.app.app_context():
            return act()


@pytest.fixture
def closed_connections() -> None:
    """Leave the connections of the server's threads to its end."""


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """The example with its two demo users, as ``python -m example_app`` serves it."""
    StateManager.reset_instance()
    app = create_app({"INSTANCE_PATH": tmp_path, "API_TOKEN": TOKEN, "STATEMANAGER_WORKER": "external"})
    with app.app_context():
        db.create_all()
        load(0)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Demo(app, f"http://127.0.0.1:{server.server_port}/")
    server.shutdown()
    thread.join(PATIENCE)
    server.server_close()
    app.extensions["statemanager"].close()
    with app.app_context():
        db.session.remove()
        db.engine.dispose()
    StateManager.reset_instance()


@pytest.fixture
def curl() -> Callable[..., str]:
    """Runs curl as the description of the service has it."""
    program = shutil.which("curl")
    if program is None:
        missing = "no curl on PATH: install it with `apt-get install curl`"
        if required():
            raise ServerMissing(missing)
        pytest.skip(missing)

    def run(*arguments: str) -> str:
        command = [program, "--silent", "--show-error", "--fail-with-body", "--noproxy", "*", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert ended.returncode == 0, f"{ended.stderr} {ended.stdout}"
        return ended.stdout

    return run


# -- the debug commands of the key-value service -----------------------------------------------------------------------


def test_state_statistics_by_curl(demo: Demo, curl: Callable[..., str]) -> None:
    answer = json.loads(curl("-H", f"Authorization: Bearer {TOKEN}", f"{demo.api}/stats"))
    assert answer["success"] is True
    assert {"total_keys", "total_size", "version", "metadata_keys"} <= answer["data"].keys()


def test_keys_with_a_prefix_by_curl(demo: Demo, curl: Callable[..., str]) -> None:
    browser = Browser(demo.root)
    browser.send(browser.get("login").form("/login"), login="demo", password=LOGINS["demo"][1])
    browser.get("purchases/")
    assert demo.do(lambda: state_manager.tracking.flush(PATIENCE))
    answer = json.loads(curl("-H", f"Authorization: Bearer {TOKEN}", f"{demo.api}/keys?prefix=session:"))
    assert answer == {"success": True, "data": {"keys": [f"session:{DEMO}"], "total": 1}}
    browser.send(browser.get("purchases/").form("/logout"))
    assert demo.do(lambda: state_manager.tracking.flush(PATIENCE))
    shown = json.loads(curl("-H", f"Authorization: Bearer {TOKEN}", f"{demo.api}/session:{DEMO}"))
    assert shown["data"]["value"]["active"] is False


def test_state_changes_over_a_web_socket_as_wscat_watches_them(demo: Demo) -> None:
    address = f"{demo.api}/events".replace("http:", "ws:")
    found = websocket.create_connection(address, PATIENCE, header=[f"Authorization: Bearer {TOKEN}"])
    try:
        assert json.loads(found.recv())["type"] == "subscribed"
        demo.do(lambda: state_manager.kv.set("market:BTC-USD", {"price": 1}, "price_feed"))
        while (message := json.loads(found.recv())).get("data", {}).get("key") != "market:BTC-USD":
            pass
    finally:
        found.close(timeout=1)
    assert message["type"] == "state_change"
    data = message["data"]
    assert (data["old_value"], data["new_value"], data["source"]) == (None, {"price": 1}, "price_feed")
    assert isinstance(data["timestamp"], int)
    with pytest.raises(websocket.WebSocketBadStatusException, match="401"):
        websocket.create_connection(address, PATIENCE)


# -- event streams -----------------------------------------------------------------------------------------------------


def told(event: ServerSentEvent) -> bool:
    """Leave out what only sets the cursor, or the pause before the next attempt, and tells a page nothing."""
    return event.data != ""


def test_an_event_stream_is_resumed_where_it_was_left(demo: Demo) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(timeout=PATIENCE, trust_env=False, headers=headers) as client:
        with connect_sse(client, "GET", f"{demo.api}/events/stream?bucket=kv&prefix=count") as source:
            source.response.raise_for_status()
            for number in range(3):
                demo.do(lambda number=number: state_manager.kv.set("count", number))
            first = next(filter(told, source.iter_sse()))
        assert json.loads(first.data)["data"]["new_value"] == 0
        again = {"Last-Event-ID": first.id}
        address = f"{demo.api}/events/stream?bucket=kv&prefix=count"
        with connect_sse(client, "GET", address, headers=again) as source:
            events = filter(told, source.iter_sse())
            assert [json.loads(next(events).data)["data"]["new_value"] for _ in range(2)] == [1, 2]


# -- the example's page in Chromium ------------------------------------------------------------------------------------


def logged_in(window: webdriver.Remote, demo: Demo, login: str) -> None:
    window.get(f"{demo.root}login?next=/live/")
    window.find_element(By.NAME, "login").send_keys(login)
    window.find_element(By.NAME, "password").send_keys(LOGINS[login][1])
    window.find_element(By.CSS_SELECTOR, "main form button").click()
    WebDriverWait(window, PATIENCE).until(lambda shown: badge(shown) == "live")


def badge(window: webdriver.Remote) -> str:
    return " ".join(element.text for element in window.find_elements(By.ID, "connection"))


def rows(window: webdriver.Remote) -> list[tuple[str, ...]]:
    """Return key, change, from and to of the changes that a window shows, the newest first."""
    script = (
        "return [...document.querySelectorAll('#changes tr')].map("
        "row => [...row.cells].slice(1, 5).map(cell => cell.textContent))"
    )
    return [tuple(row) for row in window.execute_script(script)]


def test_two_windows_show_what_changes_as_it_changes(demo: Demo, chrome_driver: ChromeDriver) -> None:
    chrome_driver.start()
    with ExitStack() as stack:
        operator, customer = (stack.enter_context(chrome_driver.window()) for _ in range(2))
        logged_in(operator, demo, "admin")
        logged_in(customer, demo, "demo")

        def bought() -> str:
            found = state_manager.register_state("pay_1", "purchase", {"data": PURCHASE}, owner=DEMO)
            set_rollout("feature_gift_cards", 33)
            state_manager.update_state("pay_1", transition="fail")
            return found.state_id

        demo.do(bought)
        wanted = {("pay_1", "create", "", "pending"), ("pay_1", "fail", "pending", "failed")}
        for window in (operator, customer):
            WebDriverWait(window, PATIENCE).until(lambda shown: wanted <= set(rows(shown)))
        assert {row[0] for row in rows(customer)} == {"pay_1"}
        assert "feature_gift_cards" in {row[0] for row in rows(operator)}
        for window in (operator, customer):
            # That the policy of the pages lets the script and the stream in, and nothing went wrong in them.
            assert complaints(window) == []


PURCHASE = {
    "account_id": 2,
    "package": "starter",
    "credits": 100,
    "amount_cents": 999,
    "currency": "EUR",
    "card": "4242",
}

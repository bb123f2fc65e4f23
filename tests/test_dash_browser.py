"""The analytics of the example in a real Chromium: two tabs, two users, every backend, and nothing that asks again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from sqlalchemy import func, select

from example_app import create_app
from example_app.__main__ import listening
from example_app.clock import clock
from example_app.extensions import db
from example_app.models import Account, LedgerEntry
from example_app.sample import LOGINS, load
from flask_statemanager import StateManager
from flask_statemanager.stores import StateManagerConfig, get_state_manager, refresh_state_manager
from tests.servers.browser import ChromeDriver, complaints

pytest_plugins = ["tests.servers.browser"]

# The application's manager is its own; the tests beside this one begin with another.
StateManager.reset_instance()

PATIENCE = 120.0
ROWS = 20_000
KINDS = ("client", "memory", "redis", "database")


@pytest.fixture
def closed_connections() -> None:
    """Leave connections open between the tests: an application here serves all tests of this module."""


class Analytics:
    """The example with its demo users and many movements, served.

    :param folder: where its database is.
    :param stack: closes it.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        config = {"STATEMANAGER_WORKER": "external", "STATEMANAGER_TRACK_REQUESTS": False, "SECRET_KEY": "signed"}
        self.app: Flask = create_app({"INSTANCE_PATH": folder, "DEMO": LOGINS, **config})
        with self.app.app_context():
            db.create_all()
            load(0)
            ids = {account.login: account.id for account in db.session.scalars(select(Account))}
            now = clock.now()
            row = {"kind": "purchase", "amount": 5, "balance_after": 5, "created_at": now - timedelta(days=1)}
            kinds = ("purchase", "refund", "renewal", "bonus")
            rows: list[dict[str, Any]] = [
                {
                    **row,
                    "account_id": ids["admin"],
                    "reference": f"many {at}",
                    "kind": kinds[at % 4],
                    "amount": at % 500,
                }
                for at in range(ROWS - 3)
            ]
            rows += [{**row, "account_id": ids["demo"], "reference": f"demo {at}"} for at in range(3)]
            db.session.execute(LedgerEntry.__table__.insert(), rows)
            db.session.commit()
            own = select(func.count()).where(LedgerEntry.account_id == ids["demo"])
            self.own = db.session.scalar(own)
        server = listening(self.app, 0)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        stack.callback(self._close)
        stack.callback(thread.join, PATIENCE)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        self.root = f"http://127.0.0.1:{server.server_port}"

    def _close(self) -> None:
        self.app.extensions["statemanager"].close()
        with self.app.app_context():
            db.session.remove()
            db.engine.dispose()

    def kept_in(self, kind: str, redis_url: str) -> None:
        """Have the configuration say where the stores live; what was there before is gone."""
        with self.app.app_context():
            refresh_state_manager(StateManagerConfig(kind, redis_url=redis_url if kind == "redis" else None))
            for user in ("admin", "demo"):
                get_state_manager().clear_user_data(user)


@pytest.fixture(scope="module")
def analytics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Analytics]:
    with ExitStack() as stack:
        yield Analytics(tmp_path_factory.mktemp("analytics"), stack)


class Tabs:
    """A user's browser.

    :param window: the browser.
    :param root: of the application.
    :param login: the user.
    """

    def __init__(self, window: webdriver.Remote, root: str, login: str) -> None:
        self.window, self.root = window, root
        window.get(f"{root}/login?next=/analytics/")
        window.find_element(By.NAME, "login").send_keys(login)
        window.find_element(By.NAME, "password").send_keys(LOGINS[login][1])
        window.find_element(By.NAME, "password").submit()
        self.tabs = [window.current_window_handle]
        self.until("chosen", "Chosen")

    def another(self, path: str) -> None:
        """Open a page in another tab, and go there."""
        self.window.switch_to.new_window("window")
        self.tabs.append(self.window.current_window_handle)
        self.window.get(f"{self.root}{path}")

    def go(self, tab: int) -> None:
        self.window.switch_to.window(self.tabs[tab])

    def until(self, element: str, text: str) -> str:
        """Wait until an element says something, and return what it says."""
        script = "const found = document.getElementById(arguments[0]); return found ? found.textContent : ''"
        read = lambda window: window.execute_script(script, element)  # noqa: E731
        try:
            WebDriverWait(self.window, PATIENCE, 0.05).until(lambda window: text in read(window))
        except Exception as error:
            raise AssertionError(f"{read(self.window)!r} is not {text!r}: {complaints(self.window)}") from error
        return str(read(self.window))

    def tick(self, number: int) -> None:
        self.window.find_elements(By.CSS_SELECTOR, "#kinds input")[number].click()


def test_filters_and_data_go_together_wherever_the_stores_live(
    analytics: Analytics, window: webdriver.Remote, redis_url: str
) -> None:
    user = Tabs(window, analytics.root, "admin")
    for kind in KINDS:
        analytics.kept_in(kind, redis_url)
        window.get(f"{analytics.root}/analytics/")
        user.until("chosen", "all kinds")
        user.tick(0)
        user.until("chosen", "bonus")
        window.find_element(By.LINK_TEXT, "Show the movements").click()
        user.until("summary", "bonus")
        user.until("place", "of 250")
        window.find_element(By.ID, "older").click()
        user.until("place", "Page 2")
        window.find_element(By.LINK_TEXT, "Filters").click()
        user.until("chosen", "bonus")
        user.tick(0)
        user.until("chosen", "all kinds")
        window.find_element(By.LINK_TEXT, "Movements").click()
        user.until("summary", f"{ROWS:,} movements")
        user.until("place", "of 1,000")
        assert complaints(window) == []
        with analytics.app.app_context():
            kept = None if kind == "client" else get_state_manager().get_store_data("movements", user_id="admin")
        assert kind == "client" or len(kept) == ROWS


@pytest.mark.parametrize("kind", ["redis", "database"])
def test_another_tab_shows_at_once_what_this_one_writes_and_another_user_nothing(
    analytics: Analytics,
    chrome_driver: ChromeDriver,
    window: webdriver.Remote,
    kind: str,
    redis_url: str,
) -> None:
    analytics.kept_in(kind, redis_url)
    ada = Tabs(window, analytics.root, "admin")
    ada.another("/analytics/")
    ada.until("chosen", "all kinds")
    window.execute_script(WATCH)
    with chrome_driver.window() as other:
        dora = Tabs(other, analytics.root, "demo")
        ada.go(0)
        for number in range(3):
            window.execute_script(CLICK, number)
            ada.until("chosen", KINDS_TOLD[number])
            ada.go(1)
            ada.until("chosen", KINDS_TOLD[number])
            seen = float(window.execute_script("return window.seen.at(-1)"))
            ada.go(0)
            took = seen - float(window.execute_script("return window.clicked"))
            assert 0 <= took < PATIENCE * 1000
        assert "all kinds" in dora.until("chosen", "Chosen")
        assert complaints(other) == []
        dora.window.get(f"{analytics.root}/analytics/data")
        assert f"{analytics.own} movements" in dora.until("summary", "movements")
    assert complaints(window) == []


def test_a_page_that_was_open_hears_of_what_is_written_in_another_backend(
    analytics: Analytics, window: webdriver.Remote, redis_url: str
) -> None:
    analytics.kept_in("redis", redis_url)
    user = Tabs(window, analytics.root, "admin")

    def write(kind: str) -> None:
        with analytics.app.app_context():
            get_state_manager().set_store_data("filters", {"kinds": [kind]}, user_id="admin")

    for kind in ("bonus", "purchase", "refund"):
        write(kind)
        user.until("chosen", f"Chosen: {kind}")
    analytics.kept_in("database", redis_url)
    # The first page that is made from then on ends the streams of before.
    user.another("/analytics/")
    user.until("chosen", "all kinds")
    write("bonus")
    user.until("chosen", "Chosen: bonus")
    user.go(0)
    user.until("chosen", "Chosen: bonus")


def test_two_fast_callbacks_that_write_one_store_keep_both_changes(
    analytics: Analytics, window: webdriver.Remote, redis_url: str
) -> None:
    analytics.kept_in("redis", redis_url)
    user = Tabs(window, analytics.root, "admin")
    window.execute_script(
        "dash_clientside.set_props('kinds', {value: ['refund']}); dash_clientside.set_props('least', {value: 70})"
    )
    user.until("chosen", "at least 70")
    window.get(f"{analytics.root}/analytics/data")
    told = user.until("summary", "70")
    assert "refund" in told
    with analytics.app.app_context():
        assert get_state_manager().get_store_data("filters", user_id="admin") == {"kinds": ["refund"], "least": 70}


def test_a_forged_session_id_is_refused(
    analytics: Analytics, chrome_driver: ChromeDriver, window: webdriver.Remote, redis_url: str
) -> None:
    analytics.kept_in("database", redis_url)
    Tabs(window, analytics.root, "admin")
    session_id = window.execute_script(SESSION_ID)
    assert isinstance(session_id, str)
    with chrome_driver.window() as other:
        Tabs(other, analytics.root, "demo")
        for forged in (session_id, "user_1", f"{session_id}x"):
            assert other.execute_async_script(FIRE, forged) == 403
        own = other.execute_script(SESSION_ID)
        assert other.execute_async_script(FIRE, own) in (200, 204)
    with analytics.app.app_context():
        assert get_state_manager().get_store_data("filters", user_id="admin") is None
        assert get_state_manager().get_store_data("filters", user_id="demo") == {"kinds": ["bonus"]}


KINDS_TOLD = ("Chosen: bonus", "purchase", "refund")

CLICK = """
window.clicked = Date.now();
document.querySelectorAll('#kinds input')[arguments[0]].click();
"""

WATCH = """
window.seen = [];
new MutationObserver(() => window.seen.push(Date.now())).observe(
  document.getElementById('chosen'), {childList: true, subtree: true, characterData: true});
"""

SESSION_ID = """
const {layout, paths} = window.store ? window.store.getState() : {};
return fetch('/analytics/_dash-layout').then(answer => answer.json()).then(
  page => page.props.children.find(each => each.props.id === 'user-session-id').props.data);
"""

FIRE = """
const [forged, done] = arguments;
const body = {
  output: 'filters.data@' + '', outputs: null, changedPropIds: ['kinds.value'],
  inputs: [{id: 'kinds', property: 'value', value: ['bonus']}],
  state: [{id: 'filters', property: 'data', value: null}, {id: 'user-session-id', property: 'data', value: forged}],
};
const token = document.cookie.split('; ').find(each => each.startsWith('_csrf_token=')).slice(12);
fetch('/analytics/_dash-dependencies').then(answer => answer.json()).then(known => {
  const found = known.find(each => each.inputs[0].id === 'kinds' && each.output.startsWith('filters.data'));
  body.output = found.output;
  body.outputs = {id: 'filters', property: found.output.slice('filters.'.length)};
  return fetch('/analytics/_dash-update-component', {
    method: 'POST', body: JSON.stringify(body), headers: {'Content-Type': 'application/json', 'X-CSRFToken': token},
  });
}).then(answer => done(answer.status)).catch(error => done(String(error)));
"""

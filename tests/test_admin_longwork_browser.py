"""In a real browser the page of long work fetches itself anew until the work has ended, with scripts and without."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from werkzeug.serving import make_server

from flask_statemanager.admin.longwork import Outcome, Task, Works
from flask_statemanager.admin.progress import Report
from tests.admin_client import ADMIN
from tests.servers.accessibility import violations
from tests.servers.browser import complaints, tell
from tests.worlds import World, build, entered

pytest_plugins = ["tests.servers.browser"]

PATIENCE = 60.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An application in which everybody is an operator."""
    config = {**ADMIN, "STATEMANAGER_SNAPSHOTS": str(tmp_path)}
    for ready in entered(build("sqlite", f"sqlite:///{tmp_path / 'world.sqlite'}", **config)):
        ready.states.identity_loader(lambda: ("ada", ["admin"]))
        yield ready


@contextmanager
def served(world: World) -> Iterator[str]:
    """Serve the application by a thread of this process, and say where."""
    server = make_server("127.0.0.1", 0, world.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/admin/state"
    finally:
        server.shutdown()
        thread.join(PATIENCE)
        server.server_close()


class Slow:
    """Work that takes a step when it is let."""

    def __init__(self) -> None:
        self.steps = threading.Semaphore(0)

    def __call__(self, report: Report) -> Outcome:
        for done in (0, 40, 100):
            report(done, 100)
            assert self.steps.acquire(timeout=PATIENCE)
        return Outcome("All sheep are counted.", "works")


@pytest.mark.parametrize("scripted", [True, False], ids=["with scripts", "without"])
def test_a_page_of_long_work_keeps_up_with_it(world: World, window: webdriver.Remote, scripted: bool) -> None:
    works, slow = Works(world.runtime), Slow()
    world.app.extensions["statemanager_admin_works"] = works
    work = works.begin(Task("Count sheep", slow, unit="sheep"), actor="ada", patience=0.0)
    wait = WebDriverWait(window, PATIENCE, poll_frequency=0.2)
    tell(window, "Emulation.setScriptExecutionDisabled", value=not scripted)
    with served(world) as root:
        window.get(f"{root}/work/{work.id}")
        wait.until(lambda seen: "0 of 100 sheep" in seen.find_element(By.TAG_NAME, "main").text)
        if scripted:
            window.execute_script("window.stays = 'the same page'")
            assert violations(window) == []
        slow.steps.release()
        wait.until(lambda seen: "40 of 100 sheep, 40.0 %" in seen.find_element(By.TAG_NAME, "main").text)
        slow.steps.release(2)
        wait.until(lambda seen: "All sheep are counted." in seen.find_element(By.TAG_NAME, "main").text)
        if scripted:
            assert window.execute_script("return window.stays") == "the same page"
            assert complaints(window) == []
        window.find_element(By.LINK_TEXT, "Go on").click()
        wait.until(lambda seen: seen.current_url == f"{root}/work")
    works.close()

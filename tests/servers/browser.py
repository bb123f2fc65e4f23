"""A real Chromium, without a screen. Loaded by the modules that use it, as Selenium takes a while to import."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.remote_connection import ChromeRemoteConnection

from tests.servers.executables import browser_executable, driver_executable
from tests.servers.fixtures import serve
from tests.servers.process import Server

FLAGS = (
    "--headless",
    # Chromium's own sandbox refuses to work for root, as whom containers run tests.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    # Ends with the driver, however that ends.
    "--remote-debugging-pipe",
    # Asks nobody but the server under test.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
)
PAGE_WITHIN = 60.0
"""Seconds in which a page must be there."""


class ChromeDriver(Server):
    """What drives Chromium, by the W3C WebDriver protocol; each window is a Chromium of its own."""

    title = "Chromedriver"

    def prepare(self) -> None:
        """Find the programs.

        :raises ServerMissing: when one of them is not on this machine.
        """
        self._browser = browser_executable()
        self._driver = driver_executable()

    def command(self, port: int) -> list[str]:
        """Give the command line.

        :param port: where to listen.
        :returns: the program and its arguments.
        """
        return [str(self._driver), f"--port={port}"]

    def answers(self, port: int) -> bool:
        """Tell whether it takes sessions.

        :param port: where to ask.
        :returns: whether it is ready.
        """
        try:
            with urlopen(f"http://127.0.0.1:{port}/status", timeout=5) as answer:
                return bool(json.load(answer)["value"]["ready"])
        except (URLError, ConnectionError, TimeoutError):
            return False

    @contextmanager
    def window(self) -> Iterator[webdriver.Remote]:
        """Open a browser that has been nowhere: no cookies, no cache.

        :returns: the browser, which is closed behind the block.
        """
        options = webdriver.ChromeOptions()
        options.binary_location = str(self._browser)
        profile = tempfile.mkdtemp(prefix="profile-", dir=self.folder)
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        connection = ChromeRemoteConnection(f"http://127.0.0.1:{self.port}")
        driver = webdriver.Remote(connection, options=options)
        try:
            driver.set_page_load_timeout(PAGE_WITHIN)
            yield driver
        finally:
            if self.running:
                driver.quit()


def look(window: webdriver.Remote, *, dark: bool = False, narrow: bool = False, scripts: bool = True) -> None:
    """Have a browser be like somebody's: what it opens from now on looks so.

    :param window: the browser.
    :param dark: whether its user prefers dark pages.
    :param narrow: whether it is a phone's, 390 pixels wide.
    :param scripts: whether it runs the scripts of pages.
    """
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    tell(window, "Emulation.setEmulatedMedia", features=[scheme])
    width, height = (390, 844) if narrow else (1280, 900)
    tell(window, "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=narrow)
    tell(window, "Emulation.setScriptExecutionDisabled", value=not scripts)


def tell(window: webdriver.Remote, command: str, **parameters: object) -> dict[str, Any]:
    """Give a browser a command of Chromium's own protocol.

    :param window: the browser.
    :param command: its name, such as ``Page.captureScreenshot``.
    :param parameters: what it takes.
    :returns: its answer.
    """
    answer: dict[str, Any] = window.execute("executeCdpCommand", {"cmd": command, "params": parameters})["value"]
    return answer


def status(window: webdriver.Remote) -> int:
    """Return with which HTTP status the page came that a browser shows.

    :param window: the browser.
    """
    return int(window.execute_script("return performance.getEntriesByType('navigation')[0].responseStatus"))


def complaints(window: webdriver.Remote) -> list[str]:
    """Return what a browser has complained of since it was asked last: errors of scripts, what a policy has kept out.

    :param window: the browser.
    :returns: the messages.
    """
    return [str(entry["message"]) for entry in window.execute("getLog", {"type": "browser"})["value"]]


@pytest.fixture(scope="session")
def chrome_driver() -> Iterator[ChromeDriver]:
    """A private Chromedriver."""
    yield from serve(ChromeDriver())


@pytest.fixture
def window(chrome_driver: ChromeDriver) -> Iterator[webdriver.Remote]:
    """A browser of the test's own."""
    chrome_driver.start()
    with chrome_driver.window() as driver:
        yield driver

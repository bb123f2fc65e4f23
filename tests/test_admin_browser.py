"""What an operator does at the admin pages, as it is done: in a real Chromium, on the demo as a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from example_app.sample import LOGINS
from example_app.walk import Walk
from tests.operators import Operator
from tests.servers.accessibility import violations
from tests.servers.browser import ChromeDriver, complaints, look
from tests.servers.demo import Demo

pytest_plugins = ["tests.servers.browser", "tests.servers.demo"]


LOOKS: dict[str, dict[str, bool]] = {"by day": {}, "at night": {"dark": True}, "on a phone": {"narrow": True}}


@pytest.fixture(scope="module")
def browser(chrome_driver: ChromeDriver) -> Iterator[webdriver.Remote]:
    """One browser for all tests of this module."""
    chrome_driver.start()
    with chrome_driver.window() as window:
        yield window


@pytest.fixture(scope="module")
def walk(demo: Demo) -> Walk:
    """What happens in the demo besides: the operator and a customer are logged in, somebody has registered."""
    found = demo.walk()
    found.log_in()
    found.register()
    return found


@pytest.fixture
def visitor(browser: webdriver.Remote, demo: Demo, walk: Walk) -> Operator:
    """Somebody who has not been here before."""
    look(browser)
    found = Operator(browser, demo)
    found.forget()
    return found


@pytest.fixture
def operator(visitor: Operator, walk: Walk) -> Operator:
    """The operator, logged in elsewhere, whose cookie this browser has."""
    name, _mark, value = walk.operator.headers["Cookie"].partition("=")
    visitor.window.get(f"{visitor.demo.root}login")
    visitor.window.add_cookie({"name": name, "value": value.partition(";")[0], "path": "/"})
    complaints(visitor.window)
    return visitor


def test_whoever_signs_in_comes_back_to_the_page_that_was_asked_for(visitor: Operator) -> None:
    visitor.open("/health", 401)
    assert "user_1" not in visitor.words
    visitor.follow("Sign in")
    for name, typed in (("login", "admin"), ("password", LOGINS["admin"][1])):
        visitor.window.find_element(By.NAME, name).send_keys(typed)
    visitor.press(visitor.form("/login"), "Log in")
    visitor.wait(lambda: visitor.path == "/health", "it does not lead to the page")
    visitor.see("Health")


def test_a_user_without_rights_sees_nothing(visitor: Operator) -> None:
    visitor.demo.sign_in(visitor.window, "demo")
    assert "Manager" not in visitor.window.find_element(By.CSS_SELECTOR, "header").text
    for path in ("/", "/health"):
        visitor.open(path, 403)
        assert not visitor.window.find_elements(By.CSS_SELECTOR, "nav, table, form")
        assert "user_1" not in visitor.words


LINKS = "return [...document.querySelectorAll('nav[aria-label=Main] a')].map((link) => link.pathname)"


def test_everybody_can_use_every_page(operator: Operator) -> None:
    operator.open()
    paths = [path.removeprefix("/admin/state") for path in operator.window.execute_script(LINKS)]
    wrong = []
    for path in paths:
        operator.open(path)
        for title, asked in LOOKS.items():
            look(operator.window, **asked)
            wrong += [f"{path} {title} {each}" for each in violations(operator.window)]
        look(operator.window)
    assert wrong == []
    assert complaints(operator.window) == []

"""What an operator does at the admin pages, as it is done: in a real Chromium, on the demo as a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from example_app.sample import LOGINS
from example_app.visit import expect, wait_for
from example_app.walk import Walk
from tests.operators import Operator
from tests.servers.accessibility import COLOURS, SPACE, violations
from tests.servers.browser import ChromeDriver, complaints, look
from tests.servers.demo import Demo, enliven, fail_a_mail, throw_switch

pytest_plugins = ["tests.servers.browser", "tests.servers.demo"]


LOOKS: list[tuple[str, dict[str, bool], list[str]]] = [
    ("by day", {}, []),
    ("at night", {"dark": True}, COLOURS),
    ("on a phone", {"narrow": True}, SPACE),
]
"""How each page is looked at, and by which rules; none is all of them."""


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


@pytest.fixture(params=[True, False], ids=["with-scripts", "without-scripts"])
def acting(request: pytest.FixtureRequest, operator: Operator) -> Operator:
    """The operator, at a browser that runs scripts, and at one that runs none: what is to be done is the same."""
    look(operator.window, scripts=request.param)
    return operator


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


def test_a_state_is_found_moved_with_a_reason_and_restored(acting: Operator, walk: Walk) -> None:
    known = walk.program.get(f"api/users/{walk.newcomer}").json
    acting.open()
    acting.follow("States", "nav")
    search = acting.form("/states")
    acting.fill(search, id=walk.newcomer)
    acting.press(search, "Search")
    acting.see("1 state")
    acting.follow(walk.newcomer, "table")
    assert acting.path == f"/states/{walk.newcomer}"
    entries = len(acting.all(".timeline > li"))
    move = acting.form("/transition")
    acting.fill(move, reason="chargeback of last week")
    acting.press(move, "suspend")
    acting.see("“chargeback of last week”", "Restore version")
    assert acting.all("h1 .chip")[0].text == "suspended"
    assert len(acting.all(".timeline > li")) == entries + 1
    acting.follow(f"Restore version {known['version']}…")
    acting.see("What would change", "suspended", "active")
    restore = acting.form(f"/state-rollback/{walk.newcomer}")
    acting.fill(restore, reason="it was another card")
    acting.press(restore, f"Restore version {known['version']}")
    acting.see("“it was another card”")
    assert acting.all("h1 .chip")[0].text == "active"
    assert len(acting.all(".timeline > li")) == entries + 2
    newest = walk.program.get(f"api/users/{walk.newcomer}/history").json["items"]
    assert {change["actor"] for change in newest if change["reason"] == "it was another card"} == {"user_1"}
    assert complaints(acting.window) == []


def test_a_change_arrives_from_another_process_while_one_looks(operator: Operator, walk: Walk, demo: Demo) -> None:
    operator.open()
    operator.follow("Live", "nav")
    operator.wait(lambda: "live" in operator.all("#connection")[0].text, "the page does not follow the changes")
    operator.mark("the same page")
    demo.elsewhere("transition", walk.newcomer, "suspend", "--reason", "seen from elsewhere")
    operator.wait(lambda: walk.newcomer in operator.all("#live tbody tr")[0].text, "the change does not arrive")
    assert "suspended" in operator.all("#live tbody tr")[0].text
    assert operator.marked == "the same page", "it was loaded anew"
    demo.elsewhere("transition", walk.newcomer, "resume")
    operator.wait(lambda: "active" in operator.all("#live tbody tr")[0].text, "the second change does not arrive")
    assert complaints(operator.window) == []


def test_a_dead_letter_is_read_retried_and_given_up(
    acting: Operator, walk: Walk, request: pytest.FixtureRequest
) -> None:
    state_id = fail_a_mail(walk, f"gone-{request.node.callspec.id}")
    acting.open("/?fresh=1")
    acting.all("a.tile[href*='status=dead']")[0].click()
    acting.see("Effects and dead letters", state_id)
    row = next(row for row in acting.all("tbody tr") if state_id in row.text)
    row.find_element(By.CSS_SELECTOR, "a[href*='/effects/']").click()
    acting.see("Why it failed", "Traceback")
    page = acting.path
    retry = acting.form("/retry")
    acting.fill(retry, reason="the mail server is back")
    acting.press(retry, "Retry")
    acting.see("is going to be tried again")
    wait_for(lambda: "0 due now" in walk.operator.get("mails/").words, "it is not tried again")
    acting.open(page)
    acting.see("dead", "Attempts")
    discard = acting.form("/discard")
    acting.fill(discard, reason="the address does not exist")
    acting.press(discard, "Discard")
    acting.see("Are you sure?")
    acting.press(acting.form("/discard"), "Yes, do it")
    acting.see("is discarded")
    acting.open("/effects?status=dead")
    assert state_id not in acting.words
    assert complaints(acting.window) == []


def test_a_snapshot_is_made_tried_out_and_restored(acting: Operator, walk: Walk) -> None:
    throw_switch(walk, "off")
    throw_switch(walk, "on")
    acting.open()
    acting.follow("Snapshots", "nav")
    make = acting.form("/snapshots")
    for box in make.find_elements(By.NAME, "buckets"):
        if box.is_selected() != (box.get_attribute("value") == "kv"):
            box.click()
    acting.fill(make, prefix="switch:")
    acting.press(make, "Make a snapshot")
    acting.go_on("Restore it")
    throw_switch(walk, "off")
    expect(walk.visitor.get("register"), 503)
    acting.press(acting.form("/rehearse"), "Try it out")
    acting.go_on("What would change", "switch:registration", "nothing was changed")
    expect(walk.visitor.get("register"), 503)
    name = acting.all("h1")[0].text.rpartition(" ")[2]
    restore = acting.form("/restore")
    acting.fill(restore, name=name, reason="nobody meant to close it")
    acting.press(restore, "Restore")
    acting.wait(lambda: walk.visitor.get("register").code == 200, "it is not restored")
    acting.see("restored")
    assert complaints(acting.window) == []


def test_the_keyboard_is_enough(operator: Operator, walk: Walk) -> None:
    operator.open()
    operator.tab_to("Skip to the content")
    operator.tab_to("States")
    operator.keys(Keys.ENTER)
    operator.see("Search")
    operator.tab_to("id")
    operator.keys(walk.newcomer, Keys.ENTER)
    operator.see("1 state")
    operator.tab_to(walk.newcomer)
    operator.keys(Keys.ENTER)
    operator.see("What it can become")
    operator.tab_to("reason")
    operator.keys("by keyboard")
    operator.tab_to("suspend → suspended")
    operator.keys(Keys.ENTER)
    operator.see("“by keyboard”")
    operator.tab_to("resume → active")
    operator.keys(Keys.SPACE)
    operator.wait(lambda: operator.all("h1 .chip")[0].text == "active", "the user is not active again")


def test_everybody_can_use_every_page(operator: Operator, demo: Demo, walk: Walk) -> None:
    enliven(demo, walk)
    wrong = []
    for name, path in operator.pages(walk.newcomer):
        operator.open(path)
        for title, asked, rules in LOOKS:
            look(operator.window, **asked)
            wrong += [f"{name} {title} {each}" for each in violations(operator.window, rules)]
    look(operator.window)
    assert wrong == []
    assert complaints(operator.window) == []

"""An operator at the admin pages of the demo: a browser, and what a person does with what it shows."""

from __future__ import annotations

import time
from collections.abc import Callable

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.servers.browser import status, tell
from tests.servers.demo import Demo

OF_A_STATE = (("state", "/states/", ""), ("editor", "/state-editor/", ""), ("rollback", "/state-rollback/", "?to=2"))
"""Pages of a state, by the path before its id and the query behind it."""

BEHIND = {
    "type": ("/types", "a[href$='/types/user']"),
    "bucket": ("/keys", "a[href$='/keys/kv']"),
    "key": ("/keys/kv?prefix=switch:", "a[href*='/key/']"),
    "effect": ("/effects", "tbody a[href*='/effects/']"),
    "conversation": ("/conversations", "tbody a[href*='/conversations/']"),
    "refusals": ("/audit", "a[href$='/refusals']"),
    "snapshot": ("/snapshots", "tbody a[href*='/snapshots/']"),
}
"""Pages that another one leads to, with the link there."""

PATIENCE = 60.0
"""Seconds in which a page must show what it is waited for; it takes far less."""


class Operator:
    """Somebody at a browser.

    :param window: the browser.
    :param demo: the application.
    """

    def __init__(self, window: webdriver.Remote, demo: Demo) -> None:
        self.window = window
        self.demo = demo
        self.home = f"{demo.root}admin/state"

    @property
    def words(self) -> str:
        """What the page shows."""
        return self.window.find_element(By.TAG_NAME, "body").text

    @property
    def path(self) -> str:
        """Where the browser is, below the prefix of the pages, without the query."""
        return self.window.current_url.removeprefix(self.home).partition("?")[0]

    def open(self, path: str = "/", code: int = 200) -> None:
        """Go to a page by its address.

        :param path: the path below the prefix.
        :param code: with which HTTP status it comes.
        """
        self.window.get(f"{self.home}{path}")
        assert status(self.window) == code, self.words

    def pages(self, newcomer: str) -> list[tuple[str, str]]:
        """Return the names and paths of all pages: what the navigation leads to, and one of each kind behind it.

        :param newcomer: the id of a state with a history.
        """
        self.open()
        links = [link.get_attribute("href") or "" for link in self.all("nav a")]
        paths = [link.removeprefix(self.home) for link in dict.fromkeys(links) if link.startswith(self.home)]
        found = [(path.partition("?")[0].strip("/") or "overview", path) for path in paths]
        found += [(name, f"{path}{newcomer}{query}") for name, path, query in OF_A_STATE]
        found.append(("new", "/new-state"))
        for name, (page, selector) in BEHIND.items():
            self.open(page)
            link = self.window.find_element(By.CSS_SELECTOR, f"main {selector}").get_attribute("href") or ""
            found.append((name, link.removeprefix(self.home)))
        return found

    def follow(self, text: str, within: str = "body") -> None:
        """Follow a link.

        :param text: how it reads.
        :param within: the part of the page, as a CSS selector.
        """
        self._named(f"{within} a", text).click()

    def all(self, selector: str) -> list[WebElement]:
        """Return parts of the page.

        :param selector: which, in CSS.
        """
        return self.window.find_elements(By.CSS_SELECTOR, selector)

    def form(self, ending: str) -> WebElement:
        """Return a form.

        :param ending: how the path ends that it is sent to.
        """
        forms = self.window.find_elements(By.TAG_NAME, "form")
        paths = [(form.get_attribute("action") or "").partition("?")[0] for form in forms]
        fitting = [form for form, path in zip(forms, paths, strict=True) if path.endswith(ending)]
        assert fitting, f"no form to ...{ending} among {paths}"
        return fitting[0]

    def fill(self, form: WebElement, **typed: str) -> None:
        """Type into the fields of a form, in place of what is there.

        :param form: the form.
        :param typed: the texts, by the names of the fields.
        """
        for name, text in typed.items():
            field = form.find_element(By.NAME, name)
            if field.tag_name == "select":
                field.find_element(By.CSS_SELECTOR, f"option[value='{text}']").click()
            else:
                field.send_keys(Keys.CONTROL, "a")
                field.send_keys(text)

    def press(self, form: WebElement, text: str) -> None:
        """Press a button of a form.

        :param form: the form.
        :param text: how it reads, or begins.
        """
        buttons = {button.text: button for button in form.find_elements(By.TAG_NAME, "button")}
        fitting = [button for found, button in buttons.items() if found.startswith(text)]
        assert fitting, f"no button {text!r} among {list(buttons)}"
        fitting[0].click()

    def see(self, *texts: str) -> None:
        """Wait until the page shows something.

        :param texts: all of it.
        """
        self.wait(lambda: all(text in self.words for text in texts), f"{texts} is not there")

    def go_on(self, *texts: str) -> None:
        """Wait until work is done, which has a page of its own where it takes a while, and see what follows.

        :param texts: what the page that follows shows.
        """

        def arrived() -> bool:
            for link in self.all("a.button"):
                if link.text == "Go on":
                    link.click()
                    return False
            return all(text in self.words for text in texts)

        self.wait(arrived, f"{texts} is not there")

    def wait(self, condition: Callable[[], object], otherwise: str) -> None:
        """Wait until something is so.

        :param condition: looks whether it is.
        :param otherwise: what to say when it does not become so.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if condition():
                    return
            except StaleElementReferenceException:
                pass  # The page was replaced while it was looked at.
            except WebDriverException as error:
                otherwise = f"{otherwise} ({error.msg})"
            assert time.monotonic() < deadline, f"{otherwise}: {self.window.current_url}: {self.words[:2000]}"
            time.sleep(0.05)

    def tab_to(self, text: str, *, most: int = 150) -> WebElement:
        """Press the tabulator until something has the focus, which must be seen at every stop.

        :param text: how it reads, or the name of the field that it is.
        :param most: how often to press at most.
        """
        passed = []
        for _ in range(most):
            self.keys(Keys.TAB)
            here = self.window.switch_to.active_element
            # Behind the last stop comes the browser itself, which the page stands for.
            around = here.tag_name == "body"
            passed.append("" if around else " ".join(here.text.split()) or here.get_attribute("name") or here.tag_name)
            assert around or self._shows_focus(here), f"{passed[-1]!r} has the focus, and nobody sees it"
            if passed[-1] == text or here.get_attribute("name") == text:
                return here
        raise AssertionError(f"no way to {text!r} past {passed}")

    def keys(self, *typed: str) -> None:
        """Type, wherever the focus is.

        :param typed: what.
        """
        webdriver.ActionChains(self.window).send_keys(*typed).perform()

    @property
    def marked(self) -> str | None:
        """What the page was told to remember; None when another one was loaded since."""
        found: str | None = self.window.execute_script("return window.mark || null")
        return found

    def mark(self, mark: str) -> None:
        """Have the page remember something, as long as it is not loaded anew.

        :param mark: what.
        """
        self.window.execute_script("window.mark = arguments[0]", mark)

    def forget(self) -> None:
        """Forget all cookies: whoever comes next is a stranger."""
        tell(self.window, "Network.clearBrowserCookies")

    def _named(self, selector: str, text: str) -> WebElement:
        found = {element.text: element for element in self.all(selector)}
        assert text in found, f"no {selector} {text!r} among {list(found)}"
        return found[text]

    def _shows_focus(self, element: WebElement) -> bool:
        script = "const style = getComputedStyle(arguments[0]); return style.outlineStyle + style.boxShadow"
        return str(self.window.execute_script(script, element)) != "nonenone"

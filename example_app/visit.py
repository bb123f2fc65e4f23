"""What the steps of the check stand on: the browsers, the parts that several steps share, and the ways to fail."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping

from .browser import Browser, Page

Logins = Mapping[str, tuple[str, str]]

PATIENCE = 60.0
"""Seconds in which the worker must have done what it is waited for; it takes far less."""

PAUSE = 0.1


class CheckFailedError(Exception):
    """Something was not as it should be."""


class Visit:
    """Browsers on one server: a visitor's, a customer's, the operator's, two chatters', and a program's with the token.

    :param root: the server's address.
    :param token: the API's token.
    :param logins: the demo users.
    :param secret: with what WhatsApp signs.
    """

    def __init__(self, root: str, token: str, logins: Logins, secret: str = "") -> None:
        self.guest, self.late = Browser(root), Browser(root)
        self.secret = secret
        self.visitor, self.customer, self.operator = Browser(root), Browser(root), Browser(root)
        self.program = Browser(root, token)
        self.logins = logins
        self.newcomer = ""
        self.password = secrets.token_urlsafe(12)

    def _opened(self, path: str) -> str:
        return f"/{path} {expect(self.operator.get(path), 200).code}"

    def _user(self) -> Page:
        return expect(self.operator.get(f"users/{self.newcomer}"), 200)

    def _press(self, page: Page, transition: str, **fields: str) -> Page:
        form = page.form("/transition", transition)
        return expect(self.operator.send(form, transition=transition, **fields), 200)

    def _history(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = self.program.get(f"api/users/{self.newcomer}/history").json["items"]
        return found

    def _buy(self, card: str) -> Page:
        form = expect(self.customer.get("purchases/buy"), 200).form("/buy")
        return expect(self.customer.send(form, package="starter", card=card), 200)

    def _balance(self) -> int:
        found = re.search(r"Your balance is ([\d,]+) credits", self.customer.get("purchases/buy").words)
        return int(found[1].replace(",", "")) if found else -1


def wait_for(condition: Callable[[], bool], otherwise: str) -> float:
    """Wait until something is true.

    :param condition: looks whether it is.
    :param otherwise: what to say when it does not become true.
    :returns: how many seconds it took.
    :raises CheckFailedError: when it takes too long.
    """
    began = time.monotonic()
    while not condition():
        require(time.monotonic() - began < PATIENCE, otherwise)
        time.sleep(PAUSE)
    return time.monotonic() - began


def expect(page: Page, code: int) -> Page:
    """Require an HTTP status.

    :param page: the answer.
    :param code: the status that it should have.
    :raises CheckFailedError: when it has another.
    """
    require(page.code == code, f"{page.url} answers {page.code}, not {code}: {page.words[:200]}")
    return page


def require(condition: bool, otherwise: str) -> None:
    """Require something.

    :param condition: what should be true.
    :param otherwise: what to say when it is not.
    :raises CheckFailedError: when it is not.
    """
    if not condition:
        raise CheckFailedError(otherwise)

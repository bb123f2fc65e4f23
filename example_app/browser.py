"""A small browser for the check: cookies, redirects, and forms filled in as they stand on the page."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

TIMEOUT = 20
"""Seconds to wait for an answer."""


@dataclass(frozen=True, slots=True)
class Form:
    """A form on a page.

    :param action: where it is sent.
    :param fields: its hidden fields.
    :param buttons: the values of its buttons.
    """

    action: str
    fields: dict[str, str]
    buttons: list[str]


@dataclass(frozen=True, slots=True)
class Page:
    """What the server answered.

    :param code: the HTTP status.
    :param url: where it came from, redirects followed.
    :param text: the body.
    """

    code: int
    url: str
    text: str

    @property
    def words(self) -> str:
        """The body without its tags."""
        return " ".join(re.sub(r"<[^>]+>", " ", self.text).split())

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)

    def forms(self) -> list[Form]:
        """Return the forms on the page, in their order."""
        reader = _FormReader(self.url)
        reader.feed(self.text)
        return reader.forms

    def form(self, ending: str, button: str | None = None) -> Form:
        """Return a form by where it leads, and by a button on it.

        :param ending: how its address ends.
        :param button: the value of a button.
        :raises LookupError: when there is none.
        """
        for form in self.forms():
            if form.action.endswith(ending) and (button is None or button in form.buttons):
                return form
        raise LookupError(f"{self.url} has no form to ...{ending} with the button {button}")


class _FormReader(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(urljoin(self.url, found.get("action", "")), {}, []))
        elif self.forms:
            self._take(tag, found)

    def _take(self, tag: str, found: dict[str, str]) -> None:
        if tag == "input" and found.get("type") == "hidden":
            self.forms[-1].fields[found["name"]] = found.get("value", "")
        elif tag == "button" and "value" in found and "disabled" not in found:
            self.forms[-1].buttons.append(found["value"])


class Browser:
    """Asks one server and keeps its cookies.

    :param root: the server's address.
    :param token: a bearer token to send along.
    """

    def __init__(self, root: str, token: str | None = None) -> None:
        self.root = root
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        # The server is on this machine: no proxy has a part in it, whatever the environment says.
        self._cookies = CookieJar()
        self._opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(self._cookies))

    @property
    def headers(self) -> dict[str, str]:
        """What a request is sent with: the token, or the cookies."""
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._cookies)
        return {**self._headers, **({"Cookie": cookies} if cookies else {})}

    def get(self, path: str) -> Page:
        """Open a page.

        :param path: its path, or whole address.
        """
        return self._open(path)

    def send(self, form: Form, **fields: str) -> Page:
        """Send a form.

        :param form: the form.
        :param fields: what was typed in, and the button's name and value.
        """
        body = urlencode({**form.fields, **fields}).encode()
        return self._open(form.action, body, {"Referer": self.root})

    def call(self, method: str, path: str, body: dict[str, Any], **headers: str) -> Page:
        """Send JSON.

        :param method: the HTTP method.
        :param path: where to.
        :param body: the object to send.
        :param headers: further headers, an underscore for each hyphen.
        """
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._open(path, json.dumps(body).encode(), {"Content-Type": "application/json", **given}, method)

    def _open(
        self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None, method: str | None = None
    ) -> Page:
        url = urljoin(self.root, path)
        if not url.startswith(self.root):
            raise LookupError(f"{url} is not on {self.root}")
        request = Request(url, body, {**self._headers, **(headers or {})}, method=method)  # noqa: S310 - ours, see above
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                return Page(answer.status, answer.url, answer.read().decode())
        except HTTPError as error:
            with error:
                return Page(error.code, error.url, error.read().decode())

"""Operators in tests: who is logged in at the admin pages, looks, and sends the forms that a page holds."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flask import request
from werkzeug.test import TestResponse

from tests.worlds import World, build, entered

PREFIX = "/admin/state"

_TOKEN = re.compile(r'name="admin_token" value="([^"]*)"')
_TAGS = re.compile(r"<[^>]*>")


@contextmanager
def an_admin_world(kind: str = "memory", uri: str = "sqlite://", **config: Any) -> Iterator[World]:
    """An application with admin pages, whose users are those that :class:`Operator` says.

    :param kind: as for :func:`tests.worlds.build`.
    :param uri: the database of the application.
    :param config: further config keys.
    """
    yield from _closing(entered(with_logins(build(kind, uri, **ADMIN, **config))))


ADMIN: Mapping[str, Any] = {"STATEMANAGER_ADMIN_ENABLED": True, "SECRET_KEY": "key"}
"""The config of an application with admin pages."""


def with_logins(world: World) -> World:
    """Have a world's application know the users that :class:`Operator` says.

    :param world: the world, which is returned.
    """
    world.states.identity_loader(lambda: request.environ.get("test.user"))
    return world


def _closing(generator: Iterator[World]) -> Iterator[World]:
    try:
        yield next(generator)
    finally:
        generator.close()  # type: ignore[attr-defined]


class Operator:
    """A browser in which somebody is logged in.

    :param world: an application with admin pages.
    :param user: who; None for nobody.
    :param roles: what they are.
    """

    def __init__(self, world: World, user: str | None = "ada", roles: Iterable[str] = ("admin",)) -> None:
        self.client = world.app.test_client()
        if user is not None:
            self.client.environ_base["test.user"] = (user, tuple(roles))

    def get(self, path: str = "/", **more: Any) -> TestResponse:
        """Look at a page.

        :param path: the path behind the prefix.
        :param more: what else Flask's client takes.
        """
        return self.client.get(PREFIX + path, **more)

    def token(self, path: str = "/") -> str:
        """Return the token of the forms on a page that has some; every page has the same.

        :param path: the path behind the prefix.
        """
        found = _TOKEN.search(self.get(path).text)
        assert found is not None, f"there is no form on {path}"
        return html.unescape(found[1])

    def post(self, path: str, fields: Mapping[str, Any] | None = None, *, at: str, **more: Any) -> TestResponse:
        """Send a form.

        :param path: where to, behind the prefix.
        :param fields: its fields, besides the token.
        :param at: the page that it stands on, behind the prefix.
        :param more: what else Flask's client takes.
        """
        data = {**(fields or {}), "admin_token": self.token(at)}
        return self.client.post(PREFIX + path, data=data, **more)

    def follow(self, answer: TestResponse) -> TestResponse:
        """Look at the page that an act leads to.

        :param answer: the answer of the act.
        """
        assert answer.status_code == 303, text_of(answer)
        return self.client.get(answer.headers["Location"])


def text_of(answer: TestResponse) -> str:
    """Return the words of a page, without tags and with single spaces.

    :param answer: the answer.
    """
    return " ".join(html.unescape(_TAGS.sub(" ", answer.text)).split())

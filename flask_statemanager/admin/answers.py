"""Answers: what the functions of a page return."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, field

FOLDER = "statemanager_admin"
"""Where the templates of the pages are, in the package and in an application that overrides them."""


class Shown(Struct, frozen=True):
    """A page.

    :param template: its template; a name without a slash is one in ``statemanager_admin/``.
    :param values: what the template is given, besides ``visit`` and ``wording``.
    :param status: the HTTP status.
    """

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200

    @property
    def path(self) -> str:
        """The name by which the template is found."""
        return self.template if "/" in self.template else f"{FOLDER}/{self.template}"


class Done(Struct, frozen=True):
    """Something was done: a message, shown on the page that follows.

    :param message: one sentence.
    :param to: the URL of that page, made by :meth:`~flask_statemanager.admin.visit.Visit.url`; whatever lies outside of
        the admin pages counts as the overview.
    """

    message: str
    to: str


class Download(Struct, frozen=True):
    """A file, sent while it is made.

    :param lines: its parts, text or bytes; read inside the request's contexts.
    :param media_type: what it is, such as ``text/csv``.
    :param name: how the file is called.
    """

    lines: Iterable[str | bytes]
    media_type: str
    name: str


Answer = Shown | Done | Download

"""The views of the document, of the page that shows it, and of the page's style sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
from flask import Blueprint, Response, render_template, request, url_for

from ...runtime import Runtime
from ..identity import Doorkeeper
from ..operation import Operations
from .document import Document
from .page import Page

TEMPLATES = "openapi/templates"
"""Where the page's template is, seen from the package of the API."""

STYLE = (Path(__file__).parent / "static" / "api.css").read_bytes()

POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The page loads its style sheet and nothing else (Content Security Policy)."""


class Documentation:
    """Tells what the API can do.

    :param groups: all operations, by group.
    :param runtime: the app's running parts.
    :param doorkeeper: lets in who may.
    """

    def __init__(self, groups: Iterable[Operations], runtime: Runtime, doorkeeper: Doorkeeper) -> None:
        self._groups = tuple(groups)
        self._settings = runtime.settings
        self._doorkeeper = doorkeeper

    def add_to(self, blueprint: Blueprint) -> None:
        """Have a blueprint answer at ``/openapi.json`` and ``/docs``.

        :param blueprint: the API's.
        """
        if self._settings.api_docs == "off":
            return
        views: dict[str, Callable[[], Response]] = {
            "/openapi.json": self.document,
            "/docs": self.page,
            "/docs/api.css": self.style,
        }
        for rule, view in views.items():
            blueprint.add_url_rule(rule, f"openapi_{view.__name__}", view)

    @cached_property
    def _document(self) -> dict[str, Any]:
        settings = self._settings
        document = Document(self._groups, demanding=settings.api_require_match, events=settings.broadcast_changes)
        return document.build()

    def document(self) -> Response:
        """Answer with the OpenAPI document."""
        self._admit()
        found = {**self._document, "servers": [{"url": self._place()}]}
        return _conditional(Response(orjson.dumps(found), content_type="application/json"))

    def page(self) -> Response:
        """Answer with the page."""
        self._admit()
        url = request.host_url.rstrip("/") + self._place()
        page = Page(self._document, url)
        text = render_template(
            "statemanager/api.html",
            page=page,
            sections=list(page.sections()),
            problems=page.problems(),
            schemas=page.schemas(),
            openapi=self._document["openapi"],
            url=url,
            document_url=url_for(".openapi_document"),
            style_url=url_for(".openapi_style"),
        )
        found = Response(text, content_type="text/html; charset=utf-8")
        found.headers.update(
            {
                "Content-Security-Policy": POLICY,
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
            }
        )
        return _conditional(found)

    def style(self) -> Response:
        """Answer with the style sheet, which tells nothing."""
        return _conditional(Response(STYLE, content_type="text/css; charset=utf-8"))

    def _admit(self) -> None:
        if self._settings.api_docs != "public":
            self._doorkeeper.admit(request, "read")

    def _place(self) -> str:
        """Return the path of the API, which the app may be mounted below."""
        return request.script_root + self._settings.api_prefix


def _conditional(response: Response) -> Response:
    response.headers["Cache-Control"] = "private, no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response

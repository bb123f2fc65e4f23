"""Mounting: the Dash app gets its place on the server, behind the login, with a policy for its content."""

from __future__ import annotations

from typing import Any

from dash import Dash
from flask import Flask, Response, g, redirect, request, url_for

from flask_statemanager.integrations.dash import push_stores

from ..access import csrf_token
from . import pages
from .callbacks import connect

CSRF_COOKIE = "_csrf_token"
"""Where any release of Dash looks for the token that its requests carry, in the header ``CSRF_HEADER``."""


def mount(app: Flask) -> None:
    """Put the Dash app on a server.

    :param app: the server.
    """
    dash = Dash(
        __name__,
        server=app,
        url_base_pathname=pages.ROOT,
        assets_folder="assets",
        external_stylesheets=["/static/style.css"],
        suppress_callback_exceptions=True,
        title="Analytics · Credit System",
        update_title="",
    )
    dash.layout = pages.frame_of_pages
    push_stores(dash)
    connect(dash)
    hashes = " ".join(f"'{each.strip(chr(39))}'" for each in dash.csp_hashes())
    policy = (
        f"default-src 'self'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "frame-ancestors 'none'; form-action 'self'; base-uri 'none'"
    )

    def shown(response: Response) -> Response:
        if request.path.startswith(pages.ROOT) and response.mimetype == "text/html":
            response.headers["Content-Security-Policy"] = policy
            response.set_cookie(CSRF_COOKIE, csrf_token(), samesite="Lax", path=pages.ROOT)
        return response

    app.before_request(_let_in)
    app.after_request(shown)


def _let_in() -> Any:
    if not request.path.startswith(pages.ROOT) or g.account is not None:
        return None
    if "_dash-component-suites/" in request.path:
        return None  # scripts, which are everybody's
    if "text/html" in request.headers.get("Accept", ""):
        return redirect(url_for("auth.login", next=request.path))
    return Response("Log in first.", 401)

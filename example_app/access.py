"""Who may do what: logging in, the token of every form, operators, and the bearer token of the API."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from flask import Flask, abort, current_app, flash, g, redirect, request, session, url_for
from sqlalchemy import select
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException, Unauthorized

from flask_statemanager import State

from . import counters, logins, preferences
from .accounts import account_of
from .extensions import db, state_manager, unit_of_work
from .live import API, MANAGER
from .models import Account

View = TypeVar("View", bound=Callable[..., Any])

PROGRAMS = ("/api/", "/webhooks/")
"""What the paths begin with that no browser asks for: they have other proofs of who asks than cookies. The API of
Flask-StateManager is there too, which takes a login as well, and refuses pages of other sites itself."""

CSRF_HEADER = "X-CSRFToken"
"""The header that carries the token where a script asks."""

_FILES = ("static", f"{MANAGER}.static")
"""What serves files, which are everybody's."""

USABLE = ("created", "active")
"""The statuses of users who may log in."""


class CsrfError(HTTPException):
    """A form came without the token that its page carried."""

    code = 400
    description = "The form's token is missing or old: go back, reload the page and try again."


def log_in(login: str, password: str) -> Account | None:
    """Log a user in for this browser.

    :param login: the login name.
    :param password: the password.
    :returns: the account, or None when they do not fit or the user is suspended.
    :raises werkzeug.exceptions.TooManyRequests: when this address has tried it too often.
    :raises StateManagerError: when the session cannot be written.
    """
    counters.limit(
        "login", f"{login} {request.remote_addr}", most=counters.LOGIN_ATTEMPTS, window=counters.LOGIN_WINDOW
    )
    account: Account | None = db.session.scalar(select(Account).where(Account.login == login))
    if account is None or not account.has_password(password) or _user(account) is None:
        return None
    with unit_of_work():
        state = logins.begin(account, address=request.remote_addr or "", agent=request.user_agent.string)
    session.clear()
    session["session_id"] = state.state_id
    return account


def log_out() -> None:
    """End this browser's session.

    :raises StateManagerError: when it cannot be written.
    """
    session_id = session.get("session_id")
    if session_id is not None:
        logins.end(session_id, reason="logged out")
        if g.account is not None:
            state_manager.tracking.end_session(g.account.state_id)
    session.clear()


def csrf_token() -> str:
    """Return the token that this browser's forms must carry."""
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(24)
    return str(session["csrf"])


def login_required(view: View) -> View:
    """Ask for a login first.

    :param view: a view.
    """

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if g.account is None:
            flash("Please log in first.", "note")
            return redirect(url_for("auth.login", next=request.full_path if request.method == "GET" else None))
        return view(*args, **kwargs)

    return guarded  # type: ignore[return-value]


def admin_required(view: View) -> View:
    """Let operators in only.

    :param view: a view.
    """

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if not g.account.is_admin:
            abort(403, "This is for operators: log in as admin.")
        return view(*args, **kwargs)

    return login_required(guarded)  # type: ignore[return-value]


def own_or_admin(owner: str | None) -> None:
    """Refuse users who look at what is somebody else's.

    :param owner: whose it is.
    :raises werkzeug.exceptions.Forbidden: when it is not theirs.
    """
    if not g.account.is_admin and owner != g.account.state_id:
        abort(403, "This belongs to somebody else: log in as admin to see it.")


def init_app(app: Flask) -> None:
    """Find the user of each request, and check the tokens.

    :param app: the app.
    """
    app.before_request(_identify)
    app.before_request(_count)
    app.before_request(_check_csrf)
    app.jinja_env.globals["csrf_token"] = csrf_token


def check_bearer() -> None:
    """Refuse an API request without the token.

    :raises werkzeug.exceptions.Unauthorized: when it is missing or wrong.
    """
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    expected = current_app.config["API_TOKEN"]
    if kind.lower() != "bearer" or not hmac.compare_digest(token.encode(), expected.encode()):
        raise Unauthorized(
            "Send the header 'Authorization: Bearer' with the API token.",
            www_authenticate=WWWAuthenticate("bearer", {"realm": "credit"}),
        )


def _identify() -> None:
    g.account, g.user, g.theme = None, None, preferences.DEFAULTS["theme"]
    session_id = session.get("session_id")
    by_program = request.path.startswith(PROGRAMS) and request.blueprint != API
    if session_id is None or request.endpoint in _FILES or by_program:
        return
    live = logins.live(session_id)
    account = None if live is None else account_of(str(live.owner))
    g.user = None if account is None else _user(account)
    if g.user is None:
        session.pop("session_id")
        return
    g.account, g.theme = account, preferences.of(account.state_id)["theme"]
    # Live events go to the owners of states, which is what a session is noted by, too.
    state_manager.tracking.name_user(account.state_id)


def _count() -> None:
    counted = request.blueprint not in (None, MANAGER) and not request.path.startswith(PROGRAMS)
    if request.method == "GET" and counted:
        counters.count_visit()


def _user(account: Account) -> State | None:
    state = state_manager.get_state(account.state_id)
    return state if state is not None and state.status in USABLE else None


def _check_csrf() -> None:
    if request.method in ("GET", "HEAD", "OPTIONS") or request.path.startswith(PROGRAMS):
        return
    # A page of another site can neither read the token nor set the header.
    sent = request.headers.get(CSRF_HEADER) or request.form.get("csrf_token", "")
    if "csrf" not in session or not hmac.compare_digest(sent.encode(), str(session["csrf"]).encode()):
        raise CsrfError

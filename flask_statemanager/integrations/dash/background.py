"""Background callbacks: what is known in the request goes along, as nobody asks for anything where they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import dash
from flask import Flask, has_app_context, has_request_context

from ...errors import ConfigurationError
from ...stores.config import MEMORY
from ...stores.opened import present_stores
from ...stores.users import user_context
from .registered import app_of
from .running import in_background
from .session import COMPONENT, admitted

NAMESPACE = "flask_statemanager"
"""The member of ``dash.ctx.custom_data`` that goes along."""

session_components = {COMPONENT}
"""The components with the session id of a page that callbacks name."""


@dash.hooks.custom_data(NAMESPACE)  # type: ignore[untyped-decorator]
def _known(context: Any) -> dict[str, Any] | None:
    """Find out in the request whose stores a background callback means, and refuse what is forged."""
    # What Dash calls a background callback here.
    if not context.get("ignore_register_page") or not has_request_context():
        return None
    claims = [
        values[f"{component}.data"]
        for component in list(session_components)
        for values in (context.input_values, context.state_values)
        if values.get(f"{component}.data") is not None
    ]
    users = [admitted(claimed).user for claimed in claims or [None]]
    return {"user": users[0], "claimed": bool(claims)}


@contextmanager
def at_work(callback: Callable[..., Any] | None = None) -> Iterator[None]:
    """Have the app and the user of a callback at hand, also in the process of one in the background.

    :param callback: the managed callback, by which its app is known among several.
    :raises ConfigurationError: when a callback in the background cannot be told whose stores it means.
    """
    if not in_background():
        yield
        return
    known = dash.ctx.custom_data.get(NAMESPACE) or {}
    with _within_app(callback), user_context(known.get("user")):
        if callback is not None:
            _check(bool(known.get("claimed")))
        yield


def _within_app(callback: Callable[..., Any] | None) -> AbstractContextManager[Any]:
    app = app_of(callback)
    server = None if app is None else app.server
    if isinstance(server, Flask):
        return server.app_context()
    if has_app_context():
        return nullcontext()
    raise ConfigurationError(
        "The process of this background callback has no app, so it is not known where the stores are: have it make the "
        "Dash app with its Flask server, as a Celery worker does that is started with the module of the app "
        "(celery -A dashboard:celery_app worker), or run its tasks in an app context."
    )


def _check(claimed: bool) -> None:
    stores = present_stores()
    if stores.kind == MEMORY:
        raise ConfigurationError(
            "A background callback runs in a process of its own, which does not see what this one has in memory: "
            "set STATE_BACKEND to redis or database."
        )
    if stores.server is not None and stores.config.enable_user_isolation and not claimed:
        raise ConfigurationError(
            "Dash tells the results of background callbacks apart by their inputs, so that a user could get another "
            f"one's: pass State({COMPONENT!r}, 'data') to it, and put create_session_component() into the layout, "
            "which must be a function."
        )

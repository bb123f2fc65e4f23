"""Whose stores are meant: as the application says, else the logged-in actor, else an anonymous visitor.

What the application says in an app context lies on that context and ends with it: a thread of a server's pool works
on one request after another, and what one of them said must not be there for the next. Outside, it lies in a context
variable.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from flask import g, has_app_context, has_request_context, session

from ..errors import ConfigurationError
from ..globals import find_runtime
from .names import checked

SESSION_KEY = "statemanager_visitor"
"""The member of Flask's signed session cookie that holds an anonymous visitor's id."""

_ON_G = "_statemanager_store_user"
_outside: ContextVar[str | None] = ContextVar("statemanager_store_user", default=None)


def generate_session_id() -> str:
    """Return a new id for a session, which nobody can guess: 256 random bits."""
    return f"session-{secrets.token_urlsafe(32)}"


def set_user_context(user_id: str | None) -> None:
    """Say whose stores are meant, for the rest of this app context; outside one, of this thread or task.

    :param user_id: the user; None to unsay it.
    :raises StateValidationError: when it is no id.
    """
    user = None if user_id is None else checked(user_id, "user_id")
    if has_app_context():
        setattr(g, _ON_G, user)
    else:
        _outside.set(user)


@contextmanager
def user_context(user_id: str | None) -> Iterator[None]:
    """Say whose stores are meant within a ``with`` block; behind it, whoever was meant before.

    >>> from flask_statemanager.stores import get_user_context
    >>> with user_context("ada"):
    ...     get_user_context()
    'ada'

    :param user_id: the user; None for whoever is logged in.
    :raises StateValidationError: when it is no id.
    """
    user = None if user_id is None else checked(user_id, "user_id")
    if not has_app_context():
        token = _outside.set(user)
        try:
            yield
        finally:
            _outside.reset(token)
        return
    held = g._get_current_object()
    before = held.get(_ON_G)
    setattr(held, _ON_G, user)
    try:
        yield
    finally:
        setattr(held, _ON_G, before)


def get_user_context() -> str | None:
    """Return whose stores are meant: the user that was said, the logged-in actor, or the anonymous visitor.

    :returns: None where nobody is: outside of a request, when nothing was said.
    :raises ConfigurationError: in a request of nobody known, when the app has no ``SECRET_KEY`` to sign the cookie of
        visitors with.
    """
    said: str | None = g.get(_ON_G) if has_app_context() else _outside.get()
    if said is not None or not has_request_context():
        return said
    return _actor() or _visitor()


def _actor() -> str | None:
    runtime = find_runtime()
    loader = None if runtime is None else runtime.declarations.actor.loader
    found = None if loader is None else loader()
    return None if found is None else checked(str(found), "actor")


def _visitor() -> str:
    known = session.get(SESSION_KEY)
    if isinstance(known, str):
        return known
    made = generate_session_id()
    try:
        session[SESSION_KEY] = made
    except RuntimeError as error:
        raise ConfigurationError(
            "It is not known whose stores are meant: nobody is logged in, and without a SECRET_KEY the app cannot sign "
            "a cookie for visitors. Set SECRET_KEY, call set_user_context(user_id), or switch "
            "STATEMANAGER_STORES_USER_ISOLATION off."
        ) from error
    return made

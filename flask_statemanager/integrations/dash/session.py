"""The session id of a page: signed, and good only in the browser and for the user that it was made for."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from typing import Any

from flask import current_app, has_request_context, session
from itsdangerous import BadSignature, TimestampSigner
from msgspec import Struct
from werkzeug.exceptions import Forbidden

from ...errors import ConfigurationError, StateManagerError
from ...globals import find_runtime
from ...stores.opened import present_stores
from ...stores.users import generate_session_id, get_user_context
from .running import in_background

COMPONENT = "user-session-id"
"""The component that holds the id of a page, where nothing else is said."""

BROWSER_KEY = "statemanager_browser"
"""The member of Flask's signed session cookie by which a browser is known again."""

logger = logging.getLogger("flask_statemanager.dash")

_PURPOSE = "flask_statemanager.dash.session"


class SessionRefused(StateManagerError, Forbidden):
    """The session id of a page is not one of this browser and user; the browser is answered 403.

    :param why: one sentence.
    """

    def __init__(self, why: str) -> None:
        Forbidden.__init__(self, why)
        self.args = (why,)

    def __str__(self) -> str:
        return str(self.args[0])


def issued() -> str | None:
    """Return a new session id for the page that is being made; None where stores are not kept for each user.

    :raises ConfigurationError: when the app has no ``SECRET_KEY``.
    """
    if not present_stores().config.enable_user_isolation:
        return None
    keys, user = _keys(), _user()
    browser = session.get(BROWSER_KEY)
    if not isinstance(browser, str):
        browser = session[BROWSER_KEY] = secrets.token_urlsafe(16)
    return _signer(keys, user, browser).sign(generate_session_id()).decode()


class Admission(Struct, frozen=True):
    """Whose stores are meant.

    :param user: the user; None where stores are not kept for each user, or nobody is known or needs to be.
    :param renew: whether the page should get another session id, as its own is no longer young.
    """

    user: str | None
    renew: bool = False


def admitted(sent: Any) -> Admission:
    """Return whose stores are meant, if the session id of a page is theirs.

    Whoever asks is known by the app and the browser's signed cookie, never by the id: this one only shows that the page
    was made for them. Without an id, nobody claims anything.

    :param sent: what the page has sent; None for nothing.
    :raises SessionRefused: when the id is forged, another browser's or user's, or too old.
    :raises ConfigurationError: when it is not known who asks.
    """
    stores = present_stores()
    if not stores.config.enable_user_isolation or (sent is None and stores.server is None):
        return Admission(None)
    user = get_user_context()
    if in_background():
        # The request has admitted them.
        return Admission(user)
    if sent is None or (user is not None and sent == user):
        return Admission(user)
    try:
        age = _age(sent, user, stores.config.session_ttl)
    except SessionRefused as error:
        stores.counters.increment("refused")
        logger.warning("A callback was refused: %s", error)
        raise
    return Admission(user, renew=age > stores.config.session_ttl / 2)


def _age(sent: Any, user: str | None, longest: float) -> float:
    """Return how many seconds ago a session id was made for this browser and user."""
    browser = session.get(BROWSER_KEY) if has_request_context() else None
    if not isinstance(sent, str) or not sent.isascii() or not isinstance(browser, str) or user is None:
        raise SessionRefused(_FOREIGN)
    signer = _signer(_keys(), user, browser)
    try:
        _value, made = signer.unsign(sent, return_timestamp=True)
    except BadSignature as error:
        raise SessionRefused(_FOREIGN) from error
    age = signer.get_timestamp() - made.timestamp()
    if age > longest:
        raise SessionRefused("The page was opened too long ago: reload it.")
    return age


_FOREIGN = (
    "The session id was not made for this browser and user: reload the page. (Whoever has logged in or out meanwhile "
    "has another one; an id copied from elsewhere is never good.)"
)


def _user() -> str:
    user = get_user_context()
    assert user is not None, "in a request, somebody is always known"
    return user


def _keys() -> list[Any]:
    """Return the app's keys, the present one last, as Flask signs its own cookie with them."""
    key = current_app.secret_key
    if not key:
        raise ConfigurationError(
            "The session id of a page is signed: set SECRET_KEY, the same in every process, or switch "
            "STATEMANAGER_STORES_USER_ISOLATION off."
        )
    return [*(current_app.config.get("SECRET_KEY_FALLBACKS") or ()), key]


class _Signer(TimestampSigner):
    """Takes the time from the app's clock."""

    def get_timestamp(self) -> int:
        """Return the seconds since 1970."""
        runtime = find_runtime()
        return int(time.time() if runtime is None else runtime.declarations.clock.now().timestamp())


def _signer(keys: list[Any], user: str, browser: str) -> _Signer:
    # What an id is good for is a part of what signs it: for anybody else it is no signature at all.
    salt = "\0".join((_PURPOSE, browser, user))
    return _Signer(keys, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)

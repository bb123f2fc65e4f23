"""Form tokens: a form counts only if this application gave it to this user in this browser."""

from __future__ import annotations

import re
import secrets
import time
from hashlib import sha256
from typing import Any

from flask import Request, Response, current_app, request
from itsdangerous import BadData, URLSafeTimedSerializer

from ..errors import ConfigurationError

FIELD = "admin_token"
"""The form field that the token is in."""

NONCE = "statemanager_admin"
"""The cookie that names the browser."""

TOLD = "statemanager_admin_told"
"""The cookie that carries a message to the page that follows."""

KEPT = 12 * 3600
"""Seconds that a form may stay open."""

AHEAD = 300
"""Seconds that the clock of another of the application's servers may be ahead of this one's."""

_SHOWN = 60
_LONGEST = 300
_NONCE = re.compile(r"[0-9a-f]{32}")


class Tokens:
    """Writes and checks the tokens of forms: signed with ``SECRET_KEY`` for a user and a browser's cookie.

    :param prefix: the path that the cookies belong to.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def nonce(self, asked: Request) -> str:
        """Return what names the browser, or a new name for one without.

        :param asked: the request.
        """
        found = asked.cookies.get(NONCE, "")
        return found if _NONCE.fullmatch(found) else secrets.token_hex(16)

    def issue(self, nonce: str, user: str) -> str:
        """Return a token for the forms of a page.

        :param nonce: names the browser.
        :param user: who asks.
        :raises ConfigurationError: when the app has no ``SECRET_KEY``.
        """
        return str(_signing("form").dumps(_bound(nonce, user)))

    def fits(self, asked: Request, user: str) -> bool:
        """Tell whether a form was given to this user in this browser, and not too long ago.

        :param asked: the request.
        :param user: who asks.
        :raises ConfigurationError: when the app has no ``SECRET_KEY``.
        """
        nonce, sent = asked.cookies.get(NONCE, ""), asked.form.get(FIELD, "")
        if not _NONCE.fullmatch(nonce):
            return False
        bound = _read("form", sent, KEPT)
        return isinstance(bound, str) and secrets.compare_digest(bound, _bound(nonce, user))

    def remember(self, response: Response, nonce: str) -> None:
        """Give a browser its name.

        :param response: the response.
        :param nonce: the name.
        """
        if request.cookies.get(NONCE) != nonce:
            self._set(response, NONCE, nonce)

    def tell(self, response: Response, message: str, user: str) -> None:
        """Have the page that follows show a message.

        :param response: the response.
        :param message: the message.
        :param user: who sees it.
        :raises ConfigurationError: when the app has no ``SECRET_KEY``.
        """
        self._set(response, TOLD, _signing("told").dumps([user, message[:_LONGEST]]), max_age=_SHOWN)

    def told(self, asked: Request, user: str) -> str | None:
        """Return the message that this page is to show, or None.

        :param asked: the request.
        :param user: who asks.
        :raises ConfigurationError: when the app has no ``SECRET_KEY``.
        """
        found = _read("told", asked.cookies.get(TOLD, ""), _SHOWN)
        return str(found[1]) if isinstance(found, list) and found[:1] == [user] else None

    def forget(self, response: Response) -> None:
        """Have the message shown once.

        :param response: the response that shows it.
        """
        if TOLD in request.cookies:
            response.delete_cookie(TOLD, path=self._path())

    def _set(self, response: Response, name: str, value: Any, max_age: int | None = None) -> None:
        response.set_cookie(
            name,
            value,
            max_age=max_age,
            path=self._path(),
            secure=request.is_secure,
            httponly=True,
            # Not "Strict": with that a link from another site would come without the cookie, get a new one, and spoil
            # the forms of pages that are open.
            samesite="Lax",
        )

    def _path(self) -> str:
        return f"{request.script_root}{self._prefix}"


def _bound(nonce: str, user: str) -> str:
    return sha256(f"{nonce}:{user}".encode()).hexdigest()


def _read(purpose: str, sent: str, kept: int) -> object:
    """Return what was signed for a purpose not too long ago, or None."""
    if not sent:
        return None
    try:
        found, signed_at = _signing(purpose).loads(sent, return_timestamp=True)
    except BadData:
        return None
    # Not by max_age=: that refuses what comes from a clock that is only a second ahead.
    age = time.time() - signed_at.timestamp()
    return found if -AHEAD <= age <= kept else None


def _signing(purpose: str) -> URLSafeTimedSerializer:
    key = current_app.secret_key
    if not key:
        raise ConfigurationError(
            "The app has no SECRET_KEY, with which the forms of the admin pages are signed: set one, the same in all "
            "processes."
        )
    keys = [*(current_app.config.get("SECRET_KEY_FALLBACKS") or ()), key]
    return URLSafeTimedSerializer(
        keys,
        salt=f"statemanager-admin-{purpose}",
        signer_kwargs={"key_derivation": "hmac", "digest_method": sha256},
    )

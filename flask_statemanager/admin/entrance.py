"""The entrance: who may see the pages."""

from __future__ import annotations

from urllib.parse import quote

from flask import Request, current_app

from ..config.access import Roles
from ..config.admin import NEXT
from ..runtime import Runtime
from ..security.identity import Access, Identity
from ..web.identity import LOCAL_USER, at_home

PERMISSION = "admin"
"""What whoever sees the pages needs."""


class Entrance:
    """Finds out who asks: by a bearer token, as the application says, or a developer at the own machine.

    :param runtime: the app's running parts.
    """

    def __init__(self, runtime: Runtime) -> None:
        settings = runtime.settings
        self._access = Access(settings.api_roles or Roles(), settings.api_tokens)
        self._local = settings.admin_local
        self._login = settings.admin_login_url
        self._prefix = settings.admin_prefix
        self._declarations = runtime.declarations

    def identify(self, request: Request) -> Identity | None:
        """Return who asks, or None where that is not known.

        :param request: the request.
        :raises ConfigurationError: when the application's loader answers what cannot be understood.
        """
        scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
        found = self._access.bearer(token.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            loader = self._declarations.identity.loader or self._declarations.actor.loader
            found = None if loader is None else self._access.loaded(loader())
        if found is None and self._local and at_home(request, current_app):
            return Identity(LOCAL_USER, frozenset((PERMISSION,)), self._access.everything)
        return found

    def login_url(self, request: Request) -> str | None:
        """Return where to log in, to come back to what was asked for, or None where the settings do not say.

        :param request: the request.
        """
        if self._login is None:
            return None
        home = f"{_written(request.script_root)}{self._prefix}/"
        # Of what the client has sent only a path below the own prefix comes along, so that it leads nowhere else.
        wanted = _address(request) if request.method == "GET" else home
        following = quote(wanted if is_below(wanted, home) else home, safe="/")
        if NEXT in self._login:
            return self._login.replace(NEXT, following)
        return f"{self._login}{'&' if '?' in self._login else '?'}next={following}"


def _address(request: Request) -> str:
    """Return the path and query of a request as its URL has them: the path of an id may hold any character."""
    path = _written(f"{request.script_root}{request.path}")
    query = request.query_string.decode("latin-1")
    return f"{path}?{query}" if query else path


def _written(path: str) -> str:
    return quote(path, safe="/:@!$&'()*+,;=")


def is_below(url: str, home: str) -> bool:
    """Tell whether a URL is a path of the admin pages, whatever a browser makes of it.

    :param url: the URL.
    :param home: that of the overview, with a slash behind it.
    """
    # Browsers take "%2e" for a dot where they look for "..".
    path = url.partition("?")[0].partition("#")[0].replace("%2e", ".").replace("%2E", ".")
    plain = url.isprintable() and "\\" not in url and not home.startswith("//")
    return plain and (path == home.rstrip("/") or path.startswith(home)) and "/../" not in f"{path}/"

"""Who asks: by a bearer token, as the application says, or a developer at the own machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from flask import Flask, Request, current_app

from ..config.access import Roles
from ..runtime import Runtime
from ..security.identity import Access, Identity
from ..tracking.refusals import FORBIDDEN as NOT_ALLOWED
from ..tracking.refusals import UNKNOWN
from .problems import CROSS_SITE, FORBIDDEN, UNAUTHENTICATED, Problem

LOCAL_USER = "local"
"""Who asks where nobody can be known: in a testing or debug app on the own machine."""

SAFE = frozenset(("GET", "HEAD", "OPTIONS"))

_FORWARDED = (
    "HTTP_FORWARDED",
    "HTTP_VIA",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
)


class Doorkeeper:
    """Finds out who asks, and lets in who may.

    :param runtime: the app's running parts.
    """

    def __init__(self, runtime: Runtime) -> None:
        settings = runtime.settings
        self.access = Access(settings.api_roles or Roles(), settings.api_tokens)
        self._origins = settings.api_origins
        self._declarations = runtime.declarations
        self._refusals = runtime.refusals

    def identify(self, request: Request) -> Identity:
        """Return who asks.

        :param request: the request.
        :raises Problem: when that cannot be found out, or a page of another site is behind it.
        :raises ConfigurationError: when the application's loader answers what cannot be understood.
        """
        scheme, _space, token = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        bearer = scheme.lower() == "bearer"
        found = self.access.bearer(token.strip()) if bearer and self.access.has_tokens else None
        if found is not None:
            return found
        found = self._loaded(request)
        if found is None:
            raise self._told(_unknown(bearer), request)
        if not bearer and request.method not in SAFE:
            # A browser sends cookies by itself, whoever's page asks; a bearer token it does not.
            self._check_site(request, found)
        return found

    def admit(self, request: Request, permission: str) -> Identity:
        """Return who asks, if they may.

        :param request: the request.
        :param permission: what they need.
        :raises Problem: when it is not known who asks, or they may not.
        :raises ConfigurationError: when the application's loader answers what cannot be understood.
        """
        identity = self.identify(request)
        if permission not in identity.permissions:
            problem = Problem(
                FORBIDDEN,
                f"This needs the permission {permission!r}, which {identity.user!r} does not have: "
                "ask for one of the roles that STATEMANAGER_API_ROLES names.",
            )
            raise self._told(problem, request, identity.user)
        return identity

    def _told(self, problem: Problem, request: Request, user: str | None = None) -> Problem:
        """Return a problem that operators can look up later."""
        kind = UNKNOWN if user is None else NOT_ALLOWED
        endpoint, address = request.endpoint, request.remote_addr
        self._refusals.note(kind, "api", endpoint, who=user, why=problem.detail, address=address)
        return problem

    def _loaded(self, request: Request) -> Identity | None:
        loader = self._declarations.identity.loader
        if loader is None:
            loader = self._declarations.actor.loader
        if loader is not None:
            return self.access.loaded(loader())
        if not self.access.has_tokens and at_home(request, current_app):
            return Identity(LOCAL_USER, frozenset(("admin",)), self.access.everything)
        return None

    def _check_site(self, request: Request, identity: Identity) -> None:
        """Refuse a request that a page of another site has made a browser send."""
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() in self._origins:
            return
        if not from_own_site(request):
            problem = Problem(
                CROSS_SITE,
                "A page of another origin asked for this with a user's cookies: send a bearer token, or name the "
                "origin in STATEMANAGER_API_ORIGINS.",
            )
            raise self._told(problem, request, identity.user)


def from_own_site(request: Request) -> bool:
    """Tell whether no page of another origin has made a browser send a request.

    It goes by what browsers say of themselves (Fetch Metadata, else ``Origin``); a client that says nothing is no
    browser.

    :param request: the request.
    """
    origin, fetched = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if fetched is not None:
        return fetched in ("same-origin", "none")
    return origin is None or urlsplit(origin).netloc.lower() == request.host.lower()


def _unknown(bearer: bool) -> Problem:
    challenge = 'Bearer error="invalid_token"' if bearer else "Bearer"
    return Problem(
        UNAUTHENTICATED,
        "Send a valid token as 'Authorization: Bearer ...', or log in."
        if not bearer
        else "The bearer token is not valid (any more): get another one.",
        headers={"WWW-Authenticate": challenge},
    )


def at_home(request: Request, app: Flask) -> bool:
    """Tell whether a developer asks their own machine: a testing or debug app, on loopback, with no proxy between.

    The name of the host must be loopback's too, as another site's name can be made to lead here (DNS rebinding).

    :param request: the request.
    :param app: the app that it is sent to.
    """
    if not (app.debug or app.testing) or any(name in request.environ for name in _FORWARDED):
        return False
    host = urlsplit(f"//{request.host}").hostname or ""
    named = host == "localhost" or host.endswith(".localhost") or _loopback(host)
    return _loopback(request.remote_addr) and (named or request.host == app.config["SERVER_NAME"])


def _loopback(address: str | None) -> bool:
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False

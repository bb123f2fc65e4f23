"""What is noted about requests and sessions, under which keys, for how long."""

from __future__ import annotations

from msgspec import Struct

from ..config import Settings
from ..core.names import check_id
from ..errors import ConfigurationError, StateValidationError

BUCKET = "tracking"
"""The bucket of the notes, unless the settings name another."""

COMPLETION = ":completion"
"""What the key of a request's end has behind the key of its beginning."""

MAX_PREFIX = 100
"""Characters of a prefix."""

NEVER = frozenset(
    (
        "authorization",
        "cookie",
        "cookie2",
        "proxy-authorization",
        "set-cookie",
        "x-amz-security-token",
        "x-api-key",
        "x-auth-token",
        "x-csrf-token",
        "x-csrftoken",
        "x-xsrf-token",
    )
)
"""Headers that carry secrets, so that no setting has them noted."""


class Rules(Struct, frozen=True):
    """How one app tracks.

    :param request_prefix: what the keys of requests begin with.
    :param session_prefix: what the keys of sessions begin with.
    :param request_ttl: seconds that a request's keys live.
    :param session_ttl: seconds that a session's key lives behind its last note.
    :param sample: which share of the requests is noted, from 0 to 1.
    :param headers: the headers that are noted, each with its name in a WSGI environment.
    :param query: the names of the arguments in a query string whose values are noted.
    """

    request_prefix: str
    session_prefix: str
    request_ttl: float
    session_ttl: float
    sample: float
    headers: tuple[tuple[str, str], ...]
    query: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """Take the rules from an app's settings.

        :param settings: the settings.
        :raises ConfigurationError: when keys of requests and of sessions cannot be told apart, or cannot be keys, or a
            header is asked for that carries secrets.
        """
        request, session = settings.request_prefix, settings.session_prefix
        for name, prefix in (("REQUEST", request), ("SESSION", session)):
            _check_prefix(f"STATEMANAGER_{name}_PREFIX", prefix)
        if request.startswith(session) or session.startswith(request):
            raise ConfigurationError(
                f"STATEMANAGER_REQUEST_PREFIX={request!r} and STATEMANAGER_SESSION_PREFIX={session!r} begin alike, so "
                "that a session could have the key of a request: choose others."
            )
        return cls(
            request,
            session,
            settings.request_state_ttl,
            settings.session_state_ttl,
            settings.track_sample,
            tuple((name, _variable(name)) for name in settings.track_headers),
            frozenset(settings.track_query),
        )

    def begun(self, correlation_id: str) -> str:
        """Return the key of a request's beginning.

        :param correlation_id: the request.
        """
        return f"{self.request_prefix}{correlation_id}"

    def completed(self, correlation_id: str) -> str:
        """Return the key of a request's end.

        :param correlation_id: the request.
        """
        return f"{self.request_prefix}{correlation_id}{COMPLETION}"


def _check_prefix(name: str, prefix: str) -> None:
    try:
        check_id(f"{prefix}x")
    except StateValidationError as error:
        raise ConfigurationError(f"{name}={prefix!r} is unusable: {error}") from error
    if len(prefix) > MAX_PREFIX:
        raise ConfigurationError(f"{name} is too long: take at most {MAX_PREFIX} characters.")


def _variable(header: str) -> str:
    """Return a header's name in a WSGI environment (PEP 3333)."""
    # In an environment of WSGI both are the same.
    if header.lower().replace("_", "-") in NEVER:
        raise ConfigurationError(
            f"STATEMANAGER_TRACK_HEADERS names {header}, which carries secrets and is never noted: leave it out."
        )
    name = header.upper().replace("-", "_")
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"

"""Problem details (RFC 9457): the one place where an error gets its status, its type and its title."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Response
from msgspec import Struct
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from .. import errors

MEDIA_TYPE = "application/problem+json"
NAMESPACE = "urn:problem-type:statemanager:"
"""What every ``type`` begins with."""


class Kind(Struct, frozen=True):
    """A kind of problem; it stays what it is.

    :param name: the end of its ``type``.
    :param status: the HTTP status.
    :param title: what it is, in some words.
    """

    name: str
    status: int
    title: str

    @property
    def type(self) -> str:
        """Its ``type``."""
        return NAMESPACE + self.name


MALFORMED = Kind("malformed-request", 400, "The request cannot be understood")
IDEMPOTENCY_UNSUPPORTED = Kind("idempotency-key-not-supported", 400, "The request cannot be repeated by a key")
UNAUTHENTICATED = Kind("unauthenticated", 401, "It is not known who asks")
FORBIDDEN = Kind("forbidden", 403, "This is not allowed")
CROSS_SITE = Kind("cross-site-request", 403, "A page of another site asked for this")
NOT_FOUND = Kind("not-found", 404, "There is no such thing")
NO_ROUTE = Kind("no-such-path", 404, "There is nothing at this path")
METHOD_NOT_ALLOWED = Kind("method-not-allowed", 405, "This path knows no such method")
NOT_ACCEPTABLE = Kind("not-acceptable", 406, "Only JSON can be answered")
CONFLICT = Kind("conflict", 409, "Somebody else was faster")
EXISTS = Kind("exists", 409, "It exists already")
TRANSITION_NOT_ALLOWED = Kind("transition-not-allowed", 409, "The present status does not allow this transition")
GUARD_FAILED = Kind("guard-failed", 409, "A guard refuses this transition")
SNAPSHOT_IN_USE = Kind("snapshot-in-use", 409, "Later snapshots stand on this one")
NOT_SWAPPED = Kind("not-swapped", 409, "Another value is stored")
SNAPSHOT_DAMAGED = Kind("snapshot-damaged", 409, "The snapshot is not what was written")
IN_PROGRESS = Kind("request-in-progress", 409, "A request with this idempotency key is under way")
COMPACTED = Kind("compacted", 410, "The log does not reach back so far")
PRECONDITION_FAILED = Kind("precondition-failed", 412, "Another version is stored")
TOO_LARGE = Kind("too-large", 413, "This is too large")
UNSUPPORTED_MEDIA_TYPE = Kind("unsupported-media-type", 415, "Only JSON can be read")
INVALID = Kind("invalid", 422, "The input is not acceptable")
IDEMPOTENCY_KEY_REUSED = Kind("idempotency-key-reused", 422, "The idempotency key belongs to another request")
UPGRADE_REQUIRED = Kind("upgrade-required", 426, "This path speaks WebSocket")
PRECONDITION_REQUIRED = Kind("precondition-required", 428, "Say which version is expected")
TOO_MANY_REQUESTS = Kind("too-many-requests", 429, "Too many requests")
INTERNAL = Kind("internal-error", 500, "Something went wrong")
NO_WEBSOCKET = Kind("no-websocket", 501, "This server hands no connection over")
CROWDED = Kind("too-many-listeners", 503, "No further listener can be served")
UNAVAILABLE = Kind("unavailable", 503, "The storage cannot be reached")
BUSY = Kind("busy", 503, "The storage is too slow or locked")
INTERRUPTED = Kind("interrupted", 503, "The work ended in the middle")

KINDS = tuple(value for value in list(vars().values()) if isinstance(value, Kind))
"""Every kind there is."""

_OF_ERRORS: dict[type[BaseException], tuple[Kind, tuple[str, ...]]] = {
    errors.StateManagerError: (INTERNAL, ()),
    errors.ConfigurationError: (INTERNAL, ()),
    errors.StorageError: (UNAVAILABLE, ()),
    errors.StorageUnavailable: (UNAVAILABLE, ()),
    errors.StorageTimeout: (BUSY, ()),
    errors.RequestInProgress: (IN_PROGRESS, ()),
    errors.BulkInterrupted: (INTERRUPTED, ("done",)),
    errors.StateNotFound: (NOT_FOUND, ()),
    errors.StateExists: (EXISTS, ()),
    errors.StateConflict: (CONFLICT, ("actual",)),
    errors.IdempotencyKeyReused: (IDEMPOTENCY_KEY_REUSED, ()),
    errors.StateValidationError: (INVALID, ("errors",)),
    errors.TransitionNotAllowed: (TRANSITION_NOT_ALLOWED, ("transition", "status", "allowed")),
    errors.GuardFailed: (GUARD_FAILED, ("transition", "status", "allowed", "guard", "reason")),
    errors.LimitExceeded: (TOO_LARGE, ("limit", "value")),
    errors.Compacted: (COMPACTED, ("restart",)),
    errors.SnapshotNotFound: (NOT_FOUND, ()),
    errors.SnapshotDamaged: (SNAPSHOT_DAMAGED, ()),
    errors.SnapshotInUse: (SNAPSHOT_IN_USE, ("needed_by",)),
    errors.JobNotFound: (NOT_FOUND, ()),
}
"""The kind of each error, and which of its attributes are told; an attribute ``status`` is told as ``state_status``."""

_UNTOLD = {
    INTERNAL: "The server's log says what it was.",
    UNAVAILABLE: "The storage cannot be reached, or failed: try again later.",
    BUSY: "The storage is too slow or locked at the moment: try again later.",
}
"""What is said instead of an error's own words, which may tell of the inside."""

_OF_STATUS = {400: MALFORMED, 404: NO_ROUTE, 409: CONFLICT, 500: INTERNAL, 503: UNAVAILABLE} | {
    kind.status: kind for kind in KINDS if kind.status not in (400, 403, 404, 409, 422, 500, 503)
}
_OF_STATUS |= {403: FORBIDDEN, 422: INVALID}

_RETRY_AFTER = {IN_PROGRESS: "1", UNAVAILABLE: "5", BUSY: "1", TOO_MANY_REQUESTS: "1"}
"""Seconds after which trying again may help, where the error itself does not say."""


class Problem(errors.StateManagerError):
    """A refusal of the API itself.

    :param kind: what kind it is.
    :param detail: one sentence that says what to do.
    :param headers: further headers of the response.
    :param members: further members of the body.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = dict(members or {})


def problem_of(error: Exception) -> Problem:
    """Return the problem that an error is to a client.

    :param error: an error of this package, or of Werkzeug.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        return _of_http(error)
    kind, told = next(_OF_ERRORS[each] for each in type(error).__mro__ if each in _OF_ERRORS)
    headers = {"Retry-After": _RETRY_AFTER[kind]} if kind in _RETRY_AFTER else {}
    members = {("state_status" if name == "status" else name): getattr(error, name) for name in told}
    return Problem(kind, _UNTOLD.get(kind) or str(error), headers=headers, members=members)


def _of_http(error: HTTPException) -> Problem:
    status = error.code or 500
    kind = _OF_STATUS.get(status) or Kind(f"http-{status}", status, HTTP_STATUS_CODES.get(status, "Error"))
    headers = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    if kind in _RETRY_AFTER:
        headers.setdefault("Retry-After", _RETRY_AFTER[kind])
    return Problem(kind, _UNTOLD.get(kind) or error.description or kind.title, headers=headers)


def problem_response(problem: Problem, request_id: str | None = None) -> Response:
    """Write a problem.

    :param problem: the problem.
    :param request_id: the request's id, to be sent back.
    """
    kind = problem.kind
    body = {"type": kind.type, "title": kind.title, "status": kind.status, "detail": problem.detail}
    body |= {"success": False, "error": problem.detail, **problem.members}
    headers = {"Cache-Control": "no-store", **problem.headers}
    if request_id is not None:
        headers["X-Request-ID"] = request_id
    # Escaped down to ASCII, as what a client has sent need not be Unicode.
    return Response(json.dumps(body, default=errors.shown), kind.status, headers, content_type=MEDIA_TYPE)

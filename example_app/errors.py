"""From errors to answers: one table of codes, a friendly page for people, RFC 9457 problem details for programs."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException

from flask_statemanager import (
    GuardFailed,
    IdempotencyKeyReused,
    JobNotFound,
    LimitExceeded,
    StateConflict,
    StateExists,
    StateManagerError,
    StateNotFound,
    StateValidationError,
    StorageError,
    TransitionNotAllowed,
)

from .access import PROGRAMS
from .ledger import NotEnoughCreditsError

# The first that fits, so the more special ones come first.
PROBLEMS: tuple[tuple[type[Exception], int, str], ...] = (
    (StateNotFound, 404, "There is no such thing"),
    (JobNotFound, 409, "This effect is not to be had"),
    (StateConflict, 409, "Somebody else was faster"),
    (StateExists, 409, "This exists already"),
    (GuardFailed, 409, "A rule forbids this now"),
    (TransitionNotAllowed, 409, "This is not possible now"),
    (NotEnoughCreditsError, 409, "Not enough credits"),
    (IdempotencyKeyReused, 422, "The key belongs to another request"),
    (StateValidationError, 422, "The input is not acceptable"),
    (LimitExceeded, 413, "This is too large"),
    (StorageError, 503, "The database does not answer"),
)
ADVICE = {
    StateConflict: "Your page shows an older version. Nothing was overwritten: reload it, look, and decide again.",
    NotEnoughCreditsError: "Nothing was changed, neither the state nor the balance.",
}


def init_app(app: Flask) -> None:
    """Answer every error in the form that the client reads.

    :param app: the app.
    """
    app.register_error_handler(StateManagerError, _failed)
    app.register_error_handler(NotEnoughCreditsError, _refused)
    app.register_error_handler(HTTPException, _http)


def _failed(error: Exception) -> Any:
    # The refusal of a page's session id is both.
    return _http(error) if isinstance(error, HTTPException) else _refused(error)


def _refused(error: Exception) -> Any:
    code, title = next(((code, title) for kind, code, title in PROBLEMS if isinstance(error, kind)), (500, "Failed"))
    return _answer(code, title, str(error), ADVICE.get(type(error)), _details(error))


def _http(error: HTTPException) -> Any:
    answer = _answer(error.code or 500, error.name, error.description or "", None, {})
    # What a client needs to go on: the methods that are allowed, how to authenticate.
    answer.headers.extend((name, value) for name, value in error.get_headers() if name.lower() != "content-type")
    return answer


def _details(error: Exception) -> dict[str, Any]:
    if isinstance(error, StateValidationError):
        return {"errors": error.errors}
    if isinstance(error, TransitionNotAllowed):
        return {"transition": error.transition, "status_now": error.status, "allowed": list(error.allowed)}
    if isinstance(error, StateConflict):
        return {"expected": error.expected, "actual": error.actual}
    return {}


def _answer(code: int, title: str, detail: str, advice: str | None, details: dict[str, Any]) -> Response:
    if request.path.startswith(PROGRAMS):
        body = {"type": "about:blank", "title": title, "status": code, "detail": detail, **details}
        return Response(json.dumps(body), code, mimetype="application/problem+json")
    page = render_template(
        "error.html", code=code, title=title, detail=detail, advice=advice, errors=details.get("errors"), back=_back()
    )
    return Response(page, code)


def _back() -> str | None:
    """Return the page that the form stood on, when it is one of ours."""
    referrer = request.referrer or ""
    return referrer if referrer.startswith(request.host_url) else None

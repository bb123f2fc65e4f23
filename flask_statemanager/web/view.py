"""Views: what stands between Flask and an operation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Request, Response, current_app
from flask import request as current_request

from ..lifecycle.parts import MAX_KEY
from ..runtime import Runtime
from .answer import Answer, response
from .call import Call
from .duplicates import Duplicates
from .identity import Doorkeeper
from .operation import Operation
from .preconditions import NONE, Preconditions, preconditions
from .problems import IDEMPOTENCY_UNSUPPORTED, MALFORMED, Problem
from .reading import acceptable, body_of, query_of

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,200}")
_NOTHING: Mapping[str, Any] = {}

present_request: Callable[[], Request] = current_request._get_current_object  # type: ignore[attr-defined]
"""Returns the request; going through the proxy each time costs more."""
_present_app: Callable[[], Flask] = current_app._get_current_object  # type: ignore[attr-defined]


class View:
    """Answers the requests for one operation; Flask calls it with the arguments of the path.

    :param operation: the operation.
    :param runtime: the app's running parts.
    :param doorkeeper: lets in who may.
    :param duplicates: keeps a request and its repetition apart.
    """

    def __init__(self, operation: Operation, runtime: Runtime, doorkeeper: Doorkeeper, duplicates: Duplicates) -> None:
        self._operation = operation
        self._act = operation.act
        self._runtime = runtime
        self._doorkeeper = doorkeeper
        self._duplicates = duplicates
        self._query = None if operation.query is None else operation.query()
        # What a request without a query string asks for; None where there is something that it must ask for.
        self._unasked = _NOTHING if self._query is None else _defaults(self._query)
        self._body = None if operation.body is None else operation.body()
        self._limit = runtime.settings.api_max_body
        self._conditional = operation.conditional
        self._demanding = runtime.settings.api_require_match and operation.overwrites

    def __call__(self, **arguments: Any) -> Response:
        """Carry out the operation and write its answer.

        :param arguments: those of the path.
        :raises StateManagerError: whatever is to become a problem.
        """
        request, runtime = present_request(), self._runtime
        if not runtime.completed:
            runtime.complete(_present_app().extensions)
        environ = request.environ
        accepted = acceptable(environ.get("HTTP_ACCEPT"), self._operation.produces)
        identity = self._doorkeeper.admit(request, self._operation.permission)
        if runtime.tracking.enabled:
            runtime.tracking.name_user(identity.user)
        call = Call(
            runtime,
            self._operation,
            identity,
            self._asked(request),
            _NOTHING if self._body is None else self._given(request),
            self._conditions(environ) if self._conditional else NONE,
            self._key(environ) if "HTTP_IDEMPOTENCY_KEY" in environ else None,
            request_id_of(environ),
            accepted,
        )
        if call.idempotency_key is None:
            return self._written(call, self._act(call, **arguments))
        with self._duplicates.alone(self._operation.name, call.actor, call.idempotency_key):
            return self._written(call, self._act(call, **arguments))

    def _written(self, call: Call, answer: Answer) -> Response:
        conditions = call.preconditions
        if conditions and answer.version is not None and self._operation.method == "GET":
            unchanged = conditions.unchanged(answer.version)
            answer = Answer(None, 304, answer.version, answer.headers, answer.links) if unchanged else answer
        return response(answer, call.request_id)

    def _asked(self, request: Request) -> Mapping[str, Any]:
        if self._unasked is not None and not request.query_string:
            return self._unasked
        if self._query is None:
            return _NOTHING
        return query_of(request, self._query)

    def _given(self, request: Request) -> Any:
        operation = self._operation
        assert self._body is not None, "the operation takes a body"
        return body_of(request, self._body, operation.media_types, self._limit, required=operation.body_required)

    def _key(self, environ: Mapping[str, Any]) -> str | None:
        if self._operation.idempotent:
            return _idempotency_key(environ)
        if self._operation.method == "POST":
            raise Problem(IDEMPOTENCY_UNSUPPORTED, "This operation cannot be repeated by a key: leave the header out.")
        return None

    def _conditions(self, environ: Mapping[str, Any]) -> Preconditions:
        found = preconditions(environ)
        if self._demanding:
            found.require()
        return found


def _defaults(query: Any) -> Mapping[str, Any] | None:
    """Return what an empty query is loaded as; None where the schema refuses it."""
    return None if query.validate({}) else query.load({})


def _idempotency_key(environ: Mapping[str, Any]) -> str:
    """Return the header ``Idempotency-Key``, a quoted string (RFC 8941) or a bare one."""
    key: str = environ["HTTP_IDEMPOTENCY_KEY"].strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 0 < len(key) <= MAX_KEY or not key.isascii() or not key.isprintable():
        raise Problem(MALFORMED, f"Idempotency-Key must be 1 to {MAX_KEY} printable ASCII characters, such as a UUID.")
    return key


def request_id_of(environ: Mapping[str, Any]) -> str | None:
    """Return the header ``X-Request-ID`` as it may be sent back and written down, or None.

    :param environ: the WSGI environment.
    """
    sent = environ.get("HTTP_X_REQUEST_ID")
    return sent if sent is not None and _REQUEST_ID.fullmatch(sent) else None

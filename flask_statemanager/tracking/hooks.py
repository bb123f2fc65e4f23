"""The hooks round each request of an app: they take down what is to be noted, and leave the writing to others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

from flask import Flask, Request, Response, request

from ..core.clock import Clock
from .correlation import HEADER, correlation_id_of, sampled
from .presence import Presence
from .present import SLOT
from .rules import Rules
from .visit import Visit

_present_request: Callable[[], Request] = request._get_current_object  # type: ignore[attr-defined]


class Hooks:
    """Tracks the requests of one app.

    :param rules: what is noted.
    :param clock: the time.
    :param user: returns the present user's id, or None; called at the end of each request, in its context.
    :param add: takes what is to be written; it neither waits nor raises.
    :param count: raises a counter by a number.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        clock: Clock,
        user: Callable[[], Any],
        add: Callable[[Visit | Presence], None],
        count: Callable[[str, int], None],
    ) -> None:
        self._headers, self._share, self._all = rules.headers, rules.sample, rules.sample >= 1.0
        self._now = clock.now
        self._user = user
        self._add = add
        self._count = count

    def attach(self, app: Flask) -> None:
        """Have an app call these hooks.

        :param app: the app.
        """
        app.before_request(self._begin)
        app.after_request(self._answer)
        app.teardown_request(self._end)

    def _begin(self) -> None:
        self._begun(_present_request())

    def _begun(self, present: Request) -> Visit:
        environ = present.environ
        visit = Visit(correlation_id_of(environ.get("HTTP_X_CORRELATION_ID")))
        setattr(present, SLOT, visit)
        if self._all or sampled(visit.correlation_id, self._share):
            visit.wanted = True
            visit.method, visit.path = present.method, present.path
            visit.query = environ.get("QUERY_STRING", "")
            visit.headers = {name: environ[key] for name, key in self._headers if key in environ}
            if present.view_args and present.url_rule is not None:
                visit.arguments, visit.rule = present.view_args, present.url_rule.rule
            visit.started_at, visit.began = self._now(), monotonic()
            if _upgrades(environ):
                # A socket may stay open for hours, and shall be seen meanwhile.
                self._add(visit)
        return visit

    def _answer(self, response: Response) -> Response:
        present = _present_request()
        # There is none yet where a hook that was registered before these has answered.
        visit: Visit = getattr(present, SLOT, None) or self._begun(present)
        response.headers[HEADER] = visit.correlation_id
        if visit.wanted:
            visit.status = response.status_code
            visit.streamed = _goes_on(response)
            response.call_on_close(partial(self._complete, visit))
        return response

    def _end(self, error: BaseException | None) -> None:
        present = _present_request()
        visit: Visit | None = getattr(present, SLOT, None)
        if visit is None:
            return
        self._see(visit)
        if visit.wanted:
            if error is None and visit.status in (None, 200) and _upgrades(present.environ):
                visit.status, visit.streamed = 101, False
            elif visit.status is None:
                visit.status = 500
            self._left(visit)

    def _left(self, visit: Visit) -> None:
        """Note that the view is done with; a stream goes on, and is seen meanwhile."""
        if not visit.streamed:
            self._complete(visit)
        elif visit.completed_at is None:
            self._add(visit)

    def _complete(self, visit: Visit) -> None:
        if visit.completed_at is not None:
            return
        visit.duration = monotonic() - visit.began
        visit.completed_at = self._now()
        self._add(visit)

    def _see(self, visit: Visit) -> None:
        """Note whose request it was: behind the answer, so that asking adds no ``Vary: Cookie`` to it."""
        try:
            user = self._user() if visit.user is None else visit.user
        except Exception:  # noqa: BLE001 - the application's function, whose failure is its request's own affair
            self._count("tracking.user_failed", 1)
            return
        if user is not None and str(user) != visit.left:
            self._add(Presence(str(user), self._now(), visit.correlation_id))


def _goes_on(response: Response) -> bool:
    """Tell whether a body is made behind the view."""
    if not response.is_streamed:
        return False
    # What is passed through is handed to the server as it is, which does not tell when it has sent it. An error page of
    # Werkzeug's only looks like a stream.
    return not response.direct_passthrough and response.status_code < 400


def _upgrades(environ: dict[str, Any]) -> bool:
    """Tell whether a request asks for a WebSocket (RFC 6455 section 4.1)."""
    found = environ.get("HTTP_UPGRADE")
    return found is not None and found.lower() == "websocket"

"""The routes of live events: an event stream and a WebSocket, which tell the same."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from flask import Blueprint, Request, Response, current_app, request
from msgspec import Struct

from ...core.follows import Watches
from ...core.powers import require
from ...core.waking import Alarm
from ...lifecycle.parts import BUCKET
from ...runtime import Runtime
from ...tracking.propagation import Propagation, PropagationSource, kept_back
from ..identity import Doorkeeper
from ..problems import CROSS_SITE, CROWDED, MALFORMED, NO_WEBSOCKET, UPGRADE_REQUIRED, Problem
from .asking import asked
from .client import Client
from .event_stream import EventStream
from .interest import EVERYTHING, Audience
from .listening import Listening
from .live import Live, Terms
from .log import Source
from .mailbox import Bounds, Farewell, Mailbox
from .messages import Frame
from .pace import Pace
from .places import Places, is_ending
from .stay import Conversation, Forgotten, Once, StartResponse
from .upgrade import Upgrade, is_welcome, token_offered
from .web_socket import WebSocket
from .wire import CAN_WAIT, Wire, bound, break_off, socket_in

FACE = "The face of live events"


class Stay(Struct, frozen=True):
    """One client that was let in.

    :param mailbox: what waits for it.
    :param listening: its stay.
    :param end: ends it, whatever way it goes.
    """

    mailbox: Mailbox
    listening: Listening
    end: Once


class Streams:
    """Live events of one app, for a blueprint.

    :param runtime: the app's running parts.
    :param doorkeeper: lets in who may.
    """

    def __init__(self, runtime: Runtime, doorkeeper: Doorkeeper) -> None:
        settings = runtime.settings
        self._runtime = runtime
        self._doorkeeper = doorkeeper
        self._pace = Pace(settings.live_heartbeat, settings.live_max_age)
        self._bounds = Bounds(settings.live_queue_events, settings.live_queue_bytes)
        self._places = Places(settings.live_clients, settings.server_threads, settings.reserved_threads)
        self._forgotten = Forgotten()
        self.live = self._make_live()

    def _make_live(self) -> Live:
        runtime, settings = self._runtime, self._runtime.settings
        declarations, count = runtime.declarations, runtime.counters.increment
        live = Live(
            self._source,
            Propagation(
                settings.live_public_prefixes,
                declarations.propagation if settings.propagate_state else PropagationSource(kept_back),
                lambda: count("live.propagation_failed"),
            ),
            Terms(settings.live_secrets, settings.live_queue_events),
            declarations.clock,
            self._pulse,
        )
        runtime.closing.append(live.close)
        for name, read in live.counts().items():
            runtime.counters.follow(name, read)
        return live

    def _pulse(self) -> bool:
        self._forgotten.sweep()
        return is_ending()

    def _source(self, bucket: str) -> Source:
        if bucket == BUCKET:
            backend = self._runtime.backend
            watches = require(backend, Watches, FACE)  # type: ignore[type-abstract]
        else:
            parts = self._runtime.shelves.kept(bucket)
            backend, watches = parts.bucket.backend, parts.watches
        log = require(backend, Watches, FACE)  # type: ignore[type-abstract]
        return Source(backend.title if log.one_log else f"{backend.title}.{bucket}", watches)

    def add_to(self, blueprint: Blueprint) -> None:
        """Add the routes.

        :param blueprint: the blueprint of the API.
        """
        blueprint.add_url_rule("/events/stream", "stream_events", self.stream_events, methods=["GET"])
        blueprint.add_url_rule("/events", "socket_events", self.socket_events, methods=["GET"], websocket=True)
        blueprint.add_url_rule("/events", "events", self.ask_for_upgrade, methods=["GET"])

    def stream_events(self) -> Response:
        """Answer with an event stream.

        :raises Problem: when the request cannot be served.
        """
        headers = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
        if request.method == "HEAD":
            self._doorkeeper.admit(request, "read")
            return Response(content_type="text/event-stream", headers=headers)
        alarm = Alarm()
        stay = self._let_in(request, attrgetter("event"), alarm.ring)
        body = EventStream(stay.mailbox, alarm, self._pace).body(stay.listening)
        response = Response(body, content_type="text/event-stream", headers=headers)
        response.call_on_close(stay.end)
        self._forgotten.watch(response, stay.end)
        return response

    def socket_events(self) -> Response:
        """Speak WebSocket.

        :raises Problem: when the request cannot be served.
        """
        sock = socket_in(request.environ)
        if sock is None or not CAN_WAIT:
            raise Problem(
                NO_WEBSOCKET,
                "This server hands no connection over to speak WebSocket on: listen to /events/stream instead.",
            )
        if not is_welcome(request.headers.get("Origin"), request.host, sorted(self._runtime.settings.ws_origins)):
            raise Problem(
                CROSS_SITE, "Pages of this origin may not listen here: STATEMANAGER_WS_ORIGINS names those that may."
            )
        try:
            upgrade = Upgrade(request.environ)
        except ValueError as error:
            raise Problem(MALFORMED, f"This is no opening of a WebSocket of version 13: {error}.") from error
        wire = Wire(sock)
        try:
            stay = self._let_in(_with_token(request), attrgetter("websocket"), wire.ring)
        except BaseException:
            wire.release()
            raise
        return self._upgraded(upgrade, wire, stay)

    def _upgraded(self, upgrade: Upgrade, wire: Wire, stay: Stay) -> Response:
        web_socket = WebSocket(wire, stay.mailbox, self._pace)
        end = Once(stay.end, wire.close)
        response = Upgraded(lambda: web_socket.serve(upgrade, stay.listening), end)
        self._forgotten.watch(response, end)
        return response

    def ask_for_upgrade(self) -> Response:
        """Refuse what is no WebSocket.

        :raises Problem: always.
        """
        raise Problem(
            UPGRADE_REQUIRED,
            "Open this as a WebSocket, or listen to /events/stream, which is an event stream.",
            headers={"Upgrade": "websocket", "Connection": "Upgrade"},
        )

    # -- one client --------------------------------------------------------------------------------------------------

    def _let_in(self, asking: Request, form: Callable[[Frame], bytes], ring: Callable[[], None]) -> Stay:
        runtime = self._runtime
        self._forgotten.sweep()
        if not runtime.completed:
            runtime.complete(current_app.extensions)
        identity = self._doorkeeper.admit(asking, "read")
        interest, since = asked(asking, runtime.declarations.buckets, runtime.settings.api_buckets)
        mailbox = Mailbox(form, self._bounds, ring)
        audience = EVERYTHING if identity.may("admin") else Audience(identity.user)
        sock = socket_in(asking.environ)
        client = Client(
            audience,
            interest,
            self.live.logs(interest.buckets),
            mailbox,
            (lambda: None) if sock is None else (lambda: break_off(sock)),
        )
        if not self._places.take(asking.environ):
            runtime.counters.increment("live.refused")
            raise Problem(
                CROWDED,
                "All places for listeners are taken: try again later, or ask for more threads of the server "
                "(STATEMANAGER_RESERVED_THREADS says how many are left for requests).",
                headers={"Retry-After": "5"},
            )
        try:
            listening = Listening(self.live, client, since)
        except BaseException:
            self.live.leave(client)
            self._places.leave()
            raise
        if sock is not None:
            bound(sock)
        return Stay(mailbox, listening, Once(listening.close, self._places.leave, lambda: self._count(mailbox)))

    def _count(self, mailbox: Mailbox) -> None:
        if mailbox.farewell is Farewell.SLOW:
            self._runtime.counters.increment("live.cut_off")


class Upgraded(Response):
    """The response to an upgrade.

    :param speak: speaks on the connection.
    :param end: ends the stay.
    """

    def __init__(self, speak: Callable[[], None], end: Callable[[], None]) -> None:
        super().__init__(status=101)
        self._speak = speak
        self._end = end

    def __call__(self, environ: Any, start_response: StartResponse) -> Conversation:
        """Return what the server iterates.

        :param environ: the WSGI environment.
        :param start_response: the server's.
        """
        return Conversation(self._speak, self._end, start_response, self)


def _with_token(asking: Request) -> Request:
    """Return a request with the token in its header that a browser can only offer as a subprotocol."""
    token = token_offered(asking.headers.get("Sec-WebSocket-Protocol", ""))
    if token is None or "Authorization" in asking.headers:
        return asking
    return Request({**asking.environ, "HTTP_AUTHORIZATION": f"Bearer {token}"})

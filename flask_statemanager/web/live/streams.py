"""The routes of live events: an event stream and a WebSocket, which tell the same."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from flask import Blueprint, Request, Response, current_app, request

from ...runtime import Runtime
from ..identity import Doorkeeper
from ..problems import CROSS_SITE, MALFORMED, NO_WEBSOCKET, UPGRADE_REQUIRED, Problem
from .asking import asked
from .entrance import STREAM, STREAM_HEADERS, Stay
from .station import Station, Wish, station_of
from .stay import Conversation, Once, StartResponse
from .upgrade import Upgrade, is_welcome, token_offered
from .web_socket import WebSocket
from .wire import CAN_WAIT, Wire, socket_in


class Streams:
    """The routes of one app's live events, for the blueprint of the API.

    :param runtime: the app's running parts.
    :param doorkeeper: lets in who may.
    """

    def __init__(self, runtime: Runtime, doorkeeper: Doorkeeper) -> None:
        self._runtime = runtime
        self._doorkeeper = doorkeeper

    @property
    def _station(self) -> Station:
        return station_of(current_app, self._runtime)

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
        if request.method == "HEAD":
            self._doorkeeper.admit(request, "read")
            return Response(content_type=STREAM, headers=STREAM_HEADERS)
        return self._station.event_stream(request, self._wish(request))

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
            asking = _with_token(request)
            stay = self._station.let_in(asking, self._wish(asking), attrgetter("websocket"), wire.ring)
        except BaseException:
            wire.release()
            raise
        return self._upgraded(upgrade, wire, stay)

    def _upgraded(self, upgrade: Upgrade, wire: Wire, stay: Stay) -> Response:
        web_socket = WebSocket(wire, stay.mailbox, self._station.pace)
        end = Once(stay.end, wire.close)
        response = Upgraded(lambda: web_socket.serve(upgrade, stay.listening), end)
        self._station.watch(response, end)
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

    def _wish(self, asking: Request) -> Wish:
        runtime = self._runtime
        if not runtime.completed:
            runtime.complete(current_app.extensions)
        identity = self._doorkeeper.admit(asking, "read")
        interest, since = asked(asking, runtime.declarations.buckets, runtime.settings.api_buckets)
        return Wish(identity, interest, since)


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

"""The station: live events of one app, for whichever pages and programs listen. It needs none of the extra ``web``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter

from flask import Flask, Request, Response
from msgspec import Struct

from ...core.waking import Alarm
from ...runtime import Runtime
from ...security.identity import Identity
from ...tracking.propagation import Propagation, PropagationSource, kept_back
from ..problems import CROWDED, Problem
from .client import Client
from .event_stream import EventStream
from .interest import EVERYTHING, Audience, Interest
from .listening import Listening
from .live import Live, Terms
from .mailbox import Bounds, Farewell, Mailbox
from .messages import Frame
from .pace import Pace
from .places import Places, is_ending
from .sources import source_of
from .stay import Forgotten, Once
from .wire import bound, break_off, socket_in

EXTENSION = "statemanager_live"
"""The name under ``app.extensions``."""

STREAM = "text/event-stream"

STREAM_HEADERS = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
"""What keeps those between from holding a stream back."""


class Stay(Struct, frozen=True):
    """One client that was let in.

    :param mailbox: what waits for it.
    :param listening: its stay.
    :param end: ends it, whatever way it goes.
    """

    mailbox: Mailbox
    listening: Listening
    end: Once


class Wish(Struct, frozen=True):
    """Who wants to hear of what.

    :param identity: who.
    :param interest: of what.
    :param since: the cursor to go on behind; None for from now on.
    """

    identity: Identity
    interest: Interest
    since: str | None = None


class Station:
    """Live events of one app: one for all of its pages and programs, so that each log is read once in a process.

    :param runtime: the app's running parts.
    """

    def __init__(self, runtime: Runtime) -> None:
        settings = runtime.settings
        self._runtime = runtime
        self.pace = Pace(settings.live_heartbeat, settings.live_max_age)
        self._bounds = Bounds(settings.live_queue_events, settings.live_queue_bytes)
        self._places = Places(settings.live_clients, settings.server_threads, settings.reserved_threads)
        self._forgotten = Forgotten()
        self.live = self._make_live()

    def _make_live(self) -> Live:
        runtime, settings = self._runtime, self._runtime.settings
        declarations, count = runtime.declarations, runtime.counters.increment
        live = Live(
            partial(source_of, runtime),
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

    def event_stream(self, asking: Request, wish: Wish) -> Response:
        """Answer with an event stream.

        :param asking: the request.
        :param wish: who wants to hear of what.
        :raises Problem: when there is no room for it.
        :raises StorageError: when the storage fails.
        """
        alarm = Alarm()
        stay = self.let_in(asking, wish, attrgetter("event"), alarm.ring)
        body = EventStream(stay.mailbox, alarm, self.pace).body(stay.listening)
        response = Response(body, content_type=STREAM, headers=STREAM_HEADERS)
        response.call_on_close(stay.end)
        self.watch(response, stay.end)
        return response

    def watch(self, response: Response, end: Once) -> None:
        """Have a stay ended when its response is gone.

        :param response: the response.
        :param end: ends the stay.
        """
        self._forgotten.watch(response, end)

    def let_in(self, asking: Request, wish: Wish, form: Callable[[Frame], bytes], ring: Callable[[], None]) -> Stay:
        """Let a client in.

        :param asking: the request.
        :param wish: who wants to hear of what.
        :param form: what a message is on its connection.
        :param ring: called when something waits for it.
        :raises Problem: when there is no room for it.
        :raises StorageError: when the storage fails.
        """
        self._forgotten.sweep()
        mailbox = Mailbox(form, self._bounds, ring)
        audience = EVERYTHING if wish.identity.may("admin") else Audience(wish.identity.user)
        sock = socket_in(asking.environ)
        client = Client(
            audience,
            wish.interest,
            self.live.logs(wish.interest.buckets),
            mailbox,
            (lambda: None) if sock is None else (lambda: break_off(sock)),
        )
        if not self._places.take(asking.environ):
            self._runtime.counters.increment("live.refused")
            raise Problem(
                CROWDED,
                "All places for listeners are taken: try again later, or ask for more threads of the server "
                "(STATEMANAGER_RESERVED_THREADS says how many are left for requests).",
                headers={"Retry-After": "5"},
            )
        try:
            listening = Listening(self.live, client, wish.since)
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


def station_of(app: Flask, runtime: Runtime) -> Station:
    """Return the station of an app, made at the first call.

    :param app: the app.
    :param runtime: its running parts.
    """
    found: Station = app.extensions.get(EXTENSION) or app.extensions.setdefault(EXTENSION, Station(runtime))
    return found

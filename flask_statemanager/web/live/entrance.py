"""The entrance: who was identified takes a place, and listens until the end of the stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from flask import Response
from msgspec import Struct
from msgspec.structs import replace

from ...config.live import LiveSettings
from ...core.waking import Alarm
from ..problems import CROWDED, Problem
from .client import Client
from .event_stream import EventStream
from .interest import Audience, Interest
from .listening import Listening
from .live import Live
from .mailbox import Bounds, Farewell, Mailbox
from .messages import Frame
from .pace import Pace
from .places import Places
from .stay import Forgotten, Once
from .wire import bound, break_off, socket_in

STREAM_HEADERS = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
"""What keeps a proxy from holding an event stream back."""

STREAM = "text/event-stream"


class Guest(Struct, frozen=True):
    """A client that was identified, and what it asks for.

    :param audience: who it is.
    :param interest: what it asks for.
    :param since: the cursor to go on from; None for from now on.
    """

    audience: Audience
    interest: Interest
    since: str | None


class Stay(Struct, frozen=True):
    """One client that was let in.

    :param mailbox: what waits for it.
    :param listening: its stay.
    :param end: ends it, whatever way it goes.
    """

    mailbox: Mailbox
    listening: Listening
    end: Once


class Entrance:
    """Lets clients in, as many as the server has threads for.

    :param live: the streams.
    :param places: how many there may be; all streams of a server share them.
    :param settings: how much may wait for a client, and how long it may stay.
    :param count: raises a counter.
    :param forgotten: ends stays whose response is gone; whoever made ``live`` sweeps it.
    """

    def __init__(
        self,
        live: Live,
        places: Places,
        settings: LiveSettings,
        *,
        count: Callable[[str], object],
        forgotten: Forgotten,
    ) -> None:
        self.pace = Pace(settings.live_heartbeat, settings.live_max_age)
        self.forgotten = forgotten
        self._live = live
        self._places = places
        self._bounds = Bounds(settings.live_queue_events, settings.live_queue_bytes)
        self._count = count

    def let_in(
        self, environ: Mapping[str, Any], guest: Guest, form: Callable[[Frame], bytes], ring: Callable[[], None]
    ) -> Stay:
        """Give a client a place.

        :param environ: the WSGI environment of its request.
        :param guest: the client.
        :param form: returns a message as its transport sends it.
        :param ring: wakes its thread; never waits.
        :raises Problem: when no place is left.
        :raises StateValidationError: when ``since`` is no cursor of these logs.
        :raises StorageError: when the storage fails.
        """
        self.forgotten.sweep()
        mailbox = Mailbox(form, self._bounds, ring)
        sock = socket_in(environ)
        client = Client(
            guest.audience,
            guest.interest,
            self._live.logs(guest.interest.buckets),
            mailbox,
            (lambda: None) if sock is None else (lambda: break_off(sock)),
        )
        if not self._places.take(environ):
            self._count("live.refused")
            raise Problem(
                CROWDED,
                "All places for listeners are taken: try again later, or ask for more threads of the server "
                "(STATEMANAGER_RESERVED_THREADS says how many are left for requests).",
                headers={"Retry-After": "5"},
            )
        try:
            listening = Listening(self._live, client, guest.since)
        except BaseException:
            self._live.leave(client)
            self._places.leave()
            raise
        if sock is not None:
            bound(sock)
        return Stay(mailbox, listening, Once(listening.close, self._places.leave, lambda: self._ended(mailbox)))

    def event_stream(self, environ: Mapping[str, Any], guest: Guest, *, longest: float | None = None) -> Response:
        """Return a response that goes on as an event stream.

        :param environ: the WSGI environment of the request.
        :param guest: the client.
        :param longest: seconds after which it ends, where that is sooner than the settings say; None otherwise.
        :raises Problem: when no place is left.
        :raises StateValidationError: when ``since`` is no cursor of these logs.
        :raises StorageError: when the storage fails.
        """
        pace = self.pace if longest is None else replace(self.pace, longest=min(longest, self.pace.longest))
        alarm = Alarm()
        stay = self.let_in(environ, guest, attrgetter("event"), alarm.ring)
        body = EventStream(stay.mailbox, alarm, pace).body(stay.listening)
        response = Response(body, content_type=STREAM, headers=STREAM_HEADERS)
        response.call_on_close(stay.end)
        self.forgotten.watch(response, stay.end)
        return response

    def _ended(self, mailbox: Mailbox) -> None:
        if mailbox.farewell is Farewell.SLOW:
            self._count("live.cut_off")

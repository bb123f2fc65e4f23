"""The station: live events of one app, for whichever pages and programs listen. It needs none of the extra ``web``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from flask import Flask, Request, Response
from msgspec import Struct

from ...runtime import Runtime
from ...security.identity import Identity
from ...tracking.propagation import Propagation, PropagationSource, kept_back
from .entrance import Entrance, Guest, Stay
from .interest import EVERYTHING, Audience, Interest
from .live import Live
from .messages import Frame
from .places import places_of
from .sources import source_of
from .stay import Forgotten, Once
from .terms import Terms

EXTENSION = "statemanager_live"
"""The name under ``app.extensions``."""


class Wish(Struct, frozen=True):
    """Who wants to hear of what.

    :param identity: who.
    :param interest: of what.
    :param since: the cursor to go on behind; None for from now on.
    :param longest: seconds after which the stream ends, where that is sooner than the settings say; None otherwise.
    """

    identity: Identity
    interest: Interest
    since: str | None = None
    longest: float | None = None


class Station:
    """Live events of one app: one for all of its pages and programs, so that each log is read once in a process.

    :param runtime: the app's running parts.
    """

    def __init__(self, runtime: Runtime) -> None:
        settings = runtime.settings
        self._runtime = runtime
        self._forgotten = Forgotten()
        self.live = self._make_live()
        self._entrance = Entrance(
            self.live,
            places_of(runtime, settings),
            settings,
            count=runtime.counters.increment,
            forgotten=self._forgotten,
        )
        self.pace = self._entrance.pace

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
            self._forgotten.pulse,
        )
        runtime.closing.append(live.close)
        for name, read in live.counts().items():
            runtime.counters.follow(name, read)
        return live

    def event_stream(self, asking: Request, wish: Wish) -> Response:
        """Answer with an event stream.

        :param asking: the request.
        :param wish: who wants to hear of what.
        :raises Problem: when there is no room for it.
        :raises StorageError: when the storage fails.
        """
        return self._entrance.event_stream(asking.environ, _guest(wish), longest=wish.longest)

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
        return self._entrance.let_in(asking.environ, _guest(wish), form, ring)


def _guest(wish: Wish) -> Guest:
    audience = EVERYTHING if wish.identity.may("admin") else Audience(wish.identity.user)
    return Guest(audience, wish.interest, wish.since)


def station_of(app: Flask, runtime: Runtime) -> Station:
    """Return the station of an app, made at the first call.

    :param app: the app.
    :param runtime: its running parts.
    """
    found: Station = app.extensions.get(EXTENSION) or app.extensions.setdefault(EXTENSION, Station(runtime))
    return found

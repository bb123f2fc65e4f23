"""Live events of stores: which of a user's stores changed, never what they hold.

A store's name says whose it is. That decides who is told, and not what the rules of propagation make of names: a user
who is called as another one's store is told of nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson
from flask import Response

from ...config import Settings
from ...core.buckets import KEPT_STORES, STORES
from ...core.follows import Watches
from ...core.powers import require
from ...core.record import Change, Record
from ...errors import StateValidationError
from ...stores.names import name_part, prefixes
from ...stores.opened import OpenStores
from ...stores.server import ServerStateBackend
from ...tracking.propagation import NOBODY, Propagation, PropagationSource, Reach, Sight
from .cursors import written
from .entrance import Entrance, Guest
from .interest import Audience, Interest
from .live import Live
from .log import Source
from .places import places_of
from .stay import Forgotten
from .terms import Terms

FACE = "The push of stores"


class StoreStreams:
    """Event streams for those who have stores, until :meth:`close` or until the backend of the stores is closed.

    :param stores: the stores, whose server keeps them.
    :param settings: of the app that serves the streams.
    :param server: stands for the server, whose threads all of its streams share.
    :raises ConfigurationError: when where they are kept cannot be followed.
    :raises StorageError: when it cannot be reached.
    """

    def __init__(self, stores: OpenStores, settings: Settings, server: object) -> None:
        backend = stores.server
        assert backend is not None, "what a browser keeps itself has no log"
        self.backend: ServerStateBackend = backend
        self._stores = stores
        self._buckets = (STORES, KEPT_STORES) if stores.config.history else (STORES,)
        self._sources = {bucket: _source(backend, bucket) for bucket in self._buckets}
        forgotten = Forgotten()
        self._live = Live(
            self._sources.__getitem__,
            Propagation((), PropagationSource(partial(reach_of, stores.config.key_prefix))),
            Terms(most_held=settings.live_queue_events, telling=change_of_store),
            backend.parts(STORES).bucket.clock,
            forgotten.pulse,
        )
        self._entrance = Entrance(
            self._live,
            places_of(server, settings),
            settings,
            count=stores.counters.increment,
            forgotten=forgotten,
        )
        backend.before_closing(self.close)

    def cursor(self) -> str:
        """Return the cursor behind the last change of now.

        :raises StorageError: when the storage fails.
        """
        logs = self._live.logs(self._buckets)
        return written({name: self._live.log(name).position(some[0]) for name, some in logs.items()}, logs)

    def listen(self, environ: Mapping[str, Any], since: str | None) -> Response:
        """Answer with an event stream of the present user's stores.

        :param environ: the WSGI environment of the request.
        :param since: the cursor to go on from; None for from now on. What is no cursor of these logs, as after a move
            to another backend, counts as one from before what is kept.
        :raises Problem: when no place is left.
        :raises ConfigurationError: when it is not known who asks.
        :raises StorageError: when the storage fails.
        """
        owner = self._stores.owner(None)
        everybodys, users = prefixes(self._stores.config.key_prefix)
        audience = Audience(None if owner is None else name_part(owner))
        interest = Interest(self._buckets, everybodys if owner is None else users)
        try:
            return self._entrance.event_stream(environ, Guest(audience, interest, since))
        except StateValidationError:
            return self._entrance.event_stream(environ, Guest(audience, interest, "0"))

    def close(self) -> None:
        """End all streams of this process; those who listen come again."""
        self._live.close()


def reach_of(prefix: str, record: Record, _found: Reach) -> Reach:
    """Return whose a store is.

    :param prefix: what the names of stores begin with.
    :param record: the store.
    :param _found: whose it were by its name alone.
    """
    everybodys, users = prefixes(prefix)
    name = record.key.name
    if name.startswith(users):
        return Reach(users=frozenset((name[len(users) :].partition("/")[0],)))
    return Reach(everyone=True) if name.startswith(everybodys) else NOBODY


def change_of_store(change: Change, _sight: Sight, _secrets: frozenset[str]) -> bytes:
    """Write what is told of a change of a store, as JSON.

    :param change: the change.
    :param _sight: without effect, as both sides have one owner.
    :param _secrets: without effect, as no value is told.
    """
    return orjson.dumps(
        {
            "store": change.key.name.rpartition("/s:")[2],
            "version": change.version,
            "exists": change.after.deleted_at is None,
            "request": change.request_id,
        }
    )


def _source(backend: ServerStateBackend, bucket: str) -> Source:
    parts = backend.parts(bucket)
    kept = parts.bucket.backend
    log = require(kept, Watches, FACE)  # type: ignore[type-abstract]
    return Source(kept.title if log.one_log else f"{kept.title}.{bucket}", parts.watches)

"""Live changes: the latest ones as they are, and those that come, as they come."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, request
from msgspec import Struct

from ..core.audits import AuditQuery, Audits, Deed
from ..core.buckets import REFUSALS, RESERVED
from ..core.names import check_prefix, check_word
from ..errors import StateManagerError, StateValidationError
from ..lifecycle.parts import BUCKET
from ..runtime import Runtime
from ..security.identity import Identity
from ..web.live.interest import Interest
from ..web.live.station import Wish, station_of
from .answers import Shown
from .page import Pages
from .places import outcome, place_of
from .visit import BLUEPRINT, Visit

pages = Pages("live", "Live", order=70)

QUIET = ("admin", REFUSALS)
"""Buckets in which only these pages and the tracking note something: they are shown where they are asked for."""

LATEST = 50
"""How many of the latest changes the page begins with."""

LOOK_AT = 5000
"""How many entries of the log are looked at for them."""

MOST_CURSOR = 32_768

LONGEST = 60.0
"""Seconds after which a stream ends; the page goes on with another at once, if its visitor may still see it."""

STREAM = "live_stream"
"""The name of the route of the event stream."""


class Filters(Struct, frozen=True):
    """What is asked for.

    :param bucket: the collection; empty for all.
    :param type: the type of state; empty for all.
    :param event: the event; empty for all.
    :param prefix: how keys and ids begin.
    """

    bucket: str = ""
    type: str = ""
    event: str = ""
    prefix: str = ""

    @classmethod
    def of(cls, query: Any) -> Filters:
        """Read them.

        :param query: the query of a request.
        """
        return cls(*(query.get(name, "").strip() for name in ("bucket", "type", "event", "prefix")))


@pages.show("/live", "live")
def show_live(visit: Visit) -> Shown:
    """Show the latest changes; a script adds those that come.

    :param visit: the visit.
    """
    filters, problem = Filters.of(visit.query), None
    latest: list[Deed] | None = []
    try:
        _interest(visit.runtime, filters)
        latest = _latest(visit, filters)
    except StateValidationError as error:
        problem = " ".join(text for texts in error.errors.values() for text in texts)
    except StateManagerError as error:
        problem = str(error)
    values = {
        "filters": filters,
        "latest": latest,
        "problem": problem,
        "buckets": _buckets(visit.runtime),
        "types": sorted(visit.runtime.declarations.definitions.types),
        "on": visit.runtime.settings.broadcast_changes,
        "followed": _followed(visit, filters),
        "reserved": RESERVED,
        "place_of": lambda deed: place_of(visit, deed.key),
        "outcome": outcome,
    }
    return Shown("live.html", values)


def _buckets(runtime: Runtime) -> list[str]:
    return sorted({BUCKET, *runtime.declarations.buckets.buckets})


def _quiet(runtime: Runtime) -> tuple[str, ...]:
    return (*QUIET, runtime.settings.track_bucket)


def _followed(visit: Visit, filters: Filters) -> str | None:
    """Return the address of the stream, or None where changes are not told."""
    if not visit.runtime.settings.broadcast_changes:
        return None
    asked = {name: getattr(filters, name) or None for name in ("bucket", "type", "prefix")}
    return visit.url(STREAM, **asked)


def _latest(visit: Visit, filters: Filters) -> list[Deed] | None:
    """Return the latest changes, of those that lie not too far back; None where the store cannot tell."""
    runtime = visit.runtime
    name = filters.bucket or BUCKET
    bucket = runtime.bucket if name == BUCKET else runtime.shelves.kept(name).bucket
    backend = bucket.backend
    if not isinstance(backend, Audits):
        return None
    but = () if filters.bucket else _quiet(runtime)
    query = AuditQuery(
        filters.bucket or None,
        but,
        event=filters.event or None,
        type=filters.type or None,
        limit=LOOK_AT if filters.prefix else LATEST,
        look_at=LOOK_AT,
    )
    with bucket.reading() as unit:
        found = backend.audit(unit, query).deeds
    return [deed for deed in found if deed.key.name.startswith(filters.prefix)][:LATEST]


def _interest(runtime: Runtime, filters: Filters) -> Interest:
    """Return what a stream is to tell of.

    :raises StateValidationError: when it cannot be asked for.
    """
    known = _buckets(runtime)
    if filters.bucket and filters.bucket not in known:
        raise StateValidationError({"bucket": [f"There is no such bucket; known are {', '.join(known)}."]})
    type_name = check_word(filters.type, "type") if filters.type else None
    heard = [name for name in known if name not in _quiet(runtime)]
    return Interest(
        (filters.bucket,) if filters.bucket else tuple(heard), check_prefix(filters.prefix), type_name, values=False
    )


class Stream:
    """The route of the event stream, whose visitors the frame has let in.

    :param runtime: the app's running parts.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def add_to(self, blueprint: Blueprint) -> None:
        """Add the route.

        :param blueprint: the blueprint of the admin pages.
        """
        if self._runtime.settings.broadcast_changes:
            blueprint.add_url_rule("/live/stream", STREAM, self.answer, methods=["GET"])

    def answer(self) -> Response:
        """Answer with the changes that come.

        :raises StateValidationError: when they cannot be asked for.
        :raises StorageError: when the storage fails.
        """
        identity: Identity = request.environ[BLUEPRINT]
        since = request.headers.get("Last-Event-ID") or request.args.get("since")
        interest = _interest(self._runtime, Filters.of(request.args))
        wish = Wish(identity, interest, None if since is None else since[:MOST_CURSOR], LONGEST)
        response = station_of(current_app, self._runtime).event_stream(request, wish)
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

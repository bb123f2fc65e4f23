"""Sessions and requests as they are tracked: who was there when, and what they asked for."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from msgspec import Struct

from ..core.clock import from_iso
from ..core.record import JSON, JSONObject
from ..errors import StateNotFound
from ..kv.parts import KvParts
from ..kv.store import KeyValueStore
from ..tracking.presence import session_key
from ..tracking.rules import COMPLETION, Rules
from .answers import Done, Shown
from .key_browsing import Browser
from .page import Pages
from .visit import Visit

pages = Pages("sessions", "Sessions", order=90)

_QUOTED = re.compile(r"(?:=[0-9A-F]{2})+")


class SessionRow(Struct, frozen=True):
    """A session in the list.

    :param user: whose it is.
    :param active: whether it goes on.
    :param seen: when a sign of life was there last.
    :param asked: when they asked for something last.
    :param request: the correlation id of that.
    """

    user: str
    active: bool
    seen: datetime | None
    asked: datetime | None
    request: str | None


class RequestRow(Struct, frozen=True):
    """A request in the list.

    :param id: its correlation id.
    :param began: the note of its beginning.
    :param ended: the note of its end; None while it has not.
    """

    id: str
    began: JSONObject
    ended: JSONObject | None

    @property
    def at(self) -> datetime | None:
        """When it began."""
        return _moment(self.began.get("started_at"))


# -- what there is -----------------------------------------------------------------------------------------------------


@pages.show("/sessions", "sessions")
def list_sessions(visit: Visit) -> Shown:
    """List the sessions, or find one by its user.

    :param visit: the visit.
    """
    parts, user = _parts(visit), visit.query.get("user", "").strip()
    if parts is None:
        return Shown("sessions.html", {"on": False})
    store, rules = KeyValueStore(lambda: parts), _rules(visit)
    if user:
        key = session_key(rules, user)
        names, following = [] if key is None else [key], None
    else:
        folder = Browser(parts).page(rules.session_prefix, visit.query.get("after"), flat=True)
        names, following = [entry.name for entry in folder.entries], folder.next
    found = store.get_many(names)
    rows = [_session(name.removeprefix(rules.session_prefix), value) for name, value in found.items()]
    return Shown("sessions.html", {"on": True, "rows": rows, "next": following, "ttl": rules.session_ttl})


def _session(quoted: str, value: JSON) -> SessionRow:
    note: JSONObject = value if isinstance(value, dict) else {}
    request = note.get("correlation_id")
    return SessionRow(
        _unquoted(quoted),
        note.get("active") is True,
        _moment(note.get("last_heartbeat")),
        _moment(note.get("last_request")),
        request if isinstance(request, str) and request else None,
    )


@pages.show("/requests", "requests")
def list_requests(visit: Visit) -> Shown:
    """List the requests that are noted, or find one.

    :param visit: the visit.
    """
    parts, wanted = _parts(visit), visit.query.get("id", "").strip()
    if parts is None:
        return Shown("requests.html", {"on": False})
    rules = _rules(visit)
    folder = Browser(parts).page(rules.request_prefix + wanted, visit.query.get("after"), flat=True)
    names = [entry.name for entry in folder.entries if not entry.name.endswith(COMPLETION)]
    ids = [name.removeprefix(rules.request_prefix) for name in names]
    rows = _requests(visit, parts, ids)
    return Shown("requests.html", {"on": True, "rows": rows, "next": folder.next, "ttl": rules.request_ttl})


@pages.show("/requests/<path:correlation_id>", "request")
def show_request(visit: Visit, correlation_id: str) -> Shown:
    """Show what is noted of a request.

    :param visit: the visit.
    :param correlation_id: the request.
    :raises StateNotFound: when nothing is.
    """
    parts = _parts(visit)
    rows = [] if parts is None else _requests(visit, parts, [correlation_id])
    if not rows:
        raise StateNotFound(correlation_id, kind="request")
    return Shown("request.html", {"row": rows[0]})


def _requests(visit: Visit, parts: KvParts, ids: list[str]) -> list[RequestRow]:
    rules = _rules(visit)
    names = [name for each in ids for name in (rules.begun(each), rules.completed(each))]
    found = KeyValueStore(lambda: parts).get_many(names)
    begun = ((each, found.get(rules.begun(each)), found.get(rules.completed(each))) for each in ids)
    return [
        RequestRow(each, visit.covered(began), visit.covered(ended) if isinstance(ended, dict) else None)
        for each, began, ended in begun
        if isinstance(began, dict)
    ]


# -- what can be done --------------------------------------------------------------------------------------------------


@pages.act("/sessions/forget", "forget_session", destructive="Forget the session of {user}?", page="sessions")
def forget(visit: Visit) -> Done:
    """Remove the note of a user's session; it is written anew with their next request.

    :param visit: the visit.
    :raises StateNotFound: when there is none.
    """
    parts, user = _parts(visit), visit.form.get("user", "")
    key = session_key(_rules(visit), user) if parts is not None and user else None
    if parts is None or key is None or not KeyValueStore(lambda: parts).remove(key, **visit.writing()):
        raise StateNotFound(user, kind="session")
    return Done(f"The session of {user} is forgotten.", visit.url("sessions"))


# -- the parts of it ---------------------------------------------------------------------------------------------------


def _parts(visit: Visit) -> KvParts | None:
    """Return the bucket of the notes, or None where nothing is noted."""
    runtime = visit.runtime
    return runtime.shelves.parts(runtime.settings.track_bucket) if runtime.tracking.enabled else None


def _rules(visit: Visit) -> Rules:
    return Rules.of(visit.runtime.settings)


def _unquoted(quoted: str) -> str:
    def whole(found: re.Match[str]) -> str:
        return bytes.fromhex(found[0].replace("=", "")).decode("utf-8", "replace")

    return _QUOTED.sub(whole, quoted)


def _moment(value: Any) -> datetime | None:
    try:
        return from_iso(value) if isinstance(value, str) else None
    except ValueError:
        return None

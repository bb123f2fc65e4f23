"""Stores of user interfaces: what is kept for whom, and how to clear it."""

from __future__ import annotations

import json
import logging
import re
from typing import Any
from urllib.parse import unquote

from msgspec import Struct

from ..core.record import JSON
from ..errors import StateManagerError, StateNotFound, StateValidationError
from ..kv.store import KeyValueStore
from ..stores.kept import BUCKETS
from ..stores.manager import StateManager
from ..stores.names import names_of, prefixes
from ..stores.opened import OpenStores, present_stores
from ..stores.payload import unpack
from ..stores.server import ServerStateBackend
from .answers import Done, Shown
from .key_browsing import Browser
from .page import Pages
from .visit import Visit

pages = Pages("stores", "Stores", order=100)

MOST = 200
"""The most stores of one user on a page."""

_SHORTENED = re.compile(r"~h[0-9a-f]{64}$")

logger = logging.getLogger("flask_statemanager.admin")


class Owner(Struct, frozen=True):
    """A user in the list.

    :param label: the user's id, or its beginning where it is too long for a name.
    :param whole: whether that is all of it.
    """

    label: str
    whole: bool


class StoreRow(Struct, frozen=True):
    """A store in the list.

    :param bucket: where it lies.
    :param name: under which name.
    :param label: what it is called.
    :param kept: whether earlier values are kept.
    """

    bucket: str
    name: str
    label: str
    kept: bool


# -- what there is -----------------------------------------------------------------------------------------------------


@pages.show("/stores", "stores")
def list_owners(visit: Visit) -> Shown:
    """List the users of whom something is kept.

    :param visit: the visit.
    """
    stores = present_stores()
    server = stores.server
    if server is None:
        return Shown("stores.html", {"kind": stores.kind, "server": False})
    bucket = BUCKETS[visit.query.get("kept") == "yes"]
    everybodys, users = prefixes(server.config.key_prefix)
    folder = Browser(server.parts(bucket)).page(users, visit.query.get("after"), flat=False)
    owners = [_owner(entry.label.rstrip("/")) for entry in folder.entries]
    shared = bool(Browser(server.parts(bucket)).some(everybodys, 1))
    values = {
        "kind": stores.kind,
        "server": True,
        "isolated": stores.config.enable_user_isolation,
        "owners": owners,
        "shared": shared,
        "next": folder.next,
        "kept": bucket == BUCKETS[1],
    }
    return Shown("stores.html", values)


@pages.show("/stores/user", "user_stores")
def list_stores(visit: Visit) -> Shown:
    """List the stores of a user, or of everybody.

    :param visit: the visit.
    """
    user = visit.query.get("user") or None
    server = _server(present_stores())
    rows = [row for bucket in BUCKETS for row in _stores(server, bucket, user)]
    return Shown("user_stores.html", {"user": user, "rows": rows[:MOST], "more": len(rows) > MOST})


def _stores(server: ServerStateBackend, bucket: str, user: str | None) -> list[StoreRow]:
    prefix = names_of(server.config.key_prefix, user)
    names = Browser(server.parts(bucket)).some(prefix, MOST + 1)
    return [_row(bucket, name) for name in names]


def _row(bucket: str, name: str) -> StoreRow:
    return StoreRow(bucket, name, _decoded(name.rpartition("/s:")[2])[0], bucket == BUCKETS[1])


@pages.show("/stores/value/<bucket>/<path:name>", "store")
def show_store(visit: Visit, bucket: str, name: str) -> Shown:
    """Show the value of a store.

    :param visit: the visit.
    :param bucket: where it lies.
    :param name: under which name.
    :raises StateNotFound: when there is none.
    """
    server = _server(present_stores())
    entry = _verbs(server, bucket, name).get_entry(name)
    if entry is None:
        raise StateNotFound(name, kind="store")
    value, problem = None, None
    try:
        value = visit.covered(_as_json(unpack(entry.value)))
    except StateManagerError as error:
        problem = str(error)
    size = entry.value.get("size") if isinstance(entry.value, dict) else None
    owner = name.rpartition("/s:")[0]
    values = {
        "row": _row(bucket, name),
        "entry": entry,
        "value": value,
        "problem": problem,
        "size": size if isinstance(size, int) else None,
        "owner": _owner(owner.removeprefix(prefixes(server.config.key_prefix)[1])) if _is_users(server, name) else None,
        "shown": visit.revealed,
    }
    return Shown("store.html", values)


# -- what can be done --------------------------------------------------------------------------------------------------


@pages.act("/stores/remove/<bucket>/<path:name>", "remove_store", destructive="Remove the store {label}?", page="store")
def remove(visit: Visit, bucket: str, name: str) -> Done:
    """Remove one store.

    :param visit: the visit.
    :param bucket: where it lies.
    :param name: under which name.
    :raises StateNotFound: when there is none.
    """
    if not _verbs(_server(present_stores()), bucket, name).remove(name, **visit.writing()):
        raise StateNotFound(name, kind="store")
    return Done("The store was removed.", visit.url("stores"))


@pages.act(
    "/stores/clear",
    "clear_user",
    destructive="Remove everything that is kept in stores for {user}, for good, with what is left of earlier values?",
    page="user_stores",
)
def clear(visit: Visit) -> Done:
    """Remove all stores of a user for good.

    :param visit: the visit.
    :raises StateValidationError: when no user is named.
    """
    user = visit.form.get("user", "")
    if not user:
        raise StateValidationError({"user": ["Say whose stores are to be removed."]})
    removed = StateManager().clear_user_data(user)
    writing = visit.writing()
    # Nothing of it is left in a history that could tell.
    logger.warning("%r has had %d stores of %r cleared: %r", writing["actor"], removed, user, writing["reason"])
    visit.runtime.counters.increment("admin.cleared_stores", removed)
    return Done(f"{removed:,} stores of {user} were removed.", visit.url("stores"))


@pages.act("/stores/reveal/<bucket>/<path:name>", "reveal_store", reveals="the store {name}", page="store")
def reveal(visit: Visit, bucket: str, name: str) -> Shown:
    """Show the value of a store with its secrets.

    :param visit: the visit.
    :param bucket: where it lies.
    :param name: under which name.
    """
    return show_store(visit, bucket, name)


# -- the parts of it ---------------------------------------------------------------------------------------------------


def _server(stores: OpenStores) -> ServerStateBackend:
    if stores.server is None:
        raise StateValidationError(
            {"stores": ["The browsers keep the stores: set STATEMANAGER_STORES_BACKEND to have the server do so."]}
        )
    return stores.server


def _verbs(server: ServerStateBackend, bucket: str, name: str) -> KeyValueStore:
    """Return the verbs of one of the buckets of stores, for a name of this application's stores."""
    if bucket not in BUCKETS or not name.startswith(prefixes(server.config.key_prefix)):
        raise StateNotFound(name, kind="store")
    parts = server.parts(bucket)
    return KeyValueStore(lambda: parts)


def _is_users(server: ServerStateBackend, name: str) -> bool:
    return name.startswith(prefixes(server.config.key_prefix)[1])


def _owner(part: str) -> Owner:
    return Owner(*_decoded(part))


def _decoded(part: str) -> tuple[str, bool]:
    """Return what a part of a name stands for, and whether that is all of it."""
    shortened = _SHORTENED.sub("", part)
    text = unquote(shortened.replace("~", "%"))
    return (text, True) if shortened == part else (f"{text}…", False)


def _as_json(value: Any) -> JSON:
    """Return a value as JSON, what is none as text."""
    return json.loads(json.dumps(value, default=_told, skipkeys=True))


def _told(value: Any) -> JSON:
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes>"
    text = str(value)
    return text if len(text) <= 2000 else f"{text[:2000]}…"

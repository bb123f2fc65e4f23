"""Switches that an operator throws while everything runs: a key each, on or off, seen by all processes at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask import abort

from flask_statemanager import Compacted, StateNotFound
from flask_statemanager.kv import KeyEvent, KeyValue

from .extensions import state_manager

SWITCHES = {
    "registration": ("Registration", "Whether new users can register."),
    "sales": ("Sales", "Whether credits can be bought."),
}
"""Title and meaning of each; all are on until they are thrown."""

CLOSED = {
    "registration": "Nobody can register at the moment: come back later.",
    "sales": "The shop is closed at the moment: come back later. Nothing was charged.",
}
LOOK_BACK = 500
"""How many changes of the whole store are looked through for the newest of keys."""

NOTES = ("request:", "session:")
"""What the keys begin with that nobody has set: the notes of requests and sessions."""


@dataclass(frozen=True, slots=True)
class Switch:
    """How a switch stands.

    :param name: its name.
    :param on: whether it is on.
    :param version: how often it was thrown; 0 for never.
    :param by: who threw it last.
    :param reason: why.
    :param changed_at: when.
    """

    name: str
    on: bool
    version: int = 0
    by: str | None = None
    reason: str | None = None
    changed_at: datetime | None = None


def is_on(name: str) -> bool:
    """Tell whether a switch is on.

    :param name: the switch.
    :raises StorageError: when the storage fails.
    """
    return bool(state_manager.kv.get(_key(name), True))


def require(name: str) -> None:
    """Refuse what a switch has closed.

    :param name: the switch.
    :raises werkzeug.exceptions.ServiceUnavailable: when it is off.
    :raises StorageError: when the storage fails.
    """
    if not is_on(name):
        abort(503, CLOSED[name])


def switches() -> list[Switch]:
    """Return how all switches stand.

    :raises StorageError: when the storage fails.
    """
    return [_switch(name, state_manager.kv.get_entry(_key(name))) for name in SWITCHES]


def throw(name: str, on: bool, *, expect: int, by: str, reason: str | None = None) -> Switch:
    """Put a switch on or off, if nobody else has thrown it meanwhile.

    :param name: the switch.
    :param on: where to.
    :param expect: the version that was looked at, 0 for none.
    :param by: who throws it.
    :param reason: why.
    :raises StateNotFound: when there is no such switch.
    :raises StateManagerError: when somebody was faster, or it cannot be written.
    """
    if name not in SWITCHES:
        raise StateNotFound(name, kind="key")
    kv, about = state_manager.kv, {"by": by} | ({"reason": reason} if reason else {})
    if expect:
        return _switch(name, kv.set(_key(name), on, "switches", metadata=about, expect=expect))
    return _switch(name, kv.create(_key(name), on, "switches", metadata=about))


def newest_changes(limit: int = 12) -> list[KeyEvent]:
    """Return what has happened to keys lately, the newest first; since they were restored, if that is not long ago.

    :param limit: the most of them.
    :raises StorageError: when the storage fails.
    """
    newest, back = state_manager.kv.stats()["version"], LOOK_BACK
    while back:
        try:
            mine = [event for event in _behind(max(0, newest - back)) if not str(event.key).startswith(NOTES)]
            return mine[: -limit - 1 : -1]
        except Compacted:
            back //= 2
    return []


def _behind(revision: int) -> list[KeyEvent]:
    with state_manager.kv.watch(since=str(revision), timeout=0) as watch:
        return list(watch)


def _key(name: str) -> str:
    return f"switch:{name}"


def _switch(name: str, entry: KeyValue | None) -> Switch:
    if entry is None:
        return Switch(name, on=True)
    about = entry.metadata
    return Switch(name, bool(entry.value), entry.version, about.get("by"), about.get("reason"), entry.updated_at)

"""Stores on their way between browser and server: what one of them has, the other one gets, and nothing is lost.

The server keeps its value until the browser has shown that it has got it. A mark on the value, which holds until it is
written again, says that it was handed to the browser, and what the browser had before. So an answer that was lost on
its way is given once more.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from msgspec import Struct

from ..errors import StateConflict
from .sentinels import CLIENT_MANAGED
from .server import ServerStateBackend
from .values import write

STANDS_FOR = "~statemanager"
MOVED = {STANDS_FOR: "moved"}
"""What the browser holds in place of a value that the server has taken over."""

AS_IT_IS: Final = object()
"""The browser's own copy need not be changed."""

ATTEMPTS = 10


class Settled(Struct, frozen=True):
    """What a store holds, and what its browser is to hold.

    :param value: the value.
    :param browser: what the browser's copy becomes, or ``AS_IT_IS``.
    """

    value: Any
    browser: Any = AS_IT_IS


def is_token(held: Any) -> bool:
    """Tell whether a browser holds something that stands for a value of the server.

    :param held: what it holds.
    """
    return isinstance(held, dict) and held.keys() == {STANDS_FOR}


def held_by_browser(held: Any) -> Any:
    """Return the value that a browser holds, or None.

    :param held: what it holds.
    """
    return None if is_token(held) else held


def taken_over(server: ServerStateBackend, store_id: str, owner: str | None, held: Any) -> Settled:
    """Settle a store that the server keeps from now on.

    :param server: where it is kept.
    :param store_id: the store.
    :param owner: whose it is; None for everybody's.
    :param held: what the browser holds.
    :raises StateConflict: when racers won every attempt.
    :raises StateManagerError: when it cannot be kept, or the storage fails.
    """
    theirs = held_by_browser(held)
    told = AS_IT_IS if theirs is None else MOVED
    for _attempt in range(ATTEMPTS):
        found = server.noted(store_id, owner)
        newer = theirs is not None and (found is None or found.had not in (None, _digest(theirs)))
        if not newer:
            return Settled(None if found is None else found.entry.value, told)
        try:
            entry = server.put(store_id, theirs, user_id=owner, expect=0 if found is None else found.entry.version)
        except StateConflict:
            continue
        return Settled(entry.value, told)
    raise StateConflict(f"The store {store_id}", None, None)


def handed_back(server: ServerStateBackend, store_id: str, owner: str | None, held: Any) -> Settled:
    """Settle a store that the browser keeps from now on.

    :param server: where it was kept.
    :param store_id: the store.
    :param owner: whose it is; None for everybody's.
    :param held: what the browser holds.
    :raises StateConflict: when racers won every attempt.
    :raises StorageError: when the storage fails.
    """
    theirs = held_by_browser(held)
    for _attempt in range(ATTEMPTS):
        found = server.noted(store_id, owner)
        if found is None:
            return Settled(theirs)
        if found.had is not None:
            arrived = theirs is not None and _digest(theirs) != found.had
            return Settled(theirs) if arrived else _given(found.entry.value, held)
        try:
            server.note(store_id, owner, had=_digest(theirs), expect=found.entry.version)
        except StateConflict:
            continue
        return _given(found.entry.value, held)
    raise StateConflict(f"The store {store_id}", None, None)


def _given(value: Any, held: Any) -> Settled:
    # What a browser gets starts the callbacks behind it, which would be given the same for ever.
    same = not is_token(held) and _digest(value) == _digest(held)
    return Settled(value, AS_IT_IS if same else value)


def left_behind(server: ServerStateBackend, store_id: str, owner: str | None) -> Any:
    """Return the value of a store that the browser is to keep and has not got yet; else ``CLIENT_MANAGED``.

    :param server: where it was kept.
    :param store_id: the store.
    :param owner: whose it is; None for everybody's.
    :raises StorageError: when the storage fails.
    """
    found = server.noted(store_id, owner)
    return CLIENT_MANAGED if found is None or found.had is not None else found.entry.value


def passed_on(server: ServerStateBackend, store_id: str, owner: str | None, data: Any) -> None:
    """Note that the browser gets a value, where the server has an earlier one.

    :param server: where it was kept.
    :param store_id: the store.
    :param owner: whose it is; None for everybody's.
    :param data: the value.
    :raises StateConflict: when racers won every attempt.
    :raises StateManagerError: when it cannot be kept, or the storage fails.
    """
    for _attempt in range(ATTEMPTS):
        found = server.noted(store_id, owner)
        if found is None:
            return
        try:
            server.note(store_id, owner, had=_digest(None), expect=found.entry.version, value=data)
        except StateConflict:
            continue
        return
    raise StateConflict(f"The store {store_id}", None, None)


def _digest(held: Any) -> str:
    return hashlib.sha256(write(held).text).hexdigest()

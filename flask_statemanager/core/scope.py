"""Which transaction a piece of code stands in: what checks and hooks read and write belongs to the write around them.

An entry counts only in the thread that made it and only while its block lasts, although a copied context (an asyncio
task, a thread pool) may still show it: a session serves one thread, and a transaction that is over takes nothing more.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from msgspec import Struct, field

from ..errors import StateManagerError
from .ports import Backend
from .record import Key


class TransactionNeeded(BaseException):
    """Raised where code that was to decide by itself touches the storage, so that it is run again in a transaction.

    It is no error, and nobody who catches errors may keep it.
    """


MAX_NESTING = 50
"""How deep hooks may write within hooks, before a loop is assumed."""


class _Entry(Struct, eq=False):
    backend: Backend
    unit: Any
    key: Key | None
    thread: int = field(default_factory=threading.get_ident)
    over: bool = False
    asked: bool = False


_entries: ContextVar[tuple[_Entry, ...]] = ContextVar("flask_statemanager_scope", default=())


def _present(backend: Backend) -> list[_Entry]:
    entries = _entries.get()
    if not entries:
        return []
    here = threading.get_ident()
    return [e for e in entries if e.backend is backend and e.thread == here and not e.over]


def unit_around(backend: Backend) -> Any:
    """Return the unit of the innermost transaction on a backend that the caller stands in, or None.

    :param backend: the backend.
    :raises TransactionNeeded: when the caller stands where something is decided without a transaction.
    """
    if not _entries.get():
        return None
    present = _present(backend)
    if not present:
        return None
    if present[-1].unit is None:
        present[-1].asked = True
        raise TransactionNeeded
    return present[-1].unit


class entered:  # noqa: N801 - a context manager, used like a function
    """Let the code in the block stand in a unit's transaction.

    :param backend: the backend.
    :param unit: the unit; None where something is decided without a transaction, as long as nobody asks for one.
    :param key: the record that is being written.
    :raises StateManagerError: when the block writes a record from within a write of it, or nests without end.
    """

    __slots__ = ("_entry", "_token")

    def __init__(self, backend: Backend, unit: Any, key: Key | None = None) -> None:
        self._entry = _Entry(backend, unit, key)

    @property
    def asked(self) -> bool:
        """Whether the storage was asked for where there is no transaction, even if that was kept from getting here."""
        return self._entry.asked

    def __enter__(self) -> None:
        entry, around = self._entry, _entries.get()
        present = _present(entry.backend) if around else ()
        if present:
            _check_nesting(present, entry.key)
        self._token = _entries.set((*around, entry))

    def __exit__(self, *_raised: object) -> None:
        self._entry.over = True
        _entries.reset(self._token)


def _check_nesting(present: Sequence[_Entry], key: Key | None) -> None:
    if key is not None and any(entry.key == key for entry in present):
        raise StateManagerError(
            f"{key} is being written, and a 'before' hook of that write writes it again: "
            "put the change into the write itself, or use an 'after' callback."
        )
    if len(present) >= MAX_NESTING:
        raise StateManagerError(f"Hooks write within hooks more than {MAX_NESTING} levels deep: look for a loop.")


class outside:  # noqa: N801 - a context manager, used like a function
    """Let the code in the block stand in no transaction: subscribers run after the commit."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = _entries.set(())

    def __exit__(self, *_raised: object) -> None:
        _entries.reset(self._token)

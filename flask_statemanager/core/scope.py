"""Which transaction a piece of code stands in: what checks and hooks read and write belongs to the write around them.

An entry counts only in the thread that made it and only while its block lasts, although a copied context (an asyncio
task, a thread pool) may still show it: a session serves one thread, and a transaction that is over takes nothing more.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ..errors import StateManagerError
from .ports import Backend
from .record import Key

MAX_NESTING = 50
"""How deep hooks may write within hooks, before a loop is assumed."""


@dataclass(eq=False, slots=True)
class _Entry:
    backend: Backend
    unit: Any
    key: Key | None
    thread: int = field(default_factory=threading.get_ident)
    over: bool = False


_entries: ContextVar[tuple[_Entry, ...]] = ContextVar("flask_statemanager_scope", default=())


def _present(backend: Backend) -> list[_Entry]:
    here = threading.get_ident()
    return [e for e in _entries.get() if e.backend is backend and e.thread == here and not e.over]


def unit_around(backend: Backend) -> Any:
    """Return the unit of the innermost transaction on a backend that the caller stands in, or None.

    :param backend: the backend.
    """
    present = _present(backend)
    return present[-1].unit if present else None


@contextmanager
def entered(backend: Backend, unit: Any, key: Key | None = None) -> Iterator[None]:
    """Let the code in the block stand in a unit's transaction.

    :param backend: the backend.
    :param unit: the unit.
    :param key: the record that is being written.
    :raises StateManagerError: when the block writes a record from within a write of it, or nests without end.
    """
    present = _present(backend)
    if key is not None and any(entry.key == key for entry in present):
        raise StateManagerError(
            f"{key} is being written, and a 'before' hook of that write writes it again: "
            "put the change into the write itself, or use an 'after' callback."
        )
    if len(present) >= MAX_NESTING:
        raise StateManagerError(f"Hooks write within hooks more than {MAX_NESTING} levels deep: look for a loop.")
    entry = _Entry(backend, unit, key)
    token = _entries.set((*_entries.get(), entry))
    try:
        yield
    finally:
        entry.over = True
        _entries.reset(token)


@contextmanager
def outside() -> Iterator[None]:
    """Let the code in the block stand in no transaction: subscribers run after the commit."""
    token = _entries.set(())
    try:
        yield
    finally:
        _entries.reset(token)

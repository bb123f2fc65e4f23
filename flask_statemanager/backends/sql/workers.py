"""What workers need to know of a relational database: who wakes them, and how many connections there are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from sqlalchemy.pool import QueuePool

from .backend import SqlBackend
from .notify import Listener, Notifier, speaks


def notifier_of(backend: SqlBackend) -> Notifier | None:
    """Return what tells workers in other processes of new jobs, or None where they have to look for themselves.

    :param backend: where the jobs are.
    """
    return Notifier(backend.engine, backend.tables.outbox.schema) if speaks(backend.engine) else None


def listening_to(backend: SqlBackend, wake: Callable[[], None]) -> Callable[[], AbstractContextManager[Any]]:
    """Return what hears of new jobs while it is entered.

    :param backend: where the jobs are.
    :param wake: called at each.
    """
    if not speaks(backend.engine):
        return nullcontext
    engine, schema = backend.engine, backend.tables.outbox.schema
    return lambda: Listener(engine, wake, schema)


def connections_of(backend: SqlBackend) -> int | None:
    """Return how many connections a backend may have open at once, or None where that has no bound or is not known.

    :param backend: where the jobs are.
    """
    pool = backend.engine.pool
    if not isinstance(pool, QueuePool):
        return None
    # SQLAlchemy offers no public name for it. Both numbers have one that stands for no bound: 0 and -1.
    size, overflow = pool.size(), getattr(pool, "_max_overflow", -1)
    return None if size == 0 or overflow < 0 else size + overflow

"""Chores: what a worker does again and again beside the jobs, for example to sweep what has expired."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from msgspec import Struct

from ..core.outage import Outage
from ..errors import StorageError

logger = logging.getLogger("flask_statemanager.worker")


class Chore(Struct, frozen=True):
    """Something to be done again and again, a piece at a time.

    :param title: how to name it in the log.
    :param every: how many seconds lie between two times.
    :param run: does it; True says that there is more to do at once, after other work has had its turn.
    """

    title: str
    every: float
    run: Callable[[], object]


class Rota:
    """Knows which chores are due, in real time, and does them; a failing one hurts neither the others nor the worker.

    :param chores: the chores, all due at first.
    :param context: pushed round each.
    """

    def __init__(self, chores: Sequence[Chore], context: Callable[[], AbstractContextManager[Any]]) -> None:
        self._context = context
        self._next = dict.fromkeys(chores, 0.0)
        self._outages = {chore: Outage(logger, f"The chore {chore.title!r}") for chore in chores}

    def run(self, *, all_of_them: bool = False) -> bool:
        """Do what is due.

        :param all_of_them: do the others too.
        :returns: whether one of them has more to do at once.
        """
        any_more = False
        for chore, moment in self._next.items():
            if all_of_them or moment <= time.monotonic():
                more = self._do(chore)
                self._next[chore] = time.monotonic() + (0.0 if more else chore.every)
                any_more = any_more or more
        return any_more

    def pause(self) -> float | None:
        """Return in how many seconds the next chore is due, or None without any."""
        if not self._next:
            return None
        return max(0.0, min(self._next.values()) - time.monotonic())

    def _do(self, chore: Chore) -> bool:
        more = False
        try:
            with self._context():
                more = chore.run() is True
        except StorageError as error:
            self._outages[chore].failed(error)
        except Exception:
            logger.exception("The chore %r failed.", chore.title)
        else:
            self._outages[chore].over()
        return more

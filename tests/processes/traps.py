"""Traps: a process kills itself, without any warning, when it passes a named point for the n-th time.

The product knows nothing of this; what is patched are the borders between its parts.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.postgresql_dialect import PostgresDialect
from flask_statemanager.backends.sql.sqlite_dialect import SqliteDialect
from flask_statemanager.effects.queue import JobQueue
from tests.processes.application import AFTER_EFFECT, BEFORE_EFFECT, Shared

CLAIMING, CLAIMED = "before the claim is committed", "after the claim"
MARKING, MARKED = "before marking done", "after marking done"
COMMITTING, IN_COMMIT, COMMITTED = "before the commit", "in the commit", "after the commit"

AROUND_COMMIT = (COMMITTING, IN_COMMIT, COMMITTED)
AROUND_JOB = (CLAIMED, MARKING, MARKED, *AROUND_COMMIT)
AROUND_EFFECT = (CLAIMING, CLAIMED, BEFORE_EFFECT, AFTER_EFFECT, MARKING, MARKED, *AROUND_COMMIT)


def die() -> None:
    """Kill this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()  # the signal is on its way, and nothing more must happen


class Trap:
    """Kills the process at a point.

    :param point: its name.
    :param turn: at which pass, from 1 on.
    """

    def __init__(self, point: str, turn: int) -> None:
        self.point = point
        self._turn = turn
        self._passes = itertools.count(1)
        self._thread = threading.local()

    def passes(self, point: str) -> None:
        """Come past a point.

        :param point: its name.
        """
        if self._due(point):
            die()

    def lay(self, shared: Shared) -> None:
        """Put the trap where its point is.

        :param shared: the application.
        """
        _around(SqlBackend, "claim", after=self._claiming)
        _around(JobQueue, "claim", after=self._claimed)
        _around(SqlBackend, "save", before=self._marking, after=self._marked)
        _around(SqlBackend, "apply", after=self._written)
        for dialect in (PostgresDialect, SqliteDialect):
            _around(dialect, "end", before=self._ending, after=self._ended)
        _around(shared.db.engine.dialect, "do_commit", before=self._committing, after=self._committed)

    def _due(self, point: str) -> bool:
        return point == self.point and next(self._passes) == self._turn

    def _claiming(self, found: Any, *_call: Any, **_named: Any) -> None:
        if found:
            self.passes(CLAIMING)

    def _claimed(self, found: Any, *_call: Any, **_named: Any) -> None:
        if found:
            self.passes(CLAIMED)

    def _marking(self, *_call: Any, **_named: Any) -> None:
        self.passes(MARKING)

    def _marked(self, *_call: Any, **_named: Any) -> None:
        self._thread.written = True
        self.passes(MARKED)

    def _written(self, *_call: Any) -> None:
        self._thread.written = True

    def _ending(self, _dialect: Any, _connection: Any, *, commit: bool) -> None:
        if commit:
            self._committing()

    def _ended(self, _answer: Any, _dialect: Any, _connection: Any, *, commit: bool) -> None:
        if commit:
            self._committed()
        self._thread.written = False

    def _committing(self, *_call: Any) -> None:
        # Only the transaction that has changed something: claims, heart-beats and readings end in commits too.
        if not getattr(self._thread, "written", False):
            return
        self.passes(COMMITTING)
        if self._due(IN_COMMIT):
            threading.Thread(target=die).start()

    def _committed(self, *_call: Any) -> None:
        if getattr(self._thread, "written", False):
            self._thread.written = False
            self.passes(COMMITTED)


def _around(
    owner: Any,
    name: str,
    *,
    before: Callable[..., None] = lambda *call, **named: None,
    after: Callable[..., None] = lambda *call, **named: None,
) -> None:
    original = getattr(owner, name)

    def wrapped(*call: Any, **named: Any) -> Any:
        before(*call, **named)
        answer = original(*call, **named)
        after(answer, *call, **named)
        return answer

    setattr(owner, name, wrapped)

"""The power Tells on SQL: a look for what has become visible in the history, several times in a lease.

On PostgreSQL a change can become visible below one that was seen before, as long as its transaction takes. The feed
waits for it, since it keeps the order; here the gap is remembered and looked into each time, until it is settled that
nothing will appear in it. SQLite has one writer at a time, so that there are no gaps.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from ...core.hearing import Changed, Hearing, Tells
from ...core.ports import Backend
from .connection import SqlUnit
from .following import Followers, Pulse
from .frontier import Frontier, Note
from .gaps import Gaps
from .lending import Pool
from .news_statements import NewsStatements
from .power import SqlPower

MOST = 10_000
"""Changes that are told one by one; with more of them, all records are said to have changed."""

PACE = 0.02
"""The least seconds between two looks, however often it is woken."""


class SqlTells(SqlPower, Tells, Backend):
    """Tells what has changed in a relational database."""

    _frontier: Frontier
    _followers: Followers
    _pool: Pool

    @cached_property
    def _news(self) -> NewsStatements:
        return NewsStatements(self._statements)

    @abstractmethod
    def position(self, bucket: str) -> str:
        """Return the cursor behind the last change of now.

        :param bucket: the collection.
        """

    @abstractmethod
    def noted(self, unit: SqlUnit) -> Note:
        """Return a transaction's id of now, and the newest revision that was drawn before it.

        :param unit: an open unit.
        """

    @contextmanager
    def hearing(self) -> Iterator[Hearing]:
        """Open what is heard with, on a connection of its own that the pool does not count.

        :raises StorageError: when the database fails.
        """
        # What this process writes on SQLite it knows already, and of others nothing is heard there.
        pulse = self._followers.listening() if self._statements.postgres else Pulse()
        with self._pool.private() as unit:
            yield _SqlHearing(self, unit, pulse)

    def news(self, unit: SqlUnit, gaps: Gaps, lost: int) -> tuple[Changed, int] | None:
        """Return what has become visible beyond what was seen, which is seen then.

        :param unit: the private unit.
        :param gaps: what was seen.
        :param lost: how much the history had lost at the last look.
        :returns: the records, and how much the history has lost by now; None where there is no going on from here.
        :raises StorageError: when the database fails.
        """
        known = self._frontier.settled  # what is learned by others meanwhile holds for later looks only
        rows = unit.run(self._news.of(gaps), self._news.values(gaps, MOST + 1), planned=False)
        oldest, reached, lost_by_now, lost_up_to, *_ = rows[0]
        if reached < gaps.highest:  # the database is another one by now
            self._frontier.forget()
        if reached < gaps.highest or len(rows) > MOST:
            return None
        found = [row[4:] for row in rows if row[4] is not None]
        # Removed before it was seen: a bucket may keep its history for less time than passes between two looks.
        unseen = lost_by_now != lost and lost_up_to >= gaps.lowest
        settled = self._frontier.settled_at(int(oldest), known) if self._statements.postgres else reached
        gaps.see([row[0] for row in found], settled)
        self._note(unit, gaps)
        return None if unseen else {f"{bucket}:{name}" for _revision, bucket, name in found}, lost_by_now

    def _note(self, unit: SqlUnit, gaps: Gaps) -> None:
        """Have it settled what becomes of gaps."""
        if gaps.open and self._frontier.note is None:
            self._frontier.note = self.noted(unit)

    def lost(self, unit: SqlUnit) -> int:
        """Return how much the history has lost, as a number that changes with every loss.

        :param unit: an open unit.
        :raises StorageError: when the database fails.
        """
        return int(unit.run(self._news.lost, {})[0][0])


class _SqlHearing(Hearing):
    """Hears what a backend tells.

    :param backend: the backend.
    :param unit: a connection of its own.
    :param pulse: beats when there may be something.
    """

    def __init__(self, backend: SqlTells, unit: SqlUnit, pulse: Pulse) -> None:
        self._backend = backend
        self._unit = unit
        self._pulse = pulse
        self._beats = 0
        self._looked_at = 0.0
        self._gaps: Gaps | None = None
        self._lost = 0

    def asked(self) -> Changed:
        """Return what has become visible since the last look."""
        self._beats, self._looked_at = self._pulse.beats, time.monotonic()
        found = None if self._gaps is None else self._backend.news(self._unit, self._gaps, self._lost)
        if found is None:
            self._begin()
            return None
        changed, self._lost = found
        return changed

    def waited(self, seconds: float) -> Changed:
        """Wait for a beat, and look then, but not at every one of many.

        :param seconds: the most seconds.
        """
        ends = time.monotonic() + seconds
        self._pulse.wait(self._beats, seconds)
        if self._pulse.beats == self._beats:
            return ()
        time.sleep(max(0.0, min(ends, self._looked_at + PACE) - time.monotonic()))
        return self.asked()

    def _begin(self) -> None:
        """Begin where it is known that nothing appears below any more."""
        self._gaps = None
        self._lost = self._backend.lost(self._unit)
        self._gaps = Gaps(int(self._backend.position("")))

"""The power Watches on SQL: the history read on by its revisions, as far as they are settled.

SQLite has one writer at a time, so that its revisions become visible in their order. On PostgreSQL a missing revision
may be one that is still to come, and is not passed before that is settled: see ``frontier``. The revisions of all
buckets are one sequence, so all of them are looked at.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any

from msgspec import Struct

from ...core.follows import Page, Wait, Watches, revision_in
from ...core.ports import Backend
from ...core.record import Change
from ...errors import Compacted, StorageError, StorageTimeout
from .connection import SqlUnit, in_memory
from .feed_statements import FeedStatements
from .following import Followers, Waiting
from .frontier import Frontier, Note, safe
from .power import SqlPower

PATIENCE = 5.0
"""Seconds for which the position of now is waited for, while writing transactions are open."""

_PAUSE = 0.01
_NEAR = 10_000
"""Up to how many revisions are counted to see that none is missing."""


class _Entry(Struct, frozen=True):
    revision: int
    bucket: str
    name: str


class SqlFeed(SqlPower, Watches, Backend):
    """Follows the history in a relational database."""

    one_log = True
    _frontier: Frontier
    _followers: Followers

    @cached_property
    def _feed(self) -> FeedStatements:
        return FeedStatements(self._statements)

    @abstractmethod
    def changes_of(self, unit: SqlUnit, bucket: str, revisions: Sequence[int]) -> list[Change]:
        """Return the changes with these revisions.

        :param unit: an open unit.
        :param bucket: the collection.
        :param revisions: which ones.
        """

    def announce(self) -> None:
        """Wake who follows, in this process and others: to be called after commits. Never waits and never raises."""
        self._followers.wake()

    def position(self, bucket: str) -> str:
        """Return the cursor behind the last change of now.

        On PostgreSQL that is known once the writing transactions of now have ended. While one stays open it is a
        position that this process knows to be settled, so that some changes that are visible already lie behind it.

        :param bucket: the collection.
        :raises StorageTimeout: when none is known either.
        :raises StorageError: when the database fails; in-memory SQLite while the application has an open write on it.
        """
        with self.reading() as unit:
            compacted, reached = self._head(unit, bucket)
            if self._doubtful(unit):
                raise StorageError(
                    "The application has an open write on its in-memory SQLite connection, which is shared: commit it "
                    "first, to know where the log ends."
                )
            if self._statements.postgres:
                reached = self._settled_now(unit, compacted)
        return str(reached)

    def follow(self, bucket: str, cursor: str, *, prefix: str = "", limit: int = 500) -> Page:
        """Return the changes behind a cursor, as far as it is settled that there is none between them still to come.

        :param bucket: the collection.
        :param cursor: from :meth:`position` or a page; ``"0"`` for the beginning.
        :param prefix: only records whose names begin so.
        :param limit: the most entries of the log to look at.
        :raises Compacted: when some of what lies behind the cursor is not kept any more.
        :raises StateValidationError: when it is no cursor of this bucket.
        :raises StorageError: when the database fails.
        """
        after = revision_in(cursor)
        with self.reading() as unit:
            doubtful = self._doubtful(unit)
            entries = self._passable(unit, after, limit + 1)
            more, entries = len(entries) > limit, entries[:limit]
            wanted = [each.revision for each in entries if each.bucket == bucket and each.name.startswith(prefix)]
            changes = self.changes_of(unit, bucket, wanted) if wanted else []
            # Behind all that was read: what is removed meanwhile is noted by now.
            compacted, reached = self._head(unit, bucket)
            if doubtful or self._doubtful(unit):
                return Page([], cursor)
        # A cursor ahead of all is from before the database was put back to an earlier state.
        if after < compacted or after > reached or len(changes) < len(wanted):
            raise Compacted(cursor, self.position(bucket))
        return Page(changes, str(entries[-1].revision if entries else after), more)

    def following(self, bucket: str) -> AbstractContextManager[Wait]:
        """Open what a follower needs to wait for changes: PostgreSQL notifies, and a poll is the floor.

        :param bucket: the collection.
        :raises StorageError: when the database fails.
        """
        return self._following()

    @contextmanager
    def _following(self) -> Iterator[Wait]:
        yield Waiting(self._followers.listening(), self._newest)

    # -- looking -----------------------------------------------------------------------------------------------------

    def _doubtful(self, unit: SqlUnit) -> bool:
        """Tell whether what is seen may be rolled back yet: on in-memory SQLite, whose one connection all share."""
        return in_memory(self._dialect) and bool(unit.connection.in_transaction)

    def _newest(self) -> int:
        with self.reading() as unit:
            return 0 if self._doubtful(unit) else int(unit.run(self._feed.newest, {})[0][0])

    def _head(self, unit: SqlUnit, bucket: str) -> tuple[int, int]:
        """Return up to where the bucket's log has lost something, and the highest revision that there ever was."""
        compacted, reached = unit.run(self._feed.head, {"k_bucket": bucket})[0]
        if reached < self._frontier.settled:  # the database is another one by now
            self._frontier.forget()
        return compacted, reached

    def _passable(self, unit: SqlUnit, after: int, limit: int) -> list[_Entry]:
        """Return the entries behind a revision, up to the first gap that is not settled."""
        entries, number = self._look(unit, after, limit)
        if number < len(entries) and self._frontier.note is None:
            self._frontier.note = self.noted(unit)
            entries, number = self._look(unit, after, limit)
        return entries[:number]

    def _look(self, unit: SqlUnit, after: int, limit: int) -> tuple[list[_Entry], int]:
        """Return the visible entries behind a revision, and how many of them can be passed."""
        known = self._frontier.settled
        rows = unit.run(self._feed.entries, {"k_after": after, "k_limit": limit})
        entries = [_Entry(*row[:3]) for row in rows]
        if not self._statements.postgres or not rows:
            return entries, len(entries)
        settled = self._frontier.settled_at(int(rows[0][3]), known)
        return entries, safe(after, [each.revision for each in entries], settled)

    def noted(self, unit: SqlUnit) -> Note:
        """Return a transaction's id of now, and the newest revision that was drawn before it.

        :param unit: an open unit.
        """
        [[xid, revision]] = unit.run(self._feed.note, {})
        return Note(xid, revision)

    def _settled_now(self, unit: SqlUnit, compacted: int) -> int:
        """Return the newest revision up to which everything is settled, once that is known."""
        known, ends = self._frontier.settled, time.monotonic() + PATIENCE
        note = self.noted(unit)
        while not self._ended(unit, note.xid) and not self._gapless(unit, known, note.revision):
            if time.monotonic() >= ends:
                if known < max(compacted, 1):
                    raise StorageTimeout(
                        "PostgreSQL has a writing transaction that stays open, so that nobody can tell where the log "
                        "ends: look for it in pg_stat_activity, and try again."
                    )
                return known
            time.sleep(_PAUSE)
        self._frontier.settled = max(self._frontier.settled, note.revision)
        return note.revision

    def _gapless(self, unit: SqlUnit, known: int, revision: int) -> bool:
        if revision - known > _NEAR:
            return False
        values: dict[str, Any] = {"k_after": known, "k_to": revision}
        return bool(unit.run(self._feed.number, values)[0][0] == revision - known)

    def _ended(self, unit: SqlUnit, xid: int) -> bool:
        return bool(unit.run(self._feed.oldest, {})[0][0] > xid)

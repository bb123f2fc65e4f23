"""The statements of the feed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Select, Text, bindparam, cast, func, literal_column, select
from sqlalchemy.sql import ClauseElement, ColumnElement

from .statements import Statements, compiled

_NONE = literal_column("0", BigInteger())


class FeedStatements:
    """The statements, compiled once.

    :param statements: tables and the database's habits.
    :ivar entries: revision, bucket and name behind ``k_after``, and the oldest transaction that is running.
    :ivar newest: the newest revision that is visible.
    :ivar head: up to where the log of ``k_bucket`` has lost something, and the highest revision that there ever was.
    :ivar number: how many revisions are visible behind ``k_after``, up to ``k_to``.
    :ivar note: PostgreSQL: a transaction's id, which is given out behind the look for the newest revision.
    :ivar oldest: PostgreSQL: the oldest transaction that is running.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._log, self._noted = statements.tables.history.c, statements.tables.bucket.c
        dialect = statements.dialect
        self.entries = compiled(self._entries(), dialect)
        self.newest = compiled(select(self._newest()), dialect)
        self.head = compiled(self._head(), dialect)
        self.number = compiled(self._number(), dialect)
        if statements.postgres:
            xid = cast(cast(func.pg_current_xact_id(), Text), BigInteger)
            # The statement sees what there was when it began; the id is given out while it runs.
            self.note = compiled(select(xid, self.reached()), dialect)
            self.oldest = compiled(select(self.oldest_running()), dialect)

    def _entries(self) -> Select[Any]:
        log = self._log
        behind = log.revision > bindparam("k_after", type_=log.revision.type)
        oldest = self.oldest_running() if self._statements.postgres else _NONE
        found: Select[Any] = select(log.revision, log.bucket, log.name, oldest).where(behind).order_by(log.revision)
        return found.limit(bindparam("k_limit", type_=BigInteger()))

    def oldest_running(self) -> ColumnElement[int]:
        """Return the oldest transaction that is running, on PostgreSQL."""
        snapshot = func.pg_snapshot_xmin(func.pg_current_snapshot())
        return cast(cast(snapshot, Text), BigInteger)

    def _newest(self) -> ColumnElement[int]:
        return func.coalesce(select(func.max(self._log.revision)).scalar_subquery(), _NONE)

    def reached(self) -> ColumnElement[int]:
        """Return the newest revision, or a higher one that was removed."""
        removed = func.coalesce(select(func.max(self._noted.compacted)).scalar_subquery(), _NONE)
        higher = func.greatest if self._statements.postgres else func.max
        return higher(self._newest(), removed, type_=BigInteger())

    def _head(self) -> ClauseElement:
        noted = self._noted
        here = select(noted.compacted).where(noted.bucket == bindparam("k_bucket", type_=noted.bucket.type))
        return select(func.coalesce(here.scalar_subquery(), _NONE), self.reached())

    def _number(self) -> Select[Any]:
        revision = self._log.revision
        first, last = (bindparam(name, type_=revision.type) for name in ("k_after", "k_to"))
        return (
            select(func.count()).select_from(self._statements.tables.history).where(revision > first, revision <= last)
        )

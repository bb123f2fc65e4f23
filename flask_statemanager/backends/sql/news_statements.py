"""The statements that look for what has become visible."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
    true,
    union_all,
)
from sqlalchemy.sql import ClauseElement

from .feed_statements import FeedStatements
from .gaps import Gaps
from .statements import Compiled, Statements, compiled


class NewsStatements:
    """The statements, compiled once.

    A look is one statement, and so one snapshot: the oldest transaction that is running, the highest revision that
    there ever was, how much of the log was removed and up to where, and then revision, bucket and name of what is
    visible beyond what was seen, Nones where nothing is.

    :param statements: tables and the database's habits.
    :ivar lost: how much of the log was removed, as a number that changes with every removal.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        feed, dialect = FeedStatements(statements), statements.dialect
        noted = statements.tables.bucket.c.compacted
        removed = cast(func.coalesce(func.sum(self._mark(noted)), _ZERO), BigInteger).label("lost")
        up_to = func.coalesce(func.max(noted), _ZERO).label("up_to")
        oldest = feed.oldest_running() if statements.postgres else _ZERO
        self.lost = compiled(select(removed).select_from(statements.tables.bucket), dialect)
        self._now = (oldest.label("oldest"), feed.reached().label("reached"), removed, up_to)
        self._above = compiled(self._look(self._fresh()), dialect)
        self._everywhere: Compiled | None = None
        if statements.postgres:
            self._everywhere = compiled(self._look(union_all(select(self._fresh().subquery()), self._late())), dialect)

    def _mark(self, noted: ColumnElement[int]) -> ColumnElement[int]:
        """Return what is another number of a bucket's row after every removal.

        On PostgreSQL what is removed may lie below what was removed before, so that the note stays as it is; but its
        row is written, by a transaction with another id.
        """
        return cast(cast(column("xmin"), Text), BigInteger) if self._statements.postgres else noted

    def of(self, gaps: Gaps) -> Compiled:
        """Return the look beyond what was seen.

        :param gaps: what was seen.
        """
        return self._everywhere if gaps.open and self._everywhere is not None else self._above

    def values(self, gaps: Gaps, limit: int) -> dict[str, Any]:
        """Return the parameters of a look.

        :param gaps: what was seen.
        :param limit: the most changes.
        """
        values: dict[str, Any] = {"k_after": gaps.highest, "k_limit": limit}
        if gaps.open:
            values |= {
                "k_firsts": [first for first, _last in gaps.open],
                "k_lasts": [last for _first, last in gaps.open],
            }
        return values

    def _look(self, entries: Any) -> ClauseElement:
        now, found = select(*self._now).subquery("now"), entries.subquery("found")
        joined = now.outerjoin(found, true())
        look: Select[Any] = select(*now.c, *found.c).select_from(joined).order_by(found.c.revision)
        return look.limit(bindparam("k_limit", type_=BigInteger()))

    def _entries(self, *where: ColumnElement[bool]) -> Select[Any]:
        """Entries of the log in their order, which with the limit makes any planner go by the key."""
        log = self._statements.tables.history.c
        found: Select[Any] = select(log.revision, log.bucket, log.name).where(*where).order_by(log.revision)
        return found.limit(bindparam("k_limit", type_=BigInteger()))

    def _fresh(self) -> Select[Any]:
        revision = self._statements.tables.history.c.revision
        return self._entries(revision > bindparam("k_after", type_=revision.type))

    def _late(self) -> Select[Any]:
        """What has appeared in the gaps, each of which is looked into by itself."""
        kind = ARRAY(BigInteger())
        ends = (cast(bindparam(name, type_=kind), kind) for name in ("k_firsts", "k_lasts"))
        sides = (column("first", BigInteger()), column("last", BigInteger()))
        given: FromClause = func.unnest(*ends).table_valued(*sides, name="gap").render_derived()
        revision = self._statements.tables.history.c.revision
        inside = self._entries(revision.between(given.c.first, given.c.last)).lateral("inside")
        return select(*inside.c).select_from(given.join(inside, true()))


_ZERO: ColumnElement[int] = literal_column("0", BigInteger())

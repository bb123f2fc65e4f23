"""Retention on SQL: the one way past the guard of the history, a batch in a transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import ColumnElement, and_, bindparam, delete, func, or_, select
from sqlalchemy.sql import ClauseElement, FromClause

from ...core.jobs import DEAD, EFFECT, PENDING
from ...core.lists import prefix_end
from ...core.powers import KeepsHistory
from ...errors import ConfigurationError
from .connection import SqlUnit
from .joining import JoinedUnit
from .lists import BEHIND_ALL
from .notes import Notes
from .power import SqlPower
from .statements import Compiled, compiled
from .tables import Tables
from .triggers import SETTING, closing, opening

_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(7305808869229753975)"
"""Two retentions at once could leave gaps: one skips what the other removes, and that one rolls back."""


class SqlRetention(SqlPower, KeepsHistory):
    """Forgets changes in a relational database."""

    _notes: Notes

    def forget_changes(
        self,
        unit: SqlUnit,
        before: datetime,
        limit: int,
        after: int = 0,
        *,
        bucket: str | None = None,
        prefix: str = "",
    ) -> list[int]:
        """Remove changes from before a moment, the oldest first, so that no record's history gets a gap.

        Of a record whose tombstone was removed all of them go. In the same transaction it is noted with each bucket how
        far its log has lost anything.

        :param unit: an open writing unit of its own, not a joined one.
        :param before: the moment.
        :param limit: the most changes.
        :param after: only changes behind this revision; a record that has an earlier one left keeps all of its own.
        :param bucket: only changes of this collection; None for all.
        :param prefix: only changes of records whose names begin so.
        :returns: the revisions of those that were removed, in order.
        :raises ConfigurationError: when the unit is joined.
        :raises StorageError: when the database fails.
        """
        if isinstance(unit, JoinedUnit):
            raise ConfigurationError("History is removed in a transaction of its own: leave session= out.")
        statement = compiled(_forgetting(self.tables, bucket, prefix), self.engine.dialect)
        values = {"k_moment": self._dialect.bound_time(before), "k_after": after, "k_limit": limit}
        with unit.savepoint():
            with self._opened(unit):
                rows = unit.run(statement, values, planned=False)
            highest = {of: revision for revision, of in sorted(map(tuple, rows))}
            # In a fixed order, as two may do so at once.
            for of in sorted(highest):
                self._notes.raise_to(unit, of, compacted=highest[of])
        return sorted(row[0] for row in rows)

    @contextmanager
    def _opened(self, unit: SqlUnit) -> Iterator[None]:
        """Let rows of the history be deleted in the block; an exception has to roll the savepoint around it back."""
        if self._dialect.name == "sqlite":
            schema = self.tables.history.schema
            quoted = self.engine.dialect.identifier_preparer.quote_schema
            place = "" if schema is None else f"{quoted(schema)}."
            # In one transaction with the deletion: a killed process leaves the guard where it was.
            unit.run(_plain(opening(place)), {}, fetch=False)
            yield
            unit.run(_plain(closing(place)), {}, fetch=False)
        else:
            unit.run(_plain(_ONE_AT_A_TIME), {})
            unit.run(_plain(f"SELECT set_config('{SETTING}', 'on', true)"), {})
            yield
            unit.run(_plain(f"SELECT set_config('{SETTING}', 'off', true)"), {})


def _plain(sql: str) -> Compiled:
    return Compiled(sql, None, {})


def _forgetting(tables: Tables, bucket: str | None, prefix: str) -> ClauseElement:
    history = tables.history.alias("h")
    state, outbox, first = tables.state, tables.outbox, tables.history.alias("f")
    newest = select(state.c.version).where(_same(state, history)).scalar_subquery()
    waiting = or_(outbox.c.status == PENDING, outbox.c.status == DEAD)
    needed = and_(outbox.c.kind == EFFECT, waiting, _same(outbox, history))
    # An effect is shown its change with the record before it. Scalars, as they make no plan begin with other tables.
    first_needed = select(func.min(outbox.c.version) - 1).where(needed).scalar_subquery()
    oldest = select(first.c.revision).where(_same(first, history)).order_by(first.c.version).limit(1).scalar_subquery()
    chosen = (
        select(history.c.revision)
        .where(
            history.c.revision > bindparam("k_after"),
            history.c.created_at < bindparam("k_moment"),
            history.c.version < func.coalesce(newest, history.c.version + 1),
            history.c.version < func.coalesce(first_needed, history.c.version + 1),
            oldest > bindparam("k_after"),
        )
        .order_by(history.c.revision)
        .limit(bindparam("k_limit"))
    )
    if bucket is not None:
        chosen = chosen.where(history.c.bucket == bucket)
    if prefix:
        chosen = chosen.where(history.c.name >= prefix, history.c.name < (prefix_end(prefix) or BEHIND_ALL))
    gone = delete(tables.history).where(tables.history.c.revision.in_(chosen))
    return gone.returning(tables.history.c.revision, tables.history.c.bucket)


def _same(one: FromClause, other: FromClause) -> ColumnElement[bool]:
    return and_(one.c.bucket == other.c.bucket, one.c.name == other.c.name)

"""The power Purges on SQL: tombstones go, and the highest version of them is noted with their bucket."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property

from sqlalchemy import bindparam, delete, select
from sqlalchemy.sql import ClauseElement

from ...core.jobs import FINISHED
from ...core.purges import Purges
from ...core.record import Key
from ...errors import ConfigurationError
from .connection import SqlUnit
from .joining import JoinedUnit
from .notes import Notes
from .power import SqlPower
from .statements import Compiled, Statements, compiled


class SqlPurges(SqlPower, Purges):
    """Removes tombstones from a relational database."""

    _notes: Notes

    @cached_property
    def _tombstones(self) -> Compiled:
        return compiled(_forgetting(self._statements), self.engine.dialect)

    def floor(self, unit: SqlUnit, key: Key) -> int:
        """Return the version above which a record of this name starts, where nothing is stored.

        A write compares it again: what was read here may be raised by then, and the write counts as a race that was
        lost. One thing that comparison cannot see on PostgreSQL, where it is made as of the beginning of the statement:
        that a tombstone is being removed at this moment whose record was created since the read. So a tombstone has to
        stay for longer than any write may take.

        :param unit: the unit in which the record was read.
        :param key: the absent record.
        :raises StorageError: when the database fails.
        """
        unit.absent = key
        return self._notes.floor(unit, key.bucket)

    def forget_tombstones(self, unit: SqlUnit, bucket: str, before: datetime, limit: int) -> int:
        """Remove tombstones from before a moment, unless they have jobs that are not done, and raise the floor.

        Tombstones that somebody else has locked are left for the next time, and the bucket's floor is raised behind
        them: so nobody who removes waits for a record while others wait for the floor.

        :param unit: an open writing unit of its own, for one bucket.
        :param bucket: the collection.
        :param before: the moment.
        :param limit: the most tombstones.
        :returns: how many were removed.
        :raises ConfigurationError: when the unit is joined.
        :raises StorageError: when the database fails.
        """
        if isinstance(unit, JoinedUnit):
            raise ConfigurationError("Tombstones are removed in a transaction of its own: leave session= out.")
        values = {"k_bucket": bucket, "k_moment": self._dialect.bound_time(before), "k_limit": limit}
        versions = [row[0] for row in unit.run(self._tombstones, values, planned=False)]
        if versions:
            self._notes.raise_to(unit, bucket, floor=max(versions))
        return len(versions)


def _forgetting(statements: Statements) -> ClauseElement:
    table, outbox = statements.tables.state, statements.tables.outbox
    state = table.c
    # Its effects would never be done, its deadlines never end.
    unfinished = (outbox.c.status != status for status in FINISHED)
    waiting = select(outbox.c.id).where(outbox.c.bucket == state.bucket, outbox.c.name == state.name, *unfinished)
    old = state.deleted_at < bindparam("k_moment", type_=state.deleted_at.type if statements.postgres else None)
    here = state.bucket == bindparam("k_bucket", type_=state.bucket.type)
    found = select(state.name).where(here, state.deleted_at.is_not(None), old, ~waiting.exists())
    found = found.order_by(state.deleted_at, state.name).limit(bindparam("k_limit"))
    chosen = found.with_for_update(skip_locked=True, of=table).cte("chosen")
    gone = delete(table).where(here, state.deleted_at.is_not(None), state.name.in_(select(chosen.c.name)))
    return gone.returning(state.version)

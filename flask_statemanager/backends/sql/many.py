"""Many records at once: on PostgreSQL in one statement or by COPY, on SQLite in a few statements."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from sqlalchemy import bindparam, select

from ...core.buckets import BRIEF
from ...core.many import Move, Moved
from ...core.powers import MultiKey
from ...core.query import Query
from ...core.record import Change, Key, Record
from ...errors import StateConflict
from .appends import Appends, RaceLost
from .connection import SqlUnit
from .copying import Copying, CopyRefused
from .joining import hold, refuse_to_wait_for_itself
from .moves import Moves, among, listed, looked_up, named
from .notes import Notes
from .power import SqlPower
from .reading import Row
from .rows import Rows
from .search import Searching
from .statements import Compiled, compiled

COPIED = 32
"""From how many changes on COPY is quicker than one statement, which takes fewer trips."""


class SqlMany(SqlPower, MultiKey):
    """The power MultiKey on the tables."""

    _searching: Searching
    _notes: Notes

    @cached_property
    def _moves(self) -> Moves:
        return Moves(self._statements, self._searching)

    @cached_property
    def _few(self) -> Appends | Rows:
        return Appends(self._statements) if self._statements.postgres else Rows(self._statements)

    @cached_property
    def _many(self) -> Appends | Rows | Copying:
        # Other drivers have COPY each in its own way.
        return Copying(self._statements) if self.engine.driver == "psycopg" else self._few

    @cached_property
    def _drawn(self) -> Compiled:
        """Changes by their revisions, whichever collection it is."""
        return compiled(looked_up(self._statements), self.engine.dialect)

    @cached_property
    def _reads(self) -> tuple[Compiled, Compiled]:
        """Many records by name, plain and locked."""
        state, columns, dialect = self.tables.state.c, self._statements.record_columns(), self.engine.dialect
        if self._statements.postgres:
            plain, held = (named(self._statements, columns, lock=lock) for lock in (False, True))
            return compiled(plain, dialect), compiled(held, dialect)
        here = state.bucket == bindparam("k_bucket"), among(self._statements, state.name, "k_names")
        found = compiled(select(*columns).where(*here), dialect)
        return found, found

    def names(self, unit: SqlUnit, query: Query) -> list[str]:
        """Return the names of the records that a search finds, in its order.

        :param unit: an open unit.
        :param query: the query.
        :raises StorageError: when the database fails.
        """
        found = self._searching.found(query)
        found = found.with_only_columns(found.selected_columns["name"])
        rows = unit.run(compiled(found, self.engine.dialect), self._searching.values(query), planned=False)
        return [row[0] for row in rows]

    def read_many(self, unit: SqlUnit, bucket: str, names: Sequence[str], *, lock: bool = False) -> dict[str, Record]:
        """Return what is stored under names; rows are locked in the order of the names, so that two cannot deadlock.

        :param unit: an open unit.
        :param bucket: the collection.
        :param names: which ones.
        :param lock: lock the rows until the unit ends (PostgreSQL; SQLite has locked the file already).
        :raises StorageError: when the database fails, or this thread's own session has one of them locked.
        """
        if lock:
            refuse_to_wait_for_itself(unit, (Key(bucket, name) for name in names))
        values = {"k_bucket": bucket, "k_names": listed(self._statements, sorted(names))}
        rows = unit.run(self._reads[lock], values, planned=False)
        found = {row[1]: self._statements.record(row) for row in rows}
        if lock:
            hold(unit, (Key(bucket, name) for name in found))
        return found

    def apply_many(self, unit: SqlUnit, changes: Sequence[Change]) -> list[int]:
        """Store changes of different records: new states ahead of their log, as where one record is written.

        :param unit: an open writing unit.
        :param changes: the changes.
        :returns: their revisions, in the order of the changes.
        :raises StateConflict: when another version of one of them is stored.
        :raises StorageError: when the database fails.
        """
        if not changes:
            return []
        hold(unit, (change.key for change in changes))
        # A state that is copied follows its log, which has to hold all of it then.
        copied = len(changes) >= COPIED and changes[0].key.bucket not in BRIEF
        writer = self._many if copied else self._few
        try:
            return writer.store(unit, changes)
        except CopyRefused:
            # Nothing of it is there, and it would not do the next time either.
            self._many = self._few
            return self.apply_many(unit, changes)
        except RaceLost as lost:
            raise self._lost(unit, changes, lost.revisions) from lost

    def move_many(self, unit: SqlUnit, move: Move) -> list[Moved]:
        """Make one transition of many records inside the database.

        :param unit: an open writing unit.
        :param move: the transition.
        :raises StateConflict: when what was logged is not what was changed; the unit has to be rolled back then.
        :raises StorageError: when the database fails, or this thread's own session has one of them locked.
        """
        if not move.ways or not move.names:
            return []
        rows = self._logged(unit, move)
        if rows and self._followed(unit, rows) != len(rows):
            raise StateConflict(f"A record of {move.bucket}", None, None)
        moved = []
        for revision, name, version, source, at, *_ in rows:
            moment = self._dialect.read_time(at)
            assert moment is not None
            moved.append(Moved(name, source, version, revision, moment))
        return moved

    def changes_of(self, unit: SqlUnit, bucket: str, revisions: Sequence[int]) -> list[Change]:
        """Return the changes with these revisions, by revision.

        :param unit: an open unit.
        :param bucket: the collection.
        :param revisions: which ones.
        :raises StorageError: when the database fails.
        """
        values = {"k_bucket": bucket, "k_revisions": listed(self._statements, revisions)}
        rows = unit.run(self._drawn, values, planned=False)
        return self._statements.changes(rows)

    def _logged(self, unit: SqlUnit, move: Move) -> Sequence[Row]:
        """Run the statement of a move, on PostgreSQL behind the one that locks the records."""
        values = self._moves.values(move)
        if self._moves.lock is not None:
            refuse_to_wait_for_itself(unit, (Key(move.bucket, name) for name in move.names))
            found = [row[0] for row in unit.run(self._moves.lock, values, planned=False)]
            hold(unit, (Key(move.bucket, name) for name in found))
            # What has appeared since is not locked.
            values["k_names"] = found
        return sorted(map(tuple, unit.run(self._moves.statement(move.ways), values, planned=False)))

    def _followed(self, unit: SqlUnit, rows: Sequence[Row]) -> int:
        """Return how many states have followed their log, once they have."""
        if self._moves.follow is None:
            return int(rows[0][-1])
        between = {"k_first": rows[0][0], "k_last": rows[-1][0]}
        return int(unit.run(self._moves.follow, between, fetch=False)[0][0])

    def _lost(self, unit: SqlUnit, changes: Sequence[Change], ours: Sequence[int]) -> StateConflict:
        """Return the conflict, with the first record of which another version is stored than is expected or ours."""
        for change in changes:
            rows = unit.run(self._statements.read, self._statements.key_values(change.key))
            stored = self._statements.record(rows[0]) if rows else None
            actual = None if stored is None else stored.version
            before = self._notes.floor(unit, change.key.bucket) if stored is None else stored.version
            if before != change.version - 1 and (stored is None or stored.revision not in ours):
                return StateConflict(change.key, change.version - 1, actual)
        return StateConflict(changes[0].key, changes[0].version - 1, None)

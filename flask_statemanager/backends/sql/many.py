"""Many records at once: in one or two statements on PostgreSQL, in a few on SQLite."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import bindparam, select

from ...core.codec import encode
from ...core.many import Move, Moved
from ...core.powers import MultiKey
from ...core.query import ChangeQuery, Query
from ...core.record import Change, Key, Record
from ...errors import StateConflict
from .appends import Appends
from .connection import SqlUnit
from .joining import hold, refuse_to_wait_for_itself
from .moves import Moves, among, listed, locked
from .power import SqlPower
from .search import Searching
from .statements import Compiled, Row, compiled

logger = logging.getLogger("flask_statemanager.sql")

MAX_TEXT = 32 * 2**20
"""Characters of JSON that one statement carries; PostgreSQL's jsonb ends at 256 MB."""


class SqlMany(SqlPower, MultiKey):
    """The power MultiKey on the tables."""

    _searching: Searching

    @cached_property
    def _moves(self) -> Moves:
        return Moves(self._statements, self._searching)

    @cached_property
    def _appends(self) -> Appends:
        return Appends(self._statements)

    @cached_property
    def _reads(self) -> tuple[Compiled, Compiled]:
        """Many records by name, plain and locked."""
        state, columns = self.tables.state.c, self._statements.record_columns()
        here = state.bucket == bindparam("k_bucket"), among(self._statements, state.name, "k_names")
        found = select(*columns).where(*here)
        held = locked(self._statements, columns) if self._statements.postgres else found
        return compiled(found, self.engine.dialect), compiled(held, self.engine.dialect)

    def names(self, unit: SqlUnit, query: Query) -> list[str]:
        """Return the names of the records that a search finds, in its order.

        :param unit: an open unit.
        :param query: the query.
        :raises StorageError: when the database fails.
        """
        found = self._searching.found(query).with_only_columns(self.tables.state.c.name)
        rows = unit.run(compiled(found, self.engine.dialect), {}, planned=False)
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
        """Store changes of different records: history rows, which draw the revisions, then state rows.

        :param unit: an open writing unit.
        :param changes: the changes.
        :returns: their revisions, in the order of the changes.
        :raises StateConflict: when another version of one of them is stored.
        :raises StorageError: when the database fails.
        """
        if not changes:
            return []
        hold(unit, (change.key for change in changes))
        return self._apply_as_json(unit, changes) if self._statements.postgres else self._apply_rows(unit, changes)

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
        drawn = among(self._statements, self.tables.history.c.revision, "k_revisions")
        listing = compiled(self._searching.changes(ChangeQuery(bucket)).where(drawn), self.engine.dialect)
        rows = unit.run(listing, {"k_revisions": listed(self._statements, revisions)}, planned=False)
        return [self._statements.change(row) for row in rows]

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

    def _apply_as_json(self, unit: SqlUnit, changes: Sequence[Change]) -> list[int]:
        """One statement, to which all rows travel as one JSON text."""
        text = encode([self._appends.row(change, place) for place, change in enumerate(changes)])
        if len(text) > MAX_TEXT and len(changes) > 1:
            half = len(changes) // 2
            return self._apply_as_json(unit, changes[:half]) + self._apply_as_json(unit, changes[half:])
        rows = unit.run(self._appends.at_once, {"k_rows": text}, planned=False)
        drawn = {(bucket, name): revision for bucket, name, revision in rows}
        return [_drawn(drawn, change) for change in changes]

    def _apply_rows(self, unit: SqlUnit, changes: Sequence[Change]) -> list[int]:
        """The statements of single writes, run with many rows: nothing travels on SQLite."""
        rows = [self._statements.state_values(change.after) for change in changes]
        logged = [self._statements.history_values(change, row) for change, row in zip(changes, rows, strict=True)]
        self._run_each(unit, self._appends.each, logged, changes)
        # Nobody else writes meanwhile, so the revisions just drawn follow one another.
        first = unit.run(self._appends.last_drawn, {})[0][0] - len(changes) + 1
        for place, change in enumerate(changes):
            rows[place] |= self._statements.key_values(change.key)
            rows[place] |= {"k_version": change.version - 1, "revision": first + place}
        for statement, wanted in ((self._statements.insert_state, True), (self._statements.update_state, False)):
            chosen = [place for place, change in enumerate(changes) if (change.version == 1) is wanted]
            self._run_each(unit, statement, [rows[place] for place in chosen], [changes[place] for place in chosen])
        return list(range(first, first + len(changes)))

    def _run_each(
        self, unit: SqlUnit, statement: Compiled, rows: Sequence[dict[str, Any]], changes: Sequence[Change]
    ) -> None:
        """Run a statement for each row, which must touch exactly one."""
        if not rows:
            return
        logger.debug("%s", statement.sql)
        connection = unit.connection
        with unit.translated():
            cursor = connection.cursor()
            try:
                cursor.executemany(statement.sql, [statement.bind(row) for row in rows])
                touched = cursor.rowcount
            finally:
                cursor.close()
        if touched != len(rows):
            raise self._lost(unit, changes)

    def _lost(self, unit: SqlUnit, changes: Sequence[Change]) -> StateConflict:
        """Return the conflict, with the first record of which another version is stored."""
        for change in changes:
            stored = unit.run(self._statements.read, self._statements.key_values(change.key))
            actual = self._statements.record(stored[0]).version if stored else None
            if (actual or 0) != change.version - 1:
                return StateConflict(change.key, change.version - 1, actual)
        return StateConflict(changes[0].key, changes[0].version - 1, None)


def _drawn(drawn: dict[tuple[str, str], int], change: Change) -> int:
    revision = drawn.get((change.key.bucket, change.key.name))
    if revision is None:
        raise StateConflict(change.key, change.version - 1, None)
    return revision

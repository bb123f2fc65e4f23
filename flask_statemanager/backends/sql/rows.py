"""Many changes on SQLite: a few statements, each run for all the rows, as nothing travels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import Select, String, bindparam, column, func, insert, select, table

from ...core.codec import encode
from ...core.record import Change, Key, Origin
from .appends import MAX_TEXT, RaceLost, portions
from .brief import logged
from .connection import SqlUnit
from .firsts import Firsts
from .putting import ORIGIN_FIELDS, RECORD_FIELDS
from .statements import Compiled, Statements, compiled

logger = logging.getLogger("flask_statemanager.sql")

Values = tuple[Any, ...]

_BESIDE = ("event", "from_status", *ORIGIN_FIELDS)
_RENAMED = {"status": "to_status", "created_at": "record_created_at", "updated_at": "created_at"}
"""What a record's column is called in the history, where it differs."""

_SEEN = {"k_bucket": "bucket", "k_name": "name"}


class Rows:
    """Stores many changes by statements that are prepared once.

    :param statements: tables, columns and the database's habits.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._free = compiled(self._first_free(), statements.dialect)
        self._firsts = Firsts(statements)
        history = statements.tables.history
        names = [*(_RENAMED.get(name, name) for name in RECORD_FIELDS), *_BESIDE]
        self._log = compiled(insert(history).values({name: bindparam(name) for name in names}), statements.dialect)
        # What the log holds of the data stands behind all that.
        self._logged = _picker(self._log, {name: place for place, name in enumerate(names)} | {"data": len(names)})
        places = {name: place for place, name in enumerate((*RECORD_FIELDS, "k_version"))}
        self._places = places | {name: places[named] for name, named in _SEEN.items()}
        self._created = _picker(statements.insert_state, self._places)
        self._changed: dict[str, Callable[[Values], Values]] = {}

    def store(self, unit: SqlUnit, changes: Sequence[Change]) -> list[int]:
        """Store changes of different records: the states, and behind them their log.

        :param unit: an open writing unit.
        :param changes: the changes.
        :returns: their revisions, in the order of the changes.
        :raises RaceLost: when another version of one of them is stored.
        :raises StorageError: when the database fails.
        """
        first = unit.run(self._free, {})[0][0]
        revisions = list(range(first, first + len(changes)))
        writer = RowWriter(self._statements.habits.bound_time)
        firsts = self._firsts.among(unit, changes)
        rows = ((change, writer.row(change, revision)) for change, revision in zip(changes, revisions, strict=True))
        # Of large documents a chunk could be gigabytes.
        for portion in portions(rows, _length, MAX_TEXT):
            if not all(self._follow(unit, portion, firsts)):
                raise RaceLost(revisions)
            self._run(unit, self._log, [self._logged((*row, *writer.beside(change, row))) for change, row in portion])
        return revisions

    def _follow(self, unit: SqlUnit, rows: Sequence[tuple[Change, Values]], firsts: set[Key]) -> Iterable[bool]:
        """Write the states, and tell of each statement whether every row has met the version that it was meant for."""
        created = [self._created(row) for change, row in rows if change.key in firsts]
        if created:
            yield self._run(unit, self._statements.insert_state, created)
        changed: dict[str, tuple[Compiled, list[Values]]] = {}
        for change, row in rows:
            if change.key not in firsts:
                statement = self._statements.update_for(change)
                pick = self._changed.get(statement.sql)
                if pick is None:
                    pick = self._changed[statement.sql] = _picker(statement, self._places)
                changed.setdefault(statement.sql, (statement, []))[1].append(pick((*row, change.version - 1)))
        for statement, some in changed.values():
            yield self._run(unit, statement, some)

    def _run(self, unit: SqlUnit, statement: Compiled, rows: Sequence[Values]) -> bool:
        """Run a statement for each row, and tell whether it has touched as many."""
        logger.debug("%s", statement.sql)
        connection = unit.connection
        with unit.translated():
            cursor = connection.cursor()
            try:
                cursor.executemany(statement.sql, rows)
                return bool(cursor.rowcount == len(rows))
            finally:
                cursor.close()

    def _first_free(self) -> Select[Any]:
        """The first revision that is not drawn, by SQLite's rule for AUTOINCREMENT; nobody else draws one meanwhile."""
        history = self._statements.tables.history
        sequence = table("sqlite_sequence", column("name", String()), column("seq"), schema=history.schema)
        counted = select(sequence.c.seq).where(sequence.c.name == history.name).scalar_subquery()
        greatest = select(func.max(history.c.revision)).scalar_subquery()
        return select(func.max(func.coalesce(counted, 0), func.coalesce(greatest, 0)) + 1)


_DATA = RECORD_FIELDS.index("data")
_TEXTS = itemgetter(_DATA, RECORD_FIELDS.index("metadata"))


def _length(numbered: tuple[Change, Values]) -> int:
    data, metadata = _TEXTS(numbered[1])
    return len(data) + len(metadata)


class RowWriter:
    """Turns changes into rows; what many of them have in common is turned once.

    :param time: gives a moment as the driver wants it.
    """

    def __init__(self, time: Callable[[datetime | None], Any]) -> None:
        self._time = time
        self._times: dict[datetime | None, Any] = {}
        self._kept: tuple[Origin, Values] | None = None

    def row(self, change: Change, revision: int) -> Values:
        """Return the record after a change, in the order of :data:`RECORD_FIELDS`.

        :param change: the change.
        :param revision: its revision.
        """
        record, time = change.after, self._bound
        return (
            record.key.bucket,
            record.key.name,
            record.label,
            record.type,
            record.status,
            record.owner,
            record.version,
            revision,
            record.schema_version,
            encode(record.data),
            encode(record.metadata),
            time(record.created_at),
            time(record.updated_at),
            time(record.expires_at),
            time(record.deleted_at),
        )

    def beside(self, change: Change, row: Values) -> Values:
        """Return what only the log has: event, status before and origin, and what it holds of the data.

        :param change: the change.
        :param row: the record after it.
        """
        before = None if change.before is None else change.before.status
        if self._kept is None or self._kept[0] is not change.origin:
            self._kept = change.origin, tuple(getattr(change.origin, name) for name in ORIGIN_FIELDS)
        return change.event, before, *self._kept[1], logged(change.key.bucket, row[_DATA])

    def _bound(self, moment: datetime | None) -> Any:
        try:
            return self._times[moment]
        except KeyError:
            found = self._times[moment] = self._time(moment)
            return found


def _picker(statement: Compiled, places: dict[str, int]) -> Callable[[Values], Values]:
    """Return what takes the parameters of a statement out of a row."""
    assert statement.order is not None, "the driver takes parameters by position"
    return itemgetter(*(places[name] for name in statement.order))

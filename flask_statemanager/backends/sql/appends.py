"""Many changes as SQL: one statement on PostgreSQL, statements that are run for each row on SQLite."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    column,
    func,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql import ClauseElement, ColumnElement, CompoundSelect

from ...core.clock import iso
from ...core.record import Change, JSONObject
from .moves import drawn_columns
from .statements import ORIGIN_FIELDS, RECORD_FIELDS, Compiled, Statements, compiled

_UNIQUE = ["bucket", "name", "version"]
_RENAMED = {"status": "to_status", "created_at": "record_created_at", "updated_at": "created_at"}
"""What a record's column is called in the history, where it differs."""

_STORED = tuple(name for name in RECORD_FIELDS if name != "revision")
_TIMES = ("created_at", "updated_at", "expires_at", "deleted_at")
_BESIDE = ("event", "from_status", *ORIGIN_FIELDS)
_PLAIN = tuple(name for name in _STORED if name not in (*_TIMES, "bucket", "name"))


class Appends:
    """The statements that store many changes.

    :param statements: tables, columns and the database's habits.
    """

    def __init__(self, statements: Statements) -> None:
        self._state, self._history = statements.tables.state, statements.tables.history
        self._statements = statements
        if statements.postgres:
            self.at_once = compiled(self._at_once(), statements.dialect)
        else:
            self.each = compiled(self._each(), statements.dialect)
            self.last_drawn = Compiled("SELECT last_insert_rowid()", None, {})

    def row(self, change: Change, place: int) -> JSONObject:
        """Return a change as the JSON object that the statement for PostgreSQL takes.

        :param change: the change.
        :param place: where it stands among the changes, which is the order of the revisions.
        """
        after = change.after
        row: JSONObject = {name: getattr(after, name) for name in _PLAIN}
        row |= {name: getattr(change.origin, name) for name in ORIGIN_FIELDS}
        for name in _TIMES:
            moment = getattr(after, name)
            row[name] = None if moment is None else iso(moment)
        row["from_status"] = None if change.before is None else change.before.status
        return row | {"bucket": after.key.bucket, "name": after.key.name, "event": change.event, "place": place}

    def _at_once(self) -> CompoundSelect[Any]:
        """The history rows, and behind each that could be written its state; what comes back has both."""
        state = self._state.c
        given = self._given().cte("given")
        here = and_(state.bucket == given.c.bucket, state.name == given.c.name)
        # Only if the version before is the stored one: a log entry must never stand without its state.
        fresh = func.coalesce(state.version, 0) == given.c.version - 1
        logged: dict[str, ColumnElement[Any]] = {
            _RENAMED.get(name, name): given.c[name] for name in (*_STORED, *_BESIDE)
        }
        logged |= drawn_columns(self._statements)
        rows = select(*logged.values()).select_from(given.outerjoin(self._state, here)).where(fresh)
        append = postgresql.insert(self._history).from_select(
            list(logged), rows.order_by(given.c.place), include_defaults=False
        )
        append = append.on_conflict_do_nothing(index_elements=_UNIQUE)
        drawn = append.returning(*(self._history.c[name] for name in ("bucket", "name", "revision"))).cte("drawn")
        pair = and_(drawn.c.bucket == given.c.bucket, drawn.c.name == given.c.name)
        values = {name: given.c[name] for name in _STORED} | {"revision": drawn.c.revision}
        first = select(*values.values()).select_from(given.join(drawn, pair)).where(given.c.version == 1)
        create = postgresql.insert(self._state).from_select(list(values), first, include_defaults=False)
        told = [state.bucket, state.name, state.revision]
        made = create.on_conflict_do_nothing(index_elements=["bucket", "name"]).returning(*told).cte("made")
        change = update(self._state).where(here, pair, given.c.version > 1, state.version == given.c.version - 1)
        changed = {name: value for name, value in values.items() if name not in ("bucket", "name")}
        moved = change.values(changed).returning(*told).cte("moved")
        return union_all(select(*made.c), select(*moved.c))

    def _given(self) -> Select[Any]:
        rows = cast(bindparam("k_rows", type_=Text()), JSONB)
        parts = [column("place", Integer())]
        parts += [column(name, _plain(self._state.c[name])) for name in _STORED]
        parts += [column(name, _plain(self._history.c[name])) for name in _BESIDE]
        found = func.jsonb_to_recordset(rows).table_valued(*parts, name="rows").render_derived(with_types=True)
        return select(*found.c)

    def _each(self) -> ClauseElement:
        """The insert of single writes, which returns nothing, as the driver runs it for many rows."""
        state, history = self._state.c, self._history
        names = [column.name for column in history.columns if column.name not in ("revision", "xid")]
        here = and_(state.bucket == bindparam("k_bucket"), state.name == bindparam("k_name"))
        stored = func.coalesce(select(state.version).where(here).scalar_subquery(), 0)
        values: list[ColumnElement[Any]] = [bindparam(name) for name in names]
        row = select(*values).where(stored == bindparam("k_version"))
        append = sqlite.insert(history).from_select(names, row, include_defaults=False)
        return append.on_conflict_do_nothing(index_elements=_UNIQUE)


def _plain(target: Column[Any]) -> Any:
    """The type of a column as it stands in a list of columns, without length and collation."""
    if isinstance(target.type, JSON):
        return JSONB()
    return target.type if isinstance(target.type, BigInteger | Integer | DateTime) else Text()

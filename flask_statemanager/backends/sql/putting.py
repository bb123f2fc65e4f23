"""PostgreSQL's statements that write a state and its history at once, each in one round trip.

The state row decides who wins a race: a racer waits for it, finds another version, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import and_, bindparam, select, true, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import ClauseElement, ColumnElement

from .brief import logged_column
from .floors import is_first
from .tables import Tables

RECORD_FIELDS = (
    "bucket",
    "name",
    "label",
    "type",
    "status",
    "owner",
    "version",
    "revision",
    "schema_version",
    "data",
    "metadata",
    "created_at",
    "updated_at",
    "expires_at",
    "deleted_at",
)
ORIGIN_FIELDS = ("actor", "source", "reason", "request_id", "idempotency_key")

BELIEVED = "_believed"
"""Behind the names of the parameters of what is believed to be stored."""

_RENAMED = {"to_status": "status", "record_created_at": "created_at", "created_at": "updated_at"}
"""What the history calls the columns of the state as they were at that version."""

_GIVEN = ("event", "from_status", *ORIGIN_FIELDS)
"""What the state does not know."""


class Putting:
    """Builds the statements.

    :param tables: the tables.
    :param drawn: the transaction's id and a new revision, which are drawn in this order.
    :param bound: returns the parameter for a column's value, its name with a suffix if one is given.
    """

    def __init__(
        self,
        tables: Tables,
        drawn: tuple[ColumnElement[Any], ColumnElement[Any]],
        bound: Callable[..., ColumnElement[Any]],
    ) -> None:
        xid, revision = drawn
        self._tables = tables
        self._bound = bound
        self._drawn = select(xid.label("xid"), revision.label("revision")).cte("drawn")

    def first(self) -> ClauseElement:
        """Return the statement for the first row of a state, which writes nothing where there is one.

        Nor does it where the version is another than the one above the floor of the bucket.
        """
        values = self._values()
        above = is_first(self._tables, values["bucket"], values["version"])
        inserted = postgresql.insert(self._tables.state).from_select(
            list(values), select(*values.values()).where(above), include_defaults=False
        )
        return self._logged(inserted.on_conflict_do_nothing(index_elements=["bucket", "name"]))

    def later(self) -> ClauseElement:
        """Return the statement for a later version, which writes nothing where the one before is not stored."""
        return self._changed()

    def believed(self) -> ClauseElement:
        """Return the same for a record that nobody has read: all of it is compared with what is stored."""
        state = self._tables.state.c
        compared = (name for name in RECORD_FIELDS if name not in ("bucket", "name", "version"))
        return self._changed(
            *(state[name].is_not_distinct_from(self._bound(state[name], BELIEVED)) for name in compared)
        )

    def _changed(self, *also: ColumnElement[bool]) -> ClauseElement:
        state = self._tables.state.c
        seen = and_(
            state.bucket == bindparam("k_bucket"),
            state.name == bindparam("k_name"),
            state.version == bindparam("k_version"),
            # Always true; but SQLAlchemy before 2.0.25 names no table that occurs in SET alone.
            self._drawn.c.revision.is_not(None),
            *also,
        )
        changed = {name: value for name, value in self._values().items() if name not in ("bucket", "name")}
        return self._logged(update(self._tables.state).where(seen).values(changed))

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = {name: self._bound(self._tables.state.c[name]) for name in RECORD_FIELDS}
        return values | {"revision": self._drawn.c.revision}

    def _logged(self, writing: Any) -> ClauseElement:
        """Copy what a statement writes into the history."""
        table, written = self._tables.history, writing.returning(*self._tables.state.c).cte("written")
        values: dict[str, Any] = {"xid": self._drawn.c.xid}
        for column in table.columns:
            if column.name in _GIVEN:
                values[column.name] = self._bound(column)
            elif column.name != "xid":
                values[column.name] = written.c[_RENAMED.get(column.name, column.name)]
        values["data"] = logged_column(written.c.bucket, written.c.data)
        row = select(*values.values()).select_from(written.join(self._drawn, true()))
        appended = postgresql.insert(table).from_select(list(values), row, include_defaults=False)
        return appended.returning(table.c.revision)

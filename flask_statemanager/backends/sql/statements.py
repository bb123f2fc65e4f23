"""The statements, declared in SQLAlchemy Core and compiled once; they run on the driver's cursor.

JSON is bound and read as text, so that what is stored is written by our codec and not by the engine's serializer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Column, DateTime, Text, and_, bindparam, case, cast, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.sql import ClauseElement, ColumnElement
from sqlalchemy.sql.compiler import SQLCompiler

from ...core.codec import decode, encode
from ...core.record import Change, Key, Origin, Record
from .dialects import Dialect as Habits
from .tables import Tables

Row = Sequence[Any]

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


@dataclass(frozen=True, slots=True)
class Compiled:
    """One statement as text, with the order of its parameters where the driver wants them by position."""

    sql: str
    order: tuple[str, ...] | None
    defaults: Mapping[str, Any]

    def bind(self, values: Mapping[str, Any]) -> Any:
        """Return the parameters as the driver takes them.

        :param values: a value for each name.
        """
        if self.order is None:
            return {**self.defaults, **values}
        merged = {**self.defaults, **values}
        return tuple(merged[name] for name in self.order)


def compiled(statement: ClauseElement, dialect: Dialect) -> Compiled:
    """Compile a statement for a database.

    :param statement: from Core.
    :param dialect: the engine's dialect.
    :returns: driver SQL.
    """
    result = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    assert isinstance(result, SQLCompiler)
    order = tuple(result.positiontup or ()) if result.positional else None
    return Compiled(str(result), order, dict(result.params))


class Statements:
    """The statements of the hot path, and the translation of rows.

    :param tables: the tables.
    :param habits: the database's habits.
    """

    def __init__(self, tables: Tables, habits: Habits) -> None:
        self.tables = tables
        self.habits = habits
        self.postgres = habits.name == "postgresql"
        self.dialect: DefaultDialect = habits.engine.dialect  # type: ignore[assignment]
        state, history = tables.state.c, tables.history.c
        here = and_(state.bucket == bindparam("k_bucket"), state.name == bindparam("k_name"))
        row = select(*self.record_columns()).where(here)
        self.read = self._compile(row)
        self.read_locked = self._compile(row.with_for_update())
        self.insert_state = self._compile(self._insert_state())
        seen = and_(here, state.version == bindparam("k_version"))
        values = {name: self.bound(tables.state.c[name]) for name in RECORD_FIELDS if name not in ("bucket", "name")}
        self.update_state = self._compile(update(tables.state).where(seen).values(values))
        self.insert_history = self._compile(self._insert_history())
        at = select(*self.history_columns()).where(
            history.bucket == bindparam("k_bucket"), history.name == bindparam("k_name")
        )
        self.at_version = self._compile(at.where(history.version == bindparam("k_version")))
        earlier = at.where(history.created_at <= bindparam("k_moment"))
        self.at_moment = self._compile(earlier.order_by(history.version.desc()).limit(1))

    def _compile(self, statement: ClauseElement) -> Compiled:
        return compiled(statement, self.dialect)

    def record_columns(self) -> list[ColumnElement[Any]]:
        """Return what to select for a record, in the order of :data:`RECORD_FIELDS`."""
        return [self.readable(self.tables.state.c[name]) for name in RECORD_FIELDS]

    def history_columns(self, alias: Any = None) -> list[ColumnElement[Any]]:
        """Return what to select from the history for a record, in the order of :data:`RECORD_FIELDS`.

        :param alias: an alias of the history table.
        """
        columns = (self.tables.history if alias is None else alias).c
        renamed = {"status": "to_status", "created_at": "record_created_at", "updated_at": "created_at"}
        return [self.readable(columns[renamed.get(name, name)]) for name in RECORD_FIELDS]

    def readable(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return how to select a column: JSON as text, for our codec, and time in UTC.

        A session in another zone could not show the end of the year 9999.

        :param column: a column of ours.
        """
        if isinstance(column.type, JSON):
            return cast(column, Text)
        if self.postgres and isinstance(column.type, DateTime):
            return func.timezone("UTC", column)
        return column

    def bound(self, column: Column[Any], suffix: str = "") -> ColumnElement[Any]:
        """Return the parameter for a column's value, named as the column.

        :param column: a column of ours.
        :param suffix: behind the name, for statements that have several values of one column.
        """
        name = f"{column.name}{suffix}"
        if isinstance(column.type, JSON):
            text = bindparam(name, type_=Text())
            return cast(text, JSONB) if self.postgres else text
        return bindparam(name, type_=column.type if self.postgres else None)

    def _insert_state(self) -> ClauseElement:
        insert = postgresql.insert if self.postgres else sqlite.insert
        values = {name: self.bound(self.tables.state.c[name]) for name in RECORD_FIELDS}
        return insert(self.tables.state).values(values).on_conflict_do_nothing(index_elements=["bucket", "name"])

    def _insert_history(self) -> ClauseElement:
        table = self.tables.history
        insert = postgresql.insert if self.postgres else sqlite.insert
        drawn = {"revision", "xid"}
        values = {c.name: self.bound(c) for c in table.columns if c.name not in drawn}
        if self.postgres:
            # The transaction's id first, then the revision: a reader that sees a gap may wait for the ids below.
            xid = cast(cast(func.pg_current_xact_id(), Text), table.c.xid.type)
            quoted = self.dialect.identifier_preparer.format_table(table)
            number = func.nextval(func.pg_get_serial_sequence(quoted, "revision"))
            values |= {"xid": xid, "revision": case((func.pg_current_xact_id().is_not(None), number))}
        # Only if the version before is the stored one: a log entry must never stand without its state.
        state = self.tables.state.c
        here = and_(state.bucket == bindparam("k_bucket"), state.name == bindparam("k_name"))
        stored = func.coalesce(select(state.version).where(here).scalar_subquery(), 0)
        row = select(*values.values()).where(stored == bindparam("k_version"))
        appended = insert(table).from_select(list(values), row, include_defaults=False)
        unique = ["bucket", "name", "version"]
        return appended.on_conflict_do_nothing(index_elements=unique).returning(table.c.revision)

    # -- rows ------------------------------------------------------------------------------------------------------

    def key_values(self, key: Key) -> dict[str, Any]:
        """Return the parameters that name a record.

        :param key: which record.
        """
        return {"k_bucket": key.bucket, "k_name": key.name}

    def state_values(self, record: Record) -> dict[str, Any]:
        """Return a record as the parameters of a state row.

        :param record: the record.
        """
        time = self.habits.bound_time
        return {
            "bucket": record.key.bucket,
            "name": record.key.name,
            "label": record.label,
            "type": record.type,
            "status": record.status,
            "owner": record.owner,
            "version": record.version,
            "revision": record.revision,
            "schema_version": record.schema_version,
            "data": encode(record.data),
            "metadata": encode(record.metadata),
            "created_at": time(record.created_at),
            "updated_at": time(record.updated_at),
            "expires_at": time(record.expires_at),
            "deleted_at": time(record.deleted_at),
        }

    def history_values(self, change: Change, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return a change as the parameters of a history row.

        :param change: the change.
        :param state: what :meth:`state_values` gave for the record after it.
        """
        values = {name: state[name] for name in RECORD_FIELDS if name not in ("status", "revision", "updated_at")}
        values |= {name: getattr(change.origin, name) for name in ORIGIN_FIELDS}
        return values | {
            **self.key_values(change.key),
            "k_version": change.version - 1,
            "event": change.event,
            "from_status": None if change.before is None else change.before.status,
            "to_status": change.after.status,
            "record_created_at": state["created_at"],
            "created_at": self.habits.bound_time(change.at),
        }

    def record(self, row: Row) -> Record:
        """Turn a row of :data:`RECORD_FIELDS` into a record.

        :param row: the driver's row.
        """
        time = self.habits.read_time
        bucket, name, label, type_, status, owner, version, revision, schema_version, data, metadata, *times = row
        created, updated, expires, deleted = map(time, times)
        assert created is not None
        assert updated is not None
        return Record(
            key=Key(bucket, name),
            label=label,
            type=type_,
            status=status,
            data=decode(data),
            metadata=decode(metadata),
            version=version,
            revision=revision,
            owner=owner,
            schema_version=schema_version,
            created_at=created,
            updated_at=updated,
            expires_at=expires,
            deleted_at=deleted,
        )

    def change(self, row: Row) -> Change:
        """Turn a row of a change listing into a change.

        :param row: the record after, the event, the origin, then the record before (Nones where there is none).
        """
        width = len(RECORD_FIELDS)
        after = self.record(row[:width])
        event, *origin = row[width : width + 1 + len(ORIGIN_FIELDS)]
        earlier = row[width + 1 + len(ORIGIN_FIELDS) :]
        before = None if earlier[0] is None else self.record(earlier)
        if before is not None and before.deleted:
            before = None
        who = Origin(**dict(zip(ORIGIN_FIELDS, origin, strict=True)))
        return Change(after.revision, after.key, after.version, event, before, after, who, after.updated_at)

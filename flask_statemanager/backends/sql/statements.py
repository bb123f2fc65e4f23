"""The statements, declared in SQLAlchemy Core and compiled once; they run on the driver's cursor.

JSON is bound and read as text, so that what is stored is written by our codec and not by the engine's serializer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.sql import ClauseElement, ColumnElement
from sqlalchemy.sql.compiler import SQLCompiler

from ...core.codec import encode
from ...core.record import Change, Key, Record
from .brief import logged
from .dialect import Dialect as Habits
from .floors import floor_of, is_first
from .putting import BELIEVED, RECORD_FIELDS, Putting
from .reading import UNREAD_FIELDS, RowReader
from .tables import Tables

_SETTLED = ("type", "owner", "schema_version", "created_at", "expires_at", "deleted_at")
"""What most changes leave as it is."""

_settled = attrgetter(*_SETTLED)


class Compiled:
    """One statement as text, with the order of its parameters where the driver wants them by position.

    :param sql: what the driver gets.
    :param order: the names of the parameters, None where the driver takes them by name.
    :param defaults: values of parameters that the statement brings itself.
    """

    __slots__ = ("_picked", "defaults", "order", "sql")

    def __init__(self, sql: str, order: tuple[str, ...] | None, defaults: Mapping[str, Any]) -> None:
        self.sql = sql
        self.order = order
        self.defaults = defaults
        self._picked: Callable[[Mapping[str, Any]], Any] = dict
        if order is not None:
            # An itemgetter of one name gives no tuple.
            one = len(order) < 2
            self._picked = (lambda values: tuple(values[name] for name in order)) if one else itemgetter(*order)

    def behind(self, word: str) -> Compiled:
        """Return the statement with a word before it, such as EXPLAIN.

        :param word: the word.
        """
        return Compiled(f"{word} {self.sql}", self.order, self.defaults)

    def bind(self, values: Mapping[str, Any]) -> Any:
        """Return the parameters as the driver takes them.

        :param values: a value for each name.
        """
        return self._picked({**self.defaults, **values} if self.defaults else values)


class _Uncompiled(Compiled):
    """A statement that is compiled when somebody first wants it: most processes want few of all that there are."""

    __slots__ = ("_dialect", "_statement")

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        self._statement = statement
        self._dialect = dialect

    def __getattr__(self, name: str) -> Any:
        # Only where a slot is empty yet. Two threads would fill them with the same.
        if name not in Compiled.__slots__:
            raise AttributeError(name)
        super().__init__(*_compiled(self._statement, self._dialect))
        return getattr(self, name)


def compiled(statement: ClauseElement, dialect: Dialect) -> Compiled:
    """Return a statement for a database, compiled once, at its first use.

    :param statement: from Core.
    :param dialect: the engine's dialect.
    :returns: driver SQL.
    """
    return _Uncompiled(statement, dialect)


def _compiled(statement: ClauseElement, dialect: Dialect) -> tuple[str, tuple[str, ...] | None, dict[str, Any]]:
    result = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    assert isinstance(result, SQLCompiler)
    order = tuple(result.positiontup or ()) if result.positional else None
    # What each run has to give is left out, so that most runs need no merging.
    given = {name for parameter, name in result.bind_names.items() if parameter.required}
    return str(result), order, {name: value for name, value in result.params.items() if name not in given}


def _literal(text: str) -> ColumnElement[str]:
    """Return a text of ours as part of a statement, which saves a parameter in each run."""
    return literal_column("'" + text.replace("'", "''") + "'", Text())


class Statements(RowReader):
    """The statements of the hot path, and the translation of rows.

    :param tables: the tables.
    :param habits: the database's habits.
    """

    def __init__(self, tables: Tables, habits: Habits) -> None:
        super().__init__(habits)
        self.tables = tables
        self.habits = habits
        self.postgres = habits.name == "postgresql"
        self.dialect: DefaultDialect = habits.engine.dialect  # type: ignore[assignment]
        state, history = tables.state.c, tables.history.c
        here = and_(state.bucket == bindparam("k_bucket"), state.name == bindparam("k_name"))
        row = select(*self.record_columns()).where(here)
        self.read = self._compile(row)
        unread = [self.readable(state[name]) for name in UNREAD_FIELDS]
        self.read_unread = self._compile(select(*unread).where(here))
        self.read_locked = self._compile(row.with_for_update())
        self.insert_state = self._compile(self._insert_state())
        if self.postgres:
            putting = Putting(tables, self._drawn(), self.bound)
            self.put_first, self.put_next = map(self._compile, (putting.first(), putting.later()))
            self.put_believed = self._compile(putting.believed())
        seen = and_(here, state.version == bindparam("k_version"))
        values = {name: self.bound(tables.state.c[name]) for name in RECORD_FIELDS if name not in ("bucket", "name")}

        def without(same: Sequence[str]) -> dict[str, ColumnElement[Any]]:
            return {name: value for name, value in values.items() if name not in same}

        self.update_state = self._compile(update(tables.state).where(seen).values(values))
        # SQLite writes every index of which a column is set, also to what it was.
        self._moving, self._staying = (
            self._compile(update(tables.state).where(seen).values(without(same)))
            for same in (_SETTLED, (*_SETTLED, "status"))
        )
        self.insert_history = self._compile(self._insert_history())
        self.append_history = self._compile(insert(tables.history).values(self._history_given()))
        at = select(*self.history_columns()).where(
            history.bucket == bindparam("k_bucket"), history.name == bindparam("k_name")
        )
        self.at_version = self._compile(at.where(history.version == bindparam("k_version")))
        earlier = at.where(history.created_at <= bindparam("k_moment"))
        self.at_moment = self._compile(earlier.order_by(history.version.desc()).limit(1))

    def _compile(self, statement: ClauseElement) -> Compiled:
        return compiled(statement, self.dialect)

    def record_columns(self, rows: Any = None) -> list[ColumnElement[Any]]:
        """Return what to select for a record, in the order of :data:`RECORD_FIELDS`.

        :param rows: rows of the table of states, as they are in it; None for the table.
        """
        columns = (self.tables.state if rows is None else rows).c
        return [self.readable(columns[name]) for name in RECORD_FIELDS]

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
            return func.timezone(_literal("UTC"), column)
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
        values = {name: self.bound(self.tables.state.c[name]) for name in RECORD_FIELDS}
        above = is_first(self.tables, values["bucket"], values["version"])
        row = select(*values.values()).where(above)
        insert = self.habits.insert(self.tables.state).from_select(list(values), row, include_defaults=False)
        created: ClauseElement = insert.on_conflict_do_nothing(index_elements=["bucket", "name"])
        return created

    def _insert_history(self) -> ClauseElement:
        table = self.tables.history
        values = self._history_given()
        if self.postgres:
            xid, revision = self._drawn()
            values |= {"xid": xid, "revision": revision}
        # Only if the version before is the stored one: a log entry must never stand without its state.
        state = self.tables.state.c
        here = and_(state.bucket == bindparam("k_bucket"), state.name == bindparam("k_name"))
        floor = floor_of(self.tables, bindparam("k_bucket"))
        stored = func.coalesce(select(state.version).where(here).scalar_subquery(), floor)
        row = select(*values.values()).where(stored == bindparam("k_version"))
        appended = self.habits.insert(table).from_select(list(values), row, include_defaults=False)
        unique = ["bucket", "name", "version"]
        logged: ClauseElement = appended.on_conflict_do_nothing(index_elements=unique).returning(table.c.revision)
        return logged

    def _history_given(self) -> dict[str, ColumnElement[Any]]:
        columns = self.tables.history.columns
        return {column.name: self.bound(column) for column in columns if column.name not in ("revision", "xid")}

    def _drawn(self) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
        """Return PostgreSQL's id of the transaction, and a new revision, drawn in this order.

        A reader that sees a gap between revisions may then wait for the transactions with lower ids.
        """
        table = self.tables.history
        xid = cast(cast(func.pg_current_xact_id(), Text), table.c.xid.type)
        # The compiler doubles percent signs itself, in names and in literals.
        quoted = self.dialect.identifier_preparer.format_table(table).replace("%%", "%")
        number = func.nextval(func.pg_get_serial_sequence(_literal(quoted), _literal("revision")))
        return xid, case((func.pg_current_xact_id().is_not(None), number))

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

    def update_for(self, change: Change) -> Compiled:
        """Return the statement that writes a changed state, and of its columns no more than it has to.

        :param change: the change.
        """
        before, after = change.before, change.after
        if before is None or _settled(before) != _settled(after):
            return self.update_state
        return self._staying if before.status == after.status else self._moving

    def history_values(self, change: Change, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return a change as the parameters of a history row.

        :param change: the change.
        :param state: what :meth:`state_values` gave for the record after it.
        """
        origin, time = change.origin, self.habits.bound_time
        return {
            **state,
            "data": logged(change.key.bucket, state["data"]),
            "k_bucket": change.key.bucket,
            "k_name": change.key.name,
            "k_version": change.version - 1,
            "event": change.event,
            "from_status": None if change.before is None else change.before.status,
            "to_status": change.after.status,
            "record_created_at": state["created_at"],
            "created_at": state["updated_at"] if change.at is change.after.updated_at else time(change.at),
            "actor": origin.actor,
            "source": origin.source,
            "reason": origin.reason,
            "request_id": origin.request_id,
            "idempotency_key": origin.idempotency_key,
        }

    def change_values(self, change: Change) -> dict[str, Any]:
        """Return a change as the parameters of the statement that writes state and history at once.

        :param change: the change.
        """
        state = self.state_values(change.after)
        return self.history_values(change, state) | state

    def believed_values(self, record: Record) -> dict[str, Any]:
        """Return the parameters by which a record is compared with what is stored.

        :param record: the record.
        """
        return {f"{name}{BELIEVED}": value for name, value in self.state_values(record).items()}

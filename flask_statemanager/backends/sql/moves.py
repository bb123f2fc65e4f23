"""One transition of many records as SQL: what it finds, what it logs, and what becomes of the states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    Column,
    Insert,
    Select,
    String,
    Text,
    Update,
    and_,
    any_,
    bindparam,
    case,
    cast,
    column,
    false,
    func,
    insert,
    literal,
    literal_column,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import REGCLASS
from sqlalchemy.sql import ClauseElement, ColumnElement

from ...core.codec import encode
from ...core.many import Move, Way
from .putting import ORIGIN_FIELDS, RECORD_FIELDS
from .search import Searching
from .statements import Compiled, Statements, compiled

Expression = ColumnElement[Any]
Columns = Any
"""The columns of a table, or of a common table expression, by name."""

_FOLLOWING = {
    "status": "to_status",
    "version": "version",
    "revision": "revision",
    "updated_at": "created_at",
    "expires_at": "expires_at",
    "deleted_at": "deleted_at",
}
"""Which columns of a state follow its history row, and which column of that."""


class Moves:
    """The statements of moves, compiled once for the chunks of one call.

    :param statements: tables, columns and the database's habits.
    :param searching: turns rules into conditions.
    """

    def __init__(self, statements: Statements, searching: Searching) -> None:
        self._statements = statements
        self._paths = searching.paths
        self._postgres = statements.postgres
        self._state, self._history = statements.tables.state, statements.tables.history
        self._kept: tuple[str, Compiled] | None = None
        # In a statement before the one that moves: having waited for a racer, one locks what the racer has left,
        # but its UPDATE still looks for what was there when the statement began.
        self.lock = self._compile(named(statements, [self._state.c.name], lock=True)) if self._postgres else None
        # On SQLite the states follow in a second statement, as INSERT stands in no WITH clause there.
        self.follow = None if self._postgres else self._compile(self._followed(self._history.c, between=True))

    def statement(self, ways: Sequence[Way]) -> Compiled:
        """Return the statement that makes a move (on SQLite only logs it).

        :param ways: the ways of the move.
        :returns: a statement that returns revision, name, version, status before and moment of each that is logged, and
            on PostgreSQL how many states have followed.
        """
        # By its text, as equality would take True for 1 in a rule.
        shape, kept = repr(ways), self._kept
        if kept is None or kept[0] != shape:
            made = self._moved(ways) if self._postgres else self._only_logged(ways)
            kept = self._kept = shape, self._compile(made)
        return kept[1]

    def values(self, move: Move) -> dict[str, Any]:
        """Return the parameters of a move.

        :param move: the move.
        """
        return {
            "k_bucket": move.bucket,
            "k_names": listed(self._statements, sorted(move.names)),
            "k_event": move.event,
            "k_now": self._statements.habits.bound_time(move.now),
            **{f"k_{name}": getattr(move.origin, name) for name in ORIGIN_FIELDS},
        }

    def _compile(self, statement: ClauseElement) -> Compiled:
        return compiled(statement, self._statements.dialect)

    def _moved(self, ways: Sequence[Way]) -> Select[Any]:
        """All in one on PostgreSQL, where the records are locked: log what fits, change what was logged."""
        held = named(self._statements, self._state.c, lock=True).cte("held")
        told = ("bucket", "name", "from_status", *_FOLLOWING.values())
        logged = self._logged(self._fitting(ways, held.c))
        written = logged.returning(*(self._history.c[name] for name in told)).cte("written")
        followed = self._followed(written.c, between=False).returning(self._state.c.revision).cte("followed")
        number = select(func.count()).select_from(followed).scalar_subquery()
        return select(*self._told(written), number)

    def _only_logged(self, ways: Sequence[Way]) -> ClauseElement:
        state = self._state.c
        here = state.bucket == self._parameter("bucket", state.bucket)
        rows = self._fitting(ways, state).where(here, among(self._statements, state.name, "k_names"))
        return self._logged(rows).returning(*self._told())

    def _told(self, written: CTE | None = None) -> list[Expression]:
        columns = (self._history if written is None else written).c
        at = func.timezone("UTC", columns.created_at) if self._postgres else columns.created_at
        return [columns.revision, columns.name, columns.version, columns.from_status, at]

    def _logged(self, rows: Select[Any]) -> Insert:
        """The history rows, each with a revision drawn for it."""
        names = [column.name for column in rows.selected_columns]
        if self._postgres:
            drawn = drawn_columns(self._statements)
            rows, names = rows.add_columns(*drawn.values()), [*names, *drawn]
        return insert(self._history).from_select(names, rows, include_defaults=False)

    def _followed(self, written: Any, *, between: bool) -> Update:
        state = self._state.c
        same = [state.bucket == written.bucket, state.name == written.name]
        if between:
            same.append(written.revision.between(bindparam("k_first"), bindparam("k_last")))
        values = {name: written[source] for name, source in _FOLLOWING.items()}
        return update(self._state).where(*same, state.version == written.version - 1).values(values)

    def _fitting(self, ways: Sequence[Way], state: Columns) -> Select[Any]:
        """The records that a way fits, as the history rows that they get.

        :param state: the columns of the state, or of what has been locked of them.
        """
        history = self._history.c
        now = self._parameter("now", self._state.c.updated_at)
        at = func.greatest(now, state.updated_at) if self._postgres else func.max(now, state.updated_at)
        nothing = cast(null(), self._state.c.expires_at.type)
        values: dict[str, Any] = {name: state[name] for name in RECORD_FIELDS if name in history and name != "revision"}
        values |= {name: self._parameter(name, history[name]) for name in ("event", *ORIGIN_FIELDS)}
        values |= {
            "version": state.version + 1,
            "from_status": state.status,
            "to_status": _target(ways, state),
            "record_created_at": state.created_at,
            "expires_at": _where(ways, state, lambda way: way.leaving, nothing, state.expires_at),
            "deleted_at": _where(ways, state, lambda way: way.deleting, at, state.deleted_at),
            "created_at": at,
        }
        fits = or_(false(), *(self._fits(way, state, now) for way in ways))
        chosen = select(*(value.label(name) for name, value in values.items()))
        return chosen.where(state.deleted_at.is_(None), fits).order_by(state.name)

    def _parameter(self, name: str, target: Column[Any]) -> Expression:
        # Not required: a rule with a list of values has the statement's parameters looked at when it is compiled.
        return bindparam(f"k_{name}", type_=target.type if self._postgres else Text(), required=False)

    def _fits(self, way: Way, state: Columns, now: Expression) -> Expression:
        stays = [or_(state.expires_at.is_(None), state.expires_at > now)] if way.lapsing else []
        rules = [self._paths.condition(state[rule.root], rule) for rule in way.rules]
        return and_(_starts(way, state), *stays, *rules)


def _starts(way: Way, state: Columns) -> Expression:
    return and_(state.type == way.type, state.status == way.source)


def _target(ways: Sequence[Way], state: Columns) -> Expression:
    if all(way.target == way.source for way in ways):
        present: Expression = state.status
        return present
    *others, last = sorted({way.target for way in ways})
    end = literal(last, state.status.type)
    leading = [(or_(*(_starts(way, state) for way in ways if way.target == target)), target) for target in others]
    return case(*leading, else_=end) if leading else end


def _where(
    ways: Sequence[Way], state: Columns, chosen: Callable[[Way], bool], then: Expression, otherwise: Expression
) -> Expression:
    """Return one of two expressions, by the way that a record takes."""
    taking = [_starts(way, state) for way in ways if chosen(way)]
    if len(taking) in (0, len(ways)):
        return then if taking else otherwise
    return case((or_(*taking), then), else_=otherwise)


def among(statements: Statements, found: Expression, name: str) -> Expression:
    """Return the condition that a value is in a list, which travels as one parameter.

    :param statements: the database's habits.
    :param found: the value.
    :param name: the parameter's name.
    """
    if statements.postgres:
        kind = ARRAY(Text() if isinstance(found.type, String) else BigInteger())
        return found == any_(cast(bindparam(name, type_=kind, required=False), kind))
    items = func.json_each(bindparam(name, type_=Text(), required=False)).table_valued("value")
    return found.in_(select(items.c.value))


def named(statements: Statements, columns: Iterable[Expression], *, lock: bool) -> Select[Any]:
    """Return the select for records by name on PostgreSQL, in the order of the names in ``k_names``.

    Each name is looked up by itself, which no planner can turn into a scan of the table, whatever it knows of it.

    :param statements: tables and the database's habits.
    :param columns: what to select of a state.
    :param lock: whether to lock them.
    """
    state, kind = statements.tables.state.c, ARRAY(Text())
    names = cast(bindparam("k_names", type_=kind, required=False), kind)
    given = func.unnest(names).table_valued(column("name", Text()), name="given").render_derived()
    bucket = bindparam("k_bucket", type_=state.bucket.type, required=False)
    one = select(*columns).where(state.bucket == bucket, state.name == given.c.name)
    # With a limit, as with a lock, the planner leaves a select as it stands.
    found = (one.with_for_update() if lock else one.limit(1)).lateral("found")
    return select(*found.c).select_from(given.join(found, true()))


def looked_up(statements: Statements) -> Select[Any]:
    """Return the select for changes by the revisions in ``k_revisions``, each with the version before it.

    Each is looked up by itself, which no planner can turn into a walk through a collection's log.

    :param statements: tables and the database's habits.
    """
    history = statements.tables.history
    past = history.alias("past")
    bucket = bindparam("k_bucket", type_=history.c.bucket.type)
    # An expression, because of the column alone the planner would rather walk through an index than take the key.
    same = history.c.bucket.concat(literal_column("''")) == bucket
    if not statements.postgres:
        here = among(statements, history.c.revision, "k_revisions"), same
        joined = history.outerjoin(past, and_(*_preceding(past.c, history.c, history.c.bucket)))
        return _with_past(statements, history, past).select_from(joined).where(*here)
    kind = ARRAY(BigInteger())
    revisions = cast(bindparam("k_revisions", type_=kind), kind)
    given = func.unnest(revisions).table_valued(column("revision", BigInteger()), name="given").render_derived()
    found = select(history).where(history.c.revision == given.c.revision, same)
    after = found.limit(1).lateral("after")
    before = select(past).where(*_preceding(past.c, after.c, bucket)).limit(1).lateral("before")
    return _with_past(statements, after, before).select_from(given.join(after, true()).outerjoin(before, true()))


def _preceding(past: Columns, after: Columns, bucket: Expression) -> tuple[Expression, ...]:
    return past.bucket == bucket, past.name == after.name, past.version == after.version - 1


def _with_past(statements: Statements, after: Any, before: Any) -> Select[Any]:
    """Return the columns of a change listing, by revision."""
    columns = *statements.history_columns(after), after.c.event, *(after.c[name] for name in ORIGIN_FIELDS)
    return select(*columns, *statements.history_columns(before)).order_by(after.c.revision)


def listed(statements: Statements, values: Sequence[str] | Sequence[int]) -> Any:
    """Return a list as the parameter that :func:`among` takes.

    :param statements: the database's habits.
    :param values: the list.
    """
    return list(values) if statements.postgres else encode(list(values))


def drawn_columns(statements: Statements) -> dict[str, Expression]:
    """Return what PostgreSQL draws for each history row: the transaction's id first, then the revision.

    A reader that sees a gap in the revisions may wait for the transactions with lower ids.

    :param statements: tables and the database's habits.
    """
    history = statements.tables.history
    own = func.pg_current_xact_id()
    quoted = statements.dialect.identifier_preparer.format_table(history)
    # In a subquery of its own the sequence is looked up once, and not for each row.
    sequence = select(cast(func.pg_get_serial_sequence(quoted, "revision"), REGCLASS)).scalar_subquery()
    number = func.nextval(sequence)
    return {"xid": cast(cast(own, Text), history.c.xid.type), "revision": case((own.is_not(None), number))}

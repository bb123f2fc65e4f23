"""Many changes as one statement on PostgreSQL, to which all rows travel as one JSON text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    CTE,
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
    insert,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB

from ...core.clock import iso
from ...core.codec import encode
from ...core.record import Change, JSONObject
from .brief import logged_column
from .connection import SqlUnit
from .floors import is_first
from .moves import drawn_columns
from .putting import ORIGIN_FIELDS, RECORD_FIELDS
from .statements import Statements, compiled

MAX_TEXT = 32 * 2**20
"""About how many characters are written at once and held; PostgreSQL's jsonb ends at 256 MB."""

Item = TypeVar("Item")

_RENAMED = {"status": "to_status", "created_at": "record_created_at", "updated_at": "created_at"}
"""What a record's column is called in the history, where it differs."""

_STORED = tuple(name for name in RECORD_FIELDS if name != "revision")
_TIMES = ("created_at", "updated_at", "expires_at", "deleted_at")
_BESIDE = ("event", "from_status", *ORIGIN_FIELDS)
_PLAIN = tuple(name for name in _STORED if name not in (*_TIMES, "bucket", "name"))


class RaceLost(Exception):
    """Another version of a record is stored than the one that a change follows.

    :param revisions: those by which some of the states are written already.
    """

    def __init__(self, revisions: Sequence[int] = ()) -> None:
        super().__init__()
        self.revisions = revisions


class Appends:
    """The statement that stores a few changes in one trip.

    :param statements: tables, columns and the database's habits.
    """

    def __init__(self, statements: Statements) -> None:
        self._state, self._history = statements.tables.state, statements.tables.history
        self._statements = statements
        self._statement = compiled(self._at_once(), statements.dialect)

    def store(self, unit: SqlUnit, changes: Sequence[Change]) -> list[int]:
        """Store changes of different records.

        :param unit: an open writing unit.
        :param changes: the changes.
        :returns: their revisions, in the order of the changes.
        :raises RaceLost: when another version of one of them is stored.
        :raises StorageError: when the database fails.
        """
        revisions: list[int] = []
        given = (encode(self._row(change, place)) for place, change in enumerate(changes))
        for texts in portions(given, len, MAX_TEXT):
            rows = unit.run(self._statement, {"k_rows": f"[{','.join(texts)}]"}, planned=False)
            revisions += sorted(row[0] for row in rows)
            if len(rows) < len(texts):
                raise RaceLost(revisions)
        return revisions

    def _row(self, change: Change, place: int) -> JSONObject:
        """Return a change as the JSON object that the statement takes; by its place come the revisions."""
        after = change.after
        row: JSONObject = {name: getattr(after, name) for name in _PLAIN}
        row |= {name: getattr(change.origin, name) for name in ORIGIN_FIELDS}
        for name in _TIMES:
            moment = getattr(after, name)
            row[name] = None if moment is None else iso(moment)
        row["from_status"] = None if change.before is None else change.before.status
        return row | {"bucket": after.key.bucket, "name": after.key.name, "event": change.event, "place": place}

    def _at_once(self) -> Select[Any]:
        """The states, and behind each that could be written its history row; what comes back has both."""
        state = self._state.c
        given = self._given().cte("given")
        # The order is that of the revisions, and of the locks.
        numbers = self._numbered(given).cte("drawn")
        drawn = numbers.c
        values = {name: drawn[name] for name in RECORD_FIELDS}
        # Over nothing, or over a tombstone, which the insertion leaves alone and the change finds.
        above = drawn.from_status.is_(None), is_first(self._statements.tables, drawn.bucket, drawn.version)
        first = select(*values.values()).where(*above).order_by(drawn.place)
        create = postgresql.insert(self._state).from_select(list(values), first, include_defaults=False)
        made = create.on_conflict_do_nothing(index_elements=["bucket", "name"]).returning(state.revision).cte("made")
        seen = and_(state.bucket == drawn.bucket, state.name == drawn.name, state.version == drawn.version - 1)
        changed = {name: value for name, value in values.items() if name not in ("bucket", "name")}
        change = update(self._state).where(seen, drawn.version > 1).values(changed)
        moved = change.returning(state.revision).cte("moved")
        written = union_all(select(*made.c), select(*moved.c)).cte("written")
        logged: dict[str, Any] = {_RENAMED.get(name, name): drawn[name] for name in (*RECORD_FIELDS, *_BESIDE, "xid")}
        logged["data"] = logged_column(drawn.bucket, drawn.data)
        rows = select(*logged.values()).select_from(numbers.join(written, drawn.revision == written.c.revision))
        append = insert(self._history).from_select(list(logged), rows.order_by(drawn.place), include_defaults=False)
        return select(*written.c).add_cte(append.cte("logged"))

    def _numbered(self, given: CTE) -> Select[Any]:
        ordered = select(*given.c).order_by(given.c.place).subquery("ordered")
        return select(*ordered.c, *(value.label(name) for name, value in drawn_columns(self._statements).items()))

    def _given(self) -> Select[Any]:
        rows = cast(bindparam("k_rows", type_=Text()), JSONB)
        parts = [column("place", Integer())]
        parts += [column(name, _plain(self._state.c[name])) for name in _STORED]
        parts += [column(name, _plain(self._history.c[name])) for name in _BESIDE]
        found = func.jsonb_to_recordset(rows).table_valued(*parts, name="rows").render_derived(with_types=True)
        return select(*found.c)


def portions(items: Iterable[Item], size: Callable[[Item], int], most: int) -> Iterator[list[Item]]:
    """Yield items in portions of about equal size, each one as soon as it is complete.

    :param items: the items, which are not taken before they are needed.
    :param size: says how large one is.
    :param most: at which size a portion is complete.
    """
    portion: list[Item] = []
    held = 0
    for item in items:
        portion.append(item)
        held += size(item)
        if held >= most:
            yield portion
            portion, held = [], 0
    if portion:
        yield portion


def _plain(target: Column[Any]) -> Any:
    """The type of a column as it stands in a list of columns, without length and collation."""
    if isinstance(target.type, JSON):
        return JSONB()
    return target.type if isinstance(target.type, BigInteger | Integer | DateTime) else Text()

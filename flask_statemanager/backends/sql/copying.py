"""Many changes by COPY on PostgreSQL: new states are sent with their log, present ones follow theirs."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Integer,
    Select,
    Table,
    Text,
    UniqueConstraint,
    Update,
    bindparam,
    cast,
    func,
    select,
    update,
)

from ...core.clock import iso
from ...core.codec import decode, encode
from ...core.record import Change, JSONObject, Key, Origin
from .appends import MAX_TEXT, RaceLost, portions
from .connection import SqlUnit
from .firsts import Firsts
from .moves import drawn_columns
from .putting import ORIGIN_FIELDS
from .statements import Statements, compiled

logger = logging.getLogger("flask_statemanager.sql")

_BLOCK = 2**17
"""Characters that are handed to the driver at once, so that the database reads on while the next ones are written."""

_BODY = {
    "bucket": "bucket",
    "name": "name",
    "label": "label",
    "type": "type",
    "status": "to_status",
    "owner": "owner",
    "version": "version",
    "schema_version": "schema_version",
    "data": "data",
    "metadata": "metadata",
    "created_at": "record_created_at",
    "updated_at": "created_at",
    "expires_at": "expires_at",
    "deleted_at": "deleted_at",
}
"""The columns of a state in the order in which they are sent, and what each is called in the history."""

_STATE = ("revision", *_BODY)
_LOG = ("revision", "xid", "event", "from_status", *ORIGIN_FIELDS, *_BODY.values())
_SPECIAL = re.compile(r"[\\\n\r\t]")
_ESCAPED = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_NULL = "\\N"


_Numbered = tuple[Change, int, str]
"""A change, its revision, and what state and log have in common."""


class CopyRefused(Exception):
    """The database copies nothing into these tables, though it may let rows be inserted."""


class Copying:
    """Stores many changes in a few trips, however many there are.

    :param statements: tables, columns and the database's habits.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._draw = compiled(self._drawn(), statements.dialect)
        self._follow = compiled(self._followed(), statements.dialect)
        self._firsts = Firsts(statements)
        self._create = self._copy(statements.tables.state, _STATE)
        self._log = self._copy(statements.tables.history, _LOG)
        self._raced = _raced(statements.tables.state, statements.tables.history)

    def store(self, unit: SqlUnit, changes: Sequence[Change]) -> list[int]:
        """Store changes of different records.

        A new state goes ahead of its log, as where one record is written: there racers meet, and nowhere else.

        :param unit: an open writing unit.
        :param changes: the changes.
        :returns: their revisions, in the order of the changes.
        :raises RaceLost: when another version of one of them is stored.
        :raises CopyRefused: when the tables take no COPY; the unit is as it was before.
        :raises StorageError: when the database fails.
        """
        lines = Lines()
        with unit.savepoint():
            drawn = unit.run(self._draw, {"k_number": len(changes)})
            revisions, xid = [row[0] for row in drawn], drawn[0][1]
            firsts = self._firsts.among(unit, changes)
            _check_floors(changes, firsts, drawn[0][2])
            numbered = (
                (change, revision, lines.body(change)) for change, revision in zip(changes, revisions, strict=True)
            )
            # Of large documents a chunk could be gigabytes.
            for portion in portions(numbered, _length, MAX_TEXT):
                self._send_both(unit, portion, firsts, xid, lines)
            if len(firsts) < len(changes):
                self._run_after(unit, revisions, xid, len(changes) - len(firsts))
        return revisions

    def _send_both(self, unit: SqlUnit, portion: Sequence[_Numbered], firsts: set[Key], xid: int, lines: Lines) -> None:
        """Send the new states among some changes, and the log of all."""
        created = [each for each in portion if each[0].key in firsts]
        if created:
            self._send(unit, self._create, (f"{revision}\t{body}" for _change, revision, body in created))
        logged = (f"{revision}\t{xid}\t{lines.head(change)}\t{body}" for change, revision, body in portion)
        self._send(unit, self._log, logged)

    def _run_after(self, unit: SqlUnit, revisions: Sequence[int], xid: int, number: int) -> None:
        """Have so many states follow what has been logged by these revisions."""
        between = {"k_first": revisions[0], "k_last": revisions[-1], "k_xid": xid}
        if unit.run(self._follow, between, fetch=False, planned=False)[0][0] != number:
            raise RaceLost

    def _send(self, unit: SqlUnit, statement: str, lines: Iterable[str]) -> None:
        logger.debug("%s", statement)
        dialect = unit.dialect
        known = dialect.engine.dialect.loaded_dbapi.errors
        try:
            with unit.connection.cursor() as cursor, cursor.copy(statement) as copy:
                for block in portions(lines, len, _BLOCK):
                    copy.write("".join(block))
        except dialect.errors as error:
            if isinstance(error, known.UniqueViolation) and error.diag.constraint_name in self._raced:
                raise RaceLost from error
            if isinstance(error, known.FeatureNotSupported):  # with row-level security
                raise CopyRefused from error
            raise dialect.wrapped(error, unit.connection, unit.table) from error

    def _copy(self, table: Table, columns: Sequence[str]) -> str:
        quote = self._statements.dialect.identifier_preparer
        names = ", ".join(quote.quote(name) for name in columns)
        # The dialect doubles percent signs in names, for statements with parameters.
        return f"COPY {quote.format_table(table)} ({names}) FROM STDIN".replace("%%", "%")

    def _drawn(self) -> Select[tuple[int, int, str | None]]:
        """Draw revisions, and look at the floors on the way."""
        columns, noted = drawn_columns(self._statements), self._statements.tables.bucket.c
        each = func.generate_series(1, bindparam("k_number", type_=Integer())).table_valued("n")
        floors = cast(func.json_object_agg(noted.bucket, noted.version_floor), Text)
        raised = select(floors).where(noted.version_floor > 0).scalar_subquery()
        return select(columns["revision"], columns["xid"], raised).select_from(each)

    def _followed(self) -> Update:
        state, log = self._statements.tables.state.c, self._statements.tables.history.c
        first, last, xid = (bindparam(name, type_=BigInteger()) for name in ("k_first", "k_last", "k_xid"))
        # Others draw revisions in between.
        own = log.revision.between(first, last), log.xid == xid
        seen = state.bucket == log.bucket, state.name == log.name, state.version == log.version - 1
        followed = {name: log[logged] for name, logged in _BODY.items() if name not in ("bucket", "name")}
        values = followed | {"revision": log.revision}
        return update(self._statements.tables.state).where(*own, *seen).values(values)


class Lines:
    """Writes changes in COPY's text format; what many of them have in common is written once."""

    def __init__(self) -> None:
        self._times: dict[datetime | None, str] = {None: _NULL}
        self._kept: tuple[Origin, str, str | None, str] | None = None

    def body(self, change: Change) -> str:
        """Return what state and log have in common, to the end of the line.

        :param change: the change.
        """
        record, time = change.after, self._time
        bucket, name, owner = record.key.bucket, record.key.name, record.owner or ""
        words = bucket, name, record.label, record.type, record.status, owner
        if _SPECIAL.search("".join(words)):
            words = tuple(word.translate(_ESCAPED) for word in words)  # type: ignore[assignment]
        bucket, name, label, type_, status, owner = words
        return (
            f"{bucket}\t{name}\t{label}\t{type_}\t{status}\t{_NULL if record.owner is None else owner}"
            f"\t{record.version}\t{record.schema_version}\t{_json(record.data)}\t{_json(record.metadata)}"
            f"\t{time(record.created_at)}\t{time(record.updated_at)}"
            f"\t{time(record.expires_at)}\t{time(record.deleted_at)}\n"
        )

    def head(self, change: Change) -> str:
        """Return what only the log has: event, status before and origin.

        :param change: the change.
        """
        before, origin = None if change.before is None else change.before.status, change.origin
        if self._kept is None or self._kept[0] is not origin or self._kept[1:3] != (change.event, before):
            values = (change.event, before, *(getattr(origin, name) for name in ORIGIN_FIELDS))
            text = "\t".join(_NULL if value is None else value.translate(_ESCAPED) for value in values)
            self._kept = origin, change.event, before, text
        return self._kept[3]

    def _time(self, moment: datetime | None) -> str:
        found = self._times.get(moment)
        if found is None and moment is not None:
            found = self._times[moment] = iso(moment)
        return found or _NULL


def _check_floors(changes: Sequence[Change], firsts: set[Key], floors: str | None) -> None:
    """Refuse first rows that are not just above the floor of their bucket: COPY cannot."""
    raised = {} if floors is None else decode(floors)
    if any(change.key in firsts and change.version - 1 != raised.get(change.key.bucket, 0) for change in changes):
        raise RaceLost


def _json(value: JSONObject) -> str:
    # What else COPY would take for something special, JSON has escaped already.
    return encode(value).replace("\\", "\\\\") if value else "{}"


def _length(numbered: _Numbered) -> int:
    return len(numbered[2])


def _raced(state: Table, history: Table) -> frozenset[object]:
    """Return the names of the constraints at which racers meet; an application may have more of its own."""
    unique = (each for each in history.constraints if isinstance(each, UniqueConstraint))
    return frozenset((state.primary_key.name, *(each.name for each in unique)))

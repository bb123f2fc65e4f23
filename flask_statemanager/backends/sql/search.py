"""Queries as SQL. Every value is a bound parameter; no condition can fail on a row of another JSON type.

The meaning is that of ``core.matching``; the contract suite holds both to one table of cases.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Text, and_, bindparam, cast, false, func, literal, not_, null, or_, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql import ColumnElement

from ...core.codec import MAX_DEPTH, encode
from ...core.query import ChangeQuery, Filter, Lapse, Query
from ...core.record import JSON
from .statements import ORIGIN_FIELDS, Statements

Condition = ColumnElement[Any]

_COMPARE = {"gt": "__gt__", "gte": "__ge__", "lt": "__lt__", "lte": "__le__"}


class Paths(ABC):
    """How one database reaches into JSON."""

    def condition(self, column: Condition, asked: Filter) -> Condition:
        """Return one filter as SQL that is true or false, never NULL for ``ne`` and ``exists``.

        :param column: the data or metadata column.
        :param asked: the filter.
        """
        operator, path, value = asked.operator, asked.path, asked.value
        if operator == "exists":
            return self.present(column, path) if value else not_(self.present(column, path))
        if operator == "ne":
            return not_(func.coalesce(self.equals(column, path, value), false()))
        if operator == "in":
            return self.among(column, path, value)
        if operator == "eq":
            return self.equals(column, path, value)
        if operator == "contains":
            return self.contains(column, path, value)
        if operator == "startswith":
            return and_(self.is_text(column, path), func.substr(self.text(column, path), 1, len(value)) == value)
        return self.compares(column, path, operator, value)

    @abstractmethod
    def present(self, column: Condition, path: tuple[str, ...]) -> Condition:
        """Whether there is a value, null included."""

    @abstractmethod
    def is_text(self, column: Condition, path: tuple[str, ...]) -> Condition:
        """Whether the value is a string."""

    @abstractmethod
    def text(self, column: Condition, path: tuple[str, ...]) -> Condition:
        """The value as text, sorted by code point."""

    @abstractmethod
    def equals(self, column: Condition, path: tuple[str, ...], value: JSON) -> Condition:
        """Whether the value is this JSON scalar."""

    @abstractmethod
    def among(self, column: Condition, path: tuple[str, ...], values: list[JSON]) -> Condition:
        """Whether the value is one of these JSON scalars, of which there may be thousands."""

    @abstractmethod
    def compares(self, column: Condition, path: tuple[str, ...], operator: str, value: JSON) -> Condition:
        """Whether the value, of the same JSON type, stands in this relation."""

    @abstractmethod
    def contains(self, column: Condition, path: tuple[str, ...], value: JSON) -> Condition:
        """Whether the value is an array with this item, or text with this part."""


class SqlitePaths(Paths):
    """SQLite's JSON functions; the paths are parameters too."""

    def _type(self, column: Condition, path: tuple[str, ...]) -> Condition:
        return func.json_type(column, _sqlite_path(path))

    def _value(self, column: Condition, path: tuple[str, ...]) -> Condition:
        return func.json_extract(column, _sqlite_path(path))

    def present(self, column: Condition, path: tuple[str, ...]) -> Condition:
        """Whether there is a value: the type of nothing is NULL."""
        return self._type(column, path).is_not(None)

    def is_text(self, column: Condition, path: tuple[str, ...]) -> Condition:
        """Whether the value is a string."""
        return self._type(column, path) == "text"

    def text(self, column: Condition, path: tuple[str, ...]) -> Condition:
        """The value, which SQLite compares byte by byte; in UTF-8 that is code point order."""
        return self._value(column, path)

    def equals(self, column: Condition, path: tuple[str, ...], value: JSON) -> Condition:
        """Whether type and value are the same."""
        kind, found = self._type(column, path), self._value(column, path)
        if value is None or isinstance(value, bool):
            return kind == encode(value)
        return and_(kind.in_(_sqlite_types(value)), found == literal(value))

    def among(self, column: Condition, path: tuple[str, ...], values: list[JSON]) -> Condition:
        """Whether type and value are the same as one of these; one list for each type, as a tree has a limit."""
        kind, found = self._type(column, path), self._value(column, path)
        words = [encode(value) for value in values if value is None or isinstance(value, bool)]
        texts = [value for value in values if isinstance(value, str)]
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        return or_(
            kind.in_(words),
            and_(kind == "text", found.in_(texts)),
            and_(kind.in_(("integer", "real")), found.in_(numbers)),
        )

    def compares(self, column: Condition, path: tuple[str, ...], operator: str, value: JSON) -> Condition:
        """Whether a value of the same type stands in this relation."""
        found = self._value(column, path)
        return and_(
            self._type(column, path).in_(_sqlite_types(value)), getattr(found, _COMPARE[operator])(literal(value))
        )

    def contains(self, column: Condition, path: tuple[str, ...], value: JSON) -> Condition:
        """Look through the items of an array, or into a text."""
        items = func.json_each(column, _sqlite_path(path)).table_valued("value", "type")
        if value is None or isinstance(value, bool):
            wanted: Condition = items.c.type == encode(value)
        else:
            wanted = and_(items.c.type.in_(_sqlite_types(value)), items.c.value == literal(value))
        found = and_(self._type(column, path) == "array", select(literal(1)).select_from(items).where(wanted).exists())
        if not isinstance(value, str):
            return found
        return or_(found, and_(self.is_text(column, path), func.instr(self._value(column, path), value) > 0))


def _sqlite_path(path: tuple[str, ...]) -> str:
    return "$" + "".join(f'."{segment}"' for segment in path)


def _sqlite_types(value: JSON) -> tuple[str, ...]:
    return ("text",) if isinstance(value, str) else ("integer", "real")


class PostgresPaths(Paths):
    """PostgreSQL's jsonb operators: they compare without casting, so no value can make them fail."""

    def _value(self, column: Condition, path: tuple[str, ...]) -> Condition:
        # One step at a time: `#>` would take a member name such as "0" for the index of an array.
        # No document is deeper than MAX_DEPTH, so a longer path finds nothing either when it is cut there.
        for name in path[: MAX_DEPTH + 1]:
            column = column.op("->", return_type=JSONB())(literal(name, Text()))
        return column

    def _is(self, column: Condition, path: tuple[str, ...], kind: str) -> Condition:
        return func.jsonb_typeof(self._value(column, path)) == kind

    def present(self, column: Condition, path: tuple[str, ...]) -> Condition:
        """Whether there is a value, null included."""
        return self._value(column, path).is_not(null())

    def is_text(self, column: Condition, path: tuple[str, ...]) -> Condition:
        """Whether the value is a string."""
        return self._is(column, path, "string")

    def text(self, column: Condition, path: tuple[str, ...]) -> Condition:
        """The value as text in code point order."""
        *outer, last = path
        return self._value(column, tuple(outer)).op("->>", return_type=Text())(literal(last, Text())).collate("C")

    def equals(self, column: Condition, path: tuple[str, ...], value: JSON) -> Condition:
        """Whether the jsonb values are equal, which tells true from 1 and takes 1 for 1.0."""
        return self._value(column, path) == _jsonb(value)

    def among(self, column: Condition, path: tuple[str, ...], values: list[JSON]) -> Condition:
        """Whether the jsonb value is in a jsonb array, which is one parameter however long."""
        items = func.jsonb_array_elements(_jsonb(values)).table_valued("value")
        return self._value(column, path).in_(select(items.c.value))

    def compares(self, column: Condition, path: tuple[str, ...], operator: str, value: JSON) -> Condition:
        """Compare numbers as jsonb, and text by code point."""
        if isinstance(value, str):
            return and_(self.is_text(column, path), getattr(self.text(column, path), _COMPARE[operator])(value))
        found = self._value(column, path)
        return and_(self._is(column, path, "number"), getattr(found, _COMPARE[operator])(_jsonb(value)))

    def contains(self, column: Condition, path: tuple[str, ...], value: JSON) -> Condition:
        """Use containment for arrays, and look into a text."""
        found = and_(self._is(column, path, "array"), self._value(column, path).op("@>")(_jsonb([value])))
        if not isinstance(value, str):
            return found
        return or_(found, and_(self.is_text(column, path), func.strpos(self.text(column, path), value) > 0))


def _jsonb(value: JSON) -> Condition:
    return cast(bindparam(None, encode(value), type_=Text(), unique=True), JSONB)


class Searching:
    """Builds the selects for queries.

    :param statements: tables and columns.
    """

    def __init__(self, statements: Statements) -> None:
        self.statements = statements
        self.state = statements.tables.state.c
        self.paths: Paths = PostgresPaths() if statements.postgres else SqlitePaths()

    def found(self, query: Query) -> Select[Any]:
        """Return the select for a page of records.

        :param query: the query.
        """
        by = (self.state.name,) if query.order.by == "state_id" else (self.state[query.order.by], self.state.name)
        page = select(*self.statements.record_columns()).where(*self._conditions(query), *self._behind(by, query))
        page = page.order_by(*(column.desc() if query.order.descending else column.asc() for column in by))
        return page if query.limit is None else page.limit(query.limit)

    def _behind(self, by: tuple[Condition, ...], query: Query) -> list[Condition]:
        """The cursor, as a comparison of rows, which an index on these columns serves."""
        if query.after is None:
            return []
        here, there = tuple_(*by), tuple_(*map(self._literal, query.after[: len(by)]))
        return [here < there if query.order.descending else here > there]

    def counted(self, query: Query) -> Select[Any]:
        """Return the select for the number of records.

        :param query: the query.
        """
        return select(func.count()).select_from(self.statements.tables.state).where(*self._conditions(query))

    def due(self, query: Query) -> Select[Any]:
        """Return the select for the names of records to which a lapse rule applies.

        :param query: the query.
        """
        rules = or_(false(), *(self._applies(rule, query) for rule in query.lapses))
        found = select(self.state.name).where(self.state.bucket == query.bucket, self.state.deleted_at.is_(None), rules)
        return found.order_by(self.state.expires_at, self.state.name).limit(query.limit)

    def changes(self, query: ChangeQuery) -> Select[Any]:
        """Return the select for a listing of changes, each with the version before it.

        :param query: the listing.
        """
        after, before = self.statements.tables.history, self.statements.tables.history.alias("earlier")
        columns = [*self.statements.history_columns(), after.c.event, *(after.c[name] for name in ORIGIN_FIELDS)]
        earlier = and_(
            before.c.bucket == after.c.bucket, before.c.name == after.c.name, before.c.version == after.c.version - 1
        )
        listing = select(*columns, *self.statements.history_columns(before)).select_from(
            after.outerjoin(before, earlier)
        )
        listing = listing.where(after.c.bucket == query.bucket)
        # One record's changes are walked in its own index; its versions and revisions ascend together.
        order = after.c.revision
        if query.key is not None:
            listing, order = listing.where(after.c.name == query.key.name), after.c.version
        if query.version is not None:
            listing = listing.where(after.c.version == query.version)
        if query.event is not None:
            listing = listing.where(after.c.event == query.event)
        if query.after is not None:
            position = after.c.revision
            listing = listing.where(position < query.after if query.newest_first else position > query.after)
        listing = listing.order_by(order.desc() if query.newest_first else order.asc())
        return listing if query.limit is None else listing.limit(query.limit)

    def _conditions(self, query: Query) -> list[Condition]:
        state = self.state
        conditions: list[Condition] = [state.bucket == query.bucket, state.deleted_at.is_(None)]
        if query.type is not None:
            conditions.append(state.type == query.type)
        if query.owner is not None:
            conditions.append(state.owner == query.owner)
        if query.statuses is not None:
            conditions.append(or_(false(), *(self._counts_as(status, query) for status in query.statuses)))
        conditions += [self.paths.condition(state[f.root], f) for f in query.filters]
        return conditions

    def _counts_as(self, status: str, query: Query) -> Condition:
        """The status as stored and not lapsed, or lapsed into it."""
        rules = [rule for rule in query.lapses if query.type in (None, rule.type)]
        left = [not_(func.coalesce(self._applies(rule, query), false())) for rule in rules if rule.source == status]
        stays = and_(self.state.status == status, *left)
        return or_(stays, *(self._applies(rule, query) for rule in rules if rule.target == status))

    def _applies(self, rule: Lapse, query: Query) -> Condition:
        state = self.state
        past = state.expires_at <= self._literal(query.now)
        return and_(state.type == rule.type, state.status == rule.source, past)

    def _literal(self, value: Any) -> Condition:
        if not isinstance(value, datetime):
            return literal(value)
        if self.statements.postgres:
            return literal(value, self.state.created_at.type)
        return literal(self.statements.habits.bound_time(value), Text())

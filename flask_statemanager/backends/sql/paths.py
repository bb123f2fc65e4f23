"""Reaching into JSON as SQL. No condition can fail on a row of another JSON type.

A condition has two forms: one for any path, whose every part is a bound parameter, and one for a field that has an
index, which holds the very expression of that index. Both mean the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from sqlalchemy import (
    Text,
    UnaryExpression,
    and_,
    bindparam,
    cast,
    false,
    func,
    literal,
    literal_column,
    not_,
    null,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.operators import custom_op

from ...core.codec import MAX_DEPTH, encode
from ...core.query import Filter
from ...core.record import JSON

Condition = ColumnElement[Any]

COMPARE = {"eq": "__eq__", "gt": "__gt__", "gte": "__ge__", "lt": "__lt__", "lte": "__le__"}
"""The Python operators behind the words of a filter."""


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
            self._type(column, path).in_(_sqlite_types(value)), getattr(found, COMPARE[operator])(literal(value))
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
        return self._value(column, path) == jsonb(value)

    def among(self, column: Condition, path: tuple[str, ...], values: list[JSON]) -> Condition:
        """Whether the jsonb value is in a jsonb array, which is one parameter however long."""
        items = func.jsonb_array_elements(jsonb(values)).table_valued("value")
        return self._value(column, path).in_(select(items.c.value))

    def compares(self, column: Condition, path: tuple[str, ...], operator: str, value: JSON) -> Condition:
        """Compare numbers as jsonb, and text by code point."""
        if isinstance(value, str):
            return and_(self.is_text(column, path), getattr(self.text(column, path), COMPARE[operator])(value))
        found = self._value(column, path)
        return and_(self._is(column, path, "number"), getattr(found, COMPARE[operator])(jsonb(value)))

    def contains(self, column: Condition, path: tuple[str, ...], value: JSON) -> Condition:
        """Use containment for arrays, and look into a text."""
        found = and_(self._is(column, path, "array"), self._value(column, path).op("@>")(jsonb([value])))
        if not isinstance(value, str):
            return found
        return or_(found, and_(self.is_text(column, path), func.strpos(self.text(column, path), value) > 0))


def hidden(column: Condition) -> Condition:
    """Return a column in a form that no index of it serves (SQLite's unary plus).

    :param column: the column.
    """
    return UnaryExpression(column, operator=custom_op("+"), type_=column.type)


def unindexed(column: Condition) -> Condition:
    """Return a column of text in a form that no index of it serves, on any database.

    :param column: the column.
    """
    found: Condition = column.concat(literal_column("''"))
    return found


def jsonb(value: JSON) -> Condition:
    """Return a JSON value as a parameter of PostgreSQL's type.

    :param value: any JSON value.
    """
    return cast(bindparam(None, encode(value), type_=Text(), unique=True), JSONB)

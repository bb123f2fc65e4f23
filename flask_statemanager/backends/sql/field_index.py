"""The index of a configured field: what it holds, and the conditions that it serves.

It covers the living states of one type, so that others cost nothing. An index of a value ends with the default order,
so that a page is read from it in order, and holds texts up to a length, as PostgreSQL refuses a row whose index entry
is too long. A condition holds the very expression of the index, which is what a planner looks for.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from sqlalchemy import ARRAY, Index, Table, Text, and_, any_, bindparam, case, cast, func, literal, literal_column
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex
from sqlalchemy.sql import ColumnElement

from ...config import ANY_TYPE, IndexedField
from ...core.codec import MAX_DEPTH, encode
from ...core.query import Filter
from ...core.record import JSON
from .paths import COMPARE, hidden, jsonb
from .tables import PREFIX

Condition = ColumnElement[Any]

INDEX_PREFIX = f"ix_{PREFIX}field_"
"""What the names of these indexes begin with."""

OURS = re.compile(rf"{INDEX_PREFIX}.*_[0-9a-f]{{8}}", re.ASCII | re.DOTALL)
"""What the whole name of one is like."""

MAX_INDEXED = 255
"""Characters of a text that an index holds; a longer operand is looked for without it."""

SERVED = ("eq", "in", "gt", "gte", "lt", "lte", "startswith")
"""The operators that an index can serve."""

_FORM = 2
"""Part of the names: when the expressions change, so do they, and the indexes are made anew."""

_LONGEST_NAME = 63
"""Bytes of a name on PostgreSQL."""

DECLARED = "flask_statemanager"
"""Where a declared index keeps this object, in its ``info``."""

_PLAIN: dict[str, Dialect] = {"sqlite": SQLiteDialect(), "postgresql": PGDialect(paramstyle="named")}  # type: ignore[no-untyped-call]
"""Dialects that write a percent sign as one, as it is to be in statements that are run without parameters."""


class FieldIndex(ABC):
    """The index of one field.

    :param field: the field.
    :param state: the table of the states, which the index is attached to.
    """

    dialect: ClassVar[str]
    exact: ClassVar[bool]
    """Whether :meth:`condition` is all there is to be asked, and not only what the index can answer."""

    def __init__(self, field: IndexedField, state: Table) -> None:
        self.field = field
        self.state = state
        self.column: Condition = state.c[field.root]
        self.name = name_of(field)
        # Another app may have declared it in the same metadata.
        self.index = next((index for index in state.indexes if index.name == self.name), None) or self._made()

    @abstractmethod
    def fits(self, asked: Filter) -> bool:
        """Tell whether the index can answer a filter.

        :param asked: the filter.
        """

    @abstractmethod
    def condition(self, asked: Filter) -> Condition:
        """Return a filter that fits, in the words of the index.

        :param asked: the filter.
        """

    def creation(self, *, concurrently: bool = False) -> str:
        """Return the statement that makes the index where nobody else has made it meanwhile.

        :param concurrently: without keeping writers out, on PostgreSQL.
        """
        made = str(CreateIndex(self.index, if_not_exists=True).compile(dialect=_PLAIN[self.dialect]))
        return made.replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY", 1) if concurrently else made

    def statistics(self) -> str | None:
        """Return the statement that lets the database count what is in the index, or None where it does that anyway."""
        return None

    @abstractmethod
    def _made(self) -> Index:
        """Declare the index."""

    def _index(self, *parts: Any, only: Sequence[Condition] = (), **options: Any) -> Index:
        conditions = [self.state.c.deleted_at.is_(None), *only]
        if self.field.type != ANY_TYPE:
            # On SQLite it is hidden as in the searches, where the index of types must not seem as good as this one.
            own = hidden(self.state.c.type) if self.dialect == "sqlite" else self.state.c.type
            conditions.insert(0, own == quoted(self.field.type))
        options |= {f"{self.dialect}_where": and_(*conditions)}
        return Index(self.name, *parts, info={DECLARED: self}, **options).ddl_if(dialect=self.dialect)


class ValueIndex(FieldIndex):
    """An index of the values of one kind."""

    exact: ClassVar[bool] = True

    def fits(self, asked: Filter) -> bool:
        """Tell whether the filter is for this path, and compares with values of this kind.

        :param asked: the filter.
        """
        return (asked.root, asked.path) == (self.field.root, self.field.path) and kind_of(asked) == self.field.kind

    def condition(self, asked: Filter) -> Condition:
        """Return the comparison of what is held.

        :param asked: the filter.
        """
        held, operator, value = self.expression(), asked.operator, asked.value
        if operator == "in":
            found = self.among(held, value)
        elif operator == "startswith":
            behind = text_behind(value)
            found = held >= self.bound(value)
            found = found if behind is None else and_(found, held < self.bound(behind))
        else:
            found = getattr(held, COMPARE[operator])(self.bound(value))
        return and_(*self.only(), found)

    @abstractmethod
    def expression(self) -> Condition:
        """Return what is held for a state."""

    @abstractmethod
    def only(self) -> list[Condition]:
        """Return what besides type and life keeps a state in the index."""

    @abstractmethod
    def bound(self, value: JSON) -> Condition:
        """Return a value as what is held is compared with.

        :param value: of the index's kind.
        """

    @abstractmethod
    def among(self, held: Condition, values: list[JSON]) -> Condition:
        """Return whether what is held is one of some values.

        :param held: the expression.
        :param values: of the index's kind.
        """

    def _made(self) -> Index:
        columns = self.state.c
        return self._index(columns.bucket, self.expression(), columns.created_at, columns.name, only=self.only())


class SqliteValueIndex(ValueIndex):
    """Values on SQLite; what is of another type is held as NULL."""

    dialect: ClassVar[str] = "sqlite"

    def expression(self) -> Condition:
        """Return the value if it is of the index's kind."""
        path = quoted("$" + "".join(f'."{name}"' for name in self.field.path))
        kinds = {"text": ["text"], "number": ["integer", "real"], "boolean": ["true", "false"]}[self.field.kind]
        found: Condition = func.json_extract(self.column, path)
        if self.field.kind == "text":
            found = func.substr(found, literal_column("1"), literal_column(str(MAX_INDEXED)))
        return case((func.json_type(self.column, path).in_([quoted(kind) for kind in kinds]), found))

    def only(self) -> list[Condition]:
        """Return nothing: such a condition would be looked at again in every row."""
        return []

    def bound(self, value: JSON) -> Condition:
        """Return the value, true as 1.

        :param value: of the index's kind.
        """
        return literal(_number_for_true(value))

    def among(self, held: Condition, values: list[JSON]) -> Condition:
        """Return an IN with a list.

        :param held: the expression.
        :param values: of the index's kind.
        """
        return held.in_(list(map(_number_for_true, values)))


class PostgresValueIndex(ValueIndex):
    """Values on PostgreSQL: text by code point, anything else as jsonb."""

    dialect: ClassVar[str] = "postgresql"

    def expression(self) -> Condition:
        """Return the value, in words that alembic can compare with what PostgreSQL makes of them."""
        if self.field.kind != "text":
            return self._value(self.field.path)
        *outer, last = self.field.path
        found = self._value(outer).op("->>", return_type=Text())(quoted(last)).collate("C")
        return func.left(found, literal_column(str(MAX_INDEXED)), type_=Text())

    def only(self) -> list[Condition]:
        """Return the JSON type, by what it is not: of that alone the planner expects that it holds for most."""
        own = {"text": "string"}.get(self.field.kind, self.field.kind)
        others = [quoted(kind) for kind in ("array", "boolean", "null", "number", "object", "string") if kind != own]
        return [func.jsonb_typeof(self._value(self.field.path)).not_in(others)]

    def bound(self, value: JSON) -> Condition:
        """Return text as text, anything else as jsonb.

        :param value: of the index's kind.
        """
        return literal(value, Text()) if self.field.kind == "text" else jsonb(value)

    def among(self, held: Condition, values: list[JSON]) -> Condition:
        """Return a comparison with an array, which is one parameter.

        :param held: the expression.
        :param values: of the index's kind.
        """
        if self.field.kind == "text":
            return held == any_(bindparam(None, values, type_=ARRAY(Text()), unique=True))
        listed = bindparam(None, list(map(encode, values)), type_=ARRAY(Text()), unique=True)
        return held == any_(cast(listed, ARRAY(JSONB())))

    def statistics(self) -> str | None:
        """Return the statement for statistics of the expression: of an index of some rows the planner has none."""
        plain = _PLAIN[self.dialect]
        words = {"literal_binds": True, "include_table": False}
        expression = self.expression().compile(dialect=plain, compile_kwargs=words)
        table = plain.identifier_preparer.format_table(self.state)
        place = table.rpartition(".")[0]
        name = f"{place}.{self.name}" if place else self.name
        return f"CREATE STATISTICS IF NOT EXISTS {name} ON type, ({expression}) FROM {table}"

    def _value(self, path: Sequence[str]) -> Condition:
        found = self.column
        for name in path:
            found = found.op("->", return_type=JSONB())(quoted(name))
        return found


class DocumentIndex(FieldIndex):
    """A GIN index of whole documents on PostgreSQL, which finds by containment: that is wider than equality."""

    dialect: ClassVar[str] = "postgresql"
    exact: ClassVar[bool] = False

    def fits(self, asked: Filter) -> bool:
        """Tell whether the filter is for equality below this document.

        :param asked: the filter.
        """
        return asked.root == self.field.root and asked.operator == "eq" and len(asked.path) <= MAX_DEPTH

    def condition(self, asked: Filter) -> Condition:
        """Return whether the document contains the path with its value.

        :param asked: the filter.
        """
        wanted = asked.value
        for name in reversed(asked.path):
            wanted = {name: wanted}
        return self.column.op("@>")(jsonb(wanted))

    def _made(self) -> Index:
        return self._index(self.column, postgresql_using="gin", postgresql_ops={self.field.root: "jsonb_path_ops"})


def name_of(field: IndexedField) -> str:
    """Return the name of a field's index: what it is for, shortened, and a checksum.

    :param field: the field.
    """
    shape = json.dumps([_FORM, field.type, field.root, field.path, field.kind])
    checksum = hashlib.sha256(shape.encode()).hexdigest()[:8]
    words = re.sub(r"[^a-z0-9]+", "_", f"{field.type}_{field.name}".lower()).strip("_")
    return f"{INDEX_PREFIX}{words[: _LONGEST_NAME - len(INDEX_PREFIX) - 9]}_{checksum}"


def quoted(text: str) -> Condition:
    """Return text as a literal of the statement, for the configuration's words only; no backslash can be in them.

    :param text: the text.
    """
    return literal_column("'" + text.replace("'", "''") + "'", Text())


def text_behind(prefix: str) -> str | None:
    """Return the least text, by code point, that is greater than all that begin with a prefix; None where none is.

    :param prefix: the prefix.
    """
    for end in range(len(prefix), 0, -1):
        code = ord(prefix[end - 1]) + 1
        if code <= 0x10FFFF:
            return prefix[: end - 1] + chr(0xE000 if 0xD800 <= code < 0xE000 else code)
    return None


def kind_of(asked: Filter) -> str | None:
    """Return the kind of the index of values that serves a filter, or None where none does, whatever is configured.

    :param asked: the filter.
    """
    values = asked.value if asked.operator == "in" else [asked.value]
    kinds = set(map(_kind, values)) if asked.operator in SERVED else set()
    return kinds.pop() if len(kinds) == 1 else None


def _kind(value: JSON) -> str | None:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "text" if len(value) < MAX_INDEXED else None
    return "number" if isinstance(value, int | float) else None


def _number_for_true(value: JSON) -> JSON:
    return int(value) if isinstance(value, bool) else value

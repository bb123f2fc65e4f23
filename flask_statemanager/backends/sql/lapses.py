"""The status that a record counts as: the stored one, or past its expiry that of the lapse rule.

A condition that says both is an OR of columns of two indexes, and no planner goes by either. So there are parts too,
which share no record: one for each stored status that is asked for, and one for each from which a record may have
lapsed. Each of them is a range of one index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import Text, and_, bindparam, false, func, not_, or_, select
from sqlalchemy.sql import ColumnElement

from ...core.query import Lapse, Query
from .paths import hidden
from .statements import Statements

Condition = ColumnElement[Any]

MOST_PARTS = 16
"""For more than that one condition has to do."""


class Part(Struct, frozen=True):
    """Records of one stored status that count as in a status that is asked for.

    :param status: as it is stored.
    :param typed: what says of which types, where the query is for none: the index of statuses begins with the type.
    :param rules: by which they lapse: into what is asked for, or out of it.
    :param lapsed: whether it is those past their expiry, which their own index finds, in no order of a search.
    :param in_order: whether they are read in the order of the search instead, because there are many.
    """

    status: str
    typed: Condition | None = None
    rules: tuple[Lapse, ...] = ()
    lapsed: bool = False
    in_order: bool = False


class Lapses:
    """Builds the conditions on the status of a query.

    :param statements: tables and columns.
    """

    def __init__(self, statements: Statements) -> None:
        self.statements = statements
        self.state = statements.tables.state.c

    def counts_as(self, query: Query, status: Condition) -> Condition:
        """Return one condition, for rows that something else finds.

        :param query: a query with statuses.
        :param status: the column, as it is to be seen.
        """
        return or_(false(), *(self._counts_as(word, query, status) for word in query.statuses or ()))

    def parts(self, query: Query) -> list[Part]:
        """Return the parts, or none where there are too many.

        :param query: a query with statuses.
        """
        asked = tuple(dict.fromkeys(query.statuses or ()))
        sources = [source for source in self.sources(query) if source not in asked]
        if len(asked) + len(sources) > MOST_PARTS:
            return []
        typed = None if query.type is not None else self.state.type.in_(self._types(query))
        staying = [Part(word, typed, _from(word, query, into=False)) for word in asked]
        return staying + [Part(word, None, _from(word, query, into=True), lapsed=True) for word in sources]

    def condition(self, part: Part, query: Query) -> Condition:
        """Return which records a part is of, beside bucket and life, and the type if there is one.

        :param part: one of :meth:`parts`.
        :param query: its query.
        """
        by_name = part.in_order and query.order.by == "state_id"
        stored = (hidden(self.state.status) if by_name else self.state.status) == part.status
        past = self.past(hidden(self.state.expires_at) if part.in_order else None)
        if part.lapsed:
            return and_(stored, past, self._of(part.rules))
        left = [not_(func.coalesce(and_(self._of(part.rules), past), false()))] if part.rules else []
        typed = [] if by_name or part.typed is None else [part.typed]
        return and_(stored, *typed, *left)

    def sources(self, query: Query) -> list[str]:
        """Return the stored statuses from which a record lapses into one that is asked for, each once.

        :param query: a query with statuses.
        """
        into = (rule.source for rule in _rules(query) if rule.target in (query.statuses or ()))
        return list(dict.fromkeys(into))

    def due(self, query: Query) -> list[Condition]:
        """Return a condition for each stored status from which a record lapses, of all rules.

        :param query: its lapse rules count.
        """
        return [
            and_(self.state.status == source, self.past(), self._of(rules))
            for source in dict.fromkeys(rule.source for rule in query.lapses)
            if (rules := [rule for rule in query.lapses if rule.source == source])
        ]

    def past(self, seen: Condition | None = None) -> Condition:
        """Return whether a record is past its expiry.

        :param seen: the column, as it is to be seen.
        """
        expires_at = self.state.expires_at
        bound = expires_at.type if self.statements.postgres else Text()  # SQLite's moments are text to the driver
        found: Condition = (expires_at if seen is None else seen) <= bindparam("k_now", None, type_=bound)
        return found

    def _of(self, rules: Sequence[Lapse]) -> Condition:
        """Whether a record is of a type that one of the rules is for."""
        column = self.state.type if self.statements.postgres else hidden(self.state.type)
        return column.in_(sorted({rule.type for rule in rules}))

    def _types(self, query: Query) -> Any:
        """The types that there are, found from one to the next."""
        table = self.statements.tables.state

        def first(*behind: Condition) -> Any:
            rows = table.alias()
            least = select(func.min(rows.c.type)).where(rows.c.bucket == query.bucket, rows.c.deleted_at.is_(None))
            return least.where(*(rows.c.type > found for found in behind))

        types = select(first().scalar_subquery().label("type")).cte("types", recursive=True)
        following = select(first(types.c.type).scalar_subquery()).where(types.c.type.is_not(None))
        types = types.union_all(following)
        return select(types.c.type).where(types.c.type.is_not(None))

    def _counts_as(self, word: str, query: Query, status: Condition) -> Condition:
        """The status as stored and not lapsed, or lapsed into it."""
        rules = _rules(query)
        left = [not_(func.coalesce(self.applies(rule), false())) for rule in rules if rule.source == word]
        stays = and_(status == word, *left)
        return or_(stays, *(self.applies(rule) for rule in rules if rule.target == word))

    def applies(self, rule: Lapse) -> Condition:
        """Return whether a rule holds for a record.

        :param rule: the rule.
        """
        return and_(self.state.type == rule.type, self.state.status == rule.source, self.past())


def _rules(query: Query) -> list[Lapse]:
    return [rule for rule in query.lapses if query.type in (None, rule.type)]


def _from(source: str, query: Query, *, into: bool) -> tuple[Lapse, ...]:
    """The rules by which a record lapses from a status, into what is asked for or into anything else."""
    found = (rule for rule in _rules(query) if rule.source == source)
    return tuple(rule for rule in found if (rule.target in (query.statuses or ())) is into)

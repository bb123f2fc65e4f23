"""Listings of changes as SQL, compiled once for each shape that a query can have."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Integer, Select, and_, bindparam, select

from ...core.query import ChangeQuery
from .putting import ORIGIN_FIELDS
from .statements import Compiled, Statements, compiled

_Shape = tuple[bool, ...]


class Listing:
    """Builds the selects for listings of changes.

    :param statements: tables and columns.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._known: dict[_Shape, Compiled] = {}

    def statement(self, query: ChangeQuery) -> tuple[Compiled, dict[str, Any]]:
        """Return the statement for a listing, and its parameters.

        :param query: the listing.
        """
        values = {
            "k_bucket": query.bucket,
            "k_name": None if query.key is None else query.key.name,
            "k_version": query.version,
            "k_event": query.event,
            "k_after": query.after,
            "k_limit": query.limit,
        }
        shape = (query.newest_first, *(value is None for value in values.values()))
        found = self._known.get(shape)
        if found is None:
            found = self._known[shape] = compiled(self.select(query), self._statements.dialect)
        return found, {name: value for name, value in values.items() if value is not None}

    def select(self, query: ChangeQuery) -> Select[Any]:
        """Return the select for a listing, each change with the version before it; its values are parameters.

        :param query: the listing.
        """
        after, before = self._statements.tables.history, self._statements.tables.history.alias("earlier")
        columns = [*self._statements.history_columns(), after.c.event, *(after.c[name] for name in ORIGIN_FIELDS)]
        earlier = and_(
            before.c.bucket == after.c.bucket, before.c.name == after.c.name, before.c.version == after.c.version - 1
        )
        listing = select(*columns, *self._statements.history_columns(before)).select_from(
            after.outerjoin(before, earlier)
        )
        listing = listing.where(after.c.bucket == bindparam("k_bucket"))
        # One record's changes are walked in its own index; its versions and revisions ascend together.
        order = after.c.revision
        if query.key is not None:
            listing, order = listing.where(after.c.name == bindparam("k_name")), after.c.version
        if query.version is not None:
            listing = listing.where(after.c.version == bindparam("k_version"))
        if query.event is not None:
            listing = listing.where(after.c.event == bindparam("k_event"))
        if query.after is not None:
            position, seen = after.c.revision, bindparam("k_after", type_=after.c.revision.type)
            listing = listing.where(position < seen if query.newest_first else position > seen)
        listing = listing.order_by(order.desc() if query.newest_first else order.asc())
        return listing if query.limit is None else listing.limit(bindparam("k_limit", type_=Integer()))

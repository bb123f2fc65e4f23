"""The statements of looks and restores, compiled once for each shape."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Integer, Select, bindparam, func, literal_column, select
from sqlalchemy.sql import ClauseElement, ColumnElement

from ...core.lists import prefix_end
from .lists import BEHIND_ALL
from .paths import unindexed
from .putting import RECORD_FIELDS
from .statements import Compiled, Statements, compiled

Condition = ColumnElement[Any]

_LIMIT = bindparam("k_limit", type_=Integer())
_ONE: Condition = literal_column("1")


class Scanning:
    """Builds the statements that walk through buckets.

    :param statements: tables, columns and the database's habits.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._state, self._history = statements.tables.state.c, statements.tables.history.c
        self._known: dict[tuple[str, bool, bool], Compiled] = {}
        self.newest = self._compile(select(func.coalesce(func.max(self._history.revision), 0)))
        self.lay = self._compile(self._laid())

    def page(self, prefix: str, after: str | None) -> Compiled:
        """Return the statement for a page of records, tombstones too, by name.

        :param prefix: how the names begin.
        :param after: only names behind this one; None for the first page.
        """
        return self._for("page", prefix, after)

    def changed(self, prefix: str, after: str | None) -> Compiled:
        """Return the statement for a page of the names that have changed behind a revision, and their last versions.

        :param prefix: how the names begin.
        :param after: only names behind this one; None for the first page.
        """
        return self._for("changed", prefix, after)

    def any_changed(self, prefix: str) -> Compiled:
        """Return the statement that returns a row if anything has changed behind a revision.

        :param prefix: how the names begin.
        """
        return self._for("any_changed", prefix, None)

    def olds(self, prefix: str, after: str | None) -> Compiled:
        """Return the statement for a page of the names of live records that are not newer than a revision.

        :param prefix: how the names begin.
        :param after: only names behind this one; None for the first page.
        """
        return self._for("olds", prefix, after)

    def living(self, prefix: str) -> Compiled:
        """Return the statement for the number of live records.

        :param prefix: how the names begin.
        """
        return self._for("living", prefix, None)

    def values(self, bucket: str, prefix: str, after: str | None = None) -> dict[str, Any]:
        """Return the parameters that these statements share.

        :param bucket: the collection.
        :param prefix: how the names begin.
        :param after: only names behind this one.
        """
        return {"k_bucket": bucket, "k_prefix": prefix, "k_end": prefix_end(prefix) or BEHIND_ALL, "k_after": after}

    def _for(self, what: str, prefix: str, after: str | None) -> Compiled:
        shape = what, bool(prefix), after is not None
        found = self._known.get(shape)
        if found is None:
            made: Select[Any] = getattr(self, f"_{what}")(shape[1], shape[2])
            found = self._known[shape] = self._compile(made)
        return found

    def _compile(self, statement: ClauseElement) -> Compiled:
        return compiled(statement, self._statements.dialect)

    def _page(self, prefix: bool, after: bool) -> Select[Any]:
        state = self._state
        page = select(*self._statements.record_columns()).where(
            _here(state.bucket), *_within(state.name, prefix, after)
        )
        return page.order_by(state.name).limit(_LIMIT)

    def _behind(self, *columns: ColumnElement[Any]) -> Select[Any]:
        """What the log has behind a revision, found by it and by nothing else."""
        history = self._history
        since = bindparam("k_since", type_=history.revision.type)
        return select(*columns).where(_here(history.bucket, hide=True), history.revision > since)

    def _changed(self, prefix: bool, after: bool) -> Select[Any]:
        name = self._history.name
        found = self._behind(name, func.max(self._history.version)).where(*_within(name, prefix, after, hide=True))
        return found.group_by(name).order_by(name).limit(_LIMIT)

    def _any_changed(self, prefix: bool, after: bool) -> Select[Any]:
        return self._behind(_ONE).where(*_within(self._history.name, prefix, after, hide=True)).limit(1)

    def _olds(self, prefix: bool, after: bool) -> Select[Any]:
        state = self._state
        old = state.revision <= bindparam("k_revision", type_=state.revision.type)
        found = select(state.name).where(_here(state.bucket), *_within(state.name, prefix, after))
        return found.where(state.deleted_at.is_(None), old).order_by(state.name).limit(_LIMIT)

    def _living(self, prefix: bool, after: bool) -> Select[Any]:
        state = self._state
        found = select(func.count()).where(_here(state.bucket), *_within(state.name, prefix, after))
        return found.where(state.deleted_at.is_(None))

    def _laid(self) -> ClauseElement:
        table = self._statements.tables.state
        values = {name: self._statements.bound(table.c[name]) for name in RECORD_FIELDS}
        put = self._statements.habits.insert(table).values(values)
        laid: ClauseElement = put.on_conflict_do_update(
            index_elements=["bucket", "name"], set_={"version": put.excluded.version}
        )
        return laid


def _here(bucket: Condition, *, hide: bool = False) -> Condition:
    return (unindexed(bucket) if hide else bucket) == bindparam("k_bucket", type_=bucket.type)


def _within(name: Condition, prefix: bool, after: bool, *, hide: bool = False) -> list[Condition]:
    """Return the conditions that leave names of a range, with both its ends where an index is to serve it."""
    column = unindexed(name) if hide else name
    found = [column > bindparam("k_after", type_=name.type)] if after else []
    if prefix or not hide:
        found += [column >= bindparam("k_prefix", type_=name.type), column < bindparam("k_end", type_=name.type)]
    return found

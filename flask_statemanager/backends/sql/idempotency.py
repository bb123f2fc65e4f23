"""The power Idempotent: a row for each scope, taken by inserting it, which makes others wait for its transaction."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Text, and_, bindparam, case, delete, func, or_, select, true, tuple_, update
from sqlalchemy.sql import ClauseElement, ColumnElement

from ...core.idempotency import Remembered, Request
from ...core.powers import Idempotent
from ...errors import RequestInProgress, StorageTimeout
from .connection import SqlUnit
from .joining import hold, refuse_to_wait_for_itself
from .lock import Lock
from .power import SqlPower
from .statements import Statements, compiled

_LOOKS = 10
"""How often a row may vanish between two looks at it."""

_SCOPE = ("actor", "verb", "key")


class _RequestStatements:
    """What is said to the table of requests."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._table = table = statements.tables.idempotency
        here = and_(*(table.c[name] == statements.bound(table.c[name]) for name in _SCOPE))
        known = select(table.c.fingerprint, table.c.outcome).where(here)
        outcome = update(table).where(here).values(outcome=statements.bound(table.c.outcome))
        insert = statements.habits.insert(table)
        given = {column.name: statements.bound(column) for column in table.c}
        self.take = compiled(self._take(insert.values(given)), statements.dialect)
        if statements.postgres:
            self.take_soon = compiled(self._take(_bounded(insert, given)), statements.dialect)
        self.look = compiled(known, statements.dialect)
        self.remember = compiled(outcome, statements.dialect)
        self.forget = compiled(self._forget(), statements.dialect)

    def _take(self, insert: Any) -> ClauseElement:
        """Insert the scope, or take it over where nothing is remembered; on a conflict PostgreSQL waits for the other.

        An outcome that is not there was forgotten by whoever took the scope, or is this transaction's own.
        """
        columns = self._table.c
        renewed = {name: insert.excluded[name] for name in ("fingerprint", "outcome", "created_at", "expires_at")}
        free = or_(columns.expires_at <= insert.excluded.created_at, columns.outcome.is_(None))
        taken = insert.on_conflict_do_update(index_elements=list(_SCOPE), set_=renewed, where=free)
        returning: ClauseElement = taken.returning(columns.verb)
        return returning

    def _forget(self) -> ClauseElement:
        columns = self._table.c
        scope = [columns[name] for name in _SCOPE]
        past = columns.expires_at <= bindparam("now", type_=columns.expires_at.type)
        gone = select(*scope).where(past).limit(bindparam("k_limit"))
        if self._statements.postgres:
            chosen = gone.with_for_update(skip_locked=True).cte("chosen").prefix_with("MATERIALIZED")
            gone = select(*(chosen.c[name] for name in _SCOPE))
        return delete(self._table).where(tuple_(*scope).in_(gone))


def _bounded(insert: Any, given: dict[str, ColumnElement[Any]]) -> Any:
    """Return an insertion whose transaction waits for locks no longer than it is told, unless a bound is set already.

    It is set where the values come from, ahead of the wait, so that it costs no statement of its own.
    """
    present = func.current_setting("lock_timeout")
    wanted = case((present == "0", bindparam("k_patience", type_=Text())), else_=present)
    bound = select(func.set_config("lock_timeout", wanted, true()).label("bound")).subquery("patience")
    values = select(*given.values()).select_from(bound).where(bound.c.bound.is_not(None))
    return insert.from_select(list(given), values, include_defaults=False)


class SqlIdempotency(SqlPower, Idempotent):
    """Remembers outcomes in a table."""

    @cached_property
    def _requests(self) -> _RequestStatements:
        return _RequestStatements(self._statements)

    def recall(self, unit: SqlUnit, request: Request, now: datetime) -> Remembered | None:
        """Return what an earlier request in the same scope came to, or take the scope.

        :param unit: an open writing unit.
        :param request: the request.
        :param now: the moment.
        :raises StateConflict: when another transaction has taken the scope, and this one must not see it (PostgreSQL's
            REPEATABLE READ).
        :raises RequestInProgress: when another transaction has taken the scope for longer than the request is patient.
        :raises StorageError: when the database fails, or this thread's own session has taken the scope.
        """
        scope = {name: getattr(request, name) for name in _SCOPE}
        locks = [Lock("idempotency key", request.key, (request.actor, request.verb))]
        refuse_to_wait_for_itself(unit, locks)
        hold(unit, locks)
        time = self._dialect.bound_time
        values = {"fingerprint": request.fingerprint, "outcome": None}
        values |= {"created_at": time(now), "expires_at": time(now + request.ttl)}
        for _ in range(_LOOKS):
            if self._taken(unit, request, scope | values):
                return None
            # Where it has been removed since, it can be taken.
            for fingerprint, outcome in unit.run(self._requests.look, scope):
                return Remembered(fingerprint, outcome)
        raise StorageTimeout(f"The idempotency key {request.key!r} was taken and removed all the time: try again.")

    def _taken(self, unit: SqlUnit, request: Request, values: dict[str, Any]) -> bool:
        if request.patience is None or not unit.own or not self._statements.postgres:
            return bool(unit.run(self._requests.take, values))
        try:
            return bool(
                unit.run(self._requests.take_soon, {**values, "k_patience": f"{request.patience * 1000:.0f}ms"})
            )
        except StorageTimeout as error:
            raise RequestInProgress(request.key, request.verb) from error

    def remember(self, unit: SqlUnit, request: Request, outcome: str) -> None:
        """Keep the outcome of a request whose scope was taken in this unit.

        :param unit: the unit.
        :param request: the request.
        :param outcome: any text.
        :raises StorageError: when the database fails.
        """
        values = {name: getattr(request, name) for name in _SCOPE} | {"outcome": outcome}
        unit.run(self._requests.remember, values, fetch=False)

    def forget_requests(self, unit: SqlUnit, now: datetime, limit: int) -> int:
        """Remove what is older than its ttl.

        :param unit: an open writing unit.
        :param now: the moment.
        :param limit: the most of them.
        :returns: how many were removed.
        :raises StorageError: when the database fails.
        """
        values = {"now": self._dialect.bound_time(now), "k_limit": limit}
        return int(unit.run(self._requests.forget, values, fetch=False, planned=False)[0][0])

"""The statements of the outbox, compiled once for each shape, and the translation of its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Select,
    Text,
    Update,
    and_,
    bindparam,
    cast,
    delete,
    func,
    not_,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.sql import ClauseElement, ColumnElement

from ...core.codec import encode
from ...core.jobs import CANCELLED, DEAD, FINISHED, PAUSED, PENDING, Job, JobQuery
from ...core.record import Key
from .moves import among, listed
from .reading import Row
from .statements import Compiled, Statements, compiled

_FIELDS = (
    "id",
    "kind",
    "bucket",
    "name",
    "topic",
    "version",
    "slot",
    "payload",
    "ordered",
    "status",
    "due_at",
    "attempts",
    "worker",
    "fence",
    "error",
    "trace",
    "created_at",
    "finished_at",
)
_SAVED = ("status", "due_at", "slot", "payload", "attempts", "worker", "error", "trace", "finished_at")


class JobStatements:
    """What is said to the outbox.

    :param statements: the statements of the records, which know tables and habits.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._table = statements.tables.outbox
        self._shapes: dict[tuple[Any, ...], Compiled] = {}
        columns = self._table.c
        stored = and_(columns.id == bindparam("k_id"), columns.fence == bindparam("k_fence"))
        saved = {name: statements.bound(columns[name]) for name in _SAVED}
        self.save = self._compile(update(self._table).where(stored).values(**saved, fence=columns.fence + 1))
        free = self._update_free(stored).values(**saved, fence=columns.fence + 1)
        self.save_at_once = self._compile(free)
        renewed = self._update_free(self._fenced()).values(due_at=self._moment("until"))
        self.renew = self._compile(renewed)
        # SQLite returns no values from before an update, so there the choice comes first.
        self.claim = self._compile(self._claim() if statements.postgres else self._claimable())
        self.take = self._compile(self._leased().where(among(statements, columns.id, "k_ids")))
        self.count = self._compile(self._count())
        self.following = self._compile(self._following())
        self.forget = self._compile(self._forget())
        self.withdraw = {status: self._compile(self._withdraw(status)) for status in (PAUSED, CANCELLED)}

    def _compile(self, statement: ClauseElement) -> Compiled:
        return compiled(statement, self._statements.dialect)

    def _shaped(self, shape: tuple[Any, ...], make: Callable[[], ClauseElement]) -> Compiled:
        found = self._shapes.get(shape)
        if found is None:
            found = self._shapes[shape] = self._compile(make())
        return found

    def _moment(self, name: str) -> ColumnElement[Any]:
        return bindparam(name, type_=self._table.c.due_at.type)

    def _update_free(self, condition: ColumnElement[bool]) -> Update:
        """Update the jobs that fit and that nobody has locked, for no other transaction is to be waited for."""
        job = self._table.c
        if not self._statements.postgres:
            return update(self._table).where(condition)
        free = select(job.id).where(condition).with_for_update(skip_locked=True, of=self._table)
        chosen = free.cte("chosen").prefix_with("MATERIALIZED")
        return update(self._table).where(job.id == chosen.c.id)

    def _fenced(self) -> ColumnElement[bool]:
        """The condition that id and fence are a pair of those in the parameters, see :meth:`fenced`."""
        job = self._table.c
        if self._statements.postgres:
            kind = ARRAY(BigInteger())
            arrays = (cast(bindparam(name, type_=kind, required=False), kind) for name in ("k_ids", "k_fences"))
            pairs = func.unnest(*arrays).table_valued("id", "fence").render_derived(name="given")
            given = select(pairs.c.id, pairs.c.fence)
        else:
            items = func.json_each(bindparam("k_pairs", type_=Text(), required=False)).table_valued("value")
            given = select(*(func.json_extract(items.c.value, f"$[{index}]") for index in (0, 1)))
        return tuple_(job.id, job.fence).in_(given)

    def fenced(self, jobs: Sequence[Job]) -> dict[str, Any]:
        """Return the parameters that say which jobs, and with which fences, for :attr:`renew`.

        :param jobs: the jobs.
        """
        pairs = sorted((job.id, job.fence) for job in jobs)
        if self._statements.postgres:
            return {"k_ids": [id_ for id_, _ in pairs], "k_fences": [fence for _, fence in pairs]}
        return {"k_pairs": encode([list(pair) for pair in pairs])}

    def _one_of(self, *statuses: str) -> ColumnElement[bool]:
        return or_(*(self._table.c.status == status for status in statuses))

    # -- writing ---------------------------------------------------------------------------------------------------

    def insert(self, number: int) -> Compiled:
        """Return the statement that stores this many jobs; their parameters end in ``__0``, ``__1`` and so on.

        :param number: how many.
        """
        return self._shaped(("insert", number), lambda: self._insert(number))

    def _insert(self, number: int) -> ClauseElement:
        insert = self._statements.habits.insert(self._table)
        columns = [column for column in self._table.columns if column.name != "id"]
        rows = [{c.name: self._statements.bound(c, f"__{i}") for c in columns} for i in range(number)]
        replaced: dict[str, Any] = {c.name: insert.excluded[c.name] for c in columns if c.name != "fence"}
        replaced["fence"] = self._table.c.fence + 1
        put: ClauseElement = insert.values(rows).on_conflict_do_update(index_elements=["slot"], set_=replaced)
        return put

    def _claimable(self, *also: Any) -> Select[Any]:
        """Select what may be claimed, the longest due first."""
        job, earlier = self._table.c, self._table.alias("earlier").c
        before = and_(
            *(earlier[name] == job[name] for name in ("kind", "bucket", "name", "topic")),
            earlier.version < job.version,
            earlier.status == PENDING,
        )
        free = or_(not_(job.ordered), not_(select(earlier.id).where(before).exists()))
        return (
            select(*(also or self.columns()))
            .where(job.status == PENDING, job.due_at <= self._moment("now"), free)
            .order_by(job.due_at, job.id)
            .limit(bindparam("k_limit"))
        )

    def _leased(self) -> Update:
        job = self._table.c
        values = {"attempts": job.attempts + 1, "fence": job.fence + 1}
        return update(self._table).values(**values, worker=bindparam("k_worker"), due_at=self._moment("until"))

    def _claim(self) -> ClauseElement:
        """Claim in one statement, for PostgreSQL; what was due when is the last column.

        The choice is a CTE of its own: as a subquery with a limit it could be run again for each row, and choose more.
        """
        job = self._table.c
        chosen = self._claimable(job.id, job.due_at).with_for_update(skip_locked=True).cte("chosen")
        chosen = chosen.prefix_with("MATERIALIZED")
        return self._leased().where(job.id == chosen.c.id).returning(*self.columns(), chosen.c.due_at)

    def _withdraw(self, status: str) -> ClauseElement:
        job = self._table.c
        sources = (PENDING, PAUSED) if status == CANCELLED else (PENDING,)
        values: dict[str, Any] = {"slot": None, "due_at": self._moment("now")} if status == CANCELLED else {}
        return (
            update(self._table)
            .where(among(self._statements, job.slot, "k_slots"), self._one_of(*sources))
            .values(**values, status=status, worker=None, fence=job.fence + 1, finished_at=self._moment("now"))
        )

    def _forget(self) -> ClauseElement:
        job = self._table.c
        # What has ended has no other due_at than finished_at, and that one is in an index.
        before = self._moment("before")
        ended = select(job.id).where(self._one_of(*FINISHED), job.due_at < before, job.finished_at < before)
        ended = ended.limit(bindparam("k_limit"))
        if self._statements.postgres:
            chosen = ended.with_for_update(skip_locked=True).cte("chosen").prefix_with("MATERIALIZED")
            ended = select(chosen.c.id)
        return delete(self._table).where(job.id.in_(ended))

    # -- reading ---------------------------------------------------------------------------------------------------

    def columns(self) -> list[ColumnElement[Any]]:
        """Return what to select for a job."""
        return [self._statements.readable(self._table.c[name]) for name in _FIELDS]

    def listing(self, query: JobQuery, *, lock: bool) -> tuple[Compiled, dict[str, Any]]:
        """Return a listing and its parameters.

        :param query: which jobs.
        :param lock: lock their rows.
        """
        values: dict[str, Any] = {
            "kind": query.kind,
            "statuses": None if query.statuses is None else listed(self._statements, query.statuses),
            "bucket": None if query.key is None else query.key.bucket,
            "name": None if query.key is None else query.key.name,
            "topic": query.topic,
            "slots": None if query.slots is None else listed(self._statements, query.slots),
            "id": query.id,
            "after": query.after,
            "until": None if query.due_until is None else self._statements.habits.bound_time(query.due_until),
            "limit": query.limit,
        }
        given = {f"k_{name}": value for name, value in values.items() if value is not None}
        shape = ("listing", lock, query.newest_first, *given)
        return self._shaped(shape, lambda: self._listing(tuple(given), query.newest_first, lock)), given

    def _listing(self, given: tuple[str, ...], newest_first: bool, lock: bool) -> ClauseElement:
        job = self._table.c
        after = bindparam("k_after", type_=job.id.type)
        conditions = {
            "k_statuses": among(self._statements, job.status, "k_statuses"),
            "k_slots": among(self._statements, job.slot, "k_slots"),
            "k_until": job.due_at <= self._moment("k_until"),
            "k_after": job.id < after if newest_first else job.id > after,
        }
        for name in ("kind", "bucket", "name", "topic", "id"):
            conditions[f"k_{name}"] = job[name] == bindparam(f"k_{name}", type_=job[name].type)
        statement = select(*self.columns()).where(*(conditions[name] for name in given if name != "k_limit"))
        statement = statement.order_by(job.id.desc() if newest_first else job.id)
        if "k_limit" in given:
            statement = statement.limit(bindparam("k_limit"))
        return statement.with_for_update() if lock else statement

    def _count(self) -> ClauseElement:
        job, now = self._table.c, self._moment("now")
        pending, come = job.status == PENDING, job.due_at <= now
        number, first = func.count(), func.min(job.due_at)
        return select(
            number.filter(pending),
            number.filter(pending, come),
            number.filter(job.status == DEAD),
            self._statements.readable(first.filter(pending, come)),
        ).where(self._one_of(PENDING, DEAD))

    def _following(self) -> ClauseElement:
        job = self._table.c
        later = job.status == PENDING, job.due_at > self._moment("now")
        return select(self._statements.readable(func.min(job.due_at))).where(*later)

    # -- rows ------------------------------------------------------------------------------------------------------

    def values(self, job: Job, suffix: str = "") -> dict[str, Any]:
        """Return a job as the parameters of a row, its id left aside.

        :param job: the job.
        :param suffix: behind each name.
        """
        time = self._statements.habits.bound_time
        plain = {
            "kind": job.kind,
            "bucket": job.key.bucket,
            "name": job.key.name,
            "topic": job.topic,
            "version": job.version,
            "slot": job.slot,
            "payload": None if job.payload is None else encode(job.payload),
            "ordered": job.ordered,
            "status": job.status,
            "due_at": time(job.due_at),
            "attempts": job.attempts,
            "worker": job.worker,
            "fence": 0,
            "error": _storable(job.error),
            "trace": _storable(job.trace),
            "created_at": time(job.created_at),
            "finished_at": time(job.finished_at),
        }
        return {f"{name}{suffix}": value for name, value in plain.items()}

    def saved(self, job: Job) -> dict[str, Any]:
        """Return the parameters of :attr:`save`.

        :param job: the job.
        """
        values = self.values(job)
        return {name: values[name] for name in _SAVED} | {"k_id": job.id, "k_fence": job.fence}

    def job(self, row: Row) -> Job:
        """Turn a row of :meth:`columns` into a job.

        :param row: the driver's row.
        """
        habits = self._statements.habits
        fields = dict(zip(_FIELDS, row, strict=True))
        key, payload = Key(fields.pop("bucket"), fields.pop("name")), fields.pop("payload")
        fields |= {name: habits.read_time(fields[name]) for name in ("due_at", "created_at", "finished_at")}
        fields |= {
            "payload": None if payload is None else habits.read_json(payload),
            "ordered": bool(fields["ordered"]),
        }
        return Job(key=key, **fields)


def _storable(text: str | None) -> str | None:
    """Escape what no database takes: an exception's message may hold NUL characters and lone surrogates."""
    if text is None:
        return None
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")

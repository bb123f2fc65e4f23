"""The power Enqueues: jobs in the table ``outbox``, leased by a column and fenced by a number."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import cached_property

from msgspec.structs import replace
from sqlalchemy import bindparam, delete, func, select

from ...core.enqueues import Enqueues
from ...core.jobs import Job, JobCounts, JobQuery
from .connection import SqlUnit
from .job_statements import JobStatements
from .joining import hold, refuse_to_wait_for_itself
from .lock import Lock
from .moves import listed
from .power import SqlPower
from .statements import Statements, compiled

_ROWS = 50
"""The most jobs that one statement stores; SQLite before 3.32 takes 999 parameters."""

_SILENCE = timedelta(days=1)
"""After which a worker that says nothing is forgotten."""


class _Beats:
    """What is said to the table of workers."""

    def __init__(self, statements: Statements) -> None:
        table, dialect = statements.tables.worker, statements.dialect
        insert = statements.habits.insert(table)
        here = insert.values({column.name: statements.bound(column) for column in table.columns})
        seen = here.on_conflict_do_update(index_elements=["name"], set_={"seen_at": here.excluded.seen_at})
        self.note = compiled(seen, dialect)
        self.leave = compiled(delete(table).where(table.c.name == statements.bound(table.c.name)), dialect)
        silent = table.c.seen_at < bindparam("before", type_=table.c.seen_at.type)
        self.forget = compiled(delete(table).where(silent), dialect)
        self.last = compiled(select(statements.readable(func.max(table.c.seen_at))), dialect)


class SqlOutbox(SqlPower, Enqueues):
    """Keeps jobs in a table."""

    @cached_property
    def _jobs(self) -> JobStatements:
        return JobStatements(self._statements)

    @cached_property
    def _beats(self) -> _Beats:
        return _Beats(self._statements)

    def enqueue(self, unit: SqlUnit, jobs: Sequence[Job]) -> None:
        """Store jobs; one whose slot is taken replaces what has it.

        :param unit: an open writing unit.
        :param jobs: new jobs.
        :raises StorageError: when the database fails, or this thread's own session has a slot locked.
        """
        slots = [_slot(job.slot) for job in jobs if job.slot is not None]
        refuse_to_wait_for_itself(unit, slots)
        hold(unit, slots)
        for start in range(0, len(jobs), _ROWS):
            some = jobs[start : start + _ROWS]
            values = {}
            for number, job in enumerate(some):
                values.update(self._jobs.values(job, f"__{number}"))
            unit.run(self._jobs.insert(len(some)), values, fetch=False)

    def claim(self, unit: SqlUnit, *, now: datetime, until: datetime, worker: str, limit: int) -> list[Job]:
        """Lease pending jobs whose moment has come, the longest due first.

        :param unit: an open writing unit.
        :param now: the moment.
        :param until: the end of the lease.
        :param worker: who claims.
        :param limit: the most jobs.
        :raises StorageError: when the database fails.
        """
        time = self._dialect.bound_time
        choice = {"now": time(now), "k_limit": limit}
        lease = {"until": time(until), "k_worker": worker}
        if self._statements.postgres:
            # Not planned once for all: how many are due decides between the indexes.
            rows = unit.run(self._jobs.claim, choice | lease, planned=False)
            rows.sort(key=lambda row: (row[-1], row[0]))
            return [self._jobs.job(row[:-1]) for row in rows]
        # Nobody comes between: the unit has the file to itself.
        due = [self._jobs.job(row) for row in unit.run(self._jobs.claim, choice)]
        if due:
            unit.run(self._jobs.take, lease | {"k_ids": listed(self._statements, [job.id for job in due])}, fetch=False)
        return [
            replace(job, due_at=until, worker=worker, attempts=job.attempts + 1, fence=job.fence + 1) for job in due
        ]

    def renew(self, unit: SqlUnit, jobs: Sequence[Job], until: datetime) -> None:
        """Prolong the leases of jobs whose fences are unchanged, in one statement that waits for no lock of a row.

        :param unit: an open writing unit.
        :param jobs: as :meth:`claim` gave them.
        :param until: the new end.
        :raises StorageError: when the database fails.
        """
        if jobs:
            values = {"until": self._dialect.bound_time(until), **self._jobs.fenced(jobs)}
            unit.run(self._jobs.renew, values, fetch=False, planned=False)

    def save(self, unit: SqlUnit, job: Job, *, wait: bool = True) -> bool:
        """Write what may change of a job, if nobody else has.

        :param unit: an open writing unit.
        :param job: the job, with the fence that it was read with.
        :param wait: whether to wait for the lock of its row (PostgreSQL; SQLite has locked the file already).
        :returns: whether it was written.
        :raises StorageError: when the database fails, or this thread's own session has it locked.
        """
        if wait:
            refuse_to_wait_for_itself(unit, _locks(job))
        statement = self._jobs.save if wait else self._jobs.save_at_once
        saved = bool(unit.run(statement, self._jobs.saved(job), fetch=False)[0][0])
        if saved:
            hold(unit, _locks(job))
        return saved

    def withdraw(self, unit: SqlUnit, slots: Sequence[str], status: str, now: datetime) -> int:
        """Pause pending jobs that have one of these slots, or cancel pending and paused ones.

        :param unit: an open writing unit.
        :param slots: the slots.
        :param status: paused or cancelled.
        :param now: the moment.
        :returns: how many jobs it was.
        :raises StorageError: when the database fails, or this thread's own session has a slot locked.
        """
        refuse_to_wait_for_itself(unit, map(_slot, slots))
        hold(unit, map(_slot, slots))
        values = {"k_slots": listed(self._statements, slots), "now": self._dialect.bound_time(now)}
        return int(unit.run(self._jobs.withdraw[status], values, fetch=False)[0][0])

    def jobs(self, unit: SqlUnit, query: JobQuery, *, lock: bool = False) -> list[Job]:
        """List jobs by id.

        :param unit: an open unit.
        :param query: which ones.
        :param lock: lock their rows until the unit ends (PostgreSQL; SQLite has locked the file already).
        :raises StorageError: when the database fails, or this thread's own session has one of them locked.
        """
        if not lock:
            return self._listed(unit, query)
        refuse_to_wait_for_itself(unit, self._needed(unit, query))
        found = self._listed(unit, query, lock=True)
        hold(unit, [each for job in found for each in _locks(job)])
        return found

    def _listed(self, unit: SqlUnit, query: JobQuery, *, lock: bool = False) -> list[Job]:
        statement, values = self._jobs.listing(query, lock=lock)
        return [self._jobs.job(row) for row in unit.run(statement, values, planned=False)]

    def _needed(self, unit: SqlUnit, query: JobQuery) -> Iterator[Hashable]:
        """The locks that a locking query takes, found out without waiting, and only when somebody asks."""
        for job in self._listed(unit, query):
            yield from _locks(job)

    def count_jobs(self, unit: SqlUnit, now: datetime) -> JobCounts:
        """Return how the jobs stand.

        :param unit: an open unit.
        :param now: the moment that decides what is due.
        :raises StorageError: when the database fails.
        """
        time = self._dialect.read_time
        values = {"now": self._dialect.bound_time(now)}
        pending, due, dead, oldest = unit.run(self._jobs.count, values, planned=False)[0]
        return JobCounts(pending, due, dead, time(oldest))

    def next_due(self, unit: SqlUnit, after: datetime) -> datetime | None:
        """Return the first moment behind another at which a pending job falls due, or None.

        :param unit: an open unit.
        :param after: the other moment.
        :raises StorageError: when the database fails.
        """
        values = {"now": self._dialect.bound_time(after)}
        return self._dialect.read_time(unit.run(self._jobs.following, values, planned=False)[0][0])

    def forget_jobs(self, unit: SqlUnit, before: datetime, limit: int) -> int:
        """Remove jobs that ended well before a moment.

        :param unit: an open writing unit.
        :param before: the moment.
        :param limit: the most jobs.
        :returns: how many were removed.
        :raises StorageError: when the database fails.
        """
        values = {"before": self._dialect.bound_time(before), "k_limit": limit}
        return int(unit.run(self._jobs.forget, values, fetch=False, planned=False)[0][0])

    def beat(self, unit: SqlUnit, worker: str, now: datetime, *, leaving: bool = False) -> None:
        """Note that a worker is alive; others that have long been silent are forgotten.

        :param unit: an open writing unit.
        :param worker: its name.
        :param now: the moment.
        :param leaving: it ends now.
        :raises StorageError: when the database fails.
        """
        time = self._dialect.bound_time
        if leaving:
            unit.run(self._beats.leave, {"name": worker}, fetch=False)
        else:
            values = {"name": worker, "started_at": time(now), "seen_at": time(now)}
            unit.run(self._beats.note, values, fetch=False)
        unit.run(self._beats.forget, {"before": time(now - _SILENCE)}, fetch=False)

    def last_beat(self, unit: SqlUnit) -> datetime | None:
        """Return when a worker was last known to be alive, or None.

        :param unit: an open unit.
        :raises StorageError: when the database fails.
        """
        return self._dialect.read_time(unit.run(self._beats.last, {})[0][0])


def _slot(slot: str) -> Lock:
    return Lock("job in the slot", slot)


def _locks(job: Job) -> Iterator[Lock]:
    """What others wait for that want the same job: some know its id, some its slot."""
    yield Lock("job", job.id)
    if job.slot is not None:
        yield _slot(job.slot)

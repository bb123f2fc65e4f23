"""Jobs: what a committed change leaves to be done later, a durable effect or a timer, one row each."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from .record import JSONObject, Key

EFFECT, TIMER = "effect", "timer"
"""The kinds of jobs."""

PENDING = "pending"
"""Waits for its moment, or is being worked on: then ``worker`` is set, and ``due_at`` is the end of the lease."""
PAUSED = "paused"
"""Keeps its place and does not fall due: a deadline whose status has been left."""
DONE, SKIPPED, CANCELLED, DEAD = "done", "skipped", "cancelled", "dead"
"""How a job ends. ``dead`` is the dead letter: attempts used up, or refused for good; it can be revived."""

STATUSES = (PENDING, PAUSED, DONE, SKIPPED, CANCELLED, DEAD)
FINISHED = (DONE, SKIPPED, CANCELLED)
"""Statuses that a job is forgotten in after a while; a dead letter stays until somebody decides."""


class Job(Struct, frozen=True):
    """One piece of work.

    :param kind: :data:`EFFECT` or :data:`TIMER`.
    :param key: the record that it belongs to.
    :param topic: the name of the effect, or of the transition that a timer makes; without ``:``.
    :param version: an effect's change; the version at which a timer was set.
    :param due_at: not to be worked on before; the end of the lease while a worker has it.
    :param created_at: when it was stored.
    :param slot: at most one job has it; storing another one under the same slot takes that one's place. None for none.
    :param payload: what a timer needs to know.
    :param ordered: whether it waits for the pending jobs of the same record and topic with lower versions.
    :param status: one of :data:`STATUSES`.
    :param attempts: how often a worker has taken it.
    :param worker: who has it.
    :param fence: raised by every write, so that a worker whose lease has run out cannot write any more.
    :param error: why it failed last, or why it was skipped: a sentence.
    :param trace: the traceback of that failure.
    :param finished_at: when it ended.
    :param id: drawn by the store; 0 before that.
    """

    kind: str
    key: Key
    topic: str
    version: int
    due_at: datetime
    created_at: datetime
    slot: str | None = None
    payload: JSONObject | None = None
    ordered: bool = True
    status: str = PENDING
    attempts: int = 0
    worker: str | None = None
    fence: int = 0
    error: str | None = None
    trace: str | None = None
    finished_at: datetime | None = None
    id: int = 0

    @property
    def identity(self) -> str:
        """The stable key ``bucket:name:version:topic``; bucket and topic have no colon, so it can be taken apart."""
        return f"{self.key}:{self.version}:{self.topic}"

    def ended(self, status: str, now: datetime, error: str | None = None, trace: str | None = None) -> Job:
        """Return the job as it is once it has ended; a timer's slot is free for another one then.

        :param status: how it ended.
        :param now: when.
        :param error: why, where it did not end well.
        :param trace: the traceback.
        """
        slot = self.slot if self.kind == EFFECT else None
        return replace(
            self, status=status, worker=None, slot=slot, error=error, trace=trace, due_at=now, finished_at=now
        )

    def again(self, due_at: datetime, error: str | None = None, trace: str | None = None) -> Job:
        """Return the job as it is to be taken once more.

        :param due_at: when.
        :param error: why the last attempt failed.
        :param trace: its traceback.
        """
        return replace(self, status=PENDING, worker=None, due_at=due_at, error=error, trace=trace, finished_at=None)


class JobQuery(Struct, frozen=True):
    """A listing of jobs by id. None means: whatever it is.

    :param kind: only this kind.
    :param statuses: only these statuses.
    :param key: only this record's.
    :param topic: only this effect or transition.
    :param slots: only those that have one of these slots.
    :param id: only this one.
    :param after: go on after this id, in the order asked for.
    :param newest_first: the order.
    :param due_until: only those whose ``due_at`` is no later than this.
    :param limit: the most jobs.
    """

    kind: str | None = None
    statuses: tuple[str, ...] | None = None
    key: Key | None = None
    topic: str | None = None
    slots: tuple[str, ...] | None = None
    id: int | None = None
    after: int | None = None
    newest_first: bool = False
    due_until: datetime | None = None
    limit: int | None = None


class JobCounts(Struct, frozen=True):
    """How the jobs of a store stand.

    :param pending: those that wait or are being worked on.
    :param due: those of them whose moment has come and that nobody has.
    :param dead: the dead letters.
    :param oldest_due: since when the longest waiting of the due ones has been due; None without any.
    """

    pending: int
    due: int
    dead: int
    oldest_due: datetime | None

"""What the changes of a bucket leave behind to be done: jobs, stored in the transaction of the change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import ConfigurationError
from .enqueues import Enqueues
from .jobs import Job
from .ports import Backend
from .record import Change
from .step import Plan


class JobPlanning:
    """Plans the jobs of changes, and stores them.

    :param backend: where records and jobs live.
    :ivar plans: say which jobs a change leaves behind.
    :ivar wake: called after the commit of jobs, once for all of a transaction.
    :ivar enqueues: the backend, as one that keeps jobs; None where it cannot.
    """

    def __init__(self, backend: Backend) -> None:
        self._title = backend.title
        self.plans: list[Plan] = []
        self.wake: Callable[[], None] = lambda: None
        self.enqueues = backend if isinstance(backend, Enqueues) else None

    def keeping(self) -> Enqueues:
        """Return the backend as one that keeps jobs.

        :raises ConfigurationError: when it cannot.
        """
        if self.enqueues is None:
            raise ConfigurationError(
                f"The {self._title} backend keeps no durable effects and timers: use another "
                "STATEMANAGER_BACKEND, or callbacks without durable=True."
            )
        return self.enqueues

    def concern(self, changes: Sequence[Change]) -> bool:
        """Tell whether changes may leave jobs behind, or take some away.

        :param changes: the changes, not stored yet.
        """
        for change in changes:
            for plan in self.plans:
                if plan.concerns(change):
                    return True
        return False

    def plan(self, unit: Any, changes: Sequence[Change]) -> None:
        """Store the jobs that changes leave behind.

        :param unit: the unit in which they were written.
        :param changes: the changes, with their revisions, of different records.
        :raises ConfigurationError: when the backend cannot keep jobs.
        :raises StorageError: when the storage fails.
        """
        self.enqueue(unit, [job for change in changes for plan in self.plans for job in plan(unit, change)])

    def plan_each(self, unit: Any, changes: Sequence[Change]) -> None:
        """Store the jobs that the changes of one record leave behind, one change after the other.

        What the second takes away may be what the first leaves behind.

        :param unit: the unit in which they were written.
        :param changes: the changes, with their revisions.
        :raises ConfigurationError: when the backend cannot keep jobs.
        :raises StorageError: when the storage fails.
        """
        for change in changes:
            self.plan(unit, [change])

    def enqueue(self, unit: Any, jobs: Sequence[Job]) -> None:
        """Store jobs, and wake the workers after the commit.

        :param unit: an open writing unit.
        :param jobs: the jobs.
        :raises ConfigurationError: when the backend cannot keep jobs.
        :raises StorageError: when the storage fails.
        """
        if not jobs:
            return
        self.keeping().enqueue(unit, jobs)
        # One and the same object for all of a transaction, so that it is called once.
        unit.after_commit(lambda: self.wake)

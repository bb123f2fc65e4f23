"""Recording: how the result of a job gets into the storage although that fails for a while."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..core.outage import Outage
from ..core.retry import retried

logger = logging.getLogger("flask_statemanager.worker")

_LONGEST_PAUSE = 2.0
"""Seconds between two attempts at most: when the storage is back, others look for jobs whose leases have run out."""

_LAST = 5.0
"""Seconds for which a worker that ends goes on trying."""

_ATTEMPT = 30.0
"""Seconds that one attempt may take: as long as a pool usually lets wait for a connection."""

_SLICE = 0.1


class Patience:
    """Says for how long the result of a job is worth another attempt: until its storage works for everything else.

    :param title: names the job.
    :param lease: seconds; for so long behind the first failure it is tried although everything else works.
    :param keep: keeps the job in its thread's hand for so many seconds more, and tells whether it still is there.
    :param failed_at: returns when the storage last failed for the worker, by ``time.monotonic()``.
    :param stopping: tells whether the worker is to end.
    """

    def __init__(
        self,
        title: str,
        lease: float,
        *,
        keep: Callable[[float], bool],
        failed_at: Callable[[], float],
        stopping: Callable[[], bool],
    ) -> None:
        self._outage = Outage(logger, f"Recording how {title} ended")
        self._lease = lease
        self._keep = keep
        self._failed_at = failed_at
        self._stopping = stopping
        self._failing_since: float | None = None

    def begin(self) -> None:
        """Note that the work is done, so that its timeout does not count any more."""
        self._failing_since = None
        self._keep(_ATTEMPT)

    def lasts(self, error: Exception) -> bool:
        """Wait a while after a failure.

        :param error: why the result was not stored.
        :returns: whether to try again.
        """
        now, stopping = time.monotonic(), self._stopping()
        since = self._failing_since = now if self._failing_since is None else self._failing_since
        gives_up_at = since + _LAST if stopping else max(since, self._failed_at()) + self._lease
        pause = min(_LONGEST_PAUSE, self._outage.failed(error))
        if now >= gives_up_at or not self._keep(pause + _ATTEMPT):
            return False
        ends = now + pause
        while (left := ends - time.monotonic()) > 0 and self._stopping() == stopping:
            time.sleep(min(left, _SLICE))
        return True

    def over(self) -> None:
        """Note that the result is stored, or refused because of its fence."""
        self._outage.over()


_present: ContextVar[Patience | None] = ContextVar("flask_statemanager_patience", default=None)


@contextmanager
def patient(patience: Patience) -> Iterator[None]:
    """Have results that are recorded in the block tried again.

    :param patience: for how long.
    """
    token = _present.set(patience)
    try:
        yield
    finally:
        _present.reset(token)


def recorded(save: Callable[[], bool]) -> bool:
    """Record a result: again while it loses races, and in a worker's thread while the storage fails.

    What has been done must not be done again only because it could not be written down at once.

    :param save: writes the result under the job's fence, in a transaction of its own.
    :returns: what it returned: False when somebody else has the job.
    :raises StateManagerError: when the result could not be stored.
    """
    patience = _present.get()
    if patience is not None:
        patience.begin()
    while True:
        try:
            stored = retried(save)
        except Exception as error:
            if patience is None or not patience.lasts(error):
                raise
        else:
            if patience is not None:
                patience.over()
            return stored

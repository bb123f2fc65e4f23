"""The backlog: what is to be written waits here, and a thread writes it, which no request waits for."""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from msgspec import Struct

from ..core.outage import Outage
from ..core.waking import Alarm, PerProcess
from ..errors import StateConflict, StateManagerError, StorageError

logger = logging.getLogger("flask_statemanager.tracking")

Item = TypeVar("Item")

BATCH = 100
"""The most items that one transaction writes."""

GAP = 0.25
"""Seconds for which items gather before they are written."""

TRIES = 5
"""How often a batch is tried before it is dropped, so that one that cannot be written does not hold up the others."""

PATIENCE = 2.0
"""How many seconds the end of a process waits for what is not written yet."""

LONGEST_REST = 5.0
"""Seconds after which the thread goes on at the latest, however long a batch has taken."""


class Pace(Struct, frozen=True):
    """How much is kept and written.

    :param most: how many items may wait.
    :param share: which share of its time the thread may write, from 0 to 1; hardly ever where it is 0.
    """

    most: int
    share: float

    def rest(self, seconds: float) -> float:
        """Return how long to rest behind a batch.

        :param seconds: how long it took.
        """
        return min(LONGEST_REST, seconds * (1.0 / max(0.001, self.share) - 1.0))


class Backlog(Generic[Item]):
    """Takes what is to be written; one queue and one thread in each process, from the first item on.

    Adding never waits and never raises: where the queue is full, the item is dropped and counted.

    :param write: writes a batch.
    :param pace: how much is kept and written.
    :param context: opened round each batch.
    :param count: raises a counter by a number.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], None],
        *,
        pace: Pace,
        context: Callable[[], AbstractContextManager[Any]],
        count: Callable[[str, int], None],
    ) -> None:
        self._queues: PerProcess[_Queue[Item]] = PerProcess(lambda: _Queue(write, pace, context, count))
        _all.add(self)

    def add(self, item: Item) -> None:
        """Have an item written soon.

        :param item: the item.
        """
        self._queues.get().add(item)

    def flush(self, patience: float = PATIENCE) -> bool:
        """Wait until what has been added so far is written or dropped; for tests.

        :param patience: how many seconds at most.
        :returns: whether it is.
        """
        return self._queues.get().flush(patience)

    def close(self, patience: float = PATIENCE) -> None:
        """Write what waits, and take nothing more in this process.

        :param patience: how many seconds to wait for it; a store that hangs keeps nobody longer.
        """
        present = self._queues.present
        if present is not None:
            present.close(patience)


class _Queue(Generic[Item]):
    """The queue and the thread of one process."""

    def __init__(
        self,
        write: Callable[[Sequence[Item]], None],
        pace: Pace,
        context: Callable[[], AbstractContextManager[Any]],
        count: Callable[[str, int], None],
    ) -> None:
        self._write = write
        self._pace = pace
        self._context = context
        self._count = count
        self._waiting: deque[Item] = deque()
        self._alarm = Alarm()
        self._rung = False
        self._hurried = threading.Event()
        self._closed = threading.Event()
        self._empty = threading.Condition()
        self._busy = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._outage = Outage(logger, "Writing down requests")
        self._failures = 0

    # -- the threads that serve requests -----------------------------------------------------------------------------

    def add(self, item: Item) -> None:
        if self._closed.is_set() or len(self._waiting) >= self._pace.most:
            self._count("tracking.dropped", 1)
            return
        self._waiting.append(item)
        if not self._rung:
            self._rung = True
            self._alarm.ring()
            if self._thread is None:
                self._start()

    def flush(self, patience: float) -> bool:
        self._hurried.set()
        try:
            with self._empty:
                return self._empty.wait_for(lambda: not self._waiting and not self._busy, patience)
        finally:
            self._hurried.clear()

    def close(self, patience: float) -> None:
        self._closed.set()
        self._hurried.set()
        self._alarm.ring()
        with self._lock:
            thread = self._thread
        if thread is None:
            self._give_up()
        elif thread is not threading.current_thread():
            thread.join(patience)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._closed.is_set():
                return
            thread = threading.Thread(target=self._run, name="statemanager-tracking", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending, or has no thread to give
                self._rung = False
                return
            self._thread = thread

    # -- the thread that writes --------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed.is_set():
            self._alarm.wait()
            self._hurried.wait(GAP)
            # Before the queue is emptied: what comes from now on rings again.
            self._rung = False
            while self._waiting and not self._closed.is_set():
                self._hurried.wait(self._some())
        self._last()

    def _last(self) -> None:
        """Write what is left at the end, without a pause and without a second try."""
        deadline = time.monotonic() + PATIENCE
        while self._waiting and time.monotonic() < deadline:
            self._failures = TRIES
            self._some()
        self._give_up()

    def _give_up(self) -> None:
        self._count("tracking.dropped", len(self._waiting))
        self._waiting.clear()

    def _some(self) -> float:
        """Write a batch.

        :returns: how many seconds to rest behind it.
        """
        self._busy = True
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        began = time.monotonic()
        try:
            with self._context():
                self._write(batch)
        except (StorageError, StateConflict) as error:
            return self._failed(batch, error)
        except (Exception, SystemExit) as error:
            logger.exception("Requests cannot be written down.", exc_info=error)
            self._dropped(batch)
        else:
            self._outage.over()
            self._failures = 0
        finally:
            self._told()
        return self._pace.rest(time.monotonic() - began)

    def _failed(self, batch: list[Item], error: StateManagerError) -> float:
        """Put a batch back, for the next try, or drop it behind the last one."""
        self._count("tracking.failed", 1)
        self._failures += 1
        pause = self._outage.failed(error)
        if self._failures < TRIES:
            self._waiting.extendleft(reversed(batch))
        else:
            self._dropped(batch)
        return pause

    def _dropped(self, batch: list[Item]) -> None:
        self._failures = 0
        self._count("tracking.dropped", len(batch))

    def _told(self) -> None:
        with self._empty:
            self._busy = False
            self._empty.notify_all()


_all: weakref.WeakSet[Backlog[Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """End together: what hangs costs its patience once."""
    deadline = time.monotonic() + PATIENCE
    backlogs = list(_all)
    for backlog in backlogs:
        backlog.close(0)
    for backlog in backlogs:
        backlog.close(max(0.0, deadline - time.monotonic()))

"""Hands: the threads of a worker, which do one job each at a time."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from msgspec import Struct, field
from msgspec.structs import replace

from ..core.jobs import Job

JOIN = 5.0
"""The most seconds to wait for threads that have nothing in hand."""


class Held(Struct, frozen=True, eq=False):
    """A job in a thread's hand.

    :param job: the job.
    :param until: when its timeout is over, by ``time.monotonic()``.
    """

    job: Job
    until: float


class _Hand(Struct, eq=False):
    """One thread, what it holds, and where it gets it from."""

    inbox: SimpleQueue[Held | None] = field(default_factory=SimpleQueue)
    held: Held | None = None
    thread: threading.Thread | None = None


class Hands:
    """Lends threads to jobs. A thread that is left behind with a job that does not end is replaced.

    :param do: does a job, and raises nothing.
    :param threads: how many.
    :param freed: told whenever a job has left a hand.
    """

    def __init__(self, do: Callable[[Job], None], *, threads: int, freed: Callable[[], None]) -> None:
        self._do = do
        self._freed = freed
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._hands: list[_Hand] = []
        self._abandoned: set[_Hand] = set()
        self.threads = threads
        self.done = 0

    @property
    def free(self) -> int:
        """How many threads have nothing in hand."""
        with self._lock:
            return sum(hand.held is None for hand in self._hands)

    @property
    def idle(self) -> bool:
        """Whether no thread has anything in hand, the abandoned ones left aside."""
        with self._lock:
            return all(hand.held is None for hand in self._hands)

    @property
    def abandoned(self) -> int:
        """How many threads were left behind and have not ended."""
        with self._lock:
            return len(self._abandoned)

    def held(self) -> list[Held]:
        """Return what is in hand, without what was abandoned."""
        with self._lock:
            return [hand.held for hand in self._hands if hand.held is not None]

    def start(self) -> None:
        """Start the threads that are missing."""
        with self._lock:
            for _ in range(self.threads - len(self._hands)):
                self._add()

    def give(self, job: Job, timeout: float) -> None:
        """Put a job into a free hand.

        :param job: the job.
        :param timeout: for how many seconds it may be there.
        """
        held = Held(job, time.monotonic() + timeout)
        with self._lock:
            hand = next(hand for hand in self._hands if hand.held is None)
            hand.held = held
            self.done += 1
        hand.inbox.put(held)

    def keep(self, seconds: float) -> bool:
        """Let the job of the calling thread stay in its hand for longer.

        :param seconds: for at least so many from now on.
        :returns: False when the thread was left behind.
        """
        me = threading.current_thread()
        with self._lock:
            for hand in self._hands:
                if hand.thread is me and hand.held is not None:
                    hand.held = replace(hand.held, until=max(hand.held.until, time.monotonic() + seconds))
                    return True
        return False

    def abandon(self, held: Held, *, replace: bool) -> bool:
        """Leave a thread behind with its job.

        :param held: what it holds.
        :param replace: whether another thread takes its place.
        :returns: False when the job has left the hand meanwhile.
        """
        with self._lock:
            hand = next((hand for hand in self._hands if hand.held is held), None)
            if hand is None:
                return False
            self._hands.remove(hand)
            self._abandoned.add(hand)
            hand.inbox.put(None)
            if replace:
                self._add()
            return True

    def dismiss(self) -> None:
        """Let the threads end, each when its hand is empty; wait for those whose hand is empty now."""
        with self._lock:
            leaving, self._hands = self._hands, []
        for hand in leaving:
            hand.inbox.put(None)
        for hand in leaving:
            if hand.thread is not None and hand.held is None:
                hand.thread.join(JOIN)

    def _add(self) -> None:
        hand = _Hand()
        name = f"statemanager-worker-{next(self._numbers)}"
        hand.thread = threading.Thread(target=self._live, args=(hand,), name=name, daemon=True)
        hand.thread.start()
        self._hands.append(hand)

    def _live(self, hand: _Hand) -> None:
        while (held := hand.inbox.get()) is not None:
            self._do(held.job)
            with self._lock:
                hand.held = None
            self._freed()
        with self._lock:
            self._abandoned.discard(hand)

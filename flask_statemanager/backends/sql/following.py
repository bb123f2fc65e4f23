"""Waiting for changes: woken by this process and by PostgreSQL's notifications, with a poll as the floor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from sqlalchemy.engine import Engine

from ...core.follows import revision_in
from ...core.waking import PerProcess
from .notify import CHANGES, Listener, Notifier, speaks

FIRST, LONGEST = 0.05, 1.0
"""Seconds between two looks: at first, and after a while in which nothing came."""


class Pulse:
    """Lets any number of threads wait for the next beat."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._beats = 0

    @property
    def beats(self) -> int:
        """How many there were."""
        return self._beats

    def beat(self) -> None:
        """Wake all who wait."""
        with self._changed:
            self._beats += 1
            self._changed.notify_all()

    def wait(self, beats: int, seconds: float) -> None:
        """Wait for a beat behind a number of them.

        :param beats: how many there had been.
        :param seconds: the most seconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._beats != beats, seconds)


class Followers:
    """What the followers of a backend share in each process: the pulse and, on PostgreSQL, a thread that listens.

    The thread and its connection are there from the first follower on until :meth:`close`, as followers come and go.

    :param engine: the engine.
    :param schema: the schema of the tables.
    """

    def __init__(self, engine: Engine, schema: str | None) -> None:
        self._engine = engine
        self._schema = schema
        self._ears = PerProcess(_Ears)
        self._notifier = Notifier(engine, schema, CHANGES) if speaks(engine) else None

    def wake(self) -> None:
        """Wake those who wait here at once, and those in other processes soon. Never waits and never raises."""
        present = self._ears.present
        if present is not None:
            present.pulse.beat()
        if self._notifier is not None:
            self._notifier.wake()

    def listening(self) -> Pulse:
        """Return the pulse of this process, which beats for other processes' changes too where they can be heard."""
        ears = self._ears.get()
        if self._notifier is not None:
            ears.listen(lambda: Listener(self._engine, ears.pulse.beat, self._schema, CHANGES))
        return ears.pulse

    def close(self) -> None:
        """End this process's threads and connections."""
        present = self._ears.present
        if present is not None:
            present.close()
        if self._notifier is not None:
            self._notifier.close()


class _Ears:
    """The pulse of one process, and what makes it beat."""

    def __init__(self) -> None:
        self.pulse = Pulse()
        self._lock = threading.Lock()
        self._listening = ExitStack()
        self._listener: Listener | None = None

    def listen(self, make: Callable[[], Listener]) -> None:
        with self._lock:
            if self._listener is None:
                self._listener = self._listening.enter_context(make())

    def close(self) -> None:
        with self._lock:
            self._listening.close()
            self._listener = None


class Waiting:
    """What one follower waits with.

    :param pulse: beats when there may be something.
    :param newest: returns the newest revision that is visible.
    """

    def __init__(self, pulse: Pulse, newest: Callable[[], int]) -> None:
        self._pulse = pulse
        self._newest = newest
        self._told: str | None = None
        self._pause = FIRST

    def __call__(self, cursor: str, seconds: float) -> bool:
        """Wait until there may be something behind a cursor.

        A follower that comes back with the cursor for which it was told so has met something that is not settled: it is
        told again after a pause, or at the next beat.

        :param cursor: the cursor.
        :param seconds: the most seconds.
        :returns: False when the time was over.
        :raises StateValidationError: when it is no cursor.
        :raises StorageError: when the database fails.
        """
        after, ends = revision_in(cursor), time.monotonic() + seconds
        stuck = cursor == self._told
        if not stuck:
            self._pause = FIRST
        while True:
            beats = self._pulse.beats  # before the look, or a beat behind it would be missed
            if not stuck and self._newest() > after:
                self._told = cursor
                return True
            left = ends - time.monotonic()
            if left <= 0:
                return False
            self._pulse.wait(beats, min(self._pause, left))
            stuck = stuck and time.monotonic() >= ends
            self._pause = min(LONGEST, self._pause * 2)

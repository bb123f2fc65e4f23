"""Waking: how a thread that waits hears that there is something to do. Safe after a fork."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from .outage import Outage

Made = TypeVar("Made")

JOIN = 5.0
"""The most seconds to wait for a thread that has been asked to end."""


class Alarm:
    """Wakes one thread that waits; rings that come while it does not wait count as one.

    A signal handler or a weak reference's callback may ring: SimpleQueue is made for that, an Event is not.
    """

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Wake the thread, or keep it from falling asleep the next time."""
        if self._rings.empty():
            self._rings.put(None)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a ring.

        :param timeout: the most seconds; None for as long as it takes.
        :returns: whether it rang.
        """
        try:
            self._rings.get(timeout=None if timeout is None else max(0.0, timeout))
            while not self._rings.empty():
                self._rings.get_nowait()
        except Empty:
            return False
        return True


class PerProcess(Generic[Made]):
    """Holds one object in each process; a fork begins without one, as no thread or connection goes with it.

    :param make: makes the object. It only builds it: where threads meet, one of two is thrown away.
    """

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._made: dict[int, Made] = {}

    @property
    def present(self) -> Made | None:
        """This process's object, or None before the first :meth:`get`."""
        return self._made.get(os.getpid())

    def get(self) -> Made:
        """Return this process's object, made now if need be."""
        found = self.present
        return self._made.setdefault(os.getpid(), self._make()) if found is None else found


class Coalesced:
    """Does one thing soon after it was asked for, in a daemon thread, once for all askers meanwhile.

    The thread starts with the first :meth:`wake` of a process. What fails is done again, after growing pauses.

    :param send: does it; whatever it raises counts as an outage.
    :param title: what the thread does, as the beginning of a sentence in the log.
    :param logger: where an outage is logged, once.
    :param gap: the least seconds between two times.
    """

    def __init__(self, send: Callable[[], None], *, title: str, logger: logging.Logger, gap: float = 0.0) -> None:
        self._senders = PerProcess(lambda: _Sender(send, Outage(logger, title), title, gap))

    def wake(self) -> None:
        """Have it done soon; never waits and never raises."""
        self._senders.get().wake()

    def close(self) -> None:
        """End this process's thread, which a later :meth:`wake` does not start again."""
        self._senders.get().close()


class _Sender:
    """The thread of one process."""

    def __init__(self, send: Callable[[], None], outage: Outage, title: str, gap: float) -> None:
        self._send = send
        self._outage = outage
        self._title = title
        self._gap = gap
        self._alarm = Alarm()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        self._alarm.ring()
        if self._thread is None:
            self._start()

    def close(self) -> None:
        self._closed.set()
        self._alarm.ring()
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(JOIN)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._closed.is_set():
                return
            thread = threading.Thread(target=self._run, name=f"statemanager: {self._title}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending, or has no thread to give: the slow poll finds the work
                return
            self._thread = thread

    def _run(self) -> None:
        while self._alarm.wait() and not self._closed.is_set():
            pause = self._gap
            try:
                self._send()
            except Exception as error:  # noqa: BLE001 - logged by the outage, whatever it is
                pause = self._outage.failed(error)
                self._alarm.ring()
            else:
                self._outage.over()
            self._closed.wait(pause)

"""The listener: a thread that hears which records have changed, and drops them from the near cache.

It asks several times in a lease, so that silence is told from having nothing to say.
"""

from __future__ import annotations

import logging
import os
import threading
import time

from ..core.hearing import Changed, Hear, Hearing
from ..core.outage import Outage
from ..core.waking import JOIN, PerProcess
from .near import NearCache

logger = logging.getLogger("flask_statemanager")

QUESTIONS = 4
"""How often is asked in one lease."""


class Listener:
    """Keeps a near cache true, in a daemon thread that starts when it is first needed in a process.

    :param hear: opens what is heard with.
    :param near: the near cache.
    :param lease: seconds for which an answer counts.
    """

    def __init__(self, hear: Hear, near: NearCache, lease: float) -> None:
        self._hear = hear
        self._near = near
        self._lease = lease
        self._locks = PerProcess(threading.Lock)
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._process = 0
        self.failing = False

    def ensure(self) -> None:
        """Have this process's thread running."""
        if self._process != os.getpid():
            self._start()

    def close(self) -> None:
        """End this process's thread, for good."""
        self._closed.set()
        thread = self._thread
        if thread is not None and self._process == os.getpid():
            thread.join(JOIN)

    def _start(self) -> None:
        with self._locks.get():
            if self._process == os.getpid() or self._closed.is_set():
                return
            thread = threading.Thread(target=self._run, name="statemanager: near cache", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending, or has no thread to give: nothing is served
                return
            self._thread, self._process = thread, os.getpid()

    def _run(self) -> None:
        outage = Outage(logger, "Listening for changes in the read cache")
        while not self._closed.is_set():
            try:
                self._attend(outage)
            except Exception as error:  # noqa: BLE001 - logged by the outage, whatever it is
                self.failing = True
                self._closed.wait(outage.failed(error))

    def _attend(self, outage: Outage) -> None:
        try:
            with self._hear() as hearing:
                self._listen(hearing, outage)
        finally:
            self._near.silent()

    def _listen(self, hearing: Hearing, outage: Outage) -> None:
        # What was looked at before this moment may have changed without a word.
        self._near.clear()
        while not self._closed.is_set():
            asked_at = time.monotonic()
            self._forget(hearing.asked())
            self._near.heard(asked_at)
            self.failing = False
            outage.over()
            next_at = asked_at + self._lease / QUESTIONS
            while not self._closed.is_set() and (left := next_at - time.monotonic()) > 0:
                self._forget(hearing.waited(left))

    def _forget(self, changed: Changed) -> None:
        if changed is None:
            self._near.clear()
        else:
            for path in changed:
                self._near.drop(path)

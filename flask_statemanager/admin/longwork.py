"""Long work: what must not run in a request's time, done by a thread of this process while its page says how far it is.

How far it is stands in a bucket of its own, so that every process can show it. A process that dies leaves a record that
is not written any more: after :data:`SILENCE` seconds the page says that the work is lost, and another may begin.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from flask import Flask, current_app
from msgspec import Struct, field

from ..core.buckets import WORK
from ..core.clock import iso
from ..core.names import TimeOrderedIds
from ..core.powers import JoinsTransaction
from ..core.record import JSONObject
from ..core.waking import PerProcess
from ..errors import StateManagerError, StorageError
from ..kv.lease import Lease
from ..kv.parts import KvParts
from ..kv.store import KeyValueStore
from ..runtime import Runtime
from ..web.problems import CONFLICT, INTERRUPTED, TOO_MANY_REQUESTS, Problem
from .answers import Done
from .progress import ENDED_WELL, FAILED, RUNNING, Report, Work, work_of
from .visit import Visit

SILENCE = 30.0
"""Seconds without a sign of life after which work counts as lost."""

BEAT = 2.0
"""Seconds between two writings of how far it is."""

KEPT = 7 * 86400.0
"""Seconds that is known how work has ended."""

PATIENCE = 1.0
"""Seconds that a request waits for work to end before it leads to the page that says how far it is."""

MOST = 4
"""How much work a process does at once."""

LISTED = 50
_EXTENSION = "statemanager_admin_works"
_JOIN = 60.0
_TRIES = 6

logger = logging.getLogger("flask_statemanager.admin")
_ids = TimeOrderedIds()


class Outcome(Struct, frozen=True):
    """How work has ended.

    :param sentence: what it came to.
    :param page: the name of the page to look at then.
    :param arguments: those of its path and its query.
    :param details: what else is known, for that page.
    """

    sentence: str
    page: str
    arguments: dict[str, str] = field(default_factory=dict)
    details: JSONObject = field(default_factory=dict)


class Task(Struct, frozen=True):
    """Work to be done.

    :param title: what it is, as a heading.
    :param perform: does it, in a context of the app and outside of any request; tells how far it is, by the number of
        what is done and of what there is (None where that is not known).
    :param only: of tasks of one such name one is done at a time, in all processes together; None for any number.
    :param unit: what is counted.
    :param page: the name of the page that it is begun on, for whoever has to begin again.
    :param arguments: those of that page.
    """

    title: str
    perform: Callable[[Report], Outcome]
    only: str | None = None
    unit: str = "records"
    page: str = ""
    arguments: dict[str, str] = field(default_factory=dict)


class _Running:
    """Work of this process."""

    def __init__(self, work: Work, lease: Lease | None) -> None:
        self.work = work
        self.lease = lease
        self.report = Report(work.id)
        self.over = threading.Event()
        self.error: StateManagerError | None = None
        self.thread: threading.Thread | None = None

    def present(self) -> Work:
        return self.work if self.over.is_set() else self.work.at(self.report.done, self.report.total)


class Works:
    """The long work of one app.

    :param runtime: the app's running parts.
    """

    def __init__(self, runtime: Runtime) -> None:
        backend = runtime.bucket.backend
        # In-memory SQLite is one connection, which the request that waits has too.
        self._at_once = isinstance(backend, JoinsTransaction) and not backend.shareable
        self._shelves = runtime.shelves
        self._store = KeyValueStore(self._parts)
        self._mine: PerProcess[dict[str, _Running]] = PerProcess(dict)
        self._lock = threading.Lock()

    def _parts(self) -> KvParts:
        return self._shelves.kept(WORK)

    def begin(self, task: Task, *, actor: str, reason: str | None = None, patience: float | None = None) -> Work:
        """Begin work, and wait a moment for its end.

        :param task: the work.
        :param actor: who asks.
        :param reason: why.
        :param patience: the most seconds to wait; :data:`PATIENCE` by default.
        :returns: how far it is.
        :raises StateManagerError: what it has failed with meanwhile, or why it cannot be begun now.
        :raises StorageError: when the storage fails.
        """
        id_ = _ids.new()
        running = _Running(self._new(id_, task, actor, reason), self._leased(task, id_))
        self._enter(id_, running)
        try:
            self._write(running)
        except BaseException:
            self._leave(id_, running)
            raise
        self._start(task, running)
        running.over.wait(PATIENCE if patience is None else patience)
        if running.error is not None:
            raise running.error
        return running.present()

    def look(self, work_id: str) -> Work | None:
        """Return how far work is, wherever it is done; None for what is not known, or not any more.

        :param work_id: its id.
        :raises StateValidationError: when that can be no id.
        :raises StorageError: when the storage fails.
        """
        mine = self._mine.get().get(work_id)
        if mine is not None:
            return mine.present()
        entry = self._store.get_entry(f"work:{work_id}")
        return None if entry is None else work_of(entry, self._parts().bucket.clock.now(), SILENCE)

    def recent(self) -> list[Work]:
        """Return the newest work, the newest first.

        :raises StorageError: when the storage fails.
        """
        now = self._parts().bucket.clock.now()
        names = self._store.keys("work:", 10_000)[-LISTED:]
        mine = self._mine.get()
        found = []
        for name in reversed(names):
            entry = self._store.get_entry(name)
            running = mine.get(name.removeprefix("work:"))
            if entry is not None:
                found.append(work_of(entry, now, SILENCE) if running is None else running.present())
        return found

    def close(self) -> None:
        """Wait for the work of this process, in tests."""
        for running in list(self._mine.get().values()):
            if running.thread is not None:
                running.thread.join(_JOIN)

    # -- beginning -------------------------------------------------------------------------------------------------

    def _new(self, id_: str, task: Task, actor: str, reason: str | None) -> Work:
        now = iso(self._parts().bucket.clock.now())
        return Work(
            id_,
            task.title,
            task.unit,
            actor,
            reason,
            RUNNING,
            started_at=now,
            heard_at=now,
            page=task.page,
            arguments=task.arguments,
        )

    def _leased(self, task: Task, id_: str) -> Lease | None:
        if task.only is None:
            return None
        lease = self._store.lease(f"only:{task.only}", SILENCE, id_)
        if lease.acquire():
            return lease
        held: Any = self._store.get(lease.key)
        other = self.look(held["holder"]) if isinstance(held, dict) else None
        who = "" if other is None else f" by {other.actor}: {other.title}"
        raise Problem(CONFLICT, f"Such work is under way already, begun{who}. Wait until it has ended.")

    def _enter(self, id_: str, running: _Running) -> None:
        mine = self._mine.get()
        with self._lock:
            if sum(not each.over.is_set() for each in mine.values()) < MOST:
                for old in [each for each, known in mine.items() if known.over.is_set()][:-LISTED]:
                    del mine[old]
                mine[id_] = running
                return
        self._release(running)
        raise Problem(TOO_MANY_REQUESTS, f"{MOST} long works are under way here: wait until one of them has ended.")

    def _leave(self, id_: str, running: _Running) -> None:
        self._mine.get().pop(id_, None)
        self._release(running)

    def _start(self, task: Task, running: _Running) -> None:
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        if self._at_once:
            self._perform(task, running)
            return
        thread = threading.Thread(target=self._run, args=(app, task, running), name="statemanager: long work")
        thread.daemon = True
        running.thread = thread
        try:
            thread.start()
        except RuntimeError as error:
            self._leave(running.work.id, running)
            raise Problem(INTERRUPTED, "This process has no thread to give: send this again in a moment.") from error

    # -- doing -----------------------------------------------------------------------------------------------------

    def _run(self, app: Flask, task: Task, running: _Running) -> None:
        over = threading.Event()
        beating = threading.Thread(target=self._beat, args=(app, running, over), name="statemanager: sign of life")
        beating.daemon = True
        beating.start()
        try:
            with app.app_context():
                self._perform(task, running, lambda: self._end(over, beating))
        finally:
            self._end(over, beating)

    def _end(self, over: threading.Event, beating: threading.Thread) -> None:
        over.set()
        beating.join()

    def _perform(self, task: Task, running: _Running, silenced: Callable[[], None] = lambda: None) -> None:
        nothing = Outcome("", task.page, task.arguments)
        try:
            outcome = task.perform(running.report)
        except StateManagerError as error:
            running.error = error
            ended = self._ended(running, FAILED, str(error), nothing)
        except BaseException as error:  # an exit asked for in this thread ends this work alone
            logger.exception("The long work %r of %r has failed.", task.title, running.work.actor)
            sentence = f"An error of the program has ended it, which the log shows: {type(error).__name__}."
            running.error = Problem(INTERRUPTED, sentence)
            ended = self._ended(running, FAILED, sentence, nothing)
        else:
            ended = self._ended(running, ENDED_WELL, outcome.sentence, outcome)
        silenced()
        running.work = ended
        self._write_the_end(running)
        self._release(running)
        running.over.set()

    def _ended(self, running: _Running, state: str, sentence: str, outcome: Outcome) -> Work:
        now = iso(self._parts().bucket.clock.now())
        return running.present().ended(
            state,
            sentence,
            now,
            page=outcome.page,
            arguments=outcome.arguments,
            details=outcome.details,
        )

    def _beat(self, app: Flask, running: _Running, over: threading.Event) -> None:
        """Write how far it is, again and again; a store that is locked or away meanwhile is asked again."""
        with app.app_context():
            while not over.wait(BEAT):
                with suppress(StateManagerError):
                    self._write(running)
                    if running.lease is not None:
                        running.lease.renew()

    def _write(self, running: _Running) -> None:
        work = running.present()
        self._store.set(f"work:{work.id}", work.written(), "admin", ttl=KEPT, actor=work.actor)

    def _write_the_end(self, running: _Running) -> None:
        pause = threading.Event()
        for attempt in range(_TRIES):
            try:
                self._write(running)
                return
            except StorageError:
                logger.warning("The end of the long work %s could not be written.", running.work.id, exc_info=True)
                pause.wait(0.25 * 2**attempt)

    def _release(self, running: _Running) -> None:
        if running.lease is not None:
            with suppress(StorageError):  # it ends by itself
                running.lease.release()


def works_of(visit: Visit) -> Works:
    """Return the long work of the app that is visited.

    :param visit: the visit.
    """
    extensions = current_app.extensions
    if _EXTENSION not in extensions:
        works = extensions.setdefault(_EXTENSION, Works(visit.runtime))
        visit.runtime.closing.append(works.close)
    found: Works = extensions[_EXTENSION]
    return found


def begun(visit: Visit, task: Task) -> Done:
    """Begin work, and lead to what it came to, or to the page that says how far it is; for acts.

    :param visit: the visit.
    :param task: the work.
    :raises StateManagerError: what it has failed with at once, or why it cannot be begun now.
    """
    asked = visit.writing()
    work = works_of(visit).begin(task, actor=asked["actor"], reason=asked["reason"])
    if work.state == RUNNING:
        return Done(f"{work.title}: this takes a while, and goes on if you leave.", visit.url("work", work_id=work.id))
    return Done(work.sentence, work.link(visit) or visit.url("work", work_id=work.id))

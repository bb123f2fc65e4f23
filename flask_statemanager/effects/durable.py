"""Durable effects: jobs stored with the change that causes them, carried out by a worker at least once."""

from __future__ import annotations

import inspect
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..core.clock import Clock
from ..core.enqueues import Enqueues
from ..core.failure import sentence_of, trace_of, unrecorded
from ..core.jobs import DEAD, DONE, EFFECT, Job
from ..core.names import check_text
from ..core.ports import Backend
from ..core.powers import JoinsTransaction, KeepsHistory
from ..core.query import ChangeQuery
from ..core.record import Change, Record
from ..errors import ConfigurationError, PermanentFailure, StateManagerError, shown
from .recording import recorded

logger = logging.getLogger("flask_statemanager.effects")

RETRIES, BACKOFF, TIMEOUT = 12, 5.0, 60.0
"""What an effect has by default: attempts beyond the first, seconds before the second, seconds for one."""

LONGEST_PAUSE = 3600.0
"""Seconds between two attempts, at most."""

LOST = 3
"""Attempts beyond an effect's own that may end without a record: a worker that is killed is not the effect's fault."""

EXTRAS = ("key", "session", "attempt")
"""Keyword arguments that an effect's function gets if it names them."""

_LONGEST_TIMEOUT = 86_400


class Durability(Struct, frozen=True):
    """How a durable effect is to be carried out.

    :param name: its stable name, without ``:``; stored with every job.
    :param retries: attempts beyond the first.
    :param backoff: seconds before the second attempt; each further pause is twice as long, up to an hour.
    :param timeout: seconds that one attempt may take.
    :param ordered: whether it waits for the earlier jobs of the same state.
    :param extras: which of :data:`EXTRAS` the function takes.
    """

    name: str
    retries: int = RETRIES
    backoff: float = BACKOFF
    timeout: float = TIMEOUT
    ordered: bool = True
    extras: frozenset[str] = frozenset()

    def pause(self, attempts: int) -> timedelta:
        """Return how long to wait after a failed attempt: exponential, the half of it random.

        :param attempts: how many there were.
        """
        return pause(self.backoff, attempts)


def pause(backoff: float, attempts: int) -> timedelta:
    """Return how long to wait after a failed attempt: twice as long each time, the half of it random.

    :param backoff: seconds after the first.
    :param attempts: how many there were.
    """
    longest = min(LONGEST_PAUSE, backoff * 2 ** min(attempts - 1, 40))
    return timedelta(seconds=longest * random.uniform(0.5, 1))  # noqa: S311 - spreading needs no secrecy


def durability_of(
    function: Callable[..., Any],
    *,
    name: str | None,
    retries: int | None,
    backoff: float | None,
    timeout: float | None,
    ordered: bool | None,
) -> Durability:
    """Check what an application says of a durable effect.

    :param function: the effect.
    :param name: its name; module and function by default.
    :param retries: as for :class:`Durability`, like the others; None for the default.
    :param backoff: seconds.
    :param timeout: seconds, of at most a day.
    :param ordered: whether order is kept.
    :raises ConfigurationError: when one of them is unusable.
    """
    _check_number("retries", retries, 0, 1000, whole=True)
    _check_number("backoff", backoff, 0, _LONGEST_TIMEOUT)
    _check_number("timeout", timeout, 0.001, _LONGEST_TIMEOUT)
    if ordered not in (None, True, False) or (isinstance(ordered, int | float) and not isinstance(ordered, bool)):
        raise ConfigurationError(f"ordered={shown(ordered)} of an effect must be True or False.")
    return Durability(
        name=_named(function, name),
        retries=RETRIES if retries is None else retries,
        backoff=BACKOFF if backoff is None else float(backoff),
        timeout=TIMEOUT if timeout is None else float(timeout),
        ordered=ordered is not False,
        extras=_extras(function),
    )


def _named(function: Callable[..., Any], name: str | None) -> str:
    made = name
    if made is None:
        if not hasattr(function, "__qualname__") or function.__qualname__.endswith("<lambda>"):
            raise ConfigurationError(
                f"A durable effect needs a stable name, and {shown(function)} has none: pass name=."
            )
        if function.__module__ == "__main__":
            raise ConfigurationError(
                f"A worker would know {function.__qualname__}() by another module than '__main__': pass name=."
            )
        made = f"{function.__module__}.{function.__qualname__}"
    try:
        found = check_text(made, "name", 255)
    except StateManagerError as error:
        raise ConfigurationError(f"The effect's name cannot be used: {error}") from error
    if ":" in found:
        raise ConfigurationError(f"The effect's name {found!r} holds a colon, which separates the parts of its key.")
    return found


def _check_number(what: str, value: object, least: float, most: float, *, whole: bool = False) -> None:
    if value is None:
        return
    kind = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
        raise ConfigurationError(f"{what}={shown(value)} of an effect must be a number from {least:g} to {most:,g}.")


def _extras(function: Callable[..., Any]) -> frozenset[str]:
    try:
        signature = inspect.signature(function)
        parameters = signature.parameters.values()
        everything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
        extras = frozenset(EXTRAS if everything else named.intersection(EXTRAS))
        signature.bind("", {}, {}, "", **dict.fromkeys(extras))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"A durable effect takes (state_id, old_state, new_state, transition_type) and, if it wants, the keywords "
            f"{', '.join(EXTRAS)}; {shown(function)} does not: {error}."
        ) from error
    return extras


Known = Callable[[str], "tuple[Callable[..., Any], Durability] | None"]
"""Finds function and durability by an effect's name."""


class EffectRunner:
    """Carries out the durable effects of one app.

    :param known: finds an effect by its name.
    :param matching: the effects that a change causes.
    :param present: makes the dict that a function gets of a record.
    :param backend: where jobs, records and history live.
    :param clock: the time.
    :param inside: opens what a function is called in, for example an app context of its own: what it leaves open
        there is closed before its end is recorded.
    :param told: hears how each attempt ended: ``done``, ``failed``, ``dead`` or ``late``, and the job.
    """

    def __init__(
        self,
        known: Known,
        *,
        matching: Callable[[Change], Sequence[Durability]],
        present: Callable[[Record], dict[str, Any]],
        backend: Backend,
        clock: Clock,
        inside: Callable[[], AbstractContextManager[Any]],
        told: Callable[[str, Job], None],
    ) -> None:
        self._known = known
        self._matching = matching
        self._present = present
        self._backend = backend
        self._joins = backend if isinstance(backend, JoinsTransaction) else None
        self._clock = clock
        self._inside = inside
        self._told = told

    def concerns(self, change: Change) -> bool:
        """Tell whether a change causes effects.

        :param change: the change.
        """
        return bool(self._matching(change))

    def __call__(self, _unit: Any, change: Change) -> list[Job]:
        """Return the jobs of the effects that a change causes, one for each name.

        :param _unit: the unit in which it was written.
        :param change: the change.
        """
        wanted = {durability.name: durability for durability in self._matching(change)}
        now = self._clock.now() if wanted else change.at
        jobs = (
            Job(EFFECT, change.key, name, change.version, due_at=now, created_at=now, ordered=durability.ordered)
            for name, durability in wanted.items()
        )
        return [replace(job, slot=job.identity) for job in jobs]

    def timeout_of(self, job: Job) -> float:
        """Return how many seconds an attempt at a job may take.

        :param job: the job.
        """
        found = self._known(job.topic)
        return TIMEOUT if found is None else found[1].timeout

    def run(self, job: Job) -> None:
        """Make one attempt, and record how it ended.

        :param job: a claimed job.
        :raises StorageError: when its end cannot be recorded; the job is left to its lease then.
        """
        found = self._known(job.topic)
        if found is None:
            self._fail(job, f"No code knows the effect {job.topic!r}: start a worker that has it, then retry.", None)
            return
        function, durability = found
        if job.attempts > durability.retries + 1 + LOST:
            self._fail(job, unrecorded(job), None, job.trace)
            return
        change = self._change(job)
        if change is None:
            self._fail(job, f"Version {job.version} is no longer in the history.", None)
            return
        try:
            saved = self._carried_out(function, durability, job, change)
        except BaseException as error:  # SystemExit, asyncio's CancelledError: in this thread they end the effect alone
            again = None if isinstance(error, PermanentFailure) else self._again(durability, job)
            # What the application has decided needs no traceback in the log.
            meant = isinstance(error, PermanentFailure)
            logger.warning("The effect %s failed at attempt %d.", job.identity, job.attempts, exc_info=not meant)
            self._fail(job, sentence_of(error), again, trace_of(error))
        else:
            self._told("done" if saved else "late", job)

    def timed_out(self, job: Job) -> None:
        """Record that an attempt has taken too long; what it still does is not recorded.

        :param job: the claimed job.
        :raises StorageError: when the storage fails.
        """
        found = self._known(job.topic)
        durability = Durability(job.topic) if found is None else found[1]
        # What has the job locked is about to write it.
        again = self._again(durability, job)
        self._fail(job, f"The attempt took longer than {durability.timeout:g} seconds.", again, wait=False)

    def _again(self, durability: Durability, job: Job) -> timedelta | None:
        return None if job.attempts > durability.retries else durability.pause(job.attempts)

    def _change(self, job: Job) -> Change | None:
        assert isinstance(self._backend, KeepsHistory), "the lifecycle face has made sure of it"
        with self._backend.reading() as unit:
            found = self._backend.changes(unit, ChangeQuery(job.key.bucket, job.key, job.version))
        return found[0] if found else None

    def _carried_out(self, function: Callable[..., Any], durability: Durability, job: Job, change: Change) -> bool:
        """Call the function, and record its success: in its own session where it takes one, so that both are one."""
        wants_session = self._joins is not None and "session" in durability.extras
        session = self._joins.new_session() if self._joins is not None and wants_session else None
        given = {"key": job.identity, "session": session, "attempt": job.attempts}
        extras = {name: given[name] for name in durability.extras}
        old = {} if change.before is None else self._present(change.before)
        try:
            with self._inside():
                function(change.key.name, old, self._present(change.after), change.event, **extras)
            if session is None or self._joins is None:
                return self._saved(job.ended(DONE, self._clock.now()))
            saved = _enqueues(self._backend).save(
                self._joins.joined(session, write=True), job.ended(DONE, self._clock.now())
            )
            # A lease that has run out: somebody else has the job, and what this attempt wrote must not stay.
            session.commit() if saved else session.rollback()
            return saved
        finally:
            if session is not None:
                session.close()

    def _fail(
        self, job: Job, error: str, again: timedelta | None, trace: str | None = None, *, wait: bool = True
    ) -> None:
        """Record a failure: for another attempt after a pause, or as a dead letter."""
        now = self._clock.now()
        failed = job.ended(DEAD, now, error, trace) if again is None else job.again(now + again, error, trace)
        if not self._saved(failed, wait=wait):
            self._told("late", job)
            return
        if again is None:
            logger.error("The effect %s is a dead letter: %s", job.identity, error)
        self._told("dead" if again is None else "failed", failed)

    def _saved(self, job: Job, *, wait: bool = True) -> bool:
        def save() -> bool:
            with self._backend.writing() as unit:
                return _enqueues(self._backend).save(unit, job, wait=wait)

        return recorded(save)


def _enqueues(backend: Backend) -> Enqueues:
    assert isinstance(backend, Enqueues), "it has given the job out"
    return backend

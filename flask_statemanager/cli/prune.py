"""``flask state prune``: removes what is no longer needed, and old history where that is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import click
from flask.cli import with_appcontext

from ..core.clock import iso
from ..core.enqueues import Enqueues
from ..core.powers import Idempotent, KeepsHistory, require
from ..core.retry import retried
from ..globals import current_runtime
from ..metrics.records import log_operation
from . import arguments
from .options import yes
from .tables import moment, say

BATCH = 1000
"""The most rows that one transaction removes."""

_LONGEST = 36_500

Result = TypeVar("Result")


@click.command()
@click.option(
    "--history-before",
    "before",
    callback=arguments.moment,
    metavar="TIME",
    help="Remove the history from before this moment, such as 2026-01-31T00:00:00Z.",
)
@click.option(
    "--history-days", "days", type=click.IntRange(1, _LONGEST), metavar="DAYS", help="Or older than so many days."
)
@yes
@with_appcontext
def prune(*, before: datetime | None, days: int | None, yes: bool) -> None:
    """Remove what is no longer needed.

    Expired idempotency keys, and effects and timers that ended well some time ago (STATEMANAGER_KEEP_FINISHED);
    history only where an option says so. The newest version of each state stays in the history, and so does what
    effects that are not done yet have to look at.

    \f

    :raises click.UsageError: when both options for the history are given, or the moment is in the future.
    """  # noqa: D301 - click ends the help at \f
    now = current_runtime.bucket.clock.now()
    if before is not None and days is not None:
        raise click.UsageError("Give either --history-before or --history-days.")
    if before is not None and before > now:
        raise click.UsageError("--history-before must not be in the future.")
    if days is not None:
        before = now - timedelta(days=days)
    if before is not None:
        require(current_runtime.backend, KeepsHistory, "flask state prune")  # type: ignore[type-abstract]
        if not yes:
            shown = moment(iso(before))
            click.confirm(f"Remove the history from before {shown} UTC, for good?", abort=True)
    _forget_the_rest(now, now - timedelta(seconds=current_runtime.settings.keep_finished))
    if before is not None:
        _forget_history(before)


def _forget_the_rest(now: datetime, finished_before: datetime) -> None:
    """Remove what only some backends keep; where one does not, there is nothing to remove."""
    backend = current_runtime.backend
    if isinstance(backend, Idempotent):
        say(f"Removed {_counted(backend.forget_requests, now):,} expired idempotency keys.")
    if isinstance(backend, Enqueues):
        say(f"Removed {_counted(backend.forget_jobs, finished_before):,} finished effects and timers.")


def _counted(forget: Callable[[Any, datetime, int], int], moment: datetime) -> int:
    total = 0
    while True:
        count = _in_a_transaction(forget, moment, BATCH)
        total += count
        if count < BATCH:
            return total


def _forget_history(before: datetime) -> None:
    history = require(current_runtime.backend, KeepsHistory, "flask state prune")  # type: ignore[type-abstract]
    started = time.monotonic()
    removed = after = 0
    try:
        while True:
            gone = _in_a_transaction(history.forget_changes, before, BATCH, after)
            removed += len(gone)
            if len(gone) < BATCH:
                return
            after = gone[-1]
    finally:
        # Also when a batch fails: those before it are gone, and somebody will want to know who did it.
        say(f"Removed {removed:,} changes from the history.")
        log_operation(
            "history_pruned",
            duration_ms=round((time.monotonic() - started) * 1000, 3),
            fields={
                "removed": removed,
                "before": iso(before),
                "actor": current_runtime.declarations.actor(actor=None, source=None, reason=None).actor,
            },
        )


def _in_a_transaction(forget: Callable[..., Result], *asked: Any) -> Result:
    return retried(partial(_once, forget, asked))


def _once(forget: Callable[..., Result], asked: tuple[Any, ...]) -> Result:
    with current_runtime.backend.writing() as unit:
        return forget(unit, *asked)

"""``flask state worker``: does the durable effects and the timers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from flask.cli import with_appcontext

from ..backends.sql.backend import SqlBackend
from ..effects.worker import Worker
from ..globals import current_runtime
from .tables import printable, say

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_DATABASES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}


@click.command()
@click.option("--threads", type=click.IntRange(1, 256), metavar="N", help="How many jobs are done at once.")
@click.option("--once", is_flag=True, help="Do what is due now, and end.")
@click.option("--burst", is_flag=True, help="Do jobs until none is due, and end.")
@click.pass_context
@with_appcontext
def worker(ctx: click.Context, *, threads: int | None, once: bool, burst: bool) -> None:
    """Do durable effects and timers.

    Ends on SIGTERM and Ctrl-C when what is in hand is done; at once on a second one. Exit code 70 says that too many
    jobs did not end, and that it has to be started again.

    \f

    :raises click.UsageError: for both ways to end at once.
    """  # noqa: D301 - click ends the help at \f
    if once and burst:
        raise click.UsageError("--once and --burst are two ways to end: give one of them.")
    made = current_runtime.workshop.make_worker(threads=threads)
    number = "1 thread" if made.threads == 1 else f"{made.threads} threads"
    how = "" if once or burst else " Press Ctrl-C to stop."
    with _stopped_by_signals(made):
        say(f"Worker {printable(made.queue.worker)}, {number}, {_database()}.{how}")
        if once:
            made.run_once()
        elif burst:
            made.run_burst()
        else:
            made.run_forever()
    say(f"The worker has ended: {made.done:,} {'job' if made.done == 1 else 'jobs'} worked on.")
    ctx.exit(made.exit_code)


def _database() -> str:
    backend = current_runtime.backend
    name = backend.engine.dialect.name if isinstance(backend, SqlBackend) else backend.title
    return _DATABASES.get(name, name)


@contextmanager
def _stopped_by_signals(made: Worker) -> Iterator[None]:
    def stop(_number: int, _frame: Any) -> None:
        made.stop()
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

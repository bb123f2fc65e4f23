"""The progress bar, on standard error where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from ..snapshots.making import Progress


@contextmanager
def progress_bar(label: str) -> Iterator[Progress | None]:
    """Draw a bar while the block goes on.

    :param label: what is done.
    :returns: takes how much is done, and of how much, or None where that is not known; None without a terminal.
    """
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1, label=label, file=sys.stderr, show_pos=True, show_percent=False) as bar:

        def move(done: int, total: int | None) -> None:
            # Of what is not known it is as full as can be said: not yet.
            bar.length = done + 1 if total is None else max(1, total)
            bar.update(done - bar.pos)

        yield move
        bar.length = max(1, bar.pos)
        bar.render_progress()

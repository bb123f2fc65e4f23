"""The progress bar: how much is done, how fast, how long it will take; on standard error where that is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from ..snapshots.making import Progress

_GATHERED = 0.5
"""Seconds before a rate is worth telling."""


class Rate:
    """How much is done in a second, from the beginning on.

    :param clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()

    def told(self, done: int) -> str | None:
        """Write the rate, or None while nothing can be said.

        :param done: how much is done.
        """
        passed = self._clock() - self._began
        return None if passed < _GATHERED or not done else f"{done / passed:,.0f}/s"


@contextmanager
def progress_bar(label: str) -> Iterator[Progress | None]:
    """Draw a bar while the block goes on.

    :param label: what is done.
    :returns: takes how much is done, and of how much, or None where that is not known; None without a terminal.
    """
    if not sys.stderr.isatty():
        yield None
        return
    rate = Rate()
    bar: Any = click.progressbar(
        length=1,
        label=label,
        file=sys.stderr,
        show_pos=True,
        show_percent=False,
        width=0,
        item_show_func=lambda _item: rate.told(bar.pos),
    )
    with bar:

        def move(done: int, total: int | None) -> None:
            # Of what is not known it is as full as can be said: not yet.
            bar.show_eta = total is not None
            bar.length = done + 1 if total is None else max(1, total)
            bar.update(done - bar.pos)

        yield move
        bar.length = max(1, bar.pos)
        bar.render_progress()

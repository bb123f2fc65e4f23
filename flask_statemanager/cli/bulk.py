"""Moving many states: asking, the progress bar, the account of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from ..globals import current_runtime
from ..lifecycle.bulk_run import BulkResult, Progress, Refusal
from .tables import Column, say, table

SHOWN = 20
"""How many refusals are printed."""

_REFUSED = (Column("REFUSED", firm=True), Column("WHY"))


@dataclass(frozen=True, slots=True)
class Found:
    """Which states are meant.

    :param filters: conditions on their data and metadata.
    :param state_type: their type.
    :param status: their statuses.
    """

    filters: dict[str, Any]
    state_type: str | None
    status: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.filters or self.state_type or self.status)


def move_found(found: Found, transition: str, data: dict[str, Any] | None, *, reason: str | None, yes: bool) -> None:
    """Move the states that are found, after asking.

    :param found: which ones.
    :param transition: the transition.
    :param data: new data for each.
    :param reason: why.
    :param yes: do not ask.
    :raises click.Abort: when the answer is no.
    """
    lifecycle = current_runtime.lifecycle
    states = lifecycle.search_states(found.state_type, found.filters, status=found.status or None)
    if not yes:
        number = states.count()
        if number:
            click.confirm(f"Move {_counted(number)} along '{transition}'?", abort=True)
    with _progress() as progress:
        result = lifecycle.transition_many(states, transition, data, reason=reason, progress=progress)
    _tell(result)


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Draw a bar on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1, file=sys.stderr, show_pos=True) as bar:

        def move(_done: int, seen: int, total: int | None) -> None:
            bar.length = total
            bar.update(seen - bar.pos)

        yield move


def _tell(result: BulkResult) -> None:
    """Say what was done, and end with exit code 1 when something was refused."""
    say(f"Moved {_counted(result.done)}.")
    if result.ok:
        return
    say("")
    say(table(_REFUSED, [_row(refusal) for refusal in result.refused[:SHOWN]]))
    say(f"\n{_counted(len(result.refused))} refused{_left(len(result.refused))}.")
    click.get_current_context().exit(1)


def _row(refusal: Refusal) -> tuple[object, ...]:
    return refusal.state_id, str(refusal.error) or type(refusal.error).__name__


def _left(number: int) -> str:
    return f", the first {SHOWN} are shown" if number > SHOWN else ""


def _counted(number: int) -> str:
    return f"{number:,} state{'' if number == 1 else 's'}"

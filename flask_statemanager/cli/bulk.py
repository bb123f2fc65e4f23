"""Moving many states: asking, the progress bar, the account of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from msgspec import Struct

from ..errors import StateValidationError
from ..globals import current_runtime
from ..lifecycle.bulk_run import BulkResult, Progress
from .effects import counted, with_errors
from .tables import Column, printable, say

SHOWN = 20
"""How many refusals are printed."""

_REFUSED = (Column("REFUSED"),)


class Found(Struct, frozen=True):
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
    :raises click.UsageError: when no type in question has the transition.
    """
    _check_transition(transition, found.state_type)
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


def _check_transition(transition: str, state_type: str | None) -> None:
    """Refuse at once what every state would refuse."""
    declared = current_runtime.declarations.definitions
    machines = [each.machine for each in ([declared.get(state_type)] if state_type else declared.types.values())]
    for machine in machines:
        try:
            return machine.check_transition(transition)
        except StateValidationError:
            continue
    known = ", ".join(sorted({name for machine in machines for _, name, _ in machine.edges()}))
    whose = f"The type '{state_type}' has no" if state_type else "No type has a"
    raise click.UsageError(printable(f"{whose} transition '{transition}'; known are {known}."))


def _tell(result: BulkResult) -> None:
    """Say what was done, and end with exit code 1 when something was refused."""
    say(f"Moved {_counted(result.done)}.")
    if result.ok:
        return
    shown = result.refused[:SHOWN]
    errors = [{"error": str(refusal.error) or type(refusal.error).__name__} for refusal in shown]
    say(f"\n{with_errors(_REFUSED, [(refusal.state_id,) for refusal in shown], errors)}")
    say(f"\n{_counted(len(result.refused))} refused{_left(len(result.refused))}.")
    click.get_current_context().exit(1)


def _left(number: int) -> str:
    return f", the first {SHOWN} are shown" if number > SHOWN else ""


def _counted(number: int) -> str:
    return counted(number, "state")

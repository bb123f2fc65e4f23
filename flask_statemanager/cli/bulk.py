"""Moving many states: asking, the progress bar, the account of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from msgspec import Struct

from ..errors import StateValidationError
from ..globals import current_runtime
from ..lifecycle.bulk_run import BulkResult, Progress
from .effects import counted, with_errors
from .exits import REFUSED
from .progress import progress_bar
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
    with progress_of("Moving") as progress:
        result = lifecycle.transition_many(states, transition, data, reason=reason, progress=progress)
    tell_refused("Moved", result)


@contextmanager
def progress_of(label: str) -> Iterator[Progress | None]:
    """Draw the bar of a verb on many states.

    :param label: what is done.
    :returns: takes how many are changed, how many were seen, and of how many; None without a terminal.
    """
    with progress_bar(label) as move:
        yield None if move is None else lambda _done, seen, total: move(seen, total)


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


def tell_refused(done: str, result: BulkResult) -> None:
    """Say what was done, and end with exit code 1 when something was refused.

    :param done: the verb, such as ``Moved``.
    :param result: what came of it.
    """
    say(f"{done} {_counted(result.done)}.")
    if result.ok:
        return
    shown = result.refused[:SHOWN]
    errors = [{"error": str(refusal.error) or type(refusal.error).__name__} for refusal in shown]
    say(f"\n{with_errors(_REFUSED, [(refusal.state_id,) for refusal in shown], errors)}")
    say(f"\n{_counted(len(result.refused))} refused{_left(len(result.refused))}.")
    click.get_current_context().exit(REFUSED)


def _left(number: int) -> str:
    return f", the first {SHOWN} are shown" if number > SHOWN else ""


def _counted(number: int) -> str:
    return counted(number, "state")

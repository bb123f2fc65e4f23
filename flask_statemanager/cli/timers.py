"""``flask state timers``: transitions that are to be made later."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click
from flask.cli import with_appcontext

from ..core.jobs import PENDING, STATUSES
from ..globals import current_runtime
from ..lifecycle.scheduling import Timer
from . import arguments
from .completing import STATE_ID, STATUS, TRANSITION
from .effects import counted, print_listing, sheet_of, with_errors
from .options import SHAPE, as_json, reason, tabular, yes
from .options import limit as limited
from .tables import Column, document, moment, printable, say

_COLUMNS = (
    Column("ID", right=True, firm=True),
    Column("STATE"),
    Column("TRANSITION"),
    Column("STATUS", firm=True),
    Column("DUE (UTC)", firm=True),
    Column("KEY"),
)

_at = click.option("--at", callback=arguments.moment, metavar="TIME", help="When, such as 2026-01-31T12:00:00Z.")
_after = click.option("--after", type=click.FloatRange(0), metavar="SECONDS", help="Or in how many seconds.")


@click.group()
def timers() -> None:
    """Look at timers and deadlines; set, move and cancel timers."""


@timers.command("list")
@click.argument("state_id", metavar="[ID]", required=False, type=STATE_ID)
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(STATUSES),
    default=[PENDING],
    show_default=True,
    help="Only timers in this status; may be given more than once.",
)
@limited(1000, what="The most timers to print.")
@click.option("--after", type=click.IntRange(1), metavar="ID", help="Go on behind this one.")
@tabular
@with_appcontext
def list_timers(*, state_id: str | None, status: tuple[str, ...], limit: int, after: int | None, as_json: bool) -> None:
    """List timers and deadlines, the ones set first first.

    All of them, or those of the state ID.
    """
    found = current_runtime.lifecycle.list_timers(state_id, status=status, limit=limit + 1, after=after)
    print_listing(found, limit, as_json, "No timers found.", _table)


@timers.command()
@click.argument("timer_id", metavar="ID", type=click.IntRange(1))
@as_json
@with_appcontext
def show(timer_id: int, as_json: bool) -> None:
    """Show one timer, with its data and why it ended."""
    found = current_runtime.lifecycle.get_timer(timer_id)
    say(document(found) if as_json else sheet_of(found))


@timers.command()
@click.argument("state_id", metavar="ID", type=STATE_ID)
@click.argument("transition", metavar="TRANSITION", type=TRANSITION)
@_at
@_after
@click.option("--key", help="A name among the state's timers; a pending one of it is replaced.")
@click.option(
    "--only-in", metavar="STATUS", multiple=True, type=STATUS, help="Only if the state is in this status then."
)
@click.option("--data", callback=arguments.json_object, metavar=SHAPE, help="New data, merged into the old then.")
@reason
@with_appcontext
def schedule(
    *,
    state_id: str,
    transition: str,
    at: datetime | None,
    after: float | None,
    key: str | None,
    only_in: tuple[str, ...],
    data: dict[str, Any] | None,
    reason: str | None,
) -> None:
    """Have a transition made later, by a worker.

    \f

    :raises click.UsageError: unless either of --at and --after is given.
    """  # noqa: D301 - click ends the help at \f
    _check_moment(at, after)
    made = current_runtime.lifecycle.schedule_transition(
        state_id,
        transition,
        at=at,
        after=after,
        data=None if data is None else {"data": data},
        key=key,
        only_in=only_in or None,
        reason=reason,
    )
    _tell(made)


@timers.command()
@click.argument("timer_id", metavar="ID", type=click.IntRange(1))
@_at
@_after
@reason
@with_appcontext
def reschedule(*, timer_id: int, at: datetime | None, after: float | None, reason: str | None) -> None:
    """Move a pending timer to another moment; it gets another ID.

    \f

    :raises click.ClickException: when it is a deadline, or does not wait any more.
    """  # noqa: D301 - click ends the help at \f
    _check_moment(at, after)
    lifecycle = current_runtime.lifecycle
    found = lifecycle.get_timer(timer_id)
    if found.key is None:
        raise click.ClickException(f"The timer {timer_id} is a deadline of its status, which its type declares.")
    if found.status != PENDING:
        raise click.ClickException(f"The timer {timer_id} is {found.status}, and only a pending one can be moved.")
    envelope = {name: found[name] for name in ("data", "metadata", "name") if found[name] is not None}
    made = lifecycle.schedule_transition(
        found.state_id,
        found.transition,
        at=at,
        after=after,
        data=envelope or None,
        key=found.key,
        only_in=found.only_in,
        reason=reason if reason is not None else found.reason,
    )
    _tell(made)


@timers.command()
@click.argument("state_id", metavar="ID", type=STATE_ID)
@click.option("--key", help="Only the timer of this name.")
@click.option("--transition", help="Only the timers of this transition.")
@click.option("--reason", help="Why; kept with the timer.")
@yes
@with_appcontext
def cancel(*, state_id: str, key: str | None, transition: str | None, reason: str | None, yes: bool) -> None:
    """Cancel timers of the state ID that have not fired.

    Deadlines stay, except for dead ones and those that its type no longer declares.

    \f

    :raises click.ClickException: when there is none.
    """  # noqa: D301 - click ends the help at \f
    if not yes:
        which = "all timers" if key is None else f"the timer {key}"
        what = "" if transition is None else f" for the transition {transition}"
        click.confirm(printable(f"Cancel {which} of {state_id}{what}?"), abort=True)
    number = current_runtime.lifecycle.cancel_scheduled(state_id, key=key, transition=transition, reason=reason)
    if not number:
        raise click.ClickException("There is no such timer: 'flask state timers list' shows those there are.")
    say(f"{counted(number, 'timer')} cancelled.")


def _table(page: Sequence[Timer]) -> str:
    return with_errors(_COLUMNS, [_row(found) for found in page], page)


def _row(found: Timer) -> tuple[object, ...]:
    key = f"deadline of {found.deadline}" if found.key is None else found.key
    return found.id, found.state_id, found.transition, found.status, moment(found.due_at), key


def _check_moment(at: datetime | None, after: float | None) -> None:
    if (at is None) == (after is None):
        raise click.UsageError("Give either --at or --after.")


def _tell(made: Timer) -> None:
    say(printable(f"{made.id}: {made.transition} of {made.state_id}, due {moment(made.due_at)} UTC, key {made.key}"))

"""``flask state timers``: transitions that are to be made later."""

from __future__ import annotations

from collections.abc import Sequence

import click
from flask.cli import with_appcontext

from ..core.jobs import PENDING, STATUSES
from ..globals import current_runtime
from ..lifecycle.scheduling import Timer
from .effects import counted, print_listing, with_errors
from .tables import Column, moment, printable, say

_COLUMNS = (
    Column("ID", right=True, firm=True),
    Column("STATE"),
    Column("TRANSITION"),
    Column("STATUS", firm=True),
    Column("DUE (UTC)", firm=True),
    Column("KEY"),
)


@click.group()
def timers() -> None:
    """Look at timers and deadlines, and cancel timers."""


@timers.command("list")
@click.argument("state_id", metavar="[ID]", required=False)
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(STATUSES),
    default=[PENDING],
    show_default=True,
    help="Only timers in this status; may be given more than once.",
)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="The most timers to print.")
@click.option("--after", type=click.IntRange(1), metavar="ID", help="Go on behind this one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
@with_appcontext
def list_timers(*, state_id: str | None, status: tuple[str, ...], limit: int, after: int | None, as_json: bool) -> None:
    """List timers and deadlines, the ones set first first; all of them, or those of the state ID."""
    found = current_runtime.lifecycle.list_timers(state_id, status=status, limit=limit + 1, after=after)
    print_listing(found, limit, as_json, "No timers found.", _table)


@timers.command()
@click.argument("state_id", metavar="ID")
@click.option("--key", help="Only the timer of this name.")
@click.option("--transition", help="Only the timers of this transition.")
@click.option("--reason", help="Why; kept with the timer.")
@click.option("--yes", is_flag=True, help="Do not ask.")
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

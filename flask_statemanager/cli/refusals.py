"""``flask state refusals``: the latest of what was asked for and not allowed."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import with_appcontext
from msgspec.structs import asdict

from ..core.clock import iso
from ..errors import ConfigurationError
from ..globals import current_runtime
from ..refusing import Kept, book_of
from ..tracking.refusals import KINDS
from .options import limit as limited
from .options import tabular
from .tables import Column, beneath, document, moment, say, table

_COLUMNS = (
    Column("LAST (UTC)", firm=True),
    Column("TIMES", right=True, firm=True),
    Column("KIND"),
    Column("WHAT"),
    Column("WHO"),
    Column("STATE"),
    Column("ADDRESS"),
)
_MEANT = "; ".join(f"{kind}: {meaning}" for kind, meaning in KINDS.items())


@click.command()
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(list(KINDS)),
    help=f"Only this kind; may be given more than once. {_MEANT}.",
)
@click.option("--who", metavar="WHO", help="Only of this user, of this address, or about this state.")
@limited(1000, what="The most refusals to print.")
@tabular
@with_appcontext
def refusals(kinds: tuple[str, ...], who: str | None, limit: int, as_json: bool) -> None:
    """List the latest of what was not allowed, newest first.

    What is alike within a minute is one refusal, with its number.

    \f

    :raises ConfigurationError: when refusals are not kept.
    """  # noqa: D301 - click ends the help at \f
    if not current_runtime.refusals.kept:
        raise ConfigurationError("Refusals are not kept: set STATEMANAGER_KEEP_REFUSALS = True.")
    found = [
        each
        for each in book_of(current_runtime).latest()
        if (not kinds or each.kind in kinds) and who in (None, each.who, each.address, each.target)
    ][:limit]
    if as_json:
        say(document({"items": [_told(each) for each in found]}))
    elif not found:
        say("No refusals found.")
    else:
        say(beneath(table(_COLUMNS, [_row(each) for each in found]), [each.why for each in found]))


def _told(kept: Kept) -> dict[str, Any]:
    return asdict(kept) | {"first": iso(kept.first), "last": iso(kept.last)}


def _row(kept: Kept) -> tuple[object, ...]:
    return moment(iso(kept.last)), kept.times, kept.kind, kept.what, kept.who, kept.target, kept.address

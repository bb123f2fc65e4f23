"""``flask state allowed``: which transitions are possible now, and what is in the way of the others."""

from __future__ import annotations

import click
from flask.cli import with_appcontext
from msgspec.structs import asdict

from ..globals import current_runtime
from ..lifecycle.explaining import Explanation
from .completing import STATE_ID, TRANSITION
from .exits import REFUSED
from .options import tabular
from .tables import Column, document, painted, printable, say, table

_COLUMNS = (Column("TRANSITION", firm=True), Column("POSSIBLE", firm=True), Column("WHY NOT"))


@click.command()
@click.argument("state_id", metavar="ID", type=STATE_ID)
@click.argument("transition", metavar="[TRANSITION]", required=False, type=TRANSITION)
@tabular
@click.pass_context
@with_appcontext
def allowed(ctx: click.Context, *, state_id: str, transition: str | None, as_json: bool) -> None:
    """Tell which transitions are possible, and why others are not.

    With TRANSITION it tells of that one, and exits with 1 where it is not
    possible. Guards are asked with the data as it is; nothing is changed.
    """
    lifecycle = current_runtime.lifecycle
    if transition is None:
        found = lifecycle.explain_transitions(state_id)
        say(
            document({"items": [asdict(each) for each in found]})
            if as_json
            else table(_COLUMNS, list(map(_row, found)))
        )
        return
    one = lifecycle.explain(state_id, transition)
    if as_json:
        say(document(asdict(one)))
    else:
        answer = painted("possible", "green") if one.possible else painted("not possible", "red")
        why = "" if one.possible else f" {printable(one.reason)}"
        say(f"{printable(state_id)}: {printable(transition)} is {answer}.{why}")
    if not one.possible:
        ctx.exit(REFUSED)


def _row(found: Explanation) -> tuple[object, ...]:
    return found.transition, "yes" if found.possible else "no", "" if found.possible else found.reason

"""``flask state count``: how many states there are, without reading them."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import with_appcontext

from ..globals import current_runtime
from .arguments import conditions
from .completing import STATUS, TYPE
from .options import tabular
from .tables import Column, document, say, table

_COLUMNS = (Column("TYPE"), Column("STATUS"), Column("STATES", right=True, firm=True))


@click.command()
@click.argument("state_type", metavar="[TYPE]", required=False, type=TYPE)
@click.option(
    "--where",
    "filters",
    multiple=True,
    callback=conditions,
    metavar="PATH=VALUE",
    help="A condition, as in 'search'; may be given more than once.",
)
@click.option("--status", multiple=True, type=STATUS, metavar="STATUS", help="Only states in this status.")
@click.option("--owner", help="Only states of this owner.")
@click.option("--by-status", is_flag=True, help="Count each status of each type apart.")
@tabular
@with_appcontext
def count(
    *,
    state_type: str | None,
    filters: dict[str, Any],
    status: tuple[str, ...],
    owner: str | None,
    by_status: bool,
    as_json: bool,
) -> None:
    """Count states.

    The storage counts; nothing is read.
    """
    search = current_runtime.lifecycle.search_states
    if not by_status:
        number = search(state_type, filters, status=status or None, owner=owner).count()
        say(document({"count": number}) if as_json else f"{number:,}")
        return
    found = [
        {"type": name, "status": each, "count": search(name, filters, status=each, owner=owner).count()}
        for name, each in _statuses(state_type)
        if not status or each in status
    ]
    if as_json:
        say(document({"items": found}))
    else:
        say(table(_COLUMNS, [(each["type"], each["status"], f"{each['count']:,}") for each in found if each["count"]]))


def _statuses(state_type: str | None) -> list[tuple[str, str]]:
    declared = current_runtime.declarations.definitions
    wanted = sorted(declared.types) if state_type is None else [declared.get(state_type).name]
    return [(name, status) for name in wanted for status in declared.get(name).machine.statuses]

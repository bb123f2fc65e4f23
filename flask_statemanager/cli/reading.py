"""The commands that read."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import click
from flask.cli import with_appcontext

from ..core.clock import iso
from ..core.query import ORDERS
from ..errors import StateNotFound
from ..globals import current_runtime
from ..lifecycle.definitions import TypeDefinition
from ..lifecycle.diagram import dot, mermaid
from ..lifecycle.query import MAX_PAGE, StateQuery
from ..lifecycle.state import State
from .arguments import conditions, position
from .completing import STATE_ID, STATUS, TYPE
from .options import as_json, tabular
from .options import limit as limited
from .tables import Column, document, moment, printable, say, table

Command = Callable[..., Any]

_STATES = (
    Column("ID", firm=True),
    Column("TYPE"),
    Column("STATUS"),
    Column("VERSION", right=True, firm=True),
    Column("UPDATED (UTC)", firm=True),
    Column("OWNER"),
)


def _narrowed(command: Command) -> Command:
    """Add the options that ``list`` and ``search`` share."""
    for option in (
        tabular,
        click.option("--after", metavar="CURSOR", help="Go on behind this cursor, which the page before printed."),
        limited(MAX_PAGE, what="The most states to print."),
        click.option("--owner", help="Only states of this owner."),
        click.option(
            "--status",
            multiple=True,
            type=STATUS,
            metavar="STATUS",
            help="Only states in this status; may be given more than once.",
        ),
        click.argument("state_type", metavar="[TYPE]", required=False, type=TYPE),
    ):
        command = option(command)
    return command


@click.command()
@tabular
@with_appcontext
def types(as_json: bool) -> None:
    """List the declared types."""
    declared = current_runtime.declarations.definitions.types
    found = [declared[name] for name in sorted(declared)]
    if as_json:
        say(document([_type_document(definition) for definition in found]))
        return
    columns = (Column("TYPE", firm=True), Column("STATUSES"), Column("RULES"))
    say(table(columns, [(each.name, ", ".join(each.machine.statuses), _rules(each)) for each in found]))


@click.command("list")
@_narrowed
@with_appcontext
def list_states(
    *, state_type: str | None, status: tuple[str, ...], owner: str | None, limit: int, after: str | None, as_json: bool
) -> None:
    """List states, oldest first."""
    found = current_runtime.lifecycle.search_states(state_type, status=status or None, owner=owner)
    _print_page(found, limit, after, as_json)


@click.command()
@click.option(
    "--where",
    "filters",
    multiple=True,
    callback=conditions,
    metavar="PATH=VALUE",
    help="A condition such as data.plan=pro or 'data.amount__gte=10'; all that are given must hold. The value is read "
    "as JSON, else as text. Operators: __ne __gt __gte __lt __lte __in __contains __startswith __exists.",
)
@click.option("--order", metavar="ORDER", help=f"{', '.join(ORDERS)}; with a leading '-' the other way round.")
@_narrowed
@with_appcontext
def search(
    *,
    state_type: str | None,
    filters: dict[str, Any],
    status: tuple[str, ...],
    owner: str | None,
    order: str | None,
    limit: int,
    after: str | None,
    as_json: bool,
) -> None:
    """Search states by what is in their data and metadata."""
    found = current_runtime.lifecycle.search_states(
        state_type, filters, status=status or None, owner=owner, order_by=order
    )
    _print_page(found, limit, after, as_json)


@click.command()
@click.argument("state_id", metavar="ID", type=STATE_ID)
@click.option("--at", callback=position, metavar="VERSION|TIME", help="As it was then.")
@as_json
@with_appcontext
def show(state_id: str, at: int | datetime | None, as_json: bool) -> None:
    """Show one state.

    \f

    :raises StateNotFound: when there is none.
    :raises click.ClickException: when there was none then.
    """  # noqa: D301 - click ends the help at \f
    found = current_runtime.lifecycle.get_state(state_id, at=at)
    if found is None and at is not None:
        when = f"at version {at}" if isinstance(at, int) else f"at {iso(at)}"
        raise click.ClickException(f"There was no state {state_id!r} {when}: 'flask state history' lists its versions.")
    if found is None:
        raise StateNotFound(state_id)
    say(document(found) if as_json else _sheet(found, present=at is None))


@click.command()
@click.argument("state_type", metavar="TYPE", type=TYPE)
@click.option(
    "--format",
    "drawn_as",
    type=click.Choice(["mermaid", "dot"]),
    default="mermaid",
    show_default=True,
    help="Language.",
)
@click.option("--deletion", is_flag=True, help="Draw the transition 'delete' too.")
@as_json
@with_appcontext
def diagram(state_type: str, drawn_as: str, deletion: bool, as_json: bool) -> None:
    """Draw the machine of a type as text."""
    definition = current_runtime.declarations.definitions.get(state_type)
    machine = definition.machine
    text = (
        mermaid(machine, deletion=deletion)
        if drawn_as == "mermaid"
        else dot(machine, definition.name, deletion=deletion)
    )
    if as_json:
        say(document({"type": definition.name, "format": drawn_as, "text": text}))
    else:
        say(text.rstrip("\n"))


def _type_document(definition: TypeDefinition) -> dict[str, Any]:
    machine = definition.machine
    return {
        "type": definition.name,
        "statuses": list(machine.statuses),
        "initial": list(machine.initial),
        "final": sorted(machine.final),
        "transitions": [
            {"transition": name, "source": source, "target": target} for source, name, target in machine.edges()
        ],
        "schema": None if definition.schema is None else type(definition.schema).__name__,
        "validators": len(definition.validators),
    }


def _rules(definition: TypeDefinition) -> str:
    schema = [] if definition.schema is None else ["schema"]
    number = len(definition.validators)
    return ", ".join([*schema, *([f"{number} validator{'s' * (number > 1)}"] if number else [])])


def _print_page(query: StateQuery, limit: int, after: str | None, as_json: bool) -> None:
    page = query.page(limit, after)
    if as_json:
        say(document({"items": page.items, "next": page.next}))
        return
    if not page.items:
        say("No states found.")
        return
    say(table(_STATES, [_state_row(found) for found in page]))
    if page.next is not None:
        say(f"\nThere are more; go on with --after {page.next}")


def _state_row(found: State) -> tuple[object, ...]:
    return found.state_id, found.type, found.status, found.version, moment(found.updated_at), found.owner


def _sheet(found: State, *, present: bool) -> str:
    """Write a state in full, a line for each key; nothing is cut."""
    shown = [(key, printable(value)) for key, value in found.items() if key not in ("data", "metadata")]
    definition = current_runtime.declarations.definitions.find(found.type)
    if present and definition is not None:
        shown.append(("transitions", ", ".join(definition.machine.allowed(found.status))))
    width = max(len(key) for key, _ in shown)
    lines = [f"{key.ljust(width)}  {value}" for key, value in shown]
    return "\n".join([*lines, *(_block(key, found[key]) for key in ("data", "metadata") if found[key])])


def _block(key: str, value: Any) -> str:
    written = json.dumps(value, indent=2, ensure_ascii=False).split("\n")
    return "\n".join([f"\n{key}", *(printable(line) for line in written)])

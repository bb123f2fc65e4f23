"""``flask state flows``: the flows of conversations, and what has happened in them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click
from flask.cli import with_appcontext

from ..flows.audit import Audit, AuditEvent
from ..flows.diagram import mermaid
from ..flows.flow import Flow
from ..globals import current_runtime
from .completing import FLOW
from .conversations import clear, conversations, show
from .flow_sessions import back, logout, receive, recover, update
from .legacy import migrate_legacy
from .options import tabular
from .tables import Column, document, moment, say, table

_FLOWS = (Column("FLOW", firm=True), Column("TITLE"), Column("STEPS", right=True, firm=True), Column("BEGUN BY"))
_EVENTS = (Column("WHEN (UTC)", firm=True), Column("EVENT", firm=True), Column("CHANNEL"), Column("DETAILS"))


@click.group()
def flows() -> None:
    """Look at flows and conversations, and mend them."""


@flows.command("list")
@tabular
@with_appcontext
def list_flows(as_json: bool) -> None:
    """List the flows that are defined, and check them.

    What leads from one into another has to be there.
    """
    registry = current_runtime.declarations.flows.registry
    registry.check()
    found = list(registry.flows.values())
    if as_json:
        say(document({"flows": [_described(flow) for flow in found]}))
    elif found:
        say(table(_FLOWS, [_row(flow) for flow in found]))
    else:
        say("No flows are defined.")


@flows.command()
@click.argument("name", metavar="[FLOW]", required=False, type=FLOW)
@with_appcontext
def diagram(name: str | None) -> None:
    """Draw a flow, or all of them, as Mermaid text."""
    registry = current_runtime.declarations.flows.registry
    chosen = list(registry.flows.values()) if name is None else [registry.get(name)]
    say("\n".join(mermaid(flow).rstrip("\n") for flow in chosen))


@flows.command()
@click.option("--member", metavar="ID", help="The trail of a member, on all channels.")
@click.option("--channel", nargs=2, metavar="TYPE ID", help="The trail of a channel, while it belonged to no member.")
@click.option("--event", help="Only these events, for example validation.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Of how many turns.")
@click.option("--export", is_flag=True, help="Print lines of JSON, the oldest entry first.")
@with_appcontext
def audit(member: str | None, channel: tuple[str, str] | None, event: str | None, limit: int, export: bool) -> None:
    """Print the trail of a member or a channel, newest first.

    Secrets and what was said are not in it.

    \f

    :raises click.UsageError: unless it is either of them.
    """  # noqa: D301 - click ends the help at \f
    if (member is None) == (channel is None):
        raise click.UsageError("Give either --member or --channel.")
    trail = Audit(current_runtime.reception.parts())
    if member is not None:
        found = trail.of_member(member, limit=limit, event=event)
    else:
        kind, who = channel or ("", "")
        found = trail.of_channel(kind, who, limit=limit, event=event)
    if export:
        trail.export(sys.stdout, found)
    else:
        say(_listed(found) if found else "Nothing has happened there, or it is not known any more.")


def _described(flow: Flow) -> dict[str, object]:
    steps = [{"name": each.step.name, "kind": each.kind, "results": list(each.results)} for each in flow.steps]
    return {"name": flow.name, "title": flow.title, "triggers": sorted(flow.triggers), "steps": steps}


def _row(flow: Flow) -> tuple[object, ...]:
    return flow.name, flow.title, len(flow.steps), ", ".join(sorted(flow.triggers))


def _listed(found: Sequence[AuditEvent]) -> str:
    rows = [
        (
            moment(event.at),
            event.event,
            f"{event.channel['type']}:{event.channel['identifier']}",
            json.dumps(event.details),
        )
        for event in found
    ]
    return table(_EVENTS, rows)


for _command in (conversations, show, receive, update, back, recover, logout, clear, migrate_legacy):
    flows.add_command(_command)

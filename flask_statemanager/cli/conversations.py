"""``flask state flows``: the conversations that are going on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import chain, islice
from typing import Any

import click
from flask.cli import with_appcontext

from ..core.buckets import FLOW_SECRETS
from ..core.lists import Span
from ..core.secrets import redacted
from ..flows.channel import CHANNEL, MEMBER, Channel, decoded
from ..flows.damage import sound
from ..flows.document import linked_to
from ..flows.session import FlowSession
from ..globals import current_runtime
from .options import tabular, yes
from .tables import Column, document, moment, printable, say, table

PAGE = 500
"""How many conversations are read at once."""

_COLUMNS = (
    Column("CONVERSATION", firm=True),
    Column("FLOW"),
    Column("COMPONENT"),
    Column("VERSION", right=True, firm=True),
    Column("EXPIRES (UTC)", firm=True),
)


@click.command("conversations")
@click.option("--members", "prefix", flag_value=MEMBER, help="Only those of members.")
@click.option("--channels", "prefix", flag_value=CHANNEL, help="Only those of channels without a member.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="At most this many.")
@tabular
@with_appcontext
def conversations(prefix: str | None, limit: int, as_json: bool) -> None:
    """List the conversations that are going on."""
    beginnings = (CHANNEL, MEMBER) if prefix is None else (prefix,)
    found = list(islice(chain.from_iterable(map(_going_on, beginnings)), limit))
    if as_json:
        say(document({"conversations": [_described(*each) for each in found]}))
    elif found:
        say(table(_COLUMNS, [_row(*each) for each in found]))
    else:
        say("No conversation is going on.")


@click.command("show")
@click.argument("channel_type", metavar="TYPE")
@click.argument("channel_id", metavar="ID")
@with_appcontext
def show(channel_type: str, channel_id: str) -> None:
    """Show the state of a channel's conversation as JSON.

    Secrets are covered.

    \f

    :raises click.ClickException: when there is none.
    """  # noqa: D301 - click ends the help at \f
    session = _open(channel_type, channel_id)
    if not session.version:
        raise click.ClickException(
            f"No conversation is going on with {printable(channel_type)} {printable(channel_id)}."
        )
    say(document(redacted(session.get_state(), (*FLOW_SECRETS, "jwt_token"))))


@click.command("clear")
@click.argument("channel_type", metavar="TYPE")
@click.argument("channel_id", metavar="ID")
@click.option("--flow", "flow_only", is_flag=True, help="End the flow alone; login and profile stay.")
@yes
@with_appcontext
def clear(channel_type: str, channel_id: str, flow_only: bool, yes: bool) -> None:
    """Begin a channel's conversation anew.

    A member's other channels go on.
    """
    session = _open(channel_type, channel_id)
    what = "the flow" if flow_only else "the whole state"
    where = f"{printable(channel_type)} {printable(channel_id)}"
    if not yes:
        click.confirm(f"Clear {what} of {where}?", abort=True)
    if flow_only:
        session.clear_flow_data()
    else:
        session.clear_all_state()
    say(f"{where}: cleared, version {session.version}")


def _open(channel_type: str, channel_id: str) -> FlowSession:
    channel = Channel.of(channel_type, channel_id)
    return FlowSession(current_runtime.reception.parts(), channel)


def _going_on(beginning: str) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Yield the conversations whose keys begin so: the name, its flow, the record; a link is none."""
    for name, record in _records(beginning):
        value = sound(record.data.get("value")) or {}
        if linked_to(value) is None:
            yield name, value.get("flow_data", {}), record


def _records(beginning: str) -> Iterator[tuple[str, Any]]:
    parts, last = current_runtime.reception.parts(), None
    bucket = parts.bucket
    while True:
        with bucket.reading() as unit:
            names = parts.lists.listed(unit, Span(bucket.name, bucket.clock.now(), beginning, last, PAGE))
        if not names:
            return
        last = names[-1]
        found = bucket.find_many(names, strong=True)
        yield from ((name, found[name]) for name in names if name in found)


def _row(name: str, flow: dict[str, Any], record: Any) -> tuple[object, ...]:
    expires: datetime = record.expires_at
    return decoded(name), flow.get("path"), flow.get("component"), record.version, moment(expires.isoformat())


def _described(name: str, flow: dict[str, Any], record: Any) -> dict[str, Any]:
    return {
        "key": decoded(name),
        "path": flow.get("path"),
        "component": flow.get("component"),
        "version": record.version,
        "updated_at": record.updated_at.isoformat(),
        "expires_at": record.expires_at.isoformat(),
    }

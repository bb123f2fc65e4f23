"""``flask state bulk``: many states at once, from a file or a list of ids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

import click
from flask.cli import with_appcontext

from ..core.written import moment_of
from ..globals import current_runtime
from .arguments import json_object
from .bulk import progress_of, tell_refused
from .completing import TRANSITION, TYPE
from .effects import counted
from .options import SHAPE, reason, yes
from .tables import printable

_file = click.argument("source", type=click.File("r", encoding="utf-8"), default="-", metavar="[FILE]")


@click.group()
def bulk() -> None:
    """Create or move many states at once, from a file."""


@bulk.command()
@click.argument("state_type", metavar="TYPE", type=TYPE)
@_file
@reason
@click.option("--idempotency-key", metavar="KEY", help="Create nothing twice when this is repeated with the same key.")
@with_appcontext
def register(*, state_type: str, source: IO[str], reason: str | None, idempotency_key: str | None) -> None:
    """Create states of a TYPE, one for each line of JSON.

    A line is an object with any of state_id, data, initial_status, ttl,
    expires_at and owner. What is refused is told, the others are created.

    \b
      {"state_id": "user_1", "data": {"plan": "pro"}, "owner": "tenant_9"}
    """  # noqa: D301 - click keeps the lines behind a \b
    with progress_of("Creating") as progress:
        result = current_runtime.lifecycle.register_many(
            state_type, _items(source), reason=reason, progress=progress, idempotency_key=idempotency_key
        )
    tell_refused("Created", result)


@bulk.command()
@click.argument("transition", metavar="TRANSITION", type=TRANSITION)
@_file
@click.option("--data", callback=json_object, metavar=SHAPE, help="New data for each, merged into the old.")
@reason
@yes
@with_appcontext
def transition(*, transition: str, source: IO[str], data: dict[str, Any] | None, reason: str | None, yes: bool) -> None:
    """Move the states whose ids stand in FILE, one on each line.

    'flask state transition' without an id moves what a search finds.
    """
    ids = [line.strip() for line in source if line.strip()]
    if not yes:
        click.confirm(f"Move {counted(len(ids), 'state')} along '{printable(transition)}'?", abort=True)
    envelope = None if data is None else {"data": data}
    with progress_of("Moving") as progress:
        result = current_runtime.lifecycle.transition_many(ids, transition, envelope, reason=reason, progress=progress)
    tell_refused("Moved", result)


def _items(source: IO[str]) -> Iterator[Any]:
    """Yield what the lines say; what is no JSON comes as the text that it is, and is refused with its place."""
    for line in source:
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            yield line.strip()
            continue
        if isinstance(item, dict) and isinstance(item.get("expires_at"), str):
            item["expires_at"] = moment_of(item["expires_at"]) or item["expires_at"]
        yield item

"""The commands that write. The history names the user of the machine as actor and the command as source."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import with_appcontext

from ..errors import StateNotFound
from ..globals import current_runtime
from .arguments import conditions, json_object
from .bulk import Found, move_found
from .completing import STATE_ID, STATUS, TYPE, WORDS
from .options import SHAPE, expect, reason, yes
from .outcome import tell, vetoable


@click.command()
@click.argument("state_id", metavar="ID")
@click.argument("state_type", metavar="TYPE", type=TYPE)
@click.option(
    "--data", callback=json_object, metavar=SHAPE, help="Its data, a JSON object: written out, a file, or from stdin."
)
@click.option("--metadata", callback=json_object, metavar=SHAPE, help="Its metadata, likewise.")
@click.option("--name", help="A descriptive name; the id by default.")
@click.option(
    "--status", type=STATUS, metavar="STATUS", help="One of the initial statuses of its type; the first by default."
)
@click.option("--ttl", type=float, metavar="SECONDS", help="Seconds until it expires.")
@click.option("--owner", help="Whose it is.")
@reason
@with_appcontext
def register(
    *,
    state_id: str,
    state_type: str,
    data: dict[str, Any] | None,
    metadata: dict[str, Any] | None,
    name: str | None,
    status: str | None,
    ttl: float | None,
    owner: str | None,
    reason: str | None,
) -> None:
    """Create a state."""
    envelope: dict[str, Any] = {"data": data or {}}
    envelope |= {} if metadata is None else {"metadata": metadata}
    envelope |= {} if name is None else {"name": name}
    with vetoable():
        written = current_runtime.lifecycle.register_state(
            state_id, state_type, envelope, initial_status=status, ttl=ttl, owner=owner, reason=reason
        )
    tell(written)


@click.command()
@click.argument("words", metavar="[ID] TRANSITION", nargs=-1, required=True, type=WORDS)
@click.option(
    "--where",
    "filters",
    multiple=True,
    callback=conditions,
    metavar="PATH=VALUE",
    help="Without an ID: move all states that fulfil this condition, as in 'search'; may be given more than once.",
)
@click.option("--type", "state_type", metavar="TYPE", type=TYPE, help="Without an ID: move the states of this type.")
@click.option(
    "--status", multiple=True, type=STATUS, metavar="STATUS", help="Without an ID: move the states in this status."
)
@click.option(
    "--data", callback=json_object, metavar=SHAPE, help="New data, merged into the old (RFC 7396: null removes)."
)
@click.option("--replace", is_flag=True, help="Put the new data in place of the old.")
@expect
@reason
@yes
@with_appcontext
def transition(
    *,
    words: tuple[str, ...],
    filters: dict[str, Any],
    state_type: str | None,
    status: tuple[str, ...],
    data: dict[str, Any] | None,
    replace: bool,
    expect: int | None,
    reason: str | None,
    yes: bool,
) -> None:
    """Move a state along a transition, or all that are found.

    The transition 'update' changes its data and leaves its status.

    With --where, --type or --status and no ID it counts the states and asks
    first, draws a bar, and lists the states that were refused.

    \f

    :raises click.UsageError: when there is nothing to put in place, or the words do not fit the options.
    """  # noqa: D301 - click ends the help at \f
    found = Found(filters, state_type, status)
    _check_words(words, found)
    if replace and (data is None or found):
        raise click.UsageError("--replace needs an ID." if found else "--replace needs --data.")
    envelope = None if data is None else {"data": data}
    if found:
        if expect is not None:
            raise click.UsageError("--expect needs an ID.")
        move_found(found, words[0], envelope, reason=reason, yes=yes)
        return
    state_id, name = words
    with vetoable():
        written = current_runtime.lifecycle.update_state(
            state_id, envelope, name, mode="replace" if replace else "merge", expect=expect, reason=reason
        )
    tell(written)


def _check_words(words: tuple[str, ...], found: Found) -> None:
    """Refuse what is neither an ID and a transition, nor a transition and a search."""
    if len(words) == (1 if found else 2):
        return
    if len(words) == 2:
        raise click.UsageError("Give either an ID, or --where, --type and --status.")
    if len(words) == 1:
        raise click.UsageError("Which states? Put an ID before the transition, or give --where, --type or --status.")
    raise click.UsageError(f"Got unexpected extra argument ({' '.join(words[2:])}).")


@click.command()
@click.argument("state_id", metavar="ID", type=STATE_ID)
@expect
@reason
@yes
@with_appcontext
def delete(state_id: str, expect: int | None, reason: str | None, yes: bool) -> None:
    """Delete a state; its history stays.

    'flask state rollback --undelete' can bring it back.

    \f

    :raises StateNotFound: when there is none.
    """  # noqa: D301 - click ends the help at \f
    lifecycle = current_runtime.lifecycle
    if not yes:
        seen = lifecycle.get_state(state_id)
        if seen is None:
            raise StateNotFound(state_id)
        click.confirm(f"Delete {seen.state_id} ({seen.type}, {seen.status}, version {seen.version})?", abort=True)
        # What is deleted is what was asked about, even when somebody wrote meanwhile.
        expect = seen.version if expect is None else expect
    with vetoable():
        written = lifecycle.delete_state(state_id, expect=expect, reason=reason)
    tell(written)

"""The commands that write. The history names the user of the machine as actor and the command as source."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click
from flask.cli import with_appcontext

from ..errors import StateManagerError, StateNotFound
from ..globals import current_runtime
from ..lifecycle.state import State
from .arguments import conditions, json_object, moment
from .bulk import Found, move_found
from .tables import printable, say

logger = logging.getLogger("flask_statemanager.cli")

_SHAPE = "JSON|@FILE|-"
_version = click.IntRange(1)
_reason = click.option("--reason", help="Why; kept in the history.")
_expect = click.option("--expect", type=_version, metavar="VERSION", help="Refuse when another version is stored.")


@click.command()
@click.argument("state_id", metavar="ID")
@click.argument("state_type", metavar="TYPE")
@click.option(
    "--data", callback=json_object, metavar=_SHAPE, help="Its data, a JSON object: written out, a file, or from stdin."
)
@click.option("--metadata", callback=json_object, metavar=_SHAPE, help="Its metadata, likewise.")
@click.option("--name", help="A descriptive name; the id by default.")
@click.option("--status", help="One of the initial statuses of its type; the first by default.")
@click.option("--ttl", type=float, metavar="SECONDS", help="Seconds until it expires.")
@click.option("--owner", help="Whose it is.")
@_reason
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
    with _vetoable():
        written = current_runtime.lifecycle.register_state(
            state_id, state_type, envelope, initial_status=status, ttl=ttl, owner=owner, reason=reason
        )
    _tell(written)


@click.command()
@click.argument("words", metavar="[ID] TRANSITION", nargs=-1, required=True)
@click.option(
    "--where",
    "filters",
    multiple=True,
    callback=conditions,
    metavar="PATH=VALUE",
    help="Without an ID: move all states that fulfil this condition, as in 'search'; may be given more than once.",
)
@click.option("--type", "state_type", metavar="TYPE", help="Without an ID: move the states of this type.")
@click.option("--status", multiple=True, help="Without an ID: move the states in this status.")
@click.option(
    "--data", callback=json_object, metavar=_SHAPE, help="New data, merged into the old (RFC 7396: null removes)."
)
@click.option("--replace", is_flag=True, help="Put the new data in place of the old.")
@_expect
@_reason
@click.option("--yes", is_flag=True, help="Do not ask before moving many states.")
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
    """Move a state along a transition, or all states that are found.

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
    with _vetoable():
        written = current_runtime.lifecycle.update_state(
            state_id, envelope, name, mode="replace" if replace else "merge", expect=expect, reason=reason
        )
    _tell(written)


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
@click.argument("state_id", metavar="ID")
@click.option("--to-version", type=_version, metavar="VERSION", help="The version to restore.")
@click.option("--at", callback=moment, metavar="TIME", help="Or the moment, such as 2026-01-31T12:00:00Z.")
@click.option("--undelete", is_flag=True, help="Let a deleted state come back.")
@_expect
@_reason
@with_appcontext
def rollback(
    *,
    state_id: str,
    to_version: int | None,
    at: datetime | None,
    undelete: bool,
    expect: int | None,
    reason: str | None,
) -> None:
    """Restore an earlier version as a new one.

    \f

    :raises click.UsageError: when both or neither of version and moment are given.
    """  # noqa: D301 - click ends the help at \f
    if (to_version is None) == (at is None):
        raise click.UsageError("Give either --to-version or --at.")
    with _vetoable():
        written = current_runtime.lifecycle.rollback_state(
            state_id, to_version, at=at, undelete=undelete, expect=expect, reason=reason
        )
    _tell(written)


@click.command()
@click.argument("state_id", metavar="ID")
@_expect
@_reason
@click.option("--yes", is_flag=True, help="Do not ask.")
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
    with _vetoable():
        written = lifecycle.delete_state(state_id, expect=expect, reason=reason)
    _tell(written)


@contextmanager
def _vetoable() -> Iterator[None]:
    """Show what a guard or callback of the application raised to refuse a write, which can be any exception."""
    try:
        yield
    except (StateManagerError, click.ClickException):
        raise
    except Exception as error:
        logger.debug("The write was refused.", exc_info=True)
        said = printable(f"{type(error).__name__}: {error}".rstrip(": "))
        raise click.ClickException(f"The application refused the write ({said}); nothing was written.") from error


def _tell(written: State) -> None:
    say(printable(f"{written.state_id}: {written.status}, version {written.version}"))

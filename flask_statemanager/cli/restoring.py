"""``flask state rollback``, ``restore`` and ``undelete``: back to what was."""

from __future__ import annotations

from datetime import datetime

import click
from flask.cli import with_appcontext

from ..errors import StateNotFound
from ..globals import current_runtime
from .arguments import moment, position
from .completing import STATE_ID
from .options import expect, reason
from .outcome import tell, vetoable


@click.command()
@click.argument("state_id", metavar="ID", type=STATE_ID)
@click.option("--to-version", type=click.IntRange(1), metavar="VERSION", help="The version to restore.")
@click.option("--at", callback=moment, metavar="TIME", help="Or the moment, such as 2026-01-31T12:00:00Z.")
@click.option("--undelete", is_flag=True, help="Let a deleted state come back.")
@expect
@reason
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
    with vetoable():
        written = current_runtime.lifecycle.rollback_state(
            state_id, to_version, at=at, undelete=undelete, expect=expect, reason=reason
        )
    tell(written)


@click.command()
@click.argument("state_id", metavar="ID", type=STATE_ID)
@click.argument("at", metavar="VERSION|TIME", callback=position)
@expect
@reason
@with_appcontext
def restore(*, state_id: str, at: int | datetime, expect: int | None, reason: str | None) -> None:
    """Make a state what it was at a version or a moment.

    It does what 'rollback' does, and a state that is deleted comes back.
    """
    version, when = (at, None) if isinstance(at, int) else (None, at)
    with vetoable():
        written = current_runtime.lifecycle.rollback_state(
            state_id, version, at=when, undelete=True, expect=expect, reason=reason
        )
    tell(written)


@click.command()
@click.argument("state_id", metavar="ID")
@reason
@with_appcontext
def undelete(state_id: str, reason: str | None) -> None:
    """Let a deleted state come back as it was before its deletion.

    \f

    :raises StateNotFound: when there never was such a state.
    :raises click.ClickException: when it is not deleted.
    """  # noqa: D301 - click ends the help at \f
    lifecycle = current_runtime.lifecycle
    if lifecycle.get_state(state_id) is not None:
        raise click.ClickException(f"The state {state_id!r} is not deleted.")
    last = next(iter(lifecycle.get_recent_changes(state_id, 1)), None)
    if last is None:
        raise StateNotFound(state_id)
    with vetoable():
        written = lifecycle.rollback_state(
            state_id, last.version - 1, undelete=True, expect=last.version, reason=reason
        )
    tell(written)

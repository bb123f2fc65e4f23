"""``flask state db``: the tables and their migrations. Imported when it is asked for, because it imports alembic."""

from __future__ import annotations

import click
from flask.cli import AppGroup, with_appcontext

from ..backends.sql import migration
from .index import sql_backend
from .options import yes
from .tables import printable, say

db = AppGroup("db", help="Migrate the tables that keep the states.")
"""The group of commands."""


@db.command()
@click.argument("revision", default="head")
@with_appcontext
def upgrade(revision: str) -> None:
    """Make the tables, or bring them up to date.

    To REVISION, or to the newest one. Tables that exist already are adopted when they are what they must be.
    """
    moved = migration.upgrade(sql_backend(), revision)
    if moved.adopted:
        say(f"The tables existed and are what they must be: noted as revision {moved.after}.")
    elif moved.before == moved.after:
        say(f"Nothing to do: the tables are at revision {moved.after}.")
    else:
        say(f"Upgraded from {_named(moved.before)} to {_named(moved.after)}.")


@db.command()
@click.argument("revision")
@yes
@with_appcontext
def downgrade(revision: str, yes: bool) -> None:
    """Take the tables back to REVISION.

    'base' removes them, with every state and its history.
    """
    backend = sql_backend()
    if not yes:
        lost = "every state and its history" if revision == "base" else "what later revisions added"
        click.confirm(f"Take the tables back to {printable(revision)}, and lose {lost}?", abort=True)
    moved = migration.downgrade(backend, revision)
    say(f"Downgraded from {_named(moved.before)} to {_named(moved.after)}.")


@db.command()
@with_appcontext
def current() -> None:
    """Show the revision of the tables."""
    say(_named(migration.current(sql_backend())))


@db.command()
@click.pass_context
@with_appcontext
def check(ctx: click.Context) -> None:
    """Check that the tables are what they must be.

    Says what is pending or different, and exits with 1 then.
    """
    found = migration.check(sql_backend())
    for sentence in found:
        say(printable(sentence))
    if found:
        ctx.exit(1)
    say("The tables are what they must be.")


def _named(revision: str | None) -> str:
    return "base (no revision noted)" if revision is None else printable(revision)

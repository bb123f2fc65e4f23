"""``flask credit``: the commands of this application."""

from __future__ import annotations

import time

import click
from flask.cli import AppGroup

from .sample import NotEmptyError, fill
from .sample import reset as reset_tables

credit = AppGroup("credit", help="Work with the Credit System.")


@credit.command()
@click.option("--users", default=300, show_default=True, type=click.IntRange(0, 20_000), help="How many users.")
@click.option("--seed", default=7, show_default=True, help="The same seed makes the same sample.")
@click.option("--reset", is_flag=True, help="Drop what is there first: rows, states and history.")
def load(users: int, seed: int, *, reset: bool) -> None:
    """Load a sample: months of users, purchases, subscriptions and sessions.

    \f
    :raises click.ClickException: when there is data already.
    """  # noqa: D301 - click ends its help text at the form feed
    started = time.monotonic()
    if reset:
        reset_tables()
    try:
        loaded = fill(users, seed)
    except NotEmptyError as error:
        raise click.ClickException(str(error)) from error
    took = time.monotonic() - started
    click.echo(f"Loaded {loaded.users} users with {loaded.states} states in {loaded.acts} acts ({took:.1f} s).")

"""Options that many commands share, so that they mean the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from .tables import widen

Command = Callable[..., Any]

SHAPE = "JSON|@FILE|-"
"""How a JSON argument is given."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")

wide = click.option(
    "--wide",
    is_flag=True,
    expose_value=False,
    callback=lambda ctx, _param, value: widen(ctx) if value else None,
    help="Cut nothing, however wide the table gets.",
)


def tabular(command: Command) -> Command:
    """Add the options of commands that print a table: ``--json`` and ``--wide``.

    :param command: the function of the command.
    """
    return as_json(wide(command))


def limit(most: int, default: int = 50, *, what: str = "The most entries to print.") -> Callable[[Command], Command]:
    """Return the option ``--limit``.

    :param most: the highest number.
    :param default: the number without the option.
    :param what: its help.
    """
    return click.option("--limit", type=click.IntRange(1, most), default=default, show_default=True, help=what)


yes = click.option("--yes", is_flag=True, help="Do not ask.")
reason = click.option("--reason", metavar="TEXT", help="Why; kept in the history.")
expect = click.option(
    "--expect", type=click.IntRange(1), metavar="VERSION", help="Refuse when another version is stored."
)
ttl = click.option("--ttl", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Seconds until it ends.")
"""Positive, as no verb takes less."""

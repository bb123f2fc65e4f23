"""``flask state config``: the settings of the app, and where each comes from."""

from __future__ import annotations

import difflib
import os
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext
from msgspec import to_builtins

from ..config import PREFIX
from ..config.told import Told, told_settings
from ..globals import current_runtime
from .options import tabular
from .tables import Column, document, printable, say, table

_COLUMNS = (Column("KEY", firm=True), Column("VALUE"), Column("FROM"))


@click.command()
@click.argument("key", metavar="[KEY]", required=False)
@click.option("--all", "everything", is_flag=True, help="Also what is as by default.")
@tabular
@with_appcontext
def config(key: str | None, everything: bool, as_json: bool) -> None:
    """Show the settings that are configured, or that of a KEY.

    Secrets are hidden, also those in URLs.

    \f

    :raises click.ClickException: when there is no such key.
    """  # noqa: D301 - click ends the help at \f
    found = told_settings(current_runtime.settings, current_app.config, os.environ)
    if key is not None:
        say(document(_plain(_one(found, key).value)))
        return
    shown = [each for each in found if everything or each.origin != "default"]
    if as_json:
        say(document({each.key: {"value": _plain(each.value), "from": each.origin} for each in shown}))
    elif shown:
        say(table(_COLUMNS, [(each.key, _written(each.value), each.origin) for each in shown]))
    else:
        say("Everything is as by default; --all shows it.")


def _one(found: list[Told], key: str) -> Told:
    wanted = key.upper() if key.upper().startswith(PREFIX) else f"{PREFIX}{key.upper()}"
    by_key = {each.key: each for each in found}
    if wanted not in by_key:
        near = difflib.get_close_matches(wanted, by_key, n=1, cutoff=0.85)
        hint = f"was {near[0]} meant?" if near else "'flask state config --all' lists them."
        raise click.ClickException(f"There is no setting {printable(wanted)}: {hint}")
    return by_key[wanted]


def _written(value: Any) -> str:
    plain = _plain(value)
    return plain if isinstance(plain, str) else str(plain)


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    return to_builtins(value, enc_hook=str)

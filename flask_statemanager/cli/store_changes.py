"""``flask state stores changes``: who changed a store, how and when."""

from __future__ import annotations

import json
from typing import Any

import click
from flask.cli import with_appcontext

from ..core.clock import iso
from ..stores.entry import StoreChange
from ..stores.manager import StateManager
from .options import limit as limited
from .options import tabular
from .tables import Column, document, moment, say, table

_COLUMNS = (
    Column("VERSION", right=True, firm=True),
    Column("WHEN (UTC)", firm=True),
    Column("EVENT", firm=True),
    Column("ACTOR"),
    Column("SOURCE"),
    Column("REASON"),
)


@click.command()
@click.argument("store_id", metavar="STORE")
@click.option("--user", metavar="ID", help="Whose; without it those of everybody, where users have none.")
@limited(1000, 20, what="The most changes to print.")
@tabular
@with_appcontext
def changes(store_id: str, user: str | None, limit: int, as_json: bool) -> None:
    """Tell who changed a STORE, how and when, newest first.

    Those of STATEMANAGER_STORES_HISTORY keep it; 'history' prints the values.
    """
    found = [_told(each) for each in StateManager().get_store_changes(store_id, limit, user)]
    if as_json:
        say(document({"items": json.loads(json.dumps(found, default=str))}))
    elif found:
        say(table(_COLUMNS, [_row(each) for each in found]))
    else:
        say("No changes found.")


def _told(change: StoreChange) -> dict[str, Any]:
    names = ("version", "event", "actor", "source", "reason", "value")
    return {"at": iso(change.at), **{name: getattr(change, name) for name in names}}


def _row(told: dict[str, Any]) -> tuple[object, ...]:
    return told["version"], moment(told["at"]), told["event"], told["actor"], told["source"], told["reason"]

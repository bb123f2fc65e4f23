"""``flask state buckets``: the declared buckets, what they keep and where."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import with_appcontext
from msgspec.structs import asdict

from ..core.buckets import KEPT_STORES, RESERVED, STORES, BucketDefinition
from ..globals import current_runtime
from ..kv.store import KeyValueStore
from ..lifecycle.parts import BUCKET
from .completing import BUCKET_NAME
from .effects import sheet_of
from .options import as_json, tabular
from .tables import Column, document, say, table

_COLUMNS = (
    Column("BUCKET", firm=True),
    Column("BACKEND", firm=True),
    Column("TTL", right=True),
    Column("HISTORY", right=True),
    Column("SHARDS", right=True),
    Column("HOLDS"),
)


@click.group()
def buckets() -> None:
    """Look at the declared buckets, and how much is in them."""


@buckets.command("list")
@tabular
@with_appcontext
def list_buckets(as_json: bool) -> None:
    """List the buckets, and where each lives."""
    shelves = current_runtime.shelves
    found = [_of_states(), *map(_described, map(shelves.declared, current_runtime.declarations.buckets.buckets))]
    if as_json:
        say(document({"items": found}))
    else:
        say(table(_COLUMNS, [_row(each) for each in found]))


@buckets.command()
@click.argument("name", metavar="NAME", type=BUCKET_NAME)
@as_json
@with_appcontext
def show(name: str, as_json: bool) -> None:
    """Show what a bucket is declared as, and how much is in it."""
    if name == BUCKET:
        found = _of_states() | {"total_keys": current_runtime.lifecycle.search_states().count()}
    else:
        parts = current_runtime.shelves.kept(name)
        found = (
            _described(current_runtime.shelves.declared(name))
            | KeyValueStore(lambda: parts).stats()
            | {"max_value_bytes": parts.limit}
        )
    say(document(found) if as_json else sheet_of(found))


def _of_states() -> dict[str, Any]:
    return {"name": BUCKET, "backend": current_runtime.backend.title, "holds": "states"}


def _described(definition: BucketDefinition) -> dict[str, Any]:
    settings = current_runtime.settings
    # Where the browser keeps the stores, no backend is named.
    default = settings.stores_backend if definition.name in (STORES, KEPT_STORES) else settings.backend
    found = asdict(definition) | {"holds": RESERVED.get(definition.name, "keys and values")}
    return found | {"backend": definition.backend or default, "secrets": list(definition.secrets)}


def _row(found: dict[str, Any]) -> tuple[object, ...]:
    shards = found.get("shards", 1)
    return (
        found["name"],
        found["backend"],
        _seconds(found.get("ttl")),
        _seconds(found.get("history")),
        shards if shards > 1 else "",
        found["holds"],
    )


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:,.10g} s"

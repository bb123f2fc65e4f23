"""``flask state health`` and ``metrics``: whether all is well, and how much there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from flask.cli import with_appcontext

from ..core.buckets import RESERVED
from ..errors import ConfigurationError
from ..globals import current_runtime
from ..kv.store import KeyValueStore
from .exits import REFUSED
from .options import as_json, tabular
from .tables import Column, document, painted, printable, say, table

_COLOURS = {"healthy": "green", "degraded": "yellow", "unhealthy": "red"}
_COLUMNS = (Column("METRIC", firm=True), Column("VALUE", right=True, firm=True))


@click.command()
@as_json
@click.pass_context
@with_appcontext
def health(ctx: click.Context, as_json: bool) -> None:
    """Tell whether states can be read, and work is attended to.

    Exit code 1 says 'unhealthy'. 'flask state check' looks at the set-up, and
    says what to do.
    """
    found = current_runtime.health()
    if as_json:
        say(document(found))
    else:
        _print(found)
    if found["status"] == "unhealthy":
        ctx.exit(REFUSED)


@click.command()
@tabular
@with_appcontext
def metrics(as_json: bool) -> None:
    """Count states, effects, timers, keys and snapshots.

    Beyond 10,000 states of a kind it says about how many there are. What each
    process counts for itself, such as hits of the cache, is in its own health
    report.
    """
    found = dict(_measured())
    if as_json:
        say(document(found))
    else:
        say(table(_COLUMNS, [(name, f"{value:,}") for name, value in found.items()]))


def _print(found: dict[str, Any]) -> None:
    effects = found["effects"] or {}
    rows = [
        ("status", painted(found["status"], _COLOURS[found["status"]])),
        ("backend", found["backend"]),
        ("states", "unknown" if found["state_count"] is None else f"{found['state_count']:,}"),
        ("cache", found["cache"]),
        *((name, f"{effects[name]:,}") for name in ("pending", "due", "dead") if effects),
        *((name, str(effects[name])) for name in ("worker",) if effects),
        *(("warning", sentence) for sentence in found["warnings"]),
        *((("error", found["error"]),) if "error" in found else ()),
    ]
    for name, value in rows:
        say(f"{name:<8}  {value if name == 'status' else printable(value)}")


def _measured() -> Iterator[tuple[str, int]]:
    runtime = current_runtime
    search, definitions = runtime.lifecycle.search_states, runtime.declarations.definitions
    for name in sorted(definitions.types):
        for status in definitions.get(name).machine.statuses:
            number = search(name, status=status).count(estimate=True)
            if number:
                yield f"states.{name}.{status}", number
    desk = runtime.workshop.desk
    if desk is not None:
        counts = desk.attendance().counts
        yield from (("jobs.pending", counts.pending), ("jobs.due", counts.due), ("jobs.dead", counts.dead))
    yield from _buckets()
    yield "snapshots", len(runtime.snapshots.list_snapshots())


def _buckets() -> Iterator[tuple[str, int]]:
    for name in current_runtime.declarations.buckets.buckets.keys() - RESERVED.keys():
        try:
            parts = current_runtime.shelves.parts(name)
        except ConfigurationError:  # declared, and not to be had: 'check' says why
            continue
        found = KeyValueStore(lambda parts=parts: parts).stats()  # type: ignore[misc]
        yield f"keys.{name}", found["total_keys"]
        yield f"bytes.{name}", found["total_size"]

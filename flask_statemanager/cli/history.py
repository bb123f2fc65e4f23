"""``flask state history``, ``changes`` and ``diff``: what has happened, and what it changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click
from flask.cli import with_appcontext

from ..core.patch import diff as difference
from ..core.record import JSONObject
from ..errors import StateNotFound
from ..globals import current_runtime
from ..lifecycle.state import HistoryEntry, State
from .arguments import position
from .completing import STATE_ID, TRANSITION
from .options import limit as limited
from .options import tabular
from .tables import Column, document, moment, painted, printable, say, shortened, table, terminal_width

_SIGNS = {"add": "+", "remove": "-", "replace": "~"}
_COLOURS = {"add": "green", "remove": "red", "replace": "yellow"}
_CHANGES = (
    Column("VERSION", right=True, firm=True),
    Column("WHEN (UTC)", firm=True),
    Column("TRANSITION"),
    Column("STATUS", firm=True),
    Column("ACTOR"),
    Column("REASON"),
)
_RECENT = (
    Column("STATE"),
    Column("VERSION", right=True, firm=True),
    Column("WHEN (UTC)", firm=True),
    Column("TRANSITION", firm=True),
    Column("STATUS"),
    Column("ACTOR"),
)
_INDENT = " " * 9
_with_diff = click.option("--diff", is_flag=True, help="Show how the data changed.")


@click.command()
@click.argument("state_id", metavar="ID", type=STATE_ID)
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="The most changes to print, the newest ones."
)
@_with_diff
@tabular
@with_appcontext
def history(state_id: str, limit: int, diff: bool, as_json: bool) -> None:
    """List the changes of a state, oldest first.

    A deleted state keeps them. 'flask state watch --id' tells of those to come.

    \f

    :raises StateNotFound: when there never was such a state.
    """  # noqa: D301 - click ends the help at \f
    newest = current_runtime.lifecycle.get_recent_changes(state_id, limit)
    if not newest:
        raise StateNotFound(state_id)
    found = newest[::-1]
    if as_json:
        say(document([_told(entry, diff) for entry in found]))
        return
    _print(table(_CHANGES, [_change_row(entry) for entry in found]), [_below(entry, diff) for entry in found])
    if len(found) == limit and found[0].version > 1:
        say(f"\nThese are the newest {limit}; --limit shows more.")


@click.command()
@click.option("--state", "state_id", metavar="ID", type=STATE_ID, help="Only of this state.")
@click.option("--transition", metavar="NAME", type=TRANSITION, help="Only these, the oldest first.")
@limited(10_000, what="The most changes to print.")
@_with_diff
@tabular
@with_appcontext
def changes(state_id: str | None, transition: str | None, limit: int, diff: bool, as_json: bool) -> None:
    """List the newest changes of all states, newest first."""
    lifecycle = current_runtime.lifecycle
    if transition is None:
        found = lifecycle.get_recent_changes(state_id, limit)
    else:
        found = lifecycle.get_changes_by_transition(state_id, transition, limit)
    if as_json:
        say(document({"items": [_told(entry, diff) for entry in found]}))
    elif not found:
        say("No changes found.")
    else:
        rows = [_recent_row(entry) for entry in found]
        _print(table(_RECENT, rows), [_below(entry, diff, why=True) for entry in found])


@click.command()
@click.argument("state_id", metavar="ID", type=STATE_ID)
@click.argument("old", metavar="OLD", callback=position)
@click.argument("new", metavar="[NEW]", callback=position, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON Patch (RFC 6902).")
@with_appcontext
def diff(state_id: str, old: int | datetime, new: int | datetime | None, as_json: bool) -> None:
    """Show what is different between two versions of a state.

    OLD and NEW are versions, or moments such as 2026-01-31T12:00:00Z. Without NEW it is what the state is now.
    """
    before, after = _content(_at(state_id, old)), _content(_at(state_id, new))
    found = difference(before, after)
    if as_json:
        say(document(found))
    elif found:
        say("\n".join(patched(found, "")))
    else:
        say("Nothing is different.")


def patched(operations: Sequence[JSONObject], indent: str = _INDENT) -> list[str]:
    """Write a JSON Patch, a line for each operation.

    :param operations: the patch.
    :param indent: what each line begins with.
    """
    lines = []
    for operation in operations:
        value = "" if operation["op"] == "remove" else " " + json.dumps(operation["value"], ensure_ascii=False)
        line = printable(f"{_SIGNS[operation['op']]} {operation['path'] or '/'}{value}")
        lines.append(painted(shortened(f"{indent}{line}", terminal_width()), _COLOURS[operation["op"]]))
    return lines


def _print(drawn: str, below: Sequence[Sequence[str]]) -> None:
    head, *rows = drawn.split("\n")
    say(head)
    for row, lines in zip(rows, below, strict=True):
        say("\n".join([row, *lines]))


def _below(entry: HistoryEntry, diff: bool, *, why: bool = False) -> list[str]:
    """Return what stands below the row of a change."""
    said = [shortened(f"{_INDENT}{printable(entry.reason)}", terminal_width())] if why and entry.reason else []
    return [*said, *(patched(entry.diff()) if diff else ())]


def _told(entry: HistoryEntry, diff: bool) -> dict[str, Any]:
    return entry | {"diff": entry.diff()} if diff else entry


def _change_row(entry: HistoryEntry) -> tuple[object, ...]:
    old, new = entry.from_status, entry.to_status
    status = new if old in (None, new) else f"{old} > {new}"
    return entry.version, moment(entry.timestamp), entry.transition_type, status, entry.actor, entry.reason


def _recent_row(entry: HistoryEntry) -> tuple[object, ...]:
    when = moment(entry.timestamp)
    return entry.state_id, entry.version, when, entry.transition_type, entry.to_status, entry.actor


def _at(state_id: str, at: int | datetime | None) -> State:
    found = current_runtime.lifecycle.get_state(state_id, at=at)
    if found is None:
        raise StateNotFound(state_id, at=f"version {at}" if isinstance(at, int) else at)
    return found


def _content(found: State) -> JSONObject:
    return {name: found.get(name) for name in ("name", "type", "status", "owner", "expires_at", "data", "metadata")}

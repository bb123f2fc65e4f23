"""``flask state flows migrate-legacy``: the conversations of another system."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext

from ..errors import ConfigurationError
from ..flows.legacy import CHANNELS, MEMBERS, REFUSED, THERE, Legacy, MemberOf, Migration, by_mapping
from ..globals import current_runtime
from .progress import progress_bar
from .tables import printable, say

SHOWN = 20
"""How many refusals are shown."""


@click.command("migrate-legacy")
@click.option("--redis-url", metavar="URL", help="The Redis with the documents.")
@click.option("--match", "patterns", multiple=True, metavar="PATTERN", help="Keys in it; default: channel:*")
@click.option(
    "--file", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A JSON export of them."
)
@click.option(
    "--members",
    "mapping",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Members by mobile number: a JSON object, or CSV lines of number,member.",
)
@click.option("--resolver", metavar="MODULE:FUNCTION", help="Takes a mobile number, and returns its member or None.")
@click.option("--channel-type", default="whatsapp", show_default=True, help="Of documents that do not say it.")
@click.option("--ttl", type=click.FloatRange(1, 366 * 86400), help="Seconds that they live before their first turn.")
@click.option("--dry-run", is_flag=True, help="Check and count, and write nothing.")
@click.pass_context
@with_appcontext
def migrate_legacy(
    ctx: click.Context,
    *,
    redis_url: str | None,
    patterns: tuple[str, ...],
    path: Path | None,
    mapping: Path | None,
    resolver: str | None,
    channel_type: str,
    ttl: float | None,
    dry_run: bool,
) -> None:
    """Bring over the conversations of another system.

    Such that it keeps under a mobile number or channel:<identifier>.

    What is there already is left alone, so that an interrupted migration is begun again by the same command.

    \f

    :raises click.UsageError: unless there is one source, and at most one way to find members.
    """  # noqa: D301 - click ends the help at \f
    if (redis_url is None) == (path is None):
        raise click.UsageError("Give either --redis-url or --file.")
    if mapping is not None and resolver is not None:
        raise click.UsageError("Give either --members or --resolver.")
    migration = Migration(
        current_runtime.reception.parts(),
        _member_of(mapping, resolver),
        channel_type=channel_type,
        ttl=ttl,
        rehearsing=dry_run,
    )
    source = _in_file(path) if path is not None else _in_redis(str(redis_url), patterns or ("channel:*",))
    refused = _carry_out(migration, source)
    counts = ", ".join(f"{migration.counts[what]:,} {what}" for what in (MEMBERS, CHANNELS, THERE, REFUSED))
    say(f"{sum(migration.counts.values()):,} documents{' (nothing written)' if dry_run else ''}: {counts}")
    for key, problem in refused:
        say(f"{printable(key)}: {printable(problem)}")
    if refused:
        ctx.exit(1)


def _carry_out(migration: Migration, source: Iterable[Legacy]) -> list[tuple[str, str]]:
    refused: list[tuple[str, str]] = []
    with progress_bar("Migrating") as moved:
        for number, legacy in enumerate(source, 1):
            problem = migration.take(legacy)
            if problem is not None and len(refused) < SHOWN:
                refused.append((legacy.key, problem))
            if moved is not None and number % 100 == 0:
                moved(number, None)
    return refused


def _member_of(mapping: Path | None, resolver: str | None) -> MemberOf:
    if resolver is not None:
        return _resolver(resolver)
    if mapping is None:
        return lambda _number: None
    text = mapping.read_text("utf-8-sig")
    if text.lstrip().startswith("{"):
        return by_mapping(_object(text, mapping))
    return by_mapping({row[0].strip(): row[1].strip() for row in csv.reader(text.splitlines()) if len(row) >= 2})


def _resolver(name: str) -> MemberOf:
    module, _, function = name.partition(":")
    try:
        found: Callable[[str], object] = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"There is no resolver {name}: name it as package.module:function.") from error
    return found


def _object(text: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{path} is no JSON ({error}).") from error
    return found if isinstance(found, dict) else {}


def _in_file(path: Path) -> Iterator[Legacy]:
    """Yield the documents of an export: an object by key, a list of ``{"key", "value", "ttl"}``, or such lines."""
    text = path.read_text("utf-8-sig")
    try:
        found = json.loads(text)
    except ValueError:
        found = [_line(line, number, path) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if isinstance(found, dict) and not {"key", "value"} <= found.keys():
        found = [{"key": key, "value": value} for key, value in found.items()]
    for each in found if isinstance(found, list) else [found]:
        if not isinstance(each, dict) or "key" not in each:
            raise ConfigurationError(
                f"{path} is no export: write an object of documents by key, or lines with key, value."
            )
        yield Legacy(str(each["key"]), each.get("value"), each.get("ttl"))


def _line(line: str, number: int, path: Path) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise ConfigurationError(f"Line {number} of {path} is no JSON ({error}).") from error


def _in_redis(url: str, patterns: Iterable[str]) -> Iterator[Legacy]:
    # The driver is not imported where nobody asks for it.
    source = import_module("flask_statemanager.backends.redis.foreign")
    for key, value, ttl in source.documents(url, patterns):
        yield Legacy(key, value, ttl)

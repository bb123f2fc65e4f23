"""``flask state index``: the indexes of the fields that STATEMANAGER_INDEXED_FIELDS names."""

from __future__ import annotations

from collections.abc import Sequence

import click
from flask.cli import with_appcontext
from msgspec.structs import asdict

from ..backends.sql import indexes
from ..backends.sql.backend import SqlBackend
from ..backends.sql.indexes import ANALYZE, CREATE, DROP, MISSING, REBUILD, UNUSED, Standing, Step
from ..errors import ConfigurationError
from ..globals import current_runtime
from .effects import counted
from .options import as_json, tabular, yes
from .tables import Column, document, printable, say, shortened, table, terminal_width

_COLUMNS = (Column("TYPE"), Column("FIELD"), Column("AS", firm=True), Column("STANDING", firm=True))
_DOING = {CREATE: "Creating", REBUILD: "Rebuilding", DROP: "Dropping", ANALYZE: "Analyzing"}
_DONE = {CREATE: "created", REBUILD: "rebuilt", DROP: "dropped"}

_dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be done.")


@click.group()
def index() -> None:
    """Make, list and drop the indexes of fields."""


@index.command("list")
@tabular
@with_appcontext
def list_indexes(*, as_json: bool) -> None:
    """List the indexes that are configured, and ours that are not."""
    found = indexes.standings(sql_backend())
    if as_json:
        say(document({"items": [asdict(standing) for standing in found]}))
    elif found:
        say(_drawn(found))
    else:
        say("No indexes: STATEMANAGER_INDEXED_FIELDS names no field.")


@index.command()
@_dry_run
@as_json
@with_appcontext
def sync(*, dry_run: bool, as_json: bool) -> None:
    """Make the indexes that are missing.

    PostgreSQL makes them beside the application's work; what an interrupted command has left behind is made anew.
    SQLite keeps writers waiting meanwhile. No index is dropped.
    """
    backend = sql_backend()
    steps = indexes.sync(backend, lambda step: None if as_json else _tell(step, dry_run), dry_run=dry_run)
    if as_json:
        say(document({"steps": [asdict(step) for step in steps]}))
        return
    _summarize(steps, dry_run, "Nothing to do: all configured indexes are ready.")
    unused = [standing for standing in indexes.standings(backend) if standing.standing == UNUSED]
    if unused:
        number = counted(len(unused), "index", "indexes")
        say(f"Not configured here: {number}; 'flask state index drop' drops them.")


@index.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Also those that are configured.")
@yes
@_dry_run
@as_json
@with_appcontext
def drop(*, names: tuple[str, ...], everything: bool, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Drop indexes that are not configured, or those named.

    Another application on this database may use what is not configured here.

    \f

    :raises click.ClickException: when there is none of a name.
    """  # noqa: D301 - click ends the help at \f
    backend = sql_backend()
    found = indexes.standings(backend)
    chosen = _chosen(found, names, everything)
    if chosen and not yes and not dry_run:
        if any(standing.standing == UNUSED and standing.name in chosen for standing in found):
            click.echo("Another application on this database may use what is not configured here.", err=as_json)
        click.confirm(f"Drop {counted(len(chosen), 'index', 'indexes')}?", abort=True, err=as_json)
    steps = indexes.drop(backend, chosen, lambda step: None if as_json else _tell(step, dry_run), dry_run=dry_run)
    if as_json:
        say(document({"steps": [asdict(step) for step in steps]}))
    else:
        _summarize(steps, dry_run, "Nothing to do: every index is configured.")


def _chosen(found: Sequence[Standing], names: Sequence[str], everything: bool) -> list[str]:
    there = {standing.name: standing.standing for standing in found if standing.standing != MISSING}
    for name in names:
        if name not in there:
            shown = printable(name)
            raise click.ClickException(f"There is no index {shown}: 'flask state index list' shows those there are.")
    return list(names) or [name for name, standing in there.items() if everything or standing == UNUSED]


def sql_backend() -> SqlBackend:
    """Return the current app's backend, which must have tables.

    :raises ConfigurationError: when it has none.
    """
    backend = current_runtime.backend
    if not isinstance(backend, SqlBackend):
        raise ConfigurationError(f"The backend {backend.title!r} has no tables: STATEMANAGER_BACKEND must be 'sql'.")
    return backend


def _drawn(found: Sequence[Standing]) -> str:
    """Draw the table, the name of each index on a line below it."""
    rows = [(each.type or "", each.field or "(not configured)", each.kind, each.standing) for each in found]
    head, *lines = table(_COLUMNS, rows).split("\n")
    drawn = [head]
    for each, line in zip(found, lines, strict=True):
        drawn += [line, shortened(f"{'':4}{printable(each.name)}", terminal_width())]
    return "\n".join(drawn)


def _tell(step: Step, dry_run: bool) -> None:
    if not dry_run:
        say(f"{_DOING[step.act]} {step.name} ...")
    else:
        say(f"Would {step.act} {step.name}")


def _summarize(steps: Sequence[Step], dry_run: bool, nothing: str) -> None:
    if not steps:
        say(nothing)
    elif not dry_run:
        found = {act: sum(step.act == act for step in steps) for act in _DONE}
        told = [f"{counted(number, 'index', 'indexes')} {_DONE[act]}" for act, number in found.items() if number]
        say(f"{', '.join(told) or 'All configured indexes are ready'}.")

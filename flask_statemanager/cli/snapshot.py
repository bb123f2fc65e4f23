"""``flask state snapshot``: snapshots of buckets, made, checked, restored and removed."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from ..core.clock import iso
from ..core.record import JSONObject
from ..core.snapshots import Restored
from ..globals import current_runtime
from ..snapshots.archive import MERGE, REPLACE
from ..snapshots.snapshot import Snapshot
from .completing import BUCKET_NAME, SNAPSHOT
from .effects import counted, sheet_of
from .options import as_json, tabular, yes
from .progress import progress_bar
from .tables import Column, document, moment, printable, say, table

_COLUMNS = (
    Column("ID", firm=True),
    Column("MADE (UTC)", firm=True),
    Column("KIND", firm=True),
    Column("KEYS", right=True, firm=True),
    Column("BUCKETS"),
)
_MINUTE = len("2026-01-31 12:00")
_ids = click.argument("ids", metavar="ID...", nargs=-1, required=True, type=SNAPSHOT)


@click.group()
def snapshot() -> None:
    """Make snapshots of buckets, check them, restore from them."""


@snapshot.command()
@click.option(
    "--bucket",
    "buckets",
    metavar="NAME",
    multiple=True,
    type=BUCKET_NAME,
    help="Only this bucket; may be given more than once.",
)
@click.option("--prefix", metavar="TEXT", help="Only names that begin so.")
@click.option("--incremental", is_flag=True, help="Only what has changed since the last one of the same.")
@as_json
@with_appcontext
def create(*, buckets: tuple[str, ...], prefix: str | None, incremental: bool, as_json: bool) -> None:
    """Write down what the buckets hold now.

    Others go on writing meanwhile.
    """
    with progress_bar("Writing") as progress:
        made = current_runtime.snapshots.create_snapshot(buckets or None, prefix, incremental, progress=progress)
    if as_json:
        say(document(_fields(made)))
    else:
        say(f"{made.id}: {made.kind}, {counted(made.keys, 'key')}, {counted(made.bytes, 'byte')}.")
        if made.base is not None:
            say(f"It stands on {made.base}.")


@snapshot.command("list")
@tabular
@with_appcontext
def list_snapshots(*, as_json: bool) -> None:
    """List the complete snapshots, oldest first.

    Those with a * were made by a worker.
    """
    found = current_runtime.snapshots.list_snapshots()
    if as_json:
        say(document({"items": [_fields(each) for each in found]}))
    elif not found:
        say("No snapshots found.")
    else:
        say(table(_COLUMNS, [_row(each) for each in found]))


@snapshot.command()
@click.argument("snapshot_id", metavar="ID", type=SNAPSHOT)
@as_json
@with_appcontext
def show(*, snapshot_id: str, as_json: bool) -> None:
    """Show what is known of a snapshot, and where it lies."""
    found = _fields(current_runtime.snapshots.get_snapshot(snapshot_id))
    say(document(found) if as_json else sheet_of(found))


@snapshot.command()
@_ids
@with_appcontext
def verify(*, ids: tuple[str, ...]) -> None:
    """Read snapshots, and check every byte.

    Those that they stand on are read, too.
    """
    for snapshot_id in ids:
        with progress_bar("Reading") as progress:
            current_runtime.snapshots.verify_snapshot(snapshot_id, progress=progress)
        say(f"{snapshot_id} is what was written.")


@snapshot.command()
@click.argument("snapshot_id", metavar="ID", type=SNAPSHOT)
@click.option(
    "--mode",
    type=click.Choice([REPLACE, MERGE]),
    default=REPLACE,
    show_default=True,
    help="Whether what is not in the snapshot is removed.",
)
@click.option("--dry-run", is_flag=True, help="Only say what it would come to.")
@click.option("--reason", metavar="TEXT", help="Why; it stands in the history of every key.")
@yes
@as_json
@with_appcontext
def restore(*, snapshot_id: str, mode: str, dry_run: bool, reason: str | None, yes: bool, as_json: bool) -> None:
    """Make all keys of a snapshot what they were in it.

    All of them at once, or none: everything is checked before anything is changed.
    """
    archive = current_runtime.snapshots
    found = archive.get_snapshot(snapshot_id)
    if not dry_run and not yes:
        would = archive.restore_snapshot(found, mode, dry_run=True)
        click.confirm(f"{_sentence(would, 'would be ')} Restore the snapshot?", abort=True, err=True)
    with progress_bar("Restoring") as progress:
        count = archive.restore_snapshot(found, mode, dry_run, reason=reason, progress=progress)
    if as_json:
        say(document({"dry_run": dry_run, **{name: getattr(count, name) for name in count.__struct_fields__}}))
    else:
        say(_sentence(count, "would be " if dry_run else ""))


@snapshot.command()
@_ids
@yes
@with_appcontext
def delete(*, ids: tuple[str, ...], yes: bool) -> None:
    """Remove snapshots for good.

    Those on which later ones stand cannot be removed before these.
    """
    archive = current_runtime.snapshots
    if not yes:
        listed = "\n".join(f"{each.id}  {moment(iso(each.created_at))} UTC" for each in map(archive.get_snapshot, ids))
        click.confirm(f"{listed}\nRemove {'it' if len(ids) == 1 else 'them'} for good?", abort=True)
    for snapshot_id in ids:
        archive.delete_snapshot(snapshot_id)
    say(f"Removed {counted(len(ids), 'snapshot')}.")


def _sentence(count: Restored, would: str) -> str:
    return (
        f"{counted(count.created, 'key')} {would}created, {count.changed:,} changed, {count.same:,} left as they are, "
        f"{count.removed:,} removed."
    )


def _row(found: Snapshot) -> tuple[object, ...]:
    kind = f"{found.kind}*" if found.label.automatic else found.kind
    prefix = f" ({printable(found.prefix)}...)" if found.prefix else ""
    buckets = ", ".join(found.buckets)
    return found.id, moment(iso(found.created_at))[:_MINUTE], kind, f"{found.keys:,}", f"{buckets}{prefix}"


def _fields(found: Snapshot) -> JSONObject:
    return {
        "id": found.id,
        "kind": found.kind,
        "base": found.base,
        "created_at": iso(found.created_at),
        "automatic": found.label.automatic,
        "buckets": list(found.buckets),
        "prefix": found.prefix,
        "revision": found.revision,
        "keys": found.keys,
        "bytes": found.bytes,
        "sha256": found.sha256,
        "location": found.location,
    }

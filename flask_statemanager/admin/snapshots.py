"""Snapshots: made, checked, tried out, restored, removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import asdict

from ..core.snapshots import Restored
from ..errors import ConfigurationError, SnapshotDamaged, SnapshotNotFound, StateValidationError
from ..snapshots.archive import MERGE, REPLACE, Archive
from ..snapshots.snapshot import Snapshot
from ..web.problems import CONFLICT, Problem
from .answers import Done, Shown
from .longwork import Outcome, Task, begun, works_of
from .page import Pages
from .progress import ENDED_WELL, Report, Work
from .rate import BUCKET as RATES
from .visit import Visit

pages = Pages("snapshots", "Snapshots", order=70)

PAGE = 50
ONLY = "snapshots"
"""Of what writes snapshots or restores from them, one thing is done at a time."""

NAMES = 100
"""How many names of each kind are shown of what a restore would change."""

MODES = (
    (REPLACE, "replace: remove the rest"),
    (MERGE, "merge: leave the rest"),
)

_REHEARSED = "A restore is tried out first: look at what it would change, and go on from there."


@pages.show("/snapshots", "snapshots")
def list_snapshots(visit: Visit) -> Shown:
    """List the complete snapshots, the newest first.

    :param visit: the visit.
    """
    archive = visit.runtime.snapshots
    buckets, trouble = _buckets(archive)
    found = archive.list_snapshots()[::-1]
    behind = visit.query.get("after")
    if behind:
        found = [each for each in found if each.id < behind]
    values = {
        "snapshots": found[:PAGE],
        "next": found[PAGE - 1].id if len(found) > PAGE else None,
        "buckets": buckets,
        "trouble": trouble,
        "chosen": visit.chosen("buckets") if visit.refusal else buckets,
    }
    return Shown("snapshots.html", values)


@pages.show("/snapshots/<snapshot_id>", "snapshot")
def show_snapshot(visit: Visit, snapshot_id: str) -> Shown:
    """Show a snapshot: what it holds, what it stands on, and what stands on it.

    :param visit: the visit.
    :param snapshot_id: which one.
    """
    archive = visit.runtime.snapshots
    found = archive.get_snapshot(snapshot_id)
    chain, damage = _chain(archive, found)
    values = {
        "snapshot": found,
        "name": short(found),
        "chain": chain[1:],
        "damage": damage,
        "above": [each for each in archive.list_snapshots() if each.base == found.id],
        "modes": MODES,
    }
    return Shown("snapshot.html", values)


@pages.show("/snapshots/<snapshot_id>/restore", "restoring")
def show_restoring(visit: Visit, snapshot_id: str) -> Shown:
    """Show what a restore would change, and ask for the name before it is done.

    :param visit: the visit.
    :param snapshot_id: which one.
    :raises Problem: when it was not tried out.
    """
    found = visit.runtime.snapshots.get_snapshot(snapshot_id)
    work = _rehearsal(visit, found, visit.query.get("work") or "")
    count = Restored(**work.details["count"])
    values = {
        "snapshot": found,
        "name": short(found),
        "work": work,
        "mode": work.details["mode"],
        "count": count,
        "total": count.created + count.changed + count.removed,
    }
    return Shown("restoring.html", values)


@pages.act("/snapshots", "create_snapshot", page="snapshots")
def create_snapshot(visit: Visit) -> Done:
    """Make a snapshot.

    :param visit: the visit.
    :raises StateValidationError: when no bucket is chosen.
    """
    archive, buckets = visit.runtime.snapshots, visit.chosen("buckets")
    if not buckets:
        raise StateValidationError({"buckets": ["Choose at least one."]})
    prefix, incremental = visit.form.get("prefix") or None, visit.form.get("incremental") == "yes"
    archive.stores.groups(archive.stores.chosen(buckets))

    def perform(report: Report) -> Outcome:
        made = archive.create_snapshot(buckets, prefix, incremental, progress=report)
        sentence = f"The {made.kind} snapshot {short(made)} of {made.keys:,} records is made."
        return Outcome(sentence, "snapshot", {"snapshot_id": made.id})

    return begun(visit, Task("Make a snapshot", perform, ONLY, page="snapshots"))


@pages.act("/snapshots/<snapshot_id>/verify", "verify_snapshot", page="snapshot")
def verify_snapshot(visit: Visit, snapshot_id: str) -> Done:
    """Read a snapshot, and what it stands on, and check every byte.

    :param visit: the visit.
    :param snapshot_id: which one.
    """
    archive = visit.runtime.snapshots
    found = archive.get_snapshot(snapshot_id)

    def perform(report: Report) -> Outcome:
        archive.verify_snapshot(found, progress=report)
        return Outcome(f"The snapshot {short(found)} is what was written.", "snapshot", {"snapshot_id": found.id})

    return begun(visit, _task(f"Check the snapshot {short(found)}", perform, found))


@pages.act("/snapshots/<snapshot_id>/rehearse", "rehearse_restore", page="snapshot")
def rehearse_restore(visit: Visit, snapshot_id: str) -> Done:
    """Find out what a restore would change, and change nothing.

    :param visit: the visit.
    :param snapshot_id: which one.
    """
    archive, mode = visit.runtime.snapshots, visit.form.get("mode") or REPLACE
    found = archive.get_snapshot(snapshot_id)
    _check_mode(mode)

    def perform(report: Report) -> Outcome:
        seen = archive.foresee_restore(found, mode, names=NAMES, progress=report)
        details = {"snapshot": found.id, "mode": mode, **asdict(seen), "count": asdict(seen.count)}
        names = {kind: list(details[kind]) for kind in ("created", "changed", "removed")}
        sentence = f"Nothing was changed. {_sentence(seen.count, 'would be ')}"
        return Outcome(sentence, "restoring", {"snapshot_id": found.id, "work": report.work_id}, {**details, **names})

    return begun(visit, _task(f"Try out a restore of {short(found)}", perform, found))


@pages.act("/snapshots/<snapshot_id>/restore", "restore_snapshot", page="restoring")
def restore_snapshot(visit: Visit, snapshot_id: str) -> Done:
    """Restore a snapshot, once it was tried out and its name typed.

    :param visit: the visit.
    :param snapshot_id: which one.
    :raises StateValidationError: when the name is not typed.
    """
    archive = visit.runtime.snapshots
    found = archive.get_snapshot(snapshot_id)
    mode = _rehearsal(visit, found, visit.query.get("work") or "").details["mode"]
    if visit.form.get("name", "").strip() not in (short(found), found.id):
        raise StateValidationError({"name": [f"Type {short(found)} to restore this snapshot."]})
    asked = visit.writing()

    def perform(report: Report) -> Outcome:
        count = archive.restore_snapshot(found, mode, progress=report, **asked)
        sentence = f"The snapshot {short(found)} is restored. {_sentence(count, '')}"
        return Outcome(sentence, "snapshot", {"snapshot_id": found.id})

    return begun(visit, _task(f"Restore the snapshot {short(found)}", perform, found, ONLY))


@pages.act(
    "/snapshots/<snapshot_id>/delete",
    "delete_snapshot",
    destructive="Remove the snapshot {snapshot_id} for good? What only it holds cannot be brought back.",
    page="snapshot",
)
def delete_snapshot(visit: Visit, snapshot_id: str) -> Done:
    """Remove a snapshot.

    :param visit: the visit.
    :param snapshot_id: which one.
    """
    visit.runtime.snapshots.delete_snapshot(snapshot_id)
    return Done(f"The snapshot {snapshot_id} is removed.", visit.url("snapshots"))


def short(snapshot: Snapshot) -> str:
    """Return the end of a snapshot's id, by which people name it.

    :param snapshot: the snapshot.
    """
    return snapshot.id.rpartition("-")[2]


def _task(title: str, perform: Callable[[Report], Outcome], found: Snapshot, only: str | None = None) -> Task:
    return Task(title, perform, only, page="snapshot", arguments={"snapshot_id": found.id})


def _buckets(archive: Archive) -> tuple[tuple[str, ...], str | None]:
    """Return the buckets to make snapshots of, or why there are none; how often who acts here belongs in none."""
    try:
        names = tuple(name for name in archive.stores.chosen(None) if name != RATES)
        archive.stores.groups(names)
    except ConfigurationError as error:
        return (), str(error)
    return names, None


def _chain(archive: Archive, snapshot: Snapshot) -> tuple[list[Snapshot], str | None]:
    """Return a snapshot and what it stands on, or what is wrong with that."""
    try:
        return archive.shelf.chain(snapshot), None
    except (SnapshotDamaged, SnapshotNotFound) as error:
        return [snapshot], str(error)


def _rehearsal(visit: Visit, snapshot: Snapshot, work_id: str) -> Work:
    """Return the work that has found out what a restore would change."""
    work = works_of(visit).look(work_id) if work_id else None
    details: dict[str, Any] = {} if work is None or work.state != ENDED_WELL else work.details
    if work is None or details.get("snapshot") != snapshot.id:
        raise Problem(CONFLICT, _REHEARSED)
    return work


def _check_mode(mode: str) -> None:
    if mode not in (REPLACE, MERGE):
        raise StateValidationError({"mode": [f"Choose {REPLACE!r} or {MERGE!r}."]})


def _sentence(count: Restored, would: str) -> str:
    return (
        f"{count.created:,} {would}created, {count.changed:,} {would}changed, {count.same:,} {would}left as they are, "
        f"{count.removed:,} {would}removed."
    )

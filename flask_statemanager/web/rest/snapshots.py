"""Snapshots: made, listed, checked, restored, removed."""

from __future__ import annotations

from typing import Any

from flask import url_for
from marshmallow import Schema, fields
from msgspec.structs import asdict

from ...core.clock import iso
from ...snapshots.archive import MERGE, REPLACE
from ...snapshots.snapshot import Snapshot
from ..answer import Answer
from ..call import Call
from ..fields import choice, flag, moment, number, several, text, words
from ..operation import Operations
from .schemas import WriteBody
from .store import origin_of

operations = Operations("snapshots", "What buckets held in one moment, to be brought back.")

_BOOLEANS = {"truthy": {True}, "falsy": {False}}


class SnapshotBody(Schema):
    """What to write down."""

    buckets = words("Only these; all that there are by default.", ["kv"])
    prefix = fields.String(metadata={"description": "Only names that begin so.", "examples": ["user:"]})
    incremental = flag("Only what has changed since the newest snapshot of the same.", load_default=False, **_BOOLEANS)


class SnapshotAnswer(Schema):
    """A snapshot that is complete."""

    id = text("Its id.", "01980f2e-8c1b-7d3a-9b55-2f6f0e6a1c11", required=True)
    kind = choice("A `delta` stands on another one.", ("delta", "full"), required=True)
    base = text("The id of the one that it stands on.", required=True, allow_none=True)
    buckets = words("The collections in it.", ["kv"], required=True)
    prefix = fields.String(required=True, metadata={"description": "How the names in it begin."})
    keys = number("How many live records it holds.", 150, required=True, least=0)
    bytes = number("The size of its file.", 45_678, required=True, least=0)
    revision = fields.String(required=True, metadata={"description": "The position in the store."})
    created_at = moment("When it was made.", required=True)
    automatic = flag("Whether a worker made it by itself.", required=True)


class SnapshotsAnswer(Schema):
    """All snapshots."""

    items = several(SnapshotAnswer, "The oldest first.", required=True)


class RestoreBody(WriteBody):
    """How to bring it back."""

    mode = choice(
        "`replace` removes what is not in the snapshot, of its buckets and prefix; `merge` leaves it.",
        (MERGE, REPLACE),
        load_default=REPLACE,
    )
    dry_run = flag("Only count.", load_default=False, **_BOOLEANS)


class Restored(Schema):
    """What it came to, or would come to."""

    created = number("Were absent, and are there again.", 3, required=True, least=0)
    changed = number("Were different.", 10, required=True, least=0)
    same = number("Were what they are now.", 137, required=True, least=0)
    removed = number("Were removed.", 2, required=True, least=0)
    dry_run = flag("Whether nothing was changed.", required=True)


class Deleted(Schema):
    """A snapshot that is not there any more."""

    id = fields.String(required=True)
    removed = fields.Boolean(required=True)


@operations.operation(
    "POST",
    "/snapshot",
    permission="admin",
    summary="Make a snapshot",
    body=SnapshotBody,
    body_required=False,
    answers={201: SnapshotAnswer},
)
def create_snapshot(call: Call) -> Answer:
    """Others go on writing meanwhile. All buckets of one store are of one moment.

    :param call: the call.
    """
    body = call.body
    made = call.runtime.snapshots.create_snapshot(body.get("buckets"), body.get("prefix"), body["incremental"])
    location = url_for(".get_snapshot", snapshot_id=made.id)
    return Answer(_shown(made), 201, headers={"Location": location})


@operations.operation("GET", "/snapshot", permission="admin", summary="List snapshots", answers={200: SnapshotsAnswer})
def list_snapshots(call: Call) -> Answer:
    """Those that are complete.

    :param call: the call.
    """
    return Answer({"items": [_shown(each) for each in call.runtime.snapshots.list_snapshots()]})


@operations.operation(
    "GET", "/snapshot/<snapshot_id>", permission="admin", summary="Look at a snapshot", answers={200: SnapshotAnswer}
)
def get_snapshot(call: Call, snapshot_id: str) -> Answer:
    """What is known of it; nothing of it is read but its end.

    :param call: the call.
    :param snapshot_id: which one.
    """
    return Answer(_shown(call.runtime.snapshots.get_snapshot(snapshot_id)))


@operations.operation(
    "POST",
    "/snapshot/<snapshot_id>/verify",
    permission="admin",
    summary="Check a snapshot",
    answers={200: SnapshotAnswer},
)
def verify_snapshot(call: Call, snapshot_id: str) -> Answer:
    """All of it is read, and of those that it stands on. One that is damaged is 409.

    :param call: the call.
    :param snapshot_id: which one.
    """
    return Answer(_shown(call.runtime.snapshots.verify_snapshot(snapshot_id)))


@operations.operation(
    "POST",
    "/snapshot/<snapshot_id>/restore",
    permission="admin",
    summary="Restore a snapshot",
    body=RestoreBody,
    body_required=False,
    answers={200: Restored},
)
def restore_snapshot(call: Call, snapshot_id: str) -> Answer:
    """It is checked before anything is changed. Every record gets a new version, so that no older `ETag` matches.

    :param call: the call.
    :param snapshot_id: which one.
    """
    mode, dry_run = call.body["mode"], call.body["dry_run"]
    count = call.runtime.snapshots.restore_snapshot(snapshot_id, mode, dry_run, **origin_of(call))
    return Answer({**asdict(count), "dry_run": dry_run})


@operations.operation(
    "DELETE", "/snapshot/<snapshot_id>", permission="admin", summary="Remove a snapshot", answers={200: Deleted}
)
def delete_snapshot(call: Call, snapshot_id: str) -> Answer:
    """One that later ones stand on is 409.

    :param call: the call.
    :param snapshot_id: which one.
    """
    call.runtime.snapshots.delete_snapshot(snapshot_id)
    return Answer({"id": snapshot_id, "removed": True})


def _shown(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "id": snapshot.id,
        "kind": snapshot.kind,
        "base": snapshot.base,
        "buckets": list(snapshot.buckets),
        "prefix": snapshot.prefix,
        "keys": snapshot.keys,
        "bytes": snapshot.bytes,
        "revision": snapshot.revision,
        "created_at": iso(snapshot.created_at),
        "automatic": snapshot.label.automatic,
    }

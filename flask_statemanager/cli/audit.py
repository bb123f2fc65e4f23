"""``flask state audit``: who did what, when and why, in the log that a database keeps."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
from flask.cli import with_appcontext
from msgspec.structs import replace

from ..core.audits import AuditQuery, Audits, Deed
from ..core.bucket import Bucket
from ..core.clock import iso
from ..core.codec import text_problem
from ..errors import StateValidationError
from ..globals import current_runtime
from ..kv.value import GONE
from ..kv.value import TYPE as KEY_TYPE
from ..lifecycle.parts import BUCKET
from .arguments import moment as some_moment
from .completing import BUCKET_NAME, STATE_ID, STATUS, TYPE
from .options import limit as limited
from .options import tabular
from .tables import Column, beneath, document, moment, say, table

LOOK_AT = 25_000
"""How many entries of the log are looked at in one transaction."""

_COLUMNS = (
    Column("WHEN (UTC)", firm=True),
    Column("BUCKET"),
    Column("ID OR KEY"),
    Column("EVENT", firm=True),
    Column("STATUS"),
    Column("ACTOR"),
    Column("SOURCE"),
)


@click.command()
@click.option(
    "--bucket",
    type=BUCKET_NAME,
    metavar="NAME",
    default=BUCKET,
    show_default=True,
    help="In which bucket; 'state' is states.",
)
@click.option("--all", "everywhere", is_flag=True, help="In all buckets of the store of the states.")
@click.option("--id", "name", type=STATE_ID, metavar="ID", help="Only of this state or key.")
@click.option("--actor", metavar="WHO", help="Only what this user or program did.")
@click.option("--event", metavar="NAME", help="Only this transition or event.")
@click.option("--source", metavar="NAME", help="Only from this part of the system, such as 'cli'.")
@click.option("--request", "request_id", metavar="ID", help="Only in the request with this correlation id.")
@click.option("--type", "state_type", type=TYPE, metavar="TYPE", help="Only to states of this type.")
@click.option("--status", type=STATUS, metavar="STATUS", help="Only what led to this status.")
@click.option("--reason", metavar="TEXT", help="Only where the reason contains this; 'A' is 'a'.")
@click.option("--since", callback=some_moment, metavar="TIME", help="Not before, such as 2026-01-31T12:00:00Z.")
@click.option("--until", callback=some_moment, metavar="TIME", help="Not after.")
@limited(10_000, what="The most changes to print.")
@click.option("--after", type=click.IntRange(1, 2**63 - 1), metavar="CURSOR", help="Go on behind this one.")
@tabular
@with_appcontext
def audit(
    *,
    bucket: str,
    everywhere: bool,
    since: datetime | None,
    until: datetime | None,
    after: int | None,
    limit: int,
    as_json: bool,
    state_type: str | None,
    **texts: str | None,
) -> None:
    """Search for who did what, when and why, newest first.

    All that is given must hold. It tells no values: 'history' and 'diff' do.
    A rare thing may take a while, as the log is read from its end; --since
    says how far.

    \f

    :raises click.UsageError: when an ID is to be looked for in all buckets.
    """  # noqa: D301 - click ends the help at \f
    if everywhere and texts["name"] is not None:
        raise click.UsageError("--id needs the bucket that it is in, not --all.")
    query = AuditQuery(
        None if everywhere else bucket,
        **_usable({**texts, "type": state_type}),
        since=since,
        until=until,
        before=after,
        limit=limit,
        look_at=LOOK_AT,
    )
    found, following = _searched(current_runtime.bucket_named(BUCKET if everywhere else bucket), query)
    if as_json:
        say(document({"items": [_told(deed) for deed in found], "next": following}))
    else:
        _print(found, following, everywhere)


def _print(found: list[Deed], following: int | None, everywhere: bool) -> None:
    if not found:
        say("No changes found.")
        return
    rows = [_row(deed, everywhere) for deed in found]
    say(beneath(table(_COLUMNS, rows), [deed.origin.reason for deed in found]))
    if following is not None:
        say(f"\nThere are more; go on with --after {following}")


def _usable(texts: dict[str, str | None]) -> dict[str, Any]:
    """Return texts that a database can compare."""
    for name, text in texts.items():
        problem = text_problem(text or "")
        if problem:
            raise StateValidationError({name: [problem]})
    return texts


def _searched(bucket: Bucket, query: AuditQuery) -> tuple[list[Deed], int | None]:
    """Search piece by piece, each in a transaction of its own, and tell where it would go on."""
    backend = bucket.backend
    if not isinstance(backend, Audits):
        problem = f"{bucket.name} lies in {backend.title}, whose log cannot be searched: a database keeps one."
        raise StateValidationError({"bucket": [problem]})
    found: list[Deed] = []
    while True:
        with bucket.reading() as unit:
            piece = backend.audit(unit, replace(query, limit=query.limit - len(found)))
        found += piece.deeds
        if piece.reached is None or len(found) >= query.limit:
            return found, piece.reached
        query = replace(query, before=piece.reached)


def _told(deed: Deed) -> dict[str, Any]:
    origin = deed.origin
    return {
        "revision": deed.revision,
        "at": iso(deed.at),
        "bucket": deed.key.bucket,
        "id": deed.key.name,
        "type": deed.type,
        "version": deed.version,
        "event": deed.event,
        "from_status": deed.from_status,
        "to_status": deed.to_status,
        "actor": origin.actor,
        "source": origin.source,
        "reason": origin.reason,
        "request_id": origin.request_id,
    }


def _row(deed: Deed, everywhere: bool) -> tuple[object, ...]:
    bucket = deed.key.bucket if everywhere else None
    status = deed.to_status if deed.type != KEY_TYPE or deed.to_status == GONE else None
    return moment(iso(deed.at)), bucket, deed.key.name, deed.event, status, deed.origin.actor, deed.origin.source

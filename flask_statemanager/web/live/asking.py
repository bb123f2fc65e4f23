"""What a listener asks for, from the query of its request."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Request
from marshmallow import Schema, fields, validate

from ...core.buckets import RESERVED, BucketRegistry
from ...core.names import check_prefix
from ...errors import StateValidationError, shown
from ...lifecycle.parts import BUCKET
from ..reading import query_of
from .interest import Interest

_MOST_CURSOR = 32_768


class StreamQuery(Schema):
    """What to hear of, and from where on."""

    bucket = fields.String(
        validate=validate.Length(1, 4096),
        metadata={
            "description": "Of which buckets, with commas between them; ``state`` is that of the lifecycle states. "
            "Without it, of all."
        },
    )
    prefix = fields.String(
        load_default="", validate=validate.Length(0, 255), metadata={"description": "How the keys or ids begin."}
    )
    type = fields.String(validate=validate.Length(1, 63), metadata={"description": "Of which type the states are."})
    since = fields.String(
        validate=validate.Length(1, _MOST_CURSOR),
        metadata={"description": 'The cursor to go on behind; "0" for the beginning. Without it, from now on.'},
    )


_SCHEMA = StreamQuery()


def asked(request: Request, registry: BucketRegistry, visible: Iterable[str] | None) -> tuple[Interest, str | None]:
    """Return what a request asks to hear of, and behind which cursor.

    :param request: the request; the header ``Last-Event-ID`` goes before ``since``.
    :param registry: the declared buckets.
    :param visible: which of them the API shows; None for all.
    :raises Problem: when a parameter is given twice.
    :raises StateValidationError: when one is unusable, or unknown.
    """
    query = query_of(request, _SCHEMA)
    declared = set(registry.buckets)
    # What has verbs of its own, such as the conversations of flows, is shown where it is asked to be.
    known = {BUCKET} | (declared - RESERVED.keys() if visible is None else declared & set(visible))
    wanted = set(query["bucket"].split(",")) if "bucket" in query else known
    if not wanted <= known:
        raise StateValidationError(
            {"bucket": [f"There is no bucket {shown(min(wanted - known))}; known are {', '.join(sorted(known))}."]}
        )
    since = request.headers.get("Last-Event-ID") or query.get("since")
    interest = Interest(tuple(sorted(wanted)), check_prefix(query["prefix"]), query.get("type"))
    return interest, None if since is None else str(since)[:_MOST_CURSOR]

"""From a call to the keys and values that it is about."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from ...core.buckets import KV, RESERVED
from ...errors import StateValidationError, shown
from ...kv.parts import KvParts
from ...kv.store import KeyValueStore
from ..call import Call


class BucketQuery(Schema):
    """The query of whatever concerns one bucket."""

    bucket = fields.String(
        load_default=KV,
        validate=validate.Length(1, 63),
        metadata={"description": "Which bucket of keys and values."},
    )


def parts_of(call: Call) -> KvParts:
    """Return what the verbs of the asked bucket stand on.

    :param call: the call, whose query has a ``bucket``.
    :raises StateValidationError: when there is no such bucket, or the API does not show it.
    """
    name = call.query["bucket"]
    shown_ones = call.runtime.settings.api_buckets
    if name in RESERVED:
        raise StateValidationError({"bucket": [f"{shown(name)} holds {RESERVED[name]}: name another bucket."]})
    if shown_ones is not None and name not in shown_ones:
        raise StateValidationError({"bucket": [f"There is no bucket {shown(name)} here: STATEMANAGER_API_BUCKETS."]})
    return call.runtime.shelves.parts(name)


def store_of(call: Call) -> KeyValueStore:
    """Return the keys and values of the asked bucket.

    :param call: the call, whose query has a ``bucket``.
    :raises StateValidationError: when there is no such bucket, or the API does not show it.
    """
    parts = parts_of(call)
    return KeyValueStore(lambda: parts)


def origin_of(call: Call) -> dict[str, Any]:
    """Return who asks and why, as the verbs take it.

    :param call: the call; ``source`` and ``reason`` may stand in its body, or in the query where it has none.
    """
    said = call.query if call.operation.body is None else call.body
    return {"actor": call.actor, "source": said.get("source"), "reason": said.get("reason")}

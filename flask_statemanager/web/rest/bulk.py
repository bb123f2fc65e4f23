"""Several writes of keys and values at once."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from ...core.clock import iso
from ...errors import StateValidationError
from ...kv.conditions import If
from ...kv.several import Put, Remove
from ...kv.value import KEEP, KeyValue
from ..answer import Answer
from ..call import Call
from ..fields import choice, moment, number, several
from ..operation import Operations
from .once import once
from .schemas import KEY_RULE, Metadata, Ttl, WriteBody
from .shown import check_uncovered
from .store import BucketQuery, origin_of, parts_of, store_of

operations = Operations("several keys", "Several writes at once.")

SET, REMOVE, CHECK = "set", "remove", "check"

_SETTING = ("value", "metadata", "ttl")


class Write(Schema):
    """One of several operations."""

    op = choice("What to do; `check` only looks at its `expect`, which it needs.", (REMOVE, CHECK, SET), required=True)
    key = fields.String(required=True, metadata=KEY_RULE)
    value = fields.Raw(
        allow_none=True,
        metadata={"description": "Any JSON value, null too; `set` needs one.", "examples": [{"theme": "dark"}]},
    )
    metadata = Metadata()
    ttl = Ttl()
    expect = number("The version that must be stored; null for no such key.", 3, strict=True, allow_none=True, least=0)


class BulkBody(WriteBody):
    """What to do, all or nothing of it."""

    operations = several(
        Write, "What to do, no two writes of one key.", required=True, validate=validate.Length(1, 10_000)
    )


class Outcome(Schema):
    """What came of one operation."""

    op = choice("What was done.", (REMOVE, CHECK, SET), required=True)
    key = fields.String(required=True)
    version = number("The key's version now; null where it is absent.", 4, required=True, allow_none=True)
    expires_at = moment("When it is going to be absent.", required=True, allow_none=True)


class Outcomes(Schema):
    """What came of all of them, in the order given."""

    results = several(Outcome, "One for each `set` and `remove`.", required=True)


@operations.operation(
    "POST",
    "/bulk",
    permission="write",
    summary="Several operations at once",
    query=BucketQuery,
    body=BulkBody,
    answers={200: Outcomes},
    idempotent=True,
)
def write_several(call: Call) -> Answer:
    """All of it is done in one transaction, or nothing: where one `expect` does not hold, the answer is 409.

    On a Redis Cluster all keys of a bucket with several shards must lie in one of them.

    :param call: the call.
    """
    store, asked = store_of(call), call.body["operations"]
    secrets = parts_of(call).definition.secrets
    for place, each in enumerate(asked):
        check_uncovered(each.get("value"), secrets, f"operations.{place}.value")
        _check(each, place)
    conditions = [_condition(each) for each in asked if "expect" in each]
    writes = [_write(each) for each in asked if each["op"] != CHECK]

    def work() -> Answer:
        done = store.apply(conditions, writes, **origin_of(call))
        return Answer({"results": [_outcome(each, done[each["key"]]) for each in asked if each["op"] != CHECK]})

    return once(call, work)


def _condition(given: dict[str, Any]) -> If:
    expected = given["expect"]
    return If.absent(given["key"]) if expected is None else If.version(given["key"], expected)


def _check(given: dict[str, Any], place: int) -> None:
    """Refuse an operation that lacks what it needs, or has what means nothing to it."""
    where, needed = f"operations.{place}", {SET: "value", CHECK: "expect"}.get(given["op"])
    if needed is not None and needed not in given:
        told = "Missing: null is a value, too." if needed == "value" else "Missing: a version, or null for no such key."
        raise StateValidationError({f"{where}.{needed}": [told]})
    for name in _SETTING if given["op"] != SET else ():
        if name in given:
            raise StateValidationError({f"{where}.{name}": ["Only 'set' takes one."]})


def _write(given: dict[str, Any]) -> Put | Remove:
    if given["op"] == SET:
        return Put(given["key"], given["value"], given.get("metadata", KEEP), given.get("ttl", KEEP))
    return Remove(given["key"])


def _outcome(given: dict[str, Any], entry: KeyValue | None) -> dict[str, Any]:
    expires_at = None if entry is None or entry.expires_at is None else iso(entry.expires_at)
    return {
        "op": given["op"],
        "key": given["key"],
        "version": None if entry is None else entry.version,
        "expires_at": expires_at,
    }

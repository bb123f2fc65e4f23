"""Compare-and-swap by value."""

from __future__ import annotations

from marshmallow import Schema, fields

from ..answer import Answer
from ..call import Call
from ..operation import Operations
from ..problems import NOT_SWAPPED, Problem
from .once import once
from .schemas import KEY_RULE, Ttl, WriteBody
from .shown import check_uncovered
from .store import BucketQuery, origin_of, parts_of, store_of

operations = Operations("compare and swap", "Changing a value if it is the expected one.")


class SwapBody(WriteBody):
    """What to put in place of what."""

    key = fields.String(required=True, metadata=KEY_RULE)
    expected = fields.Raw(
        required=True, allow_none=True, metadata={"description": "The value that must be there; null for no such key."}
    )
    new_value = fields.Raw(
        required=True, allow_none=True, metadata={"description": "The value to be; null removes the key."}
    )
    ttl = Ttl()


class Swapped(Schema):
    """What came of it."""

    key = fields.String(required=True)
    swapped = fields.Boolean(required=True)


@operations.operation(
    "POST",
    "/cas",
    permission="write",
    summary="Compare and swap",
    query=BucketQuery,
    body=SwapBody,
    answers={200: Swapped},
    idempotent=True,
)
def compare_and_swap(call: Call) -> Answer:
    """Put a value in place of another, if that is the one that is there; else the answer is 409, and nothing changes.

    Values are compared as JSON: true is not 1, 1 equals 1.0, members have no order.

    :param call: the call.
    :raises Problem: when another value is there.
    """
    store, body = store_of(call), call.body
    check_uncovered(body["new_value"], parts_of(call).definition.secrets, "new_value")

    def swap() -> Answer:
        key, wanted, value = body["key"], body["expected"], body["new_value"]
        lives = {"ttl": body["ttl"]} if "ttl" in body else {}
        if not store.compare_and_swap(key, wanted, value, **lives, **origin_of(call)):
            raise Problem(NOT_SWAPPED, f"{key} holds another value: read it, decide again, swap again.")
        return Answer({"key": key, "swapped": True})

    return once(call, swap)

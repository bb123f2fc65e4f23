"""How much there is."""

from __future__ import annotations

from marshmallow import Schema, fields

from ..answer import Answer
from ..call import Call
from ..operation import Operations
from .store import BucketQuery, store_of

operations = Operations("statistics", "How much there is.")


class Statistics(Schema):
    """What is known of a bucket."""

    total_keys = fields.Integer(required=True)
    total_size = fields.Integer(required=True, metadata={"description": "Bytes of the values as JSON."})
    version = fields.Integer(required=True, metadata={"description": "The store's revision."})
    metadata_keys = fields.Integer(required=True, metadata={"description": "How many keys have metadata."})
    prefixes = fields.Dict(fields.String(), fields.Integer(), required=True)
    as_of = fields.DateTime(required=True, allow_none=True, metadata={"description": "Null for now."})


@operations.operation(
    "GET", "/stats", permission="read", summary="Statistics of a bucket", query=BucketQuery, answers={200: Statistics}
)
def get_statistics(call: Call) -> Answer:
    """Large buckets in a database are counted by the worker every five minutes; ``as_of`` says when it was.

    :param call: the call.
    """
    return Answer(store_of(call).stats())

"""Keys and their values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from marshmallow import Schema, fields, validate

from ...core.clock import iso
from ...core.record import Record, living
from ...core.secrets import redacted
from ...core.step import Step
from ...errors import StateNotFound
from ...kv.decisions import Set
from ...kv.parts import check_key
from ...kv.setting import setting
from ...kv.value import KEEP, VALUE
from ..answer import Answer
from ..call import Call
from ..cursors import next_link, position
from ..operation import Operations
from ..problems import INVALID, Problem
from ..reserved import CATCH_ALL
from .once import once
from .schemas import KEY_RULE, Entry, Metadata, Removed, Ttl, WriteBody
from .shown import check_uncovered, shown_key
from .store import BucketQuery, origin_of, parts_of, store_of

operations = Operations("keys and values", "Values under keys, with versions.")


class EntryQuery(BucketQuery):
    """What to show of a key."""

    include_metadata = fields.Boolean(load_default=False, metadata={"description": "Show metadata and times, too."})


class KeysQuery(BucketQuery):
    """Which keys to list."""

    prefix = fields.String(
        load_default="", validate=validate.Length(0, 255), metadata={"description": "How they begin."}
    )
    limit = fields.Integer(
        strict=False,
        load_default=1000,
        validate=validate.Range(1, 10_000),
        metadata={"description": "The most keys of a page."},
    )
    cursor = fields.String(metadata={"description": "Where the page begins, as the link to it says."})


class RemovalQuery(BucketQuery, WriteBody):
    """Which bucket, and why."""


class EntryBody(WriteBody):
    """What to store under a key."""

    key = fields.String(metadata={**KEY_RULE, "description": "The same as in the path; may be left out."})
    value = fields.Raw(required=True, allow_none=True, metadata={"description": "Any JSON value, null too."})
    metadata = Metadata()
    ttl = Ttl()


class Keys(Schema):
    """A page of keys."""

    keys = fields.List(fields.String(), required=True)
    total = fields.Integer(required=True, metadata={"description": "How many keys begin so, on all pages."})


@operations.operation(
    "GET", "/keys", permission="read", summary="List keys by prefix", query=KeysQuery, answers={200: Keys}
)
def list_keys(call: Call) -> Answer:
    """The keys come in the order of their code points; the header ``Link`` has the next page.

    :param call: the call.
    """
    store, query = store_of(call), call.query
    limit, prefix = query["limit"], query["prefix"]
    after = position(query.get("cursor"))
    keys = store.keys(prefix, limit, after)
    complete = after is None and len(keys) < limit
    links = next_link(keys[-1]) if len(keys) == limit else {}
    return Answer({"keys": keys, "total": len(keys) if complete else store.count(prefix)}, links=links)


def _get(call: Call, key: str) -> Answer:
    """A missing key is 404. The ``ETag`` is the version."""
    name, parts = check_key(key), parts_of(call)
    found = parts.bucket.find_unread(name)
    if found is None:
        raise StateNotFound(name, kind="key")
    whole = call.query["include_metadata"]
    return Answer(shown_key(name, found, parts.definition.secrets, whole=whole), version=found.version)


def _put(call: Call, key: str) -> Answer:
    """The answer is the key as it is stored, 201 where it is new. ``If-None-Match: *`` only creates."""
    parts, body, conditions = parts_of(call), call.body, call.preconditions
    if body.get("key", key) != key:
        raise Problem(INVALID, "The key in the body is another than the one in the path: leave it out.")
    check_uncovered(body["value"], parts.definition.secrets, "value")

    def write(expect: int | None, *, absent: bool) -> Answer:
        metadata, ttl = body.get("metadata", KEEP), body.get("ttl", KEEP)
        put = Begun(setting(parts, key, body["value"], metadata, ttl, expect=expect, absent=absent))
        origin = parts.origin(**origin_of(call))
        record = parts.bucket.write(key, put, origin=origin, expect=expect)
        assert record is not None, "a value was written"
        return Answer(_shown(record, parts.definition.secrets), 201 if put.begun else 200, record.version)

    def work() -> Answer:
        if not conditions:
            return write(None, absent=False)
        return conditions.guard(lambda: _version(call, key), lambda version: write(version, absent=version is None))

    return once(call, work, key=key)


class Begun:
    """A decision to set a key, which notes whether there was no such key before.

    :param decide: the decision.
    """

    def __init__(self, decide: Set) -> None:
        self._decide = decide
        self.begun = False

    def __call__(self, stored: Record | None, now: datetime) -> Step | None:
        """Decide.

        :param stored: what is stored.
        :param now: the moment.
        :raises StateManagerError: whatever the decision refuses with.
        """
        self.begun = living(stored) is None
        return self._decide(stored, now)


def _delete(call: Call, key: str) -> Answer:
    """A missing key is 404."""
    store, conditions = store_of(call), call.preconditions

    def guarded(version: int | None) -> bool:
        return version is not None and store.remove(key, expect=version, **origin_of(call))

    def work() -> Answer:
        if conditions:
            removed = conditions.guard(lambda: _version(call, key), guarded)
        else:
            removed = store.remove(key, **origin_of(call))
        if not removed:
            raise StateNotFound(key, kind="key")
        return Answer({"key": key, "removed": True})

    return once(call, work, key=key)


def _version(call: Call, key: str) -> int | None:
    found = parts_of(call).bucket.find(check_key(key), strong=True)
    return None if found is None else found.version


def _shown(record: Record, secrets: Sequence[str]) -> dict[str, Any]:
    times = {"created_at": record.created_at, "updated_at": record.updated_at, "expires_at": record.expires_at}
    return {
        "key": record.key.name,
        "value": redacted(record.data[VALUE], secrets) if secrets else record.data[VALUE],
        "version": record.version,
        "metadata": record.metadata,
        **{name: None if moment is None else iso(moment) for name, moment in times.items()},
    }


for _rule, _suffix in (("/keys/<path:key>", "_below_keys"), (CATCH_ALL, "")):
    operations.add(
        _get,
        "GET",
        _rule,
        name=f"get_key{_suffix}",
        permission="read",
        summary="Look at a key",
        query=EntryQuery,
        answers={200: Entry},
        conditional=True,
    )
    operations.add(
        _put,
        "PUT",
        _rule,
        name=f"set_key{_suffix}",
        permission="write",
        summary="Set a key",
        query=BucketQuery,
        body=EntryBody,
        answers={200: Entry, 201: Entry},
        conditional=True,
        idempotent=True,
    )
    operations.add(
        _delete,
        "DELETE",
        _rule,
        name=f"remove_key{_suffix}",
        permission="write",
        summary="Remove a key",
        query=RemovalQuery,
        answers={200: Removed},
        conditional=True,
        idempotent=True,
    )

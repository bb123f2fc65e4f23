"""The values that travel: Key, Record, Change, Origin. Frozen; a new one is made instead of editing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

JSON = Any
"""A JSON value: dict with string keys, list, str, int, float, bool or None."""

JSONObject = dict[str, Any]
"""A JSON object. Treat the one inside a record as read-only."""


class Key(Struct, frozen=True, order=True):
    """Where a record lives: a named collection and a name in it."""

    bucket: str
    name: str

    def __str__(self) -> str:
        return f"{self.bucket}:{self.name}"


class Revision(Struct, frozen=True, order=True):
    """A position in a store's log, to be passed as ``expect=``; it never equals a version.

    :param number: the store-wide running number of a change.
    """

    number: int


Expectation = int | Revision | None
"""What a caller believes is stored: a version, a revision, or nothing in particular."""


class Record(Struct, frozen=True):
    """One state as it is stored.

    ``status`` stands beside the JSON so that it can be indexed; ``label`` is what the caller sees as ``name``.
    A record whose ``deleted_at`` is set is a tombstone: it keeps the version for a later re-creation.
    """

    key: Key
    label: str
    type: str
    status: str
    data: JSONObject
    metadata: JSONObject
    version: int
    revision: int
    owner: str | None
    schema_version: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None
    deleted_at: datetime | None = None

    @property
    def deleted(self) -> bool:
        """Whether this is a tombstone."""
        return self.deleted_at is not None


class Origin(Struct, frozen=True):
    """Who asks for a change and why.

    :param actor: the user or program, at most 255 characters.
    :param source: the part of the system, at most 255 characters.
    :param reason: free text.
    :param request_id: the request's correlation id, at most 255 characters.
    :param idempotency_key: the caller's key for a repeatable request, at most 255 characters.
    """

    actor: str
    source: str | None = None
    reason: str | None = None
    request_id: str | None = None
    idempotency_key: str | None = None


class Change(Struct, frozen=True):
    """One change of one record: the history row, the callback and signal payload, the live event.

    ``before`` is None for a creation (a re-creation too: what lay under the tombstone is gone), and in a listing where
    the version before is no longer kept. ``revision`` is 0 until the store has drawn it.
    """

    revision: int
    key: Key
    version: int
    event: str
    before: Record | None
    after: Record
    origin: Origin
    at: datetime

    def drawn(self, revision: int) -> Change:
        """Return the change with the revision that the store has drawn for it.

        :param revision: the revision.
        """
        after = replace(self.after, revision=revision)
        return Change(revision, self.key, self.version, self.event, self.before, after, self.origin, self.at)

    @property
    def actor(self) -> str:
        """Who made the change."""
        return self.origin.actor

    @property
    def source(self) -> str | None:
        """The part of the system that made it."""
        return self.origin.source

    @property
    def reason(self) -> str | None:
        """Why, in the caller's words."""
        return self.origin.reason

    @property
    def request_id(self) -> str | None:
        """The correlation id of the request."""
        return self.origin.request_id

    @property
    def idempotency_key(self) -> str | None:
        """The caller's key for a repeatable request."""
        return self.origin.idempotency_key


def living(record: Record | None) -> Record | None:
    """Return a record unless it is a tombstone.

    :param record: what is stored, or None.
    """
    return None if record is None or record.deleted_at is not None else record


def version_of(record: Record | None) -> int | None:
    """Return the version of a record, a tombstone's too, or None where there is none.

    :param record: what is stored, or None.
    """
    return None if record is None else record.version

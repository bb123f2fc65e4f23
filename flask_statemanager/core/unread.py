"""A record whose JSON is still text, for whoever only passes it on."""

from __future__ import annotations

from datetime import datetime

import msgspec
import orjson
from msgspec import Raw, Struct

from .entry import Entry
from .record import Record


class Unread(Struct, frozen=True):
    """What is stored under a key, its JSON as the storage has it.

    :param version: its version.
    :param data: its data as JSON.
    :param metadata: its metadata as JSON.
    :param created_at: when it was made.
    :param updated_at: when it was changed last.
    :param expires_at: when it expires, or None.
    :param deleted: whether it is a tombstone.
    """

    version: int
    data: bytes
    metadata: bytes
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None
    deleted: bool = False

    @classmethod
    def of(cls, found: Record | Entry) -> Unread:
        """Write the JSON of a record, or take it out of an entry.

        :param found: any record.
        """
        times: Record | _Body
        if isinstance(found, Record):
            times, texts = found, (orjson.dumps(found.data), orjson.dumps(found.metadata))
        else:
            times = _read(found.body)
            texts = bytes(times.data), bytes(times.metadata)
        return cls(found.version, *texts, times.created_at, times.updated_at, times.expires_at, found.deleted)


class _Body(Struct):
    """What an entry's text has of it."""

    data: Raw
    metadata: Raw
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None


_read = msgspec.json.Decoder(_Body).decode

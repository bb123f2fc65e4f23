"""A key's value with all that is known of it."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from msgspec import Struct

from ..core.codec import copied
from ..core.held import AROUND, GONE, STATUS, TYPE, VALUE
from ..core.record import JSON, JSONObject, Record

__all__ = ["AROUND", "GONE", "KEEP", "STATUS", "TYPE", "VALUE", "Keep", "KeyValue"]


class Keep(Enum):
    """Stands for what is to stay as it is."""

    KEEP = "keep"


KEEP = Keep.KEEP
"""Leave metadata, or the time to live, as it is."""


class KeyValue(Struct, frozen=True):
    """One key at one version, a copy that may be edited freely.

    :param key: the key.
    :param value: any JSON value, null too.
    :param metadata: what is noted about it; empty where nothing is.
    :param version: how often the key was written, removals and expiries included; it never starts again.
    :param revision: the position of its last change in the store's log.
    :param created_at: when it was set first, since it was last absent.
    :param updated_at: when it was written last.
    :param expires_at: when it is going to be absent, or None.
    """

    key: str
    value: JSON
    metadata: JSONObject
    version: int
    revision: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None

    @classmethod
    def of(cls, record: Record) -> KeyValue:
        """Make the caller's view of a live record.

        :param record: the record.
        """
        return cls(
            record.key.name,
            copied(record.data[VALUE]),
            copied(record.metadata),
            record.version,
            record.revision,
            record.created_at,
            record.updated_at,
            record.expires_at,
        )

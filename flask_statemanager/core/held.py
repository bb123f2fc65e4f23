"""How a record holds one JSON value: for keys and values, and for whatever else is kept under keys."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from .record import JSON, Key, Record, living
from .step import Step

TYPE, STATUS = "kv", "set"
"""Type and status of the records that hold one value."""

GONE = "removed"
"""The status of their tombstones."""

VALUE = "value"
"""The member of a record's data that holds the value, which may be any JSON, null too."""

AROUND = len(f'{{"{VALUE}":}}')
"""Bytes that a record's data take more than the value in it."""

CREATE, SET, REMOVE = "create", "set", "remove"
"""The events of such records."""


def put(
    key: Key, stored: Record | None, value: JSON, *, now: datetime, expires_at: datetime | None, event: str = SET
) -> Step:
    """Return the step that puts a value under a key; its metadata stay.

    :param key: the key.
    :param stored: what is stored, a tombstone too, or None.
    :param value: a clean value.
    :param now: the moment.
    :param expires_at: when the key is going to be absent, or None.
    :param event: how to name it where the key is there already.
    """
    alive = living(stored)
    if alive is not None:
        return Step(event, replace(alive, data={VALUE: value}, expires_at=expires_at))
    fresh = Record(
        key=key,
        label=key.name,
        type=TYPE,
        status=STATUS,
        data={VALUE: value},
        metadata={},
        version=0,
        revision=0,
        owner=None,
        schema_version=1,
        created_at=now,
        updated_at=now,
        expires_at=expires_at,
    )
    return Step(CREATE, fresh)


def taken_away(stored: Record | None, now: datetime) -> Step | None:
    """Return the step that removes a key; None where there is none.

    :param stored: what is stored, a tombstone too, or None.
    :param now: the moment.
    """
    alive = living(stored)
    return None if alive is None else Step(REMOVE, removed(alive, now))


def removed(record: Record, now: datetime) -> Record:
    """Return the tombstone of a record; it keeps nothing but the name and the version.

    :param record: a live record.
    :param now: the moment.
    """
    return replace(record, status=GONE, data={}, metadata={}, expires_at=None, deleted_at=now)


def lapsed(record: Record, now: datetime) -> Record | None:
    """Return what a key counts as past its ``expires_at``: removed; None before that.

    :param record: a live record.
    :param now: the moment.
    """
    return None if record.expires_at is None or record.expires_at > now else removed(record, now)

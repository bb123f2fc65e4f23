"""Short verbs on a backend, in which the tests of the contract are written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from msgspec.structs import replace

from ...core.ports import Backend
from ...core.record import Change, JSONObject, Key, Origin, Record
from ...core.retry import pause
from ...errors import StateConflict, StorageTimeout
from ..clock import START

Result = TypeVar("Result")

PATIENCE = 30.0
"""Seconds that a test waits for what has to come."""

BUCKET = "contract"
"""The bucket of the contract's records."""

ORIGIN = Origin("somebody", "a test", "because", "request-1", "once-1")
"""Who makes the contract's changes, every field filled."""


def new_record(name: str, data: JSONObject | None = None, *, bucket: str = BUCKET, **fields: Any) -> Record:
    """Return a record with fixed values, as a decision would make it.

    :param name: its name.
    :param data: its data.
    :param bucket: its bucket.
    :param fields: what else differs from the fixed values.
    """
    plain = Record(
        key=Key(bucket, name),
        label=f"label of {name}",
        type="thing",
        status="new",
        data=data or {},
        metadata={},
        version=1,
        revision=0,
        owner=None,
        schema_version=1,
        created_at=START,
        updated_at=START,
    )
    return replace(plain, **fields)


def change_of(before: Record | None, after: Record, event: str, origin: Origin = ORIGIN) -> Change:
    """Return the change from one record to another, which takes the version behind the one before.

    :param before: what is stored, a tombstone too, or None.
    :param after: what shall be.
    :param event: the event's name.
    :param origin: who asks.
    """
    version = 1 if before is None else before.version + 1
    shown = None if before is None or before.deleted else before
    return Change(0, after.key, version, event, shown, replace(after, version=version), origin, after.updated_at)


def fail() -> None:
    """Fail in the middle of a unit.

    :raises ZeroDivisionError: always.
    """
    raise ZeroDivisionError


def patiently(act: Callable[[], Result], *, seconds: float = PATIENCE) -> Result:
    """Do something again that loses a race, or is not let in in time: in both cases it has written nothing.

    :param act: does everything anew at each call, its reading too.
    :param seconds: for how long.
    :returns: what it returned.
    :raises StateConflict: when it loses to the end.
    :raises StorageTimeout: when it is not let in to the end.
    """
    deadline = time.monotonic() + seconds
    attempt = 0
    while True:
        attempt += 1
        try:
            return act()
        except (StateConflict, StorageTimeout):
            if time.monotonic() > deadline:
                raise
        pause(attempt)


class Store:
    """A backend with short verbs; each opens a unit of its own.

    :param backend: the backend under test.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def read(self, name: str, *, bucket: str = BUCKET) -> Record | None:
        """Return what is stored, a tombstone too, or None.

        :param name: which record.
        :param bucket: in which bucket.
        """
        with self.backend.reading() as unit:
            return self.backend.read(unit, Key(bucket, name))

    def found(self, name: str, *, bucket: str = BUCKET) -> Record:
        """Return what is stored, which must be there.

        :param name: which record.
        :param bucket: in which bucket.
        """
        record = self.read(name, bucket=bucket)
        assert record is not None, f"nothing is stored under {name}"
        return record

    def apply(self, *changes: Change) -> int:
        """Store changes in one unit.

        :param changes: in this order.
        :returns: the last one's revision.
        :raises StateConflict: when another version is stored.
        """
        revision = 0
        with self.backend.writing() as unit:
            for change in changes:
                revision = self.backend.apply(unit, change)
        return revision

    def create(self, name: str, data: JSONObject | None = None, *, bucket: str = BUCKET, **fields: Any) -> Record:
        """Store a new record and return it as it is read back.

        :param name: its name.
        :param data: its data.
        :param bucket: its bucket.
        :param fields: what else differs from the fixed values.
        """
        self.apply(change_of(None, new_record(name, data, bucket=bucket, **fields), "create"))
        return self.found(name, bucket=bucket)

    def update(self, name: str, *, event: str = "update", at: datetime | None = None, **fields: Any) -> Record:
        """Store the next version of a record and return it as it is read back.

        :param name: its name.
        :param event: the event's name.
        :param at: when; the time of the version before by default.
        :param fields: what shall be different.
        """
        before = self.found(name)
        after = replace(before, updated_at=at or before.updated_at, **fields)
        self.apply(change_of(before, after, event))
        return self.found(name)

    def delete(self, name: str, *, at: datetime | None = None) -> Record:
        """Store a tombstone and return it.

        :param name: which record.
        :param at: when; the time of the version before by default.
        """
        moment = at or self.found(name).updated_at
        return self.update(name, event="delete", at=moment, status="deleted", deleted_at=moment)

    def recreate(self, name: str, data: JSONObject | None = None, *, at: datetime) -> Record:
        """Store a new record over a tombstone.

        :param name: which record.
        :param data: its data.
        :param at: when.
        """
        fresh = new_record(name, data, created_at=at, updated_at=at)
        self.apply(change_of(self.found(name), fresh, "create"))
        return self.found(name)

    def fill(self, documents: Mapping[str, JSONObject]) -> None:
        """Store many new records in one unit.

        :param documents: the data of each name.
        """
        self.apply(*(change_of(None, new_record(name, data), "create") for name, data in documents.items()))

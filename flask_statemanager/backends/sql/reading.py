"""Rows turned into records and changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from ...core.record import Change, Key, Origin, Record
from ...core.unread import Unread
from .dialect import Dialect
from .putting import ORIGIN_FIELDS, RECORD_FIELDS

Row = Sequence[Any]

_EMPTY = "{}"
_WIDTH = len(RECORD_FIELDS)
_BEFORE = _WIDTH + 1 + len(ORIGIN_FIELDS)
"""Where in the row of a change the event stands, and where the record before begins."""

_REVISION, _DATA = RECORD_FIELDS.index("revision"), RECORD_FIELDS.index("data")

UNREAD_FIELDS = ("version", "data", "metadata", "created_at", "updated_at", "expires_at", "deleted_at")
"""What is selected of a record that is only passed on."""


class RowReader:
    """Turns rows into values, each with JSON of its own.

    :param habits: the database's habits.
    """

    def __init__(self, habits: Dialect) -> None:
        self._read_json, self._write_json, self._read_time = habits.read_json, habits.write_json, habits.read_time

    def record(self, row: Row) -> Record:
        """Turn a row of :data:`RECORD_FIELDS` into a record.

        :param row: the driver's row.
        """
        bucket, name, label, type_, status, owner, version, revision, schema_version, data, metadata, *times = row
        created, updated, expires, deleted = times
        time = self._read_time
        began = time(created)
        return Record(
            Key(bucket, name),
            label,
            type_,
            status,
            self._read_json(data),
            {} if metadata == _EMPTY else self._read_json(metadata),
            version,
            revision,
            owner,
            schema_version,
            began,  # type: ignore[arg-type]  # the column takes no null
            began if updated == created else time(updated),  # type: ignore[arg-type]  # the column takes no null
            None if expires is None else time(expires),
            None if deleted is None else time(deleted),
        )

    def unread(self, row: Row) -> Unread:
        """Turn a row of :data:`UNREAD_FIELDS` into a record whose JSON is still text.

        :param row: the driver's row.
        """
        version, data, metadata, created, updated, expires, deleted = row
        write, time = self._write_json, self._read_time
        return Unread(
            version,
            write(data).encode(),
            write(metadata).encode(),
            time(created),  # type: ignore[arg-type]  # the column takes no null
            time(updated),  # type: ignore[arg-type]  # the column takes no null
            None if expires is None else time(expires),
            deleted is not None,
        )

    def changes(self, rows: Sequence[Row]) -> list[Change]:
        """Turn the rows of a change listing into changes.

        :param rows: each the record after, the event, the origin, then the record before (Nones where there is none).
        """
        found: list[Change] = []
        last = None
        for row in rows:
            after = self.record(row[:_WIDTH])
            event, *origin = row[_WIDTH:_BEFORE]
            before = None if row[_BEFORE] is None else self._before(row[_BEFORE:], last)
            who = Origin(*origin)
            found.append(Change(after.revision, after.key, after.version, event, before, after, who, after.updated_at))
            last = after
        return found

    def _before(self, row: Row, last: Record | None) -> Record | None:
        """Return the record before a change, which the row above may have told already; None for a tombstone."""
        if last is None or row[_REVISION] != last.revision:
            found = self.record(row)
        else:
            # The JSON is another's own.
            data, metadata = row[_DATA], row[_DATA + 1]
            found = replace(
                last, data=self._read_json(data), metadata={} if metadata == _EMPTY else self._read_json(metadata)
            )
        return None if found.deleted_at is not None else found

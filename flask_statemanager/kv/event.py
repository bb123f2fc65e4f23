"""What a watcher is told."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from ..core.codec import copied
from ..core.record import JSON, Change, Record
from .value import VALUE

CHANGE, BOOKMARK = "change", "bookmark"


class KeyEvent(Struct, frozen=True):
    """One change of a key, or a bookmark: the news that nothing was missed up to a cursor.

    :param kind: ``change`` or ``bookmark``.
    :param cursor: where to go on behind this event.
    :param timestamp: when it happened; None for a bookmark.
    :param key: the key; None for a bookmark, like all below.
    :param event: ``create``, ``set``, ``remove``, ``expire`` or ``restore``.
    :param old_value: the value before; None where there was none, or a null.
    :param new_value: the value after it; None where there is none, or a null.
    :param version: the key's version after it; 0 for a bookmark.
    :param revision: the position in the log; 0 for a bookmark.
    :param source: the part of the system that asked.
    :param actor: who asked.
    :param existed: whether the key was there before.
    :param exists: whether it is there after it.
    """

    kind: str
    cursor: str
    timestamp: datetime | None = None
    key: str | None = None
    event: str | None = None
    old_value: JSON = None
    new_value: JSON = None
    version: int = 0
    revision: int = 0
    source: str | None = None
    actor: str | None = None
    existed: bool = False
    exists: bool = False

    @classmethod
    def of(cls, change: Change, cursor: str) -> KeyEvent:
        """Make what a watcher is told of a change.

        :param change: the change.
        :param cursor: the position behind it.
        """
        before, after = change.before, change.after
        return cls(
            kind=CHANGE,
            cursor=cursor,
            timestamp=change.at,
            key=change.key.name,
            event=change.event,
            old_value=_value(before),
            new_value=_value(after),
            version=change.version,
            revision=change.revision,
            source=change.source,
            actor=change.actor,
            existed=before is not None,
            exists=after.deleted_at is None,
        )


def _value(record: Record | None) -> JSON:
    return None if record is None or record.deleted_at is not None else copied(record.data[VALUE])

"""Messages: what a client is told, each encoded once for all who are told the same.

.. code-block:: json

    {"type": "state_change", "cursor": "17", "data": {"key": "market:BTC-USD", "old_value": 1, "new_value": 2}}
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import orjson

from ...core.buckets import BRIEF
from ...core.clock import iso
from ...core.record import JSON, Change, Record
from ...kv.value import VALUE
from ...lifecycle.parts import BUCKET
from ...tracking.propagation import Sight, without_members

CHANGE, HEARTBEAT, SUBSCRIBED = "state_change", "heartbeat", "subscribed"
COMPACTED, GOODBYE = "compacted", "goodbye"

_SILENT = frozenset((HEARTBEAT, SUBSCRIBED))
"""What an EventSource takes the cursor of without telling the page."""


class Frame:
    """One message with its cursor, in the form of each transport.

    :param kind: what kind of message it is.
    :param cursor: where to go on behind it.
    :param data: what it says, as JSON.
    """

    def __init__(self, kind: str, cursor: str, data: bytes = b"{}") -> None:
        self.kind = kind
        self.cursor = cursor
        self._data = data

    @cached_property
    def text(self) -> bytes:
        """The message as JSON, on one line."""
        return b'{"type":"%b","cursor":"%b","data":%b}' % (self.kind.encode(), self.cursor.encode(), self._data)

    @cached_property
    def websocket(self) -> bytes:
        """The message as a frame of WebSocket."""
        return text_frame(self.text)

    @cached_property
    def event(self) -> bytes:
        """The message as an event of an event stream (HTML Living Standard, section 9.2.5)."""
        cursor = self.cursor.encode()
        if self.kind in _SILENT:  # without data it sets the last event id, and dispatches no event
            return b": %b\nid: %b\n\n" % (self.kind.encode(), cursor)
        return b"id: %b\ndata: %b\n\n" % (cursor, self.text)


def text_frame(payload: bytes) -> bytes:
    """Return a text frame as a server sends it: whole and unmasked (RFC 6455, section 5.2).

    :param payload: the text in UTF-8.
    """
    size = len(payload)
    if size < 126:
        head = bytes((0x81, size))
    elif size < 2**16:
        head = b"\x81\x7e" + size.to_bytes(2, "big")
    else:
        head = b"\x81\x7f" + size.to_bytes(8, "big")
    return head + payload


def change_data(change: Change, sight: Sight, secrets: frozenset[str]) -> bytes:
    """Write what a client is told of a change.

    :param change: the change.
    :param sight: which sides of it may be seen; the other is told of as if there was nothing; and whether
        with the values.
    :param secrets: names of members that are left out, in lower case.
    """
    before = change.before if sight.old else None
    after = change.after if sight.new and change.after.deleted_at is None else None
    values = sight.values and change.key.bucket not in BRIEF
    return orjson.dumps(
        {
            "key": change.key.name,
            **({"old_value": _value(before, secrets), "new_value": _value(after, secrets)} if values else {}),
            "timestamp": int(change.at.timestamp()),
            "source": change.source,
            "bucket": change.key.bucket,
            "event": change.event,
            "version": change.version,
            "revision": change.revision,
            "actor": change.actor,
            "at": iso(change.at),
            "existed": _there(before),
            "exists": after is not None,
            **(_of_state(change, before, after) if change.key.bucket == BUCKET else {}),
        }
    )


def _of_state(change: Change, before: Record | None, after: Record | None) -> dict[str, Any]:
    return {
        "state_type": change.after.type,
        "old_status": None if before is None else before.status,
        "new_status": None if after is None else after.status,
    }


def _there(record: Record | None) -> bool:
    return record is not None and record.deleted_at is None


def _value(record: Record | None, secrets: frozenset[str]) -> JSON:
    if record is None or record.deleted_at is not None:
        return None
    value = record.data if record.key.bucket == BUCKET else record.data[VALUE]
    return without_members(value, secrets) if secrets else value

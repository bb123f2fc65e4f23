"""What a caller gets: State and HistoryEntry, real dicts that ``json.dumps`` takes, with the same as attributes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from ..core.clock import iso, iso_again
from ..core.codec import copied
from ..core.patch import diff
from ..core.record import Change, JSONObject, Record

STATE_KEYS = frozenset(
    (
        *("state_id", "name", "type", "status", "data", "metadata", "version", "revision"),
        *("created_at", "updated_at", "expires_at", "owner"),
    )
)
"""The keys that a State can have; ``owner`` and ``expires_at`` are there only where set."""


class State(dict[str, Any]):
    """One state at one version, a copy that may be edited freely.

    Keys: ``state_id, name, type, status, data, metadata, version, revision, created_at, updated_at``, and
    ``expires_at`` and ``owner`` where set. Times are ISO 8601 text in UTC.

    >>> state = State(state_id="user_1", status="active", data={"email": "a@example.com"})
    >>> state.status, state["data"]["email"]
    ('active', 'a@example.com')
    """

    __slots__ = ()

    @classmethod
    def of(cls, record: Record) -> State:
        """Make the caller's view of a record, whose data others may hold.

        :param record: any record.
        """
        return cls._around(record, copied(record.data), copied(record.metadata), iso_again)

    @classmethod
    def taking(cls, record: Record) -> State:
        """Make the caller's view of a record that was read just now, and that nobody else holds: nothing is copied.

        :param record: the record.
        """
        return cls._around(record, record.data, record.metadata, iso)

    @classmethod
    def _around(
        cls, record: Record, data: JSONObject, metadata: JSONObject, written: Callable[[datetime], str]
    ) -> State:
        created_at = written(record.created_at)
        state = cls(
            state_id=record.key.name,
            name=record.label,
            type=record.type,
            status=record.status,
            data=data,
            metadata=metadata,
            version=record.version,
            revision=record.revision,
            created_at=created_at,
            updated_at=created_at if record.updated_at is record.created_at else written(record.updated_at),
        )
        if record.expires_at is not None:
            state["expires_at"] = written(record.expires_at)
        if record.owner is not None:
            state["owner"] = record.owner
        return state

    @property
    def state_id(self) -> str:
        """The id."""
        return str(self["state_id"])

    @property
    def name(self) -> str:
        """The descriptive name."""
        return str(self["name"])

    @property
    def type(self) -> str:
        """The type's name."""
        return str(self["type"])

    @property
    def status(self) -> str:
        """Where the state stands in its machine."""
        return str(self["status"])

    @property
    def data(self) -> JSONObject:
        """The application's data."""
        found: JSONObject = self["data"]
        return found

    @property
    def metadata(self) -> JSONObject:
        """The application's data about the data."""
        found: JSONObject = self["metadata"]
        return found

    @property
    def version(self) -> int:
        """How often this state was written, deletions and re-creations included."""
        return int(self["version"])

    @property
    def revision(self) -> int:
        """The position of its last change in the store's log."""
        return int(self["revision"])

    @property
    def created_at(self) -> str:
        """When it was registered."""
        return str(self["created_at"])

    @property
    def updated_at(self) -> str:
        """When it was last written."""
        return str(self["updated_at"])

    @property
    def expires_at(self) -> str | None:
        """When it expires, or None."""
        return self.get("expires_at")

    @property
    def owner(self) -> str | None:
        """Who owns it, or None."""
        return self.get("owner")


class HistoryEntry(dict[str, Any]):
    """One change of one state.

    Keys: ``state_id, version, revision, transition_type, from_status, to_status, timestamp, actor, source, reason,
    request_id, old_data, new_data``. ``from_status`` is None and ``old_data`` empty where the state began.
    """

    @classmethod
    def taking(cls, change: Change) -> HistoryEntry:
        """Make the caller's view of a change that was read just now, and that nobody else holds: nothing is copied.

        :param change: the change.
        """
        before, origin = change.before, change.origin
        return cls(
            state_id=change.key.name,
            version=change.version,
            revision=change.revision,
            transition_type=change.event,
            from_status=None if before is None else before.status,
            to_status=change.after.status,
            timestamp=iso(change.at),
            actor=origin.actor,
            source=origin.source,
            reason=origin.reason,
            request_id=origin.request_id,
            old_data={} if before is None else before.data,
            new_data=change.after.data,
        )

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"A history entry has no {name!r}; it has {', '.join(self)}.") from None

    def diff(self) -> list[JSONObject]:
        """Return how the data changed, as a JSON Patch (RFC 6902) from ``old_data`` to ``new_data``."""
        return diff(self["old_data"], self["new_data"])

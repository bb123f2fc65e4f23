"""The audit trail: what has happened in a conversation, written with it, and kept in the history.

What a commit comes with is one change of the key ``audit:member:…`` of the member, or ``audit:channel:…`` before the
login. So the trail is the history of that key: complete in a database, on Redis as far back as the log goes. Nothing of
it can be there without the turn that it tells of, and no turn without it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TextIO

from msgspec import Struct

from ..core.clock import iso
from ..core.held import VALUE, put
from ..core.looks_back import LooksBack
from ..core.ports import Backend
from ..core.powers import KeepsHistory
from ..core.query import ChangeQuery
from ..core.record import JSONObject, Key, Record
from ..core.step import Decide, Step
from ..errors import ConfigurationError
from .channel import Channel, member_key
from .document import written
from .parts import FlowParts, Note
from .redaction import Redaction
from .redaction import body as length_of
from .results import ValidationResult
from .session import FlowSession

AUDIT = "audit:"
"""What the names of trails begin with, before that of the document."""

KEPT = timedelta(days=7)
"""How long the newest entry is at hand apart from the history."""

TRANSITION, VALIDATION, ERROR, RECOVERY, OUTGOING, INCOMING = (
    "transition",
    "validation",
    "error",
    "recovery",
    "outgoing",
    "incoming",
)
"""The events that the engine notes; verbs of a session note others."""


class AuditEvent(Struct, frozen=True):
    """One entry of a trail.

    :param event: what it was.
    :param at: when the turn was committed.
    :param member_id: whose conversation it is, or None.
    :param channel: where: ``{"type": str, "identifier": str}``.
    :param details: what belongs to it, without secrets and without what was said.
    :param revision: of the change in the history.
    """

    event: str
    at: str
    member_id: str | None
    channel: dict[str, str]
    details: dict[str, Any]
    revision: int

    def to_dict(self) -> JSONObject:
        """Return the entry as a JSON object."""
        return {name: getattr(self, name) for name in self.__struct_fields__}


class AuditTrail:
    """Writes notes with the commit that they belong to, without secrets and without what was said.

    :param bucket: the name of the bucket of the conversations.
    :param redaction: the rule, anew at each commit.
    """

    def __init__(self, bucket: str, redaction: Redaction) -> None:
        self._bucket = bucket
        self._redaction = redaction

    def __call__(self, notes: Sequence[Note]) -> Mapping[str, Decide]:
        """Return the decisions that write notes.

        :param notes: what has happened in a turn.
        """
        trails: dict[str, list[Note]] = {}
        for note in notes:
            trails.setdefault(trail_of(note.channel, note.member_id), []).append(note)
        return {name: self._decision(name, some) for name, some in trails.items()}

    def _decision(self, name: str, notes: Sequence[Note]) -> Decide:
        events = [
            {
                "event": note.event,
                "member_id": note.member_id,
                "channel": written(note.channel),
                "details": self._redaction(dict(note.details)),
            }
            for note in notes
        ]

        def decide(stored: Record | None, now: datetime) -> Step | None:
            return put(
                Key(self._bucket, name), stored, {"at": iso(now), "events": events}, now=now, expires_at=now + KEPT
            )

        return decide


class FlowAuditLogger:
    """Notes events of a conversation, and reads trails.

    >>> # logger = FlowAuditLogger(session)
    >>> # logger.log_state_transition(["offer", "amount"], ["offer", "handle"])

    :param session: the conversation whose events are noted; each is written with the session's next commit.
    """

    def __init__(self, session: FlowSession) -> None:
        self._session = session

    def log_event(self, event: str, **details: Any) -> None:
        """Note any event.

        :param event: what it is.
        :param details: what belongs to it, JSON.
        """
        self._session.note(event, **details)

    def log_state_transition(self, before: Any, after: Any) -> None:
        """Note that a conversation has gone from one place to another.

        :param before: where it was.
        :param after: where it is.
        """
        self.log_event(TRANSITION, **{"from": before, "to": after})

    def log_validation_result(self, component: str, result: ValidationResult) -> None:
        """Note what a validation came to.

        :param component: the component.
        :param result: what it came to; of a good value nothing is kept.
        """
        self.log_event(VALIDATION, component=component, valid=result.valid, error=result.message)

    def log_error(self, error_type: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        """Note an error.

        :param error_type: its kind, for example ``api``.
        :param message: what has happened; kept as it is, so without anything that was said.
        :param details: whatever helps to find out why.
        """
        self.log_event(ERROR, error_type=error_type, problem=message, context=dict(details or {}))

    def log_recovery(self, how: str, *, outcome: str) -> None:
        """Note an attempt to recover.

        :param how: the way that was taken.
        :param outcome: where that has led.
        """
        self.log_event(RECOVERY, how=how, outcome=outcome)

    def log_message(self, body: Any, *, incoming: bool = False) -> None:
        """Note a message; of what it says only the length is kept.

        :param body: the message.
        :param incoming: whether the user has sent it.
        """
        self.log_event(INCOMING if incoming else OUTGOING, body=length_of(body))


class Audit:
    """Reads the trails of one app.

    :param parts: the running parts.
    :raises ConfigurationError: when the backend keeps no history that could be read.
    """

    def __init__(self, parts: FlowParts) -> None:
        self._bucket = parts.bucket
        _readable(parts.bucket.backend)

    def of_member(self, member_id: str, *, limit: int = 100, event: str | None = None) -> list[AuditEvent]:
        """Return what has happened in the conversations of a member, on all channels, newest first.

        :param member_id: the member.
        :param limit: from at most how many of the newest turns.
        :param event: only these events.
        :raises StateValidationError: when the member is none.
        :raises StorageError: when the storage fails.
        """
        return self._of(AUDIT + member_key(member_id), limit, event)

    def of_channel(
        self, channel_type: str, channel_id: str, *, limit: int = 100, event: str | None = None
    ) -> list[AuditEvent]:
        """Return what has happened on a channel while it belonged to no member, newest first.

        :param channel_type: the channel's type.
        :param channel_id: who is at the other end.
        :param limit: from at most how many of the newest turns.
        :param event: only these events.
        :raises StateValidationError: when the channel is none.
        :raises StorageError: when the storage fails.
        """
        return self._of(AUDIT + Channel.of(channel_type, channel_id).key, limit, event)

    def export(self, stream: TextIO, events: Sequence[AuditEvent]) -> int:
        """Write entries as lines of JSON, the oldest first.

        :param stream: where to.
        :param events: as they were read.
        :returns: how many there were.
        """
        for event in reversed(events):
            stream.write(json.dumps(event.to_dict(), ensure_ascii=False) + "\n")
        return len(events)

    def _of(self, name: str, limit: int, wanted: str | None) -> list[AuditEvent]:
        records = self._records(name, limit)
        found = [event for record in records for event in reversed(list(_events(record)))]
        return [event for event in found if wanted is None or event.event == wanted]

    def _records(self, name: str, limit: int) -> list[Record]:
        bucket, backend = self._bucket, self._bucket.backend
        if isinstance(backend, KeepsHistory):
            query = ChangeQuery(bucket.name, Key(bucket.name, name), newest_first=True, limit=limit)
            with bucket.reading() as unit:
                return [change.after for change in backend.changes(unit, query)]
        assert isinstance(backend, LooksBack), "it has been looked at"
        return [change.after for change in backend.latest(bucket.name, name, limit)]


def trail_of(channel: Channel, member_id: str | None) -> str:
    """Return the name of a trail's key.

    :param channel: where something has happened.
    :param member_id: whose conversation it is, or None.
    """
    return AUDIT + (channel.key if member_id is None else member_key(member_id))


def _events(record: Record) -> Iterator[AuditEvent]:
    value = record.data.get(VALUE, {})  # nothing, where the newest entry has expired
    for each in value.get("events", ()):
        yield AuditEvent(**each, at=value["at"], revision=record.revision)


def _readable(backend: Backend) -> None:
    if not isinstance(backend, KeepsHistory | LooksBack):
        raise ConfigurationError(
            f"The {backend.title} backend keeps no history to read an audit trail from: "
            "set STATEMANAGER_FLOWS_BACKEND to sql, redis or memory."
        )

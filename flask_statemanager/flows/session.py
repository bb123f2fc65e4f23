"""A session: one conversation in the hands of a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import Any

from ..core.codec import clean
from ..core.held import VALUE
from ..core.ports import UNSEEN, Seen
from ..core.record import JSON, JSONObject, Record
from ..core.secrets import without
from ..core.step import Decide
from ..errors import StateManagerError
from .accessors import Accessors
from .atomic import AtomicStateManager, RedisAtomic
from .channel import Channel
from .conversations import Conversations, Found
from .damage import is_damaged
from .document import Act, Situation
from .messaging import Message
from .outgoing import Outgoing
from .parts import FlowParts, Note
from .recovery import Recovery
from .redaction import unsaid
from .update import textual
from .verbs import Verbs

MAX_DETAILS = 2**16
"""Bytes of what belongs to one note."""


class FlowSession(Accessors, Verbs, Recovery):
    """One conversation, as it was read when it was opened, or written last.

    Outside of a ``with`` statement each verb is committed when it returns. Inside one, everything is committed at its
    end, in one write, or nothing where the block raises. Where somebody else has written meanwhile, the changes are
    made again on what is there then. A session serves one thread.

    >>> # with state_manager.flows.open("web", "visitor-7") as session:
    >>> #     session.transition_flow("offer", "amount")
    >>> #     session.set_component_awaiting(True)

    :param parts: the running parts.
    :param channel: where the conversation takes place.
    :param more: names of further keys of the bucket that are read with it.
    :ivar messaging: sends to the user, after the commit.
    """

    def __init__(self, parts: FlowParts, channel: Channel, more: Sequence[str] = ()) -> None:
        self._parts = parts
        self._conversations = Conversations(parts)
        self._found = self._conversations.find(channel, more)
        self._present = self._found.situation
        self._acts: list[Act] = []
        self._notes: list[Note] = []
        self._more: list[str] = list(more)
        self._depth = 0
        self._settled = False
        self._heard: JSON = None
        self._turning = False
        self.messaging = Outgoing(self)

    @cached_property
    def atomic_state(self) -> AtomicStateManager:
        """Single values under keys, changed atomically, and the session's own conversation among them."""
        return AtomicStateManager(self, RedisAtomic(self._parts))

    def __repr__(self) -> str:
        channel = self._present.channel
        return f"<FlowSession {channel.type}:{channel.identifier} version {self.version}>"

    # -- what the halves stand on ----------------------------------------------------------------------------------

    @property
    def _situation(self) -> Situation:
        return self._present

    @property
    def _record(self) -> Record | None:
        return self._found.record

    def _now(self) -> datetime:
        return self._parts.bucket.clock.now()

    def _act(self, act: Act, event: str, details: Mapping[str, Any], *, looks_at: Sequence[str] = ()) -> None:
        """Take an act into the turn; commit it where there is none."""
        present = act(self._with(looks_at), self._now())
        self._acts.append(act)
        self._present = present
        self.note(event, **details)
        if not self._depth:
            self.commit()

    def _with(self, names: Sequence[str]) -> Situation:
        """Return the conversation with further keys looked at."""
        missing = [name for name in names if name not in self._present.documents]
        if not missing:
            return self._present
        self._more += missing
        found = self._conversations.find(self._present.channel, self._more)
        if self._turning:
            # The turn has gone by what it read, and its commit compares with what was read last.
            found.check_unchanged(self._found)
        self._take(found)
        return self._present

    def _take(self, found: Found) -> None:
        """Go on from what is stored, with what this session has changed."""
        present, now = found.situation, self._now()
        for act in self._acts:
            present = act(present, now)
        self._found, self._present = found, present

    @property
    def channel(self) -> Channel:
        """Where the conversation takes place."""
        return self._present.channel

    @property
    def collecting(self) -> bool:
        """Whether changes are collected, to be committed at the end of a ``with`` statement."""
        return self._depth > 0

    def take(self, act: Act) -> None:
        """Take a pure change of the conversation into the turn, as each verb does.

        :param act: takes the conversation and the moment; called again where somebody else was faster.
        :raises StateManagerError: whatever it refuses with.
        """
        self._act(act, "edited", {})

    # -- committing ------------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """The document's version that was read, or written last; 0 where nothing is stored."""
        return 0 if self._found.record is None else self._found.record.version

    @property
    def home(self) -> str:
        """The name of the key that the document lies under."""
        return self._found.situation.home

    @property
    def document(self) -> JSONObject:
        """What is stored, or would be, as it is."""
        return self._document()

    @property
    def is_new(self) -> bool:
        """Whether nothing was stored of this conversation when it was read."""
        return self._found.record is None or self._found.situation.documents.get(self.home) is None

    @property
    def is_damaged(self) -> bool:
        """Whether what was stored is no document of a session, so that this one begins anew."""
        record = self._found.record
        return record is not None and is_damaged(record.data.get(VALUE))

    @property
    def pending(self) -> bool:
        """Whether there is anything that is not committed."""
        return bool(self._acts or self._notes)

    @property
    def notes(self) -> tuple[Note, ...]:
        """What has happened since the last commit, for the audit trail."""
        return tuple(self._notes)

    def hear(self, message: JSON) -> None:
        """Begin a turn: from here on the conversation must stay as it was read. No ``error`` of the trail quotes this.

        :param message: what the user has sent.
        """
        self._heard = message
        self._turning = True

    def note(self, event: str, **details: Any) -> None:
        """Note something for the audit trail; it is written with the next commit.

        :param event: what it is, for example ``validation``.
        :param details: what belongs to it, JSON; the token is covered wherever it stands in it.
        :raises StateValidationError: when the details are not JSON.
        :raises LimitExceeded: when they are too large.
        """
        document = self._document()
        token = document.get("auth", {}).get("token")
        told = without(clean(textual(details), "details", MAX_DETAILS), token)
        if isinstance(told.get("error"), str):
            told["error"] = unsaid(told["error"], self._heard)
        self._notes.append(Note(event, self._present.channel, document.get("member_id"), told))

    def seen(self, name: str) -> Seen:
        """Return what lies under a key that was read with the conversation, as a write may take it to be.

        :param name: the key's name.
        """
        found = self._found.records.get(name, UNSEEN)
        return UNSEEN if isinstance(found, Record) and found.deleted else found

    def beside(self, name: str) -> Record | None:
        """Return the live record under a key that was read with the conversation, or None.

        :param name: the key's name.
        """
        return self._found.living.get(name)

    def learn(self, record: Record) -> None:
        """Take note of what somebody has written under a key that is written with the next commit.

        :param record: the record.
        """
        self._found = self._found.knowing(self._parts.bucket, record)

    def __enter__(self) -> FlowSession:
        self._depth += 1
        self._settled = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth:
            return
        if kind is not None:
            self.discard()
        elif self.pending or not self._settled:
            self.commit()

    def commit(
        self, *, also: Mapping[str, Decide] | None = None, strict: bool = False, session: Any = None
    ) -> FlowSession:
        """Write what this session has changed, in one transaction, and renew the conversation's time to live.

        :param also: what else is written in the same transaction: decisions by the names of keys of the same bucket.
        :param strict: refuse where somebody else has written since this session has read.
        :param session: write inside this session's transaction; what is to be sent is sent at once then.
        :returns: this session, as it is stored.
        :raises StateConflict: when ``strict`` and somebody else was faster, or racers won every attempt; the changes
            are still there, to be committed again or discarded.
        :raises StateValidationError: when a change is not acceptable on what is stored by now.
        :raises LimitExceeded: when the document gets too large.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts
        beside = {} if parts.accompany is None else dict(parts.accompany(self.notes))
        origin = parts.origin(actor=None, source=None, reason=None)
        found = self._conversations.save(
            self._found,
            tuple(self._acts),
            self._present,
            origin=origin,
            also={**beside, **(also or {})},
            strict=strict,
            more=self._more,
            session=session,
        )
        self._acts, self._notes, self._more = [], [], []
        self._found, self._present, self._settled = found, found.situation, True
        self.messaging.release()
        return self

    def discard(self) -> None:
        """Forget what is not committed, and what was to be sent."""
        self._acts, self._notes, self._more = [], [], []
        self._present = self._found.situation
        self.messaging.forget()

    def refresh(self) -> FlowSession:
        """Read the conversation again; what is not committed is made again on it.

        :returns: this session.
        :raises StorageError: when the storage fails.
        """
        self._take(self._conversations.find(self._present.channel, self._more))
        return self

    def touch(self) -> None:
        """Renew the time to live of the conversation, and change nothing else.

        :raises StateConflict: when racers won every attempt.
        :raises StorageError: when the storage fails.
        """
        if not self._depth:
            self.commit()

    def dispatch(self, messages: Sequence[Message]) -> None:
        """Send messages now.

        :param messages: the messages, in order.
        """
        for message in messages:
            self._parts.messaging().send(message)

    def initialize_channel(self, channel_type: str, channel_id: str) -> None:
        """Take the session to another channel: the one way to change it.

        The conversation of that channel is read. What belonged to the one before stays there.

        :param channel_type: for example ``whatsapp``.
        :param channel_id: who is at the other end.
        :raises StateManagerError: when there are changes that are not committed.
        :raises StateValidationError: when the channel is none.
        :raises StorageError: when the storage fails.
        """
        channel = Channel.of(channel_type, channel_id)
        if self._acts:
            raise StateManagerError("The channel cannot change in the middle of a turn: commit() or discard() first.")
        self._more = []
        self._take(self._conversations.find(channel))
        self.touch()

    def _clean(self, value: JSON, field: str) -> JSON:
        return clean(value, field, self._parts.limit)


FlowStateManager = FlowSession
"""What other systems call the session."""

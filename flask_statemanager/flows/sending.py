"""Sending what a turn has to say, after its commit, at least once.

What is to be sent is stored with the turn. It is sent at once; where that fails or the process dies, a worker does
it later: by a durable effect where the storage keeps jobs for it, else by looking for what has been left over. Each
message has a key that stays the same, so that the receiver can tell a repetition.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..core.clock import from_iso, iso
from ..core.codec import clean
from ..core.enqueues import Enqueues
from ..core.held import VALUE, put, taken_away
from ..core.jobs import DONE, EFFECT, PENDING, Job, JobQuery
from ..core.lists import Span
from ..core.ports import UNSEEN, Seen
from ..core.record import Change, JSONObject, Key, Record, living
from ..core.step import Decide, Step
from .channel import Channel
from .messaging import Message
from .parts import FlowParts

logger = logging.getLogger("flask_statemanager.flows")

TOPIC = "flows.send"
"""The name of the durable effect."""

TURN, LEFT = "message:", "outgoing:"
"""What the names of answered messages begin with, and of what is to be sent where no jobs are kept."""

GRACE = timedelta(seconds=30)
"""How long the process that has worked on a message has for sending the answer, before others try."""

KEPT = timedelta(days=7)
BATCH = 100


class SendPlan(Struct, frozen=True):
    """Leaves a job behind for every turn that has something to say.

    :param bucket: the name of the bucket of the conversations.
    """

    bucket: str

    def concerns(self, change: Change) -> bool:
        """Tell whether a change is such a turn.

        :param change: the change.
        """
        key = change.key
        return key.bucket == self.bucket and key.name.startswith(TURN) and bool(_outgoing(change.after))

    def __call__(self, _unit: Any, change: Change, /) -> Sequence[Job]:
        """Return the job, which falls due when the process that works on the message should have sent the answer.

        :param _unit: the unit.
        :param change: the change.
        """
        if not self.concerns(change):
            return ()
        job = Job(EFFECT, change.key, TOPIC, change.version, change.at + GRACE, change.at)
        return [replace(job, slot=job.identity)]


class Sending:
    """Sends for one app.

    :param parts: the running parts.
    :param jobs: keeps jobs beside the documents; None where no worker would find them.
    """

    def __init__(self, parts: FlowParts, jobs: Enqueues | None) -> None:
        self._parts = parts
        self._bucket = parts.bucket
        self._jobs = jobs

    def kept(self, digest: str, outgoing: Sequence[JSONObject]) -> dict[str, Decide]:
        """Return what has to be written with a turn, so that its answer is sent whatever happens.

        :param digest: of the message.
        :param outgoing: the messages, as :func:`stored` writes them.
        """
        if self._jobs is not None or not outgoing:
            return {}
        key = Key(self._bucket.name, LEFT + digest)

        def decide(present: Record | None, now: Any) -> Step | None:
            return put(key, present, {"outgoing": list(outgoing), "after": iso(now)}, now=now, expires_at=now + KEPT)

        return {key.name: decide}

    def send(self, digest: str, outgoing: Sequence[JSONObject], seen: Seen = UNSEEN) -> bool:
        """Send the answer to a message whose turn is committed, and note that it is sent.

        :param digest: of the message.
        :param outgoing: the messages.
        :param seen: what the caller believes to be kept until they are sent, to spare the reading.
        :returns: whether they are sent; a worker tries again otherwise.
        """
        if not outgoing:
            return True
        try:
            self.deliver(outgoing)
        except Exception:
            logger.warning("An answer could not be sent, a worker will try again.", exc_info=True)
            return False
        try:
            self._note(digest, seen)
        except Exception:
            logger.warning("That an answer is sent could not be noted, so it is sent again.", exc_info=True)
        return True

    def deliver(self, outgoing: Sequence[JSONObject]) -> None:
        """Hand messages to the application's messaging.

        :param outgoing: the messages.
        :raises Exception: whatever that raises.
        """
        messaging = self._parts.messaging()
        for each in outgoing:
            channel = Channel(each["channel"]["type"], each["channel"]["identifier"])
            messaging.send(Message(channel, each["body"], each["key"]))

    def effect(self, _name: str, _old: JSONObject, new: JSONObject, _event: str) -> None:
        """Send the answer of a turn; the durable effect.

        :param _name: the record of the message.
        :param _old: nothing.
        :param new: the record with the answer.
        :param _event: the event.
        :raises Exception: when it cannot be sent.
        """
        self.deliver(new["data"].get(VALUE, {}).get("outgoing", ()))

    def sweep(self) -> bool:
        """Send what has been left over where no jobs are kept; a worker's chore.

        :returns: whether there may be more.
        :raises StorageError: when the storage fails.
        """
        if self._jobs is not None:
            return False
        now = self._bucket.clock.now()
        span = Span(self._bucket.name, now, LEFT, None, BATCH)
        with self._bucket.reading() as unit:
            names = self._parts.lists.listed(unit, span)
        sent = [self._swept(name) for name in names]
        return len(names) == BATCH and any(sent)

    def _swept(self, name: str) -> bool:
        found: Any = self._bucket.find(name, strong=True)
        value = {} if found is None else found.data[VALUE]
        if not value or from_iso(value["after"]) + GRACE > self._bucket.clock.now():
            return False
        return self.send(name.removeprefix(LEFT), value["outgoing"])

    def _note(self, digest: str, seen: Seen) -> None:
        if self._jobs is None:
            origin = self._parts.origin(actor=None, source="flows", reason=None)
            self._bucket.write(LEFT + digest, taken_away, origin=origin, seen=seen)
            return
        query = JobQuery(EFFECT, (PENDING,), Key(self._bucket.name, TURN + digest), TOPIC)
        with self._bucket.backend.writing() as unit:
            for job in self._jobs.jobs(unit, query):
                self._jobs.save(unit, job.ended(DONE, self._bucket.clock.now()), wait=False)


def stored(messages: Sequence[Message], digest: str, limit: int) -> list[JSONObject]:
    """Write messages as they are kept until they are sent, each with a key.

    :param messages: the messages, in order.
    :param digest: of the message that they answer.
    :param limit: the most bytes of one.
    :raises StateValidationError: when one is not JSON.
    :raises LimitExceeded: when one is too large.
    """
    return [
        {
            "channel": {"type": message.channel.type, "identifier": message.channel.identifier},
            "body": clean(message.body, "message", limit),
            "key": message.key or f"{digest}:{number}",
        }
        for number, message in enumerate(messages)
    ]


def _outgoing(record: Record) -> Sequence[JSONObject]:
    alive = living(record)
    value = None if alive is None else alive.data.get(VALUE)
    found: Sequence[JSONObject] = value.get("outgoing", ()) if isinstance(value, dict) else ()
    return found

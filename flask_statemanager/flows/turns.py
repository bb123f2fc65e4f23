"""Turns: one message each, worked on once, by one process at a time, committed as a whole."""

from __future__ import annotations

import hashlib
import json
import logging
import traceback
import uuid
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from ..core.codec import clean
from ..core.held import VALUE, put
from ..core.names import check_text
from ..core.record import JSON, JSONObject, Key, Record, living
from ..core.retry import ATTEMPTS, pause
from ..core.secrets import without
from ..core.step import Decide, Step
from ..errors import (
    ConfigurationError,
    LimitExceeded,
    ResponsibilityBreach,
    StateConflict,
    StateValidationError,
    StorageError,
)
from .channel import Channel
from .document import linked_to
from .engine import Engine
from .failures import SYSTEM, ErrorContext, ErrorHandler
from .parts import FlowParts
from .redaction import body as length_of
from .registry import FlowRegistry
from .responsibilities import Wardenship
from .sending import LEFT, TURN, Sending, stored
from .session import FlowSession
from .turn_lease import LEASE, TurnLease

logger = logging.getLogger("flask_statemanager.flows")

REMEMBERED = timedelta(hours=24)
"""How long the answer to a message is remembered."""


class Answer(Struct, frozen=True):
    """What a message came to.

    :param messages: what was said, in order: texts, or what the channel understands.
    :param path: the flow in which the conversation is now; None for none.
    :param component: the step at which it waits.
    :param failed: whether something went wrong; nothing of the turn is kept then, but that it failed.
    :param repeated: whether the message had been worked on before, so that this is its answer from memory.
    """

    messages: tuple[Any, ...]
    path: str | None
    component: str | None
    failed: bool = False
    repeated: bool = False


class Conduct(Struct, frozen=True, eq=False):
    """What turns stand on, in one app.

    :param parts: the running parts of the flows.
    :param registry: the flows.
    :param sending: sends.
    :param lease: seconds that a turn may take.
    :param warden: deals with what components are not for.
    """

    parts: FlowParts
    registry: FlowRegistry
    sending: Sending
    lease: float
    warden: Wardenship


class _Told(Struct, frozen=True):
    """A message on its way in.

    :param channel: where it came from.
    :param body: what it says.
    :param digest: of channel and message id.
    """

    channel: Channel
    body: JSON
    digest: str

    @property
    def name(self) -> str:
        """The name of the key under which its answer is remembered."""
        return TURN + self.digest


class Turns:
    """Works on messages.

    :param conduct: what turns stand on.
    """

    def __init__(self, conduct: Conduct) -> None:
        self._conduct = conduct
        self._parts = conduct.parts
        self._bucket = conduct.parts.bucket

    def receive(self, channel: Channel, message: object, message_id: str | None) -> Answer:
        """Work on a message.

        :param channel: where it came from.
        :param message: what it says.
        :param message_id: the channel's name for it; a repetition has the same.
        :raises StateManagerError: as :meth:`Flows.receive` says.
        """
        self._conduct.registry.check()
        named = str(uuid.uuid4()) if message_id is None else check_text(message_id, "message_id", 1024)
        told = _Told(channel, clean(message, "message", self._parts.limit), digest_of(channel, named))
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempt(told)
            except StateConflict:
                # The lease was lost, or somebody wrote to the conversation outside of turns.
                if attempt == ATTEMPTS:
                    raise
            pause(attempt)
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover - the type checker cannot see it

    def _attempt(self, told: _Told) -> Answer:
        session = FlowSession(self._parts, told.channel, [told.name, LEFT + told.digest, *self._leases(told.channel)])
        known = _remembered(session, told)
        if known is not None:
            return known
        lease = TurnLease(self._parts, session.home, self._conduct.lease)
        try:
            if not lease.take(session.seen(lease.name)):
                session = self._again(session)
                known = _remembered(session, told)
                if known is not None:
                    return known
            if lease.record is not None:
                session.learn(lease.record)
            answer, outgoing = self._worked(session, told, lease)
        finally:
            _given_back(lease)
        self._conduct.sending.send(told.digest, outgoing, session.seen(LEFT + told.digest))
        return answer

    def _leases(self, channel: Channel) -> list[str]:
        """Return the names of the leases that may be the conversation's."""
        hint = self._parts.hints.get(channel.key)
        return [LEASE + home for home in (channel.key, hint) if home is not None]

    def _again(self, session: FlowSession) -> FlowSession:
        """Read the conversation as the turn before has left it."""
        home = session.home
        if session.refresh().home != home:
            raise StateConflict(Key(self._bucket.name, home), None, None)
        return session

    def _worked(self, session: FlowSession, told: _Told, lease: TurnLease) -> tuple[Answer, list[JSONObject]]:
        session.hear(told.body)
        with session:
            failed = self._heard(session, told)
            try:
                return self._committed(session, told, lease, failed)
            except (LimitExceeded, StateValidationError) as error:
                if failed:
                    raise
                self._fail(session, told, error)
                return self._committed(session, told, lease, True)

    def _committed(
        self, session: FlowSession, told: _Told, lease: TurnLease, failed: bool
    ) -> tuple[Answer, list[JSONObject]]:
        outgoing = stored(session.messaging.take(), told.digest, self._parts.limit)
        for each in outgoing:
            session.note("outgoing", body=length_of(each["body"]), key=each["key"])
        answer = _answer(session, outgoing, failed)
        kept = {"answer": _written(answer), "outgoing": outgoing}
        also = {
            lease.name: lease.returned(),
            told.name: self._remember(told.name, kept),
            **self._conduct.sending.kept(told.digest, outgoing),
        }
        session.commit(also=also, strict=True)
        lease.held = False
        return answer, outgoing

    def _heard(self, session: FlowSession, told: _Told) -> bool:
        """Let the engine work; where it fails, nothing is left of it but that it failed.

        :returns: whether it failed.
        """
        try:
            self._hear(session, told, self._begins_anew(session))
        except (StorageError, StateConflict, ResponsibilityBreach):
            raise
        except Exception as error:
            if isinstance(error, ConfigurationError) and self._conduct.warden.strict():
                raise
            self._fail(session, told, error)
            return True
        return False

    def _fail(self, session: FlowSession, told: _Told, error: Exception) -> None:
        """Forget what the turn has done, note the failure, and tell the user."""
        _log(error, told.channel, session.document.get("auth", {}).get("token"))
        session.discard()
        session.note("incoming", body=length_of(told.body))
        # What a component raises is nothing that the user could mend.
        context = ErrorContext(SYSTEM, str(error), {"error": type(error).__name__})
        session.messaging.send(ErrorHandler.handle_error(error, session, context).message)

    def _hear(self, session: FlowSession, told: _Told, began: str | None) -> None:
        conduct = self._conduct
        session.note("incoming", body=length_of(told.body))
        if began is not None:
            session.note("recovery", how="clean", outcome=began)
            session.messaging.send(getattr(conduct.registry.manners.texts, began))
        greet = conduct.registry.manners.greet
        if greet is not None and session.is_new:
            greet(session)
        Engine(session, conduct.registry, conduct.warden, told.digest).hear(told.body)

    def _begins_anew(self, session: FlowSession) -> str | None:
        """Tell why a conversation that was there is not there any more, as a field of the texts; None otherwise."""
        if not session.is_new:
            if not session.is_damaged:
                return None
            session.begin_anew()
            return "damaged"
        stored = self._bucket.backend.fetch(Key(self._bucket.name, session.home))
        if stored is None:
            return None
        alive = living(stored)
        value = None if alive is None else alive.data.get(VALUE)
        damaged = (
            alive is not None and living(self._bucket.present(alive)) is not None and not linked_to(_object(value))
        )
        return "damaged" if damaged else "expired"

    # -- what is remembered of messages ----------------------------------------------------------------------------

    def _remember(self, name: str, kept: JSONObject) -> Decide:
        key = Key(self._bucket.name, name)

        def decide(stored: Record | None, now: datetime) -> Step | None:
            alive = living(stored)
            if alive is not None:
                raise StateConflict(key, "no answer yet", alive.version)
            return put(key, stored, kept, now=now, expires_at=now + REMEMBERED)

        return decide


def _remembered(session: FlowSession, told: _Told) -> Answer | None:
    """Return the answer to a message that was worked on before, or None."""
    found = session.beside(told.name)
    if found is None:
        return None
    kept = found.data[VALUE]["answer"]
    return Answer(tuple(kept["messages"]), kept["path"], kept["component"], kept["failed"], True)


def _answer(session: FlowSession, outgoing: list[JSONObject], failed: bool) -> Answer:
    component = session.get_component()
    step = None if component is None else str(component)
    return Answer(tuple(each["body"] for each in outgoing), session.get_path(), step, failed)


def _written(answer: Answer) -> JSONObject:
    return {
        "messages": list(answer.messages),
        "path": answer.path,
        "component": answer.component,
        "failed": answer.failed,
    }


def digest_of(channel: Channel, message_id: str) -> str:
    """Return what a message is known by: under ``message:`` and this lies its answer.

    :param channel: where it came from.
    :param message_id: the name that the channel has for it.
    """
    text = json.dumps([channel.type, channel.identifier, message_id])
    return hashlib.sha256(text.encode()).hexdigest()


def _object(value: Any) -> JSONObject | None:
    return value if isinstance(value, dict) else None


def _log(error: Exception, channel: Channel, token: str | None) -> None:
    """Log a failure; a traceback that shows the token is logged as text in which it is covered."""
    text = "".join(traceback.format_exception(error))
    if token and token in text:
        logger.error("A turn on %s failed.\n%s", channel.key, without(text, token))
    else:
        logger.error("A turn on %s failed.", channel.key, exc_info=error)


def _given_back(lease: TurnLease) -> None:
    try:
        lease.give_back()
    except StorageError:
        logger.warning("The lease %s could not be given back, so it runs out by itself.", lease.name)

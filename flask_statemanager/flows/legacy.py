"""Conversations of another system, brought over: documents under a mobile number or ``channel:<identifier>``."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..core.clock import iso
from ..core.record import JSON, JSONObject
from ..errors import StateManagerError, StateValidationError, shown
from .channel import CHANNEL, Channel, check_identifier
from .document import FLOW, Situation, edited
from .parts import FlowParts
from .session import FlowSession
from .update import BOOKKEEPING, CRITICAL, FLOW_NAMES
from .validation import BASE
from .verbs import MAX_TOKEN, TOKEN_TTL

MEMBERS, CHANNELS, THERE, REFUSED = "to members", "to channels", "there already", "refused"
"""What becomes of a document."""

MOBILE = "mobile_number"
"""The member in which the other system kept it."""

MemberOf = Callable[[str], object]
"""Returns the member of a mobile number, or None."""

_DIGITS = re.compile(r"[^0-9]")


class Legacy(Struct, frozen=True):
    """One document of the other system.

    :param key: its key.
    :param value: the document, or its JSON text.
    :param ttl: seconds that it would have lived on; None where that is not known.
    """

    key: str
    value: Any
    ttl: float | None = None


def by_mapping(members: Mapping[str, object]) -> MemberOf:
    """Return what finds members in a mapping, however their numbers are written.

    >>> by_mapping({"+263 77 123": "m1"})("26377123")
    'm1'

    :param members: members by mobile number.
    """
    plain = {_DIGITS.sub("", number).lstrip("0"): member for number, member in members.items()}

    def find(number: str) -> object:
        found = members.get(number)
        digits = _DIGITS.sub("", number).lstrip("0")
        return plain.get(digits) if found is None and digits else found

    return find


class Migration:
    """Brings documents over, one at a time, each through everything that is checked.

    A document whose conversation is there already is left alone, so that the migration can be begun again after an
    interruption.

    :param parts: the running parts.
    :param member_of: finds the member of a mobile number.
    :param channel_type: of documents that do not say it.
    :param ttl: seconds that the conversations live before their first turn; ``STATEMANAGER_FLOWS_TTL`` by default.
    :param rehearsing: whether nothing is written.
    :ivar counts: how many documents came to what.
    """

    def __init__(
        self,
        parts: FlowParts,
        member_of: MemberOf,
        *,
        channel_type: str = "whatsapp",
        ttl: float | None = None,
        rehearsing: bool = False,
    ) -> None:
        self._parts = parts if ttl is None else replace(parts, ttl=ttl)
        self._member_of = member_of
        self._channel_type = channel_type
        self._rehearsing = rehearsing
        self.counts: Counter[str] = Counter()

    def take(self, legacy: Legacy) -> str | None:
        """Bring one document over.

        :param legacy: the document.
        :returns: why it was refused; None where it was not.
        :raises StorageError: when the storage fails; what was brought over before stays.
        """
        try:
            document = _document(legacy.value)
            channel = self._channel(legacy.key, document)
            session = FlowSession(self._parts, channel)
            if session.version:
                self.counts[THERE] += 1
                return None
            member = self._member(channel, document)
            session.__enter__()
            self._fill(session, document, member, legacy.ttl)
            if self._rehearsing:
                session.discard()
            else:
                session.commit()
        except StateValidationError as error:
            self.counts[REFUSED] += 1
            return str(error)
        self.counts[CHANNELS if member is None else MEMBERS] += 1
        return None

    def _channel(self, key: str, document: JSONObject) -> Channel:
        found = document.get("channel")
        if isinstance(found, dict) and found.get("identifier"):
            return Channel.of(found.get("type") or self._channel_type, found["identifier"])
        identifier = document.get(MOBILE) or key.removeprefix(CHANNEL).rpartition(":")[2]
        return Channel.of(self._channel_type, identifier)

    def _member(self, channel: Channel, document: JSONObject) -> str | None:
        member: Any = document.get("member_id") or _in(document, "dashboard", "member", "memberID")
        if member is None:
            try:
                member = self._member_of(str(document.get(MOBILE) or channel.identifier))
            except StateManagerError:
                raise
            except Exception as error:
                raise StateValidationError({"member_id": [f"The resolver failed: {error!r}."]}) from error
        return None if member is None else check_identifier(member, "member_id")

    def _fill(self, session: FlowSession, document: JSONObject, member: str | None, ttl: float | None) -> None:
        known = {*BASE, *self._parts.validator.added}
        update = {name: value for name, value in document.items() if name in known}
        flow = document.get(FLOW)
        if isinstance(flow, dict):
            update[FLOW] = _flow(flow)
        session.update_state(update)
        left = sorted(document.keys() - known - CRITICAL.keys() - BOOKKEEPING - {FLOW, MOBILE, "_validation"})
        session.note("migrated", left_out=left)
        if member is not None:
            session.link_member(member)
        token = document.get("jwt_token") or _in(document, "auth", "token")
        if member is not None and ttl is not None and ttl > 0 and isinstance(token, str) and len(token) <= MAX_TOKEN:
            session.take(_with_token(token, min(ttl, TOKEN_TTL)))


def _with_token(token: str, seconds: float) -> Callable[[Situation, datetime], Situation]:
    def edit(document: JSONObject, now: datetime) -> JSONObject:
        return {**document, "auth": {"token": token, "expires_at": iso(now + timedelta(seconds=seconds))}}

    return edited(edit)


def _document(value: Any) -> JSONObject:
    found: JSON = value
    for _ in range(2):  # some wrote JSON text as JSON text
        if isinstance(found, str | bytes):
            try:
                found = json.loads(found)
            except ValueError as error:
                raise StateValidationError({"document": [f"Is not JSON: {shown(value)}."]}) from error
    if not isinstance(found, dict):
        raise StateValidationError({"document": [f"Must be an object, not {shown(value)}."]})
    return found


def _flow(flow: JSONObject) -> JSONObject:
    """Return a flow of the other system, what this one has no name for among its data."""
    data = flow.get("data")
    named = {name: value for name, value in flow.items() if name in FLOW_NAMES and name != "data"}
    others = {name: value for name, value in flow.items() if name not in FLOW_NAMES and name != "previous"}
    collected = {**others, **(data if isinstance(data, dict) else {})}
    return {**named, "data": {name: value for name, value in collected.items() if name != "member_id"}}


def _in(document: JSONObject, *path: str) -> JSON:
    found: JSON = document
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found

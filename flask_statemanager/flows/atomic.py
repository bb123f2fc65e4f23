"""Single values under keys, changed atomically: the lower layers of another system, under their own names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from ..core.clock import iso
from ..core.codec import clean, copied
from ..core.held import VALUE, put, taken_away
from ..core.names import check_text
from ..core.patch import merge
from ..core.ports import UNSEEN
from ..core.record import JSON, JSONObject, Key, Record, living
from ..core.retry import retried
from ..core.step import Step
from ..errors import StateManagerError, StateValidationError, shown
from .channel import Channel, coded, member_key
from .parts import FlowParts
from .update import textual

OPERATIONS = ("get", "set", "update", "delete")

ATOMIC = "atomic:"
"""What the names of the keys of such values begin with, which keeps them apart from conversations."""

MAX_RETRIES = 3
"""How often an operation is tried again after racers have won."""

MAX_KEY = 160

Outcome = tuple[bool, JSON, str | None]
"""Whether it is done, the value as it is now, and otherwise why not."""


class RedisAtomic:
    """Single values, each read or changed in one step, on whichever backend flows live.

    On Redis an operation is one script on one round trip where this object has read or written the key before, and
    nobody else since; otherwise the value is read first.

    :param parts: the running parts.
    """

    def __init__(self, parts: FlowParts) -> None:
        self._parts = parts
        self._seen: dict[str, Record] = {}

    def execute_atomic(
        self,
        key: str,
        operation: str,
        value: Any = None,
        ttl: float | None = None,
        max_retries: int = MAX_RETRIES,
    ) -> Outcome:
        """Carry out one operation; it never raises because of what was passed, or of the storage.

        Where somebody else was faster, it is carried out again on what is there then.

        :param key: text of at most 160 characters.
        :param operation: ``get``, ``set``, ``update`` (a JSON Merge Patch of an object) or ``delete``.
        :param value: the value, or the patch.
        :param ttl: seconds that the value lives from now on; ``STATEMANAGER_FLOWS_TTL`` by default.
        :param max_retries: how often it is tried again after racers have won.
        :returns: whether it is done; the value as it is now, None where there is none; otherwise a sentence.
        """
        try:
            return True, self.perform(key, operation, value, ttl, max_retries=max_retries), None
        except StateManagerError as error:
            return False, None, str(error)

    def perform(
        self, key: str, operation: str, value: Any = None, ttl: float | None = None, *, max_retries: int = MAX_RETRIES
    ) -> JSON:
        """Carry out one operation.

        :param key: as in :meth:`execute_atomic`.
        :param operation: as there.
        :param value: as there.
        :param ttl: as there.
        :param max_retries: as there.
        :returns: the value as it is now; None where there is none.
        :raises StateValidationError: when an argument is unusable.
        :raises StateConflict: when racers won every attempt.
        :raises LimitExceeded: when the value is too large.
        :raises StorageError: when the storage fails.
        """
        if operation not in OPERATIONS:
            raise StateValidationError({"operation": [f"{shown(operation)} is none of {', '.join(OPERATIONS)}."]})
        if type(max_retries) is not int or not 0 <= max_retries <= 100:
            raise StateValidationError({"max_retries": [f"Must be a number from 0 to 100, not {shown(max_retries)}."]})
        name, bucket = atomic_name(key), self._parts.bucket
        if operation == "get":
            return self._kept(name, bucket.get(name, strong=True))
        decide = self._decision(name, operation, value, self._lifetime(ttl))
        origin = self._parts.origin(actor=None, source=None, reason=None)

        def write() -> Record | None:
            return bucket.write(name, decide, origin=origin, seen=self._seen.pop(name, UNSEEN))

        return self._kept(name, living(retried(write, attempts=max_retries + 1)))

    def now(self) -> datetime:
        """Return the present moment, by the store's clock.

        :raises StorageError: when the clock is a server's, which fails.
        """
        return self._parts.bucket.clock.now()

    def _kept(self, name: str, record: Record | None) -> JSON:
        if record is None:
            self._seen.pop(name, None)
            return None
        self._seen[name] = record
        return copied(record.data[VALUE])

    def _lifetime(self, ttl: float | None) -> timedelta:
        seconds: object = self._parts.ttl if ttl is None else ttl
        if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds <= 366 * 86400:
            return timedelta(seconds=seconds)
        raise StateValidationError({"ttl": [f"Must be a positive number of seconds, not {shown(ttl)}."]})

    def _decision(self, name: str, operation: str, value: Any, lives: timedelta) -> Any:
        key = Key(self._parts.bucket.name, name)
        given = clean(textual(value), "value", self._parts.limit)
        if operation == "update" and not isinstance(given, dict):
            raise StateValidationError({"value": [f"An update is a dict, not {shown(value)}."]})

        def decide(stored: Record | None, now: datetime) -> Step | None:
            if operation == "delete":
                return taken_away(stored, now)
            alive = living(stored)
            present = None if alive is None else alive.data[VALUE]
            after = merge(present, given) if operation == "update" else given
            return put(key, stored, after, now=now, expires_at=now + lives)

        return decide


def atomic_name(key: object) -> str:
    """Return the name of the key that such a value lies under.

    :param key: what the caller passed.
    :raises StateValidationError: when it is no text, or too long.
    """
    if not isinstance(key, str) or not key or len(key) > MAX_KEY:
        raise StateValidationError({"key": [f"Must be text of 1 to {MAX_KEY} characters, not {shown(key)}."]})
    return ATOMIC + coded(check_text(key, "key", MAX_KEY), "key")


class Conversation(Protocol):
    """What an :class:`AtomicStateManager` needs of a session."""

    @property
    def channel(self) -> Channel:
        """Where the conversation takes place."""
        ...  # pragma: no cover - a protocol has no body

    def get_member_id(self) -> str | None:
        """Return whose conversation it is."""
        ...  # pragma: no cover - a protocol has no body

    def refresh(self) -> Any:
        """Read the conversation again."""
        ...  # pragma: no cover - a protocol has no body

    def get_state(self) -> JSONObject:
        """Return the whole state."""
        ...  # pragma: no cover - a protocol has no body

    def update_state(self, update: Mapping[str, Any]) -> None:
        """Change members of the state."""
        ...  # pragma: no cover - a protocol has no body

    def clear_all_state(self) -> None:
        """Begin anew."""
        ...  # pragma: no cover - a protocol has no body


class AtomicStateManager:
    """The operations of :class:`RedisAtomic` with the attempts tracked, and the session's own key among them.

    The keys ``channel:<type>:<identifier>``, ``channel:<identifier>`` and ``member:<id>`` of the session mean its
    conversation: what is set or updated there goes through ``update_state``, with everything that this checks.

    :param session: the session.
    :param atomic: the layer below.
    """

    def __init__(self, session: Conversation, atomic: RedisAtomic) -> None:
        self._session = session
        self._atomic = atomic
        self._attempts: dict[str, int] = {}
        self._last: JSONObject | None = None
        self._error: str | None = None

    @property
    def tracking(self) -> JSONObject:
        """How the operations of this session came out.

        Its members are ``in_progress``, ``attempts`` by operation, ``last_attempt`` and ``error``.
        """
        return {
            "in_progress": self._error is not None,
            "attempts": dict(self._attempts),
            "last_attempt": copied(self._last),
            "error": self._error,
        }

    def atomic_get(self, key: str) -> JSON:
        """Return a value.

        :param key: its key.
        :returns: the value; None where there is none.
        :raises StateValidationError: when the key is unusable.
        :raises StorageError: when the storage fails.
        """
        return self._tracked(key, "get", None, None, MAX_RETRIES)

    def atomic_set(self, key: str, value: Any, ttl: float | None = None) -> JSON:
        """Put a value under a key.

        :param key: its key.
        :param value: any JSON value; of the session's own key a dict.
        :param ttl: seconds that it lives from now on; ``STATEMANAGER_FLOWS_TTL`` by default.
        :returns: the value as it is now.
        :raises StateValidationError: when an argument is unusable.
        :raises StateConflict: when racers won every attempt.
        :raises LimitExceeded: when the value is too large.
        :raises StorageError: when the storage fails.
        """
        return self._tracked(key, "set", value, ttl, MAX_RETRIES)

    def atomic_update(self, key: str, value: Mapping[str, Any], ttl: float | None = None) -> JSON:
        """Merge something into a value; it begins as an empty object.

        :param key: its key.
        :param value: a JSON Merge Patch (RFC 7396).
        :param ttl: as in :meth:`atomic_set`.
        :returns: the value as it is now.
        :raises StateValidationError: when an argument is unusable.
        :raises StateConflict: when racers won every attempt.
        :raises LimitExceeded: when the value is too large.
        :raises StorageError: when the storage fails.
        """
        return self._tracked(key, "update", value, ttl, MAX_RETRIES)

    def atomic_delete(self, key: str) -> None:
        """Remove a value, if there is one; of the session's own key everything but the channel.

        :param key: its key.
        :raises StateValidationError: when the key is unusable.
        :raises StateConflict: when racers won every attempt.
        :raises StorageError: when the storage fails.
        """
        self._tracked(key, "delete", None, None, MAX_RETRIES)

    def execute_atomic(
        self,
        key: str,
        operation: str,
        value: Any = None,
        ttl: float | None = None,
        max_retries: int = MAX_RETRIES,
    ) -> Outcome:
        """Carry out one operation, as :meth:`RedisAtomic.execute_atomic` does.

        :param key: its key.
        :param operation: ``get``, ``set``, ``update`` or ``delete``.
        :param value: the value, or the patch.
        :param ttl: seconds that the value lives from now on.
        :param max_retries: how often it is tried again after racers have won.
        :returns: whether it is done; the value as it is now; otherwise a sentence.
        """
        try:
            return True, self._tracked(key, operation, value, ttl, max_retries), None
        except StateManagerError as error:
            return False, None, str(error)

    def _tracked(self, key: str, operation: str, value: Any, ttl: float | None, max_retries: int) -> JSON:
        named = operation if operation in OPERATIONS else shown(operation)
        self._attempts[named] = self._attempts.get(named, 0) + 1
        self._last = {"operation": named, "key": key, "at": iso(self._atomic.now())}
        try:
            if key in self._own_keys() and operation in OPERATIONS:
                found = self._on_conversation(operation, value)
            else:
                found = self._atomic.perform(key, operation, value, ttl, max_retries=max_retries)
        except StateManagerError as error:
            self._error = str(error)
            raise
        self._error = None
        return found

    def _own_keys(self) -> tuple[str, ...]:
        channel, member = self._session.channel, self._session.get_member_id()
        own = (channel.key, f"channel:{channel.identifier}")
        return own if member is None else (*own, member_key(member), f"member:{member}")

    def _on_conversation(self, operation: str, value: Any) -> JSON:
        if operation == "get":
            self._session.refresh()
        elif operation == "delete":
            self._session.clear_all_state()
        else:
            self._session.update_state(value)
        return None if operation == "delete" else self._session.get_state()

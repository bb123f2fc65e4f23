"""The lease of a conversation: one turn at a time in all processes, and no commit of a turn that has outlived it.

The lease is a key beside the document. It is given back in the very transaction that commits the turn, which writes
only if the lease is still the turn's own and has not run out: whoever was stopped for longer than that commits nothing.
"""

from __future__ import annotations

import time
import uuid
from datetime import datetime, timedelta

from ..core.clock import from_iso, iso
from ..core.held import VALUE, put
from ..core.ports import UNSEEN, Seen
from ..core.record import Key, Record, living, version_of
from ..core.retry import pause
from ..core.step import Decide, Step
from ..errors import StateConflict, StateManagerError
from .parts import FlowParts

LEASE = "lease:"
"""What the names of leases begin with, before that of the document."""

KEPT = timedelta(hours=1)
"""How long a lease that nobody has is kept, so that the next turn finds it."""

PATIENCE = 5.0
"""Seconds beyond the length of a lease after which waiting for it is given up."""


class Taken(StateManagerError):
    """Another turn has the lease."""


class TurnLease:
    """One turn's claim to a conversation.

    :param parts: the running parts.
    :param home: the name of the document's key.
    :param length: seconds that the claim lasts.
    :ivar holder: what no other turn is called.
    :ivar held: whether it has been taken, and not given back.
    :ivar record: the lease as it was taken.
    """

    def __init__(self, parts: FlowParts, home: str, length: float) -> None:
        self._parts = parts
        self._key = Key(parts.bucket.name, LEASE + home)
        self._length = timedelta(seconds=length)
        self.holder = str(uuid.uuid4())
        self.held = False
        self.record: Record | None = None
        self._before: int | None = None

    @property
    def name(self) -> str:
        """The name of the lease's key."""
        return self._key.name

    def take(self, seen: Seen = UNSEEN) -> bool:
        """Wait for the lease, and take it.

        :param seen: what the caller has read there together with the conversation.
        :returns: whether no other turn has had it since; else the conversation may be another by now.
        :raises StateConflict: when another turn has it for longer than it could without failing.
        :raises StorageError: when the storage fails.
        """
        ends = time.monotonic() + self._length.total_seconds() + PATIENCE
        attempt = 0
        while not self._taken(seen if attempt == 0 else UNSEEN):
            if time.monotonic() > ends:
                raise StateConflict(f"The conversation {self._key}", "to be free", None)
            attempt += 1
            pause(attempt)
        # Who had it meanwhile may have given it back already.
        return attempt == 0 and seen is not UNSEEN and version_of(seen) == self._before

    def _taken(self, seen: Seen) -> bool:
        try:
            self.record = self._write(self._take, seen)
        except Taken:
            return False
        self.held = True
        return True

    def give_back(self) -> None:
        """Give the lease back without a commit, if it is still this turn's.

        :raises StorageError: when the storage fails; it runs out by itself then.
        """
        if self.held:
            self.held = False
            self._write(self._free)

    def returned(self) -> Decide:
        """Return the decision that gives the lease back, and refuses where it is lost: a part of the turn's commit."""
        return self._fenced

    def _write(self, decide: Decide, seen: Seen = UNSEEN) -> Record | None:
        origin = self._parts.origin(actor=None, source="flows", reason=None)
        return self._parts.bucket.write(self._key.name, decide, origin=origin, seen=seen)

    def _take(self, stored: Record | None, now: datetime) -> Step | None:
        holder, until = _state(stored)
        if holder is not None and until is not None and until > now:
            raise Taken
        self._before = version_of(stored)
        return self._put(stored, now, {"holder": self.holder, "until": iso(now + self._length)})

    def _free(self, stored: Record | None, now: datetime) -> Step | None:
        return self._put(stored, now, {"holder": None}) if _state(stored)[0] == self.holder else None

    def _fenced(self, stored: Record | None, now: datetime) -> Step | None:
        holder, until = _state(stored)
        if holder != self.holder or until is None or until <= now:
            raise StateConflict(self._key, "the lease of this turn", None if stored is None else stored.version)
        return self._put(stored, now, {"holder": None})

    def _put(self, stored: Record | None, now: datetime, value: dict[str, str | None]) -> Step:
        return put(self._key, stored, value, now=now, expires_at=now + self._length + KEPT)


def _state(stored: Record | None) -> tuple[str | None, datetime | None]:
    """Return who holds a lease, and until when."""
    alive = living(stored)
    value = {} if alive is None else alive.data[VALUE]
    until = value.get("until")
    return value.get("holder"), None if until is None else from_iso(until)

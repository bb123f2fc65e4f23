"""Refusals: what was asked for and not allowed, gathered so that nobody can flood what is kept of it.

What is alike within a minute is one refusal that is counted, and written at the first, second, fourth, eighth time and
so on; of what is not alike, some fifty of each kind are kept in a minute and the others counted together. What somebody
has sent is never part of it: only names that the application has declared, users that it knows, and an address.
"""

from __future__ import annotations

import ipaddress
import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

from ..core.clock import Clock, iso
from ..core.record import JSONObject
from ..core.waking import PerProcess
from ..errors import GuardFailed, TransitionNotAllowed
from .redaction import plain

STATUS, GUARD, UNKNOWN, FORBIDDEN, RATE = "status", "guard", "unauthenticated", "forbidden", "rate"

KINDS = {
    STATUS: "the status did not allow the transition",
    GUARD: "a guard refused the transition",
    UNKNOWN: "nobody known asked",
    FORBIDDEN: "a known user was not allowed",
    RATE: "too many acts in a minute",
}
"""The kinds of refusals, and what each means."""

WINDOW = timedelta(minutes=1)
"""For how long what is alike is counted together."""

MOST = 50
"""How many of each kind that are not alike one process keeps within that time."""

OTHERS = "others"
"""Stands for what all those are that are only counted."""

MAX_NAME, MAX_WHY = 255, 500


class Refusal(Struct, eq=False):
    """What was refused, and how often.

    :param id: its own, in all processes.
    :param kind: one of :data:`KINDS`.
    :param face: where: ``states``, ``api`` or ``admin``.
    :param what: the transition, or the endpoint.
    :param who: the user; None for nobody known.
    :param target: the state; None where there is none.
    :param why: a sentence; None where there is none.
    :param address: from where it was asked last; None where nobody knows.
    :param first: when it was refused first.
    :param last: and last.
    :param times: how often.
    :param slot: where it is written; None while it is not.
    """

    id: str
    kind: str
    face: str
    what: str
    who: str | None
    target: str | None
    why: str | None
    address: str | None
    first: datetime
    last: datetime
    times: int = 1
    slot: int | None = None

    @property
    def due(self) -> bool:
        """Whether it is to be written: at the first time, and whenever the number has doubled."""
        return self.times & (self.times - 1) == 0

    def note(self) -> JSONObject:
        """Return it as it is kept."""
        return {
            "id": self.id,
            "kind": self.kind,
            "face": self.face,
            "what": self.what,
            "who": self.who,
            "target": self.target,
            "why": self.why,
            "address": self.address,
            "first": iso(self.first),
            "last": iso(self.last),
            "times": self.times,
        }


Like = tuple[str, str, str, str | None, str | None]


class Refusals:
    """Takes down what is refused, where the settings say so; it never waits and never raises.

    :param clock: the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._add: Callable[[Refusal], None] | None = None
        self._flush: Callable[[float], bool] = lambda _patience: True
        self._gatherings = PerProcess(lambda: _Gathering(clock))

    @property
    def kept(self) -> bool:
        """Whether they are kept."""
        return self._add is not None

    def keep(self, add: Callable[[Refusal], None], flush: Callable[[float], bool]) -> None:
        """Have refusals kept from now on.

        :param add: takes one that is to be written, or written anew; it neither waits nor raises.
        :param flush: waits until what was taken is written, for some seconds at most; tells whether it is.
        """
        self._add, self._flush = add, flush

    def flush(self, patience: float) -> bool:
        """Wait until this process has written what it has taken down so far; for tests.

        :param patience: how many seconds at most.
        :returns: whether it has.
        """
        return self._flush(patience)

    def note(
        self,
        kind: str,
        face: str,
        what: str | None,
        *,
        who: str | None = None,
        target: str | None = None,
        why: str | None = None,
        address: str | None = None,
    ) -> None:
        """Take down that something was refused.

        :param kind: one of :data:`KINDS`.
        :param face: where.
        :param what: the transition, or the endpoint.
        :param who: the user, if it is known who asks.
        :param target: the state.
        :param why: a sentence of ours or of the application's.
        :param address: from where it was asked.
        """
        if self._add is None:
            return
        named = plain(what or "", MAX_NAME)
        user, thing = (None if text is None else plain(text, MAX_NAME) for text in (who, target))
        found = self._gatherings.get().gathered((kind, face, named, user, thing), why, address)
        if found is not None:
            self._add(found)

    def transition(self, state_id: str, transition: str, error: TransitionNotAllowed, actor: str | None) -> None:
        """Take down that a transition was refused.

        :param state_id: of which state.
        :param transition: which one.
        :param error: why.
        :param actor: who asked.
        """
        if self._add is not None:
            kind = GUARD if isinstance(error, GuardFailed) else STATUS
            self.note(kind, "states", transition, who=actor, target=state_id, why=str(error))


class _Gathering:
    """What one process has refused within the last minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock.now()
        self._open: dict[Like, Refusal] = {}
        self._by_kind: dict[str, int] = {}
        self._mark = os.urandom(6).hex()
        self._number = 0

    def gathered(self, like: Like, why: str | None, address: str | None) -> Refusal | None:
        """Return the refusal that this is part of, if it is to be written now."""
        now = self._clock.now()
        with self._lock:
            if not timedelta(0) <= now - self._began < WINDOW:
                self._began = now
                self._open.clear()
                self._by_kind.clear()
            kind = like[0]
            if like not in self._open and self._by_kind.get(kind, 0) >= MOST:
                like, why = (kind, like[1], OTHERS, None, None), None
            found = self._open.get(like)
            if found is None:
                found = self._open[like] = self._new(like, why, now)
                self._by_kind[kind] = self._by_kind.get(kind, 0) + 1
            else:
                found.times += 1
            found.last, found.address = now, _address(address)
            return found if found.due else None

    def _new(self, like: Like, why: str | None, now: datetime) -> Refusal:
        self._number += 1
        kind, face, what, who, target = like
        sentence = None if why is None else plain(why, MAX_WHY)
        return Refusal(f"{self._mark}-{self._number}", kind, face, what, who, target, sentence, None, now, now)


def _address(sent: str | None) -> str | None:
    try:
        return None if sent is None else str(ipaddress.ip_address(sent))
    except ValueError:
        return None

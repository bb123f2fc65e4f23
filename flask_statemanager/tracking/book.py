"""The book of notes: a batch of requests and sessions becomes keys and values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from ..core.record import JSON, JSONObject
from .presence import Presence, session_key
from .rules import Rules
from .visit import Visit

Remade = Callable[[JSON], JSONObject]
"""Makes the note that shall be of the one that is there, or of None."""


class Fresh(Struct, frozen=True):
    """A note that never takes the place of another.

    :param key: its key.
    :param value: the note.
    :param ttl: seconds that it is kept.
    :param behind: the key of a note without which it makes no sense; None for none.
    """

    key: str
    value: JSONObject
    ttl: float
    behind: str | None = None


class Renewed(Struct, frozen=True):
    """A note that is made of the one that is there.

    :param key: its key.
    :param remade: makes it.
    :param ttl: seconds that it is kept from now on.
    """

    key: str
    remade: Remade
    ttl: float


class Keeping(Protocol):
    """Writes notes, all of them or none."""

    def __call__(self, fresh: Sequence[Fresh], renewed: Sequence[Renewed]) -> Mapping[str, bool]:
        """Write.

        :param fresh: at most one for each key.
        :param renewed: likewise.
        :returns: for each key whether its note is in the store now, and no other one instead.
        :raises StateManagerError: when nothing could be written.
        """
        ...  # pragma: no cover - a protocol has no body


class Book:
    """Writes down requests and sessions.

    :param rules: what is noted.
    :param keep: writes.
    :param count: raises a counter by a number.
    """

    def __init__(self, rules: Rules, keep: Keeping, count: Callable[[str, int], None]) -> None:
        self._rules = rules
        self._keep = keep
        self._count = count

    def write(self, items: Sequence[Visit | Presence]) -> None:
        """Write what has not been written yet of these requests, and the newest of each user's signs of life.

        :param items: in the order in which they came.
        :raises StateManagerError: when nothing could be written; it may be tried again.
        """
        visits = list(dict.fromkeys(each for each in items if isinstance(each, Visit)))
        begun: dict[str, Visit] = {}
        for visit in visits:
            begun.setdefault(visit.correlation_id, visit)
        fresh = [note for visit in begun.values() for note in self._fresh(visit)]
        renewed = self._renewed([each for each in items if isinstance(each, Presence)])
        if not fresh and not renewed:
            return
        kept = self._keep(fresh, renewed)
        self._mark(visits, begun, fresh, kept)

    def _fresh(self, visit: Visit) -> list[Fresh]:
        """Return the notes that are missing of a request, none of one whose key is another's."""
        notes: list[Fresh] = []
        rules, completion = self._rules, visit.completion()
        key, ttl = rules.begun(visit.correlation_id), rules.request_ttl
        if visit.begun is None:
            notes.append(Fresh(key, visit.beginning(rules), ttl))
        if visit.begun is not False and completion is not None and not visit.ended:
            behind = key if visit.begun is None else None
            notes.append(Fresh(rules.completed(visit.correlation_id), completion, ttl, behind))
        return notes

    def _renewed(self, signs: Sequence[Presence]) -> list[Renewed]:
        by_key: dict[str, list[Presence]] = {}
        for sign in signs:
            key = session_key(self._rules, sign.user)
            if key is None:
                self._count("tracking.user_failed", 1)
            else:
                by_key.setdefault(key, []).append(sign)
        return [Renewed(key, _by_all(found), self._rules.session_ttl) for key, found in by_key.items()]

    def _mark(
        self, visits: Sequence[Visit], begun: Mapping[str, Visit], fresh: Sequence[Fresh], kept: Mapping[str, bool]
    ) -> None:
        """Mark what has become of each request, so that a later note of it knows."""
        written = {note.key for note in fresh}
        new = 0
        for visit in visits:
            first = begun[visit.correlation_id] is visit
            key = self._rules.begun(visit.correlation_id)
            if visit.begun is None:
                visit.begun = first and kept[key]
                new += visit.begun
            if first and self._rules.completed(visit.correlation_id) in written:
                visit.ended = True
        self._count("tracking.kept", new)
        self._count("tracking.duplicate", sum(visit.begun is False for visit in visits))


def _by_all(signs: Sequence[Presence]) -> Remade:
    def remade(present: JSON) -> JSONObject:
        note = signs[0].noted_on(present)
        for sign in signs[1:]:
            note = sign.noted_on(note)
        return note

    return remade

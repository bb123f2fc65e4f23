"""Reading and writing conversations: one read and one write for a turn, wherever the document lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from ..core.bucket import Bucket
from ..core.held import VALUE, put, taken_away
from ..core.ports import UNSEEN, Seen
from ..core.record import JSONObject, Key, Origin, Record, living, version_of
from ..core.retry import ATTEMPTS, pause
from ..core.step import Decide, Step
from ..core.together import Together
from ..errors import StateConflict, StateManagerError
from .channel import Channel
from .damage import sound
from .document import CHANNELS, LINK, Act, Documents, Situation, linked_to
from .parts import FlowParts

MAX_HINTS = 4096
"""For how many channels the key of their member is remembered."""

SLACK = timedelta(hours=1)
"""How much longer than the document the link of a channel is kept, so that few turns have to write it.

A link counts only as long as the document that it leads to, so nothing lives longer by it.
"""


class Found(Struct, frozen=True):
    """A conversation as it was read or written last.

    :param situation: what it is made of.
    :param records: what lies under the names, as the store has it: tombstones and what has expired, too.
    :param living: those of them that counted then.
    """

    situation: Situation
    records: Mapping[str, Record | None]
    living: Mapping[str, Record]

    def __repr__(self) -> str:
        # What is in the records may be secret.
        return f"<Found {self.situation.home} version {self.version}>"

    @classmethod
    def of(cls, bucket: Bucket, channel: Channel, records: Mapping[str, Record | None]) -> Found:
        """Find out what was read.

        :param bucket: tells what has expired.
        :param channel: the channel.
        :param records: what lies under its key, and under whatever else was looked at.
        """
        alive: dict[str, Record] = {}
        now = bucket.clock.now()
        for name, record in records.items():
            if record is not None and record.deleted_at is None:
                counting = bucket.present(record, now)
                if counting.deleted_at is None:
                    alive[name] = counting
        documents: Documents = {name: _document(alive.get(name)) for name in records}
        return cls(Situation.of(channel, documents), records, alive)

    def knowing(self, bucket: Bucket, record: Record) -> Found:
        """Return the same with what has been written beside it.

        :param bucket: tells what has expired.
        :param record: the record.
        """
        return Found.of(bucket, self.situation.channel, {**self.records, record.key.name: record})

    def check_unchanged(self, earlier: Found) -> None:
        """Refuse where something was written since an earlier reading.

        :param earlier: what was read then.
        :raises StateConflict: when a record that both have read is another.
        """
        for name in earlier.records.keys() & self.records.keys():
            expected, actual = version_of(earlier.records[name]), version_of(self.records[name])
            if expected != actual:
                raise StateConflict(f"The conversation {self.situation.home}", expected, actual)

    @property
    def seen(self) -> Seen:
        """What lies under the key of the document, as a write may take it to be."""
        home = self.situation.home
        record = self.records.get(home)
        return UNSEEN if home not in self.records or (record is not None and record.deleted) else record

    @property
    def record(self) -> Record | None:
        """The document's record; None where nothing is stored."""
        found = self.living.get(self.situation.home)
        return None if linked_to(_document(found)) is not None else found

    @property
    def version(self) -> int:
        """The version of what lies there, a link that leads nowhere any more too; 0 where nothing does."""
        found = self.living.get(self.situation.home)
        return 0 if found is None else found.version


class Elsewhere(StateManagerError):
    """The document lies under another key by now: somebody has linked the channel, or the member's has expired."""


class Conversations:
    """Finds and keeps the documents of one app.

    :param parts: the running parts.
    """

    def __init__(self, parts: FlowParts) -> None:
        self._parts = parts
        self._bucket = parts.bucket

    def find(self, channel: Channel, more: Iterable[str] = ()) -> Found:
        """Read a conversation, usually in one step.

        :param channel: its channel.
        :param more: names of further keys that are looked at.
        :raises StorageError: when the storage fails.
        """
        key, hints = channel.key, self._parts.hints
        hint = hints.get(key)
        homes = [key] if hint is None else [key, hint]
        records = self._read([*self._with_beside(homes), *(name for name in more if name not in homes)])
        link = linked_to(_document(living(records[key])))
        if link is not None and link not in records:
            records |= self._read(self._with_beside([link]))
        if link is not None:
            _remember(hints, key, link)
        return Found.of(self._bucket, channel, records)

    def _with_beside(self, homes: Sequence[str]) -> list[str]:
        return [*homes, *(prefix + home for prefix in self._parts.beside for home in homes)]

    def _read(self, names: Sequence[str]) -> dict[str, Record | None]:
        found = self._bucket.stored(names)
        return {name: found.get(name) for name in names}

    def save(
        self,
        found: Found,
        acts: Sequence[Act],
        after: Situation | None = None,
        *,
        origin: Origin,
        also: Mapping[str, Decide] | None = None,
        strict: bool = False,
        more: Sequence[str] = (),
        session: Any = None,
    ) -> Found:
        """Carry out acts on what is stored, and renew the conversation's time to live.

        Where somebody else was faster the acts are carried out again, on what is there then.

        :param found: the conversation as it was read.
        :param acts: pure changes, in order.
        :param after: what they made of it, where that is known.
        :param origin: who asks.
        :param also: what else is written in the same transaction, by name.
        :param strict: refuse instead, where what is stored is not what was read.
        :param more: names of further keys that the acts look at.
        :param session: write inside this session's transaction.
        :raises StateConflict: when ``strict`` and somebody else was faster, or racers won every attempt.
        :raises StateManagerError: whatever an act refuses with.
        :raises StorageError: when the storage fails.
        """
        for attempt in range(1, ATTEMPTS + 1):
            saving = _Saving(self._parts, found, acts, after, strict)
            try:
                return saving.run(origin, also or {}, session)
            except Elsewhere as gone:
                if strict or attempt == ATTEMPTS:
                    raise StateConflict(Key(self._bucket.name, found.situation.home), None, None) from gone
            pause(attempt)
            found, after = self.find(found.situation.channel, more), None
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover - the type checker cannot see it


class _Saving:
    """One attempt to write a conversation."""

    def __init__(
        self, parts: FlowParts, found: Found, acts: Sequence[Act], after: Situation | None, strict: bool
    ) -> None:
        self._parts = parts
        self._bucket = parts.bucket
        self._found = found
        self._acts = acts
        self._after = self._acted(found.situation, parts.bucket.clock.now()) if after is None else after
        self._strict = strict
        self._ttl = timedelta(seconds=parts.ttl)

    def run(self, origin: Origin, also: Mapping[str, Decide], session: Any) -> Found:
        """Write, one record alone where that is enough."""
        found, now = self._found, self._bucket.clock.now()
        before = found.situation
        after = self._after
        names = {before.home, after.home, *(n for n in after.documents if _differs(before, after, n))}
        links = self._links(after, now)
        if names == {before.home} and not links and not also:
            written = self._bucket.write(before.home, self._alone, origin=origin, session=session, seen=found.seen)
            return Found.of(self._bucket, before.channel, {**found.records, before.home: written})
        return self._together(sorted(names), [link for link in links if link not in names], origin, also, session)

    def _alone(self, stored: Record | None, now: datetime) -> Step | None:
        """Decide about the document's own record."""
        home = self._found.situation.home
        return self._step(home, stored, self._settled({home: living(stored)}, now), now)

    def _together(
        self, names: Sequence[str], links: Sequence[str], origin: Origin, also: Mapping[str, Decide], session: Any
    ) -> Found:
        """Write several records, all or nothing."""
        there: dict[str, Record | None] = {}
        settled: list[Situation] = []

        def note(stored: Mapping[str, Record | None]) -> None:
            settled.clear()
            there.update({name: stored[name] for name in names})

        def decision(name: str) -> Decide:
            def decide(stored: Record | None, now: datetime) -> Step | None:
                if not settled:
                    settled.append(self._settled(there, now))
                return self._step(name, stored, settled[0], now)

            return decide

        decisions = {**{name: decision(name) for name in names}, **dict.fromkeys(links, self._renewed), **also}
        written = Together(self._bucket).write(
            decisions, origin=origin, conditions=note, seen=self._found.records, session=session
        )
        for name in names:
            if (link := linked_to(_document(written[name]))) is not None:
                _remember(self._parts.hints, name, link)
        return Found.of(self._bucket, self._found.situation.channel, {**self._found.records, **written})

    def _acted(self, situation: Situation, now: datetime) -> Situation:
        for act in self._acts:
            situation = act(situation, now)
        return situation

    def _settled(self, stored: Mapping[str, Record | None], now: datetime) -> Situation:
        """Carry out the acts on what is stored; where that is what was read, it is done."""
        if all(record is self._found.living.get(name) for name, record in stored.items()):
            return self._after
        present = self._present(stored)
        if self._strict:
            self._check_unchanged(stored)
        return self._acted(present, now)

    def _check_unchanged(self, stored: Mapping[str, Record | None]) -> None:
        """Refuse where anything that is written, the document of a member that is joined too, is not what was read."""
        for name, record in stored.items():
            read = self._found.living.get(name)
            expected, actual = version_of(read), version_of(record)
            if expected != actual:
                raise StateConflict(Key(self._bucket.name, name), expected, actual)

    def _present(self, stored: Mapping[str, Record | None]) -> Situation:
        """Return the conversation as it is by now, if it lies where it was found."""
        found, key = self._found, self._found.situation.channel.key
        documents: dict[str, JSONObject | None] = dict(found.situation.documents)
        documents |= {name: _document(record) for name, record in stored.items()}
        if key not in stored:
            # Who takes a channel away from a member takes it out of the document too, which is looked at.
            documents[key] = {LINK: found.situation.home}
        present = Situation.of(found.situation.channel, documents)
        record = stored.get(present.home)
        linked = record is not None and linked_to(_document(record)) is not None and record.version != found.version
        if linked or present.home != found.situation.home:
            raise Elsewhere(f"{found.situation.home} is not where the conversation lies.")
        return present

    def _step(self, name: str, stored: Record | None, situation: Situation, now: datetime) -> Step | None:
        key, value = Key(self._bucket.name, name), situation.documents.get(name)
        if value is None and name == situation.home:
            value = situation.document(now)
        if value is None:
            return taken_away(stored, now)
        lives = self._ttl + SLACK if LINK in value else self._ttl
        return put(key, stored, value, now=now, expires_at=now + lives)

    def _links(self, situation: Situation, now: datetime) -> list[str]:
        """Return the other channels' links where the present one's does not last as long as the document will."""
        document = situation.documents.get(situation.home)
        link = self._found.living.get(situation.channel.key)
        if situation.home == situation.channel.key or document is None:
            return []
        if link is not None and link.expires_at is not None and link.expires_at >= now + self._ttl:
            return []
        return list(document.get(CHANNELS, ()))

    def _renewed(self, stored: Record | None, now: datetime) -> Step | None:
        """Decide about the link of a channel: it is kept on, if it is still one."""
        alive = living(stored)
        if alive is None or linked_to(_document(alive)) != self._found.situation.home:
            return None
        return put(alive.key, stored, alive.data[VALUE], now=now, expires_at=now + self._ttl + SLACK)


def _document(record: Record | None) -> JSONObject | None:
    return None if record is None else sound(record.data.get(VALUE))


def _differs(before: Situation, after: Situation, name: str) -> bool:
    return after.documents.get(name) is not before.documents.get(name)


def _remember(hints: Any, key: str, link: str) -> None:
    hints[key] = link
    while len(hints) > MAX_HINTS:
        hints.popitem(last=False)

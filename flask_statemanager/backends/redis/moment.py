"""One shard as it was in one moment, though it is written to while it is read.

The moment is a revision. Names are read in pages, and the log behind each page: what was changed since is taken back by
what the log says was there before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import groupby, repeat
from operator import itemgetter
from typing import Any

from msgspec import Struct

from ...core.pace import Pace
from ...core.record import Key
from ...core.snapshots import absent
from ...errors import Compacted
from ...redis_line import Command
from .aside import END, Aside, Laid
from .codec import EPOCH, corrupt, revision_of, whole
from .keys import FIRST_GENERATION, Shard
from .store import RedisStore

ATTENTION = 0.05
"""Seconds after which a log is looked at again, lest it is trimmed meanwhile."""

ENTRIES = 500
"""The most entries of a log that are read at once."""

GRAVES = 1000

AFTER, BEFORE, NEITHER = b"a", b"b", b"-"


class Reach(Struct, frozen=True):
    """How far a shard had come in some moment.

    :param shard: the shard under the generation that it had then.
    :param revision: the last one that was drawn.
    :param floor: its floor.
    """

    shard: Shard
    revision: int
    floor: int


class Glance(Struct, frozen=True):
    """What one call has found.

    :param last: the last revision.
    :param floor: the shard's floor.
    :param names: live names.
    :param entries: of the log: revision, name, version, and a record, empty for none.
    """

    last: int
    floor: int
    names: list[bytes]
    entries: list[tuple[int, bytes, int, bytes]]


class Moment:
    """Reads one shard.

    :param store: the way to Redis.
    :param reach: the shard, and how far it had come.
    :param prefix: how the names begin.
    :param held: about how many bytes may be held at once.
    """

    def __init__(self, store: RedisStore, reach: Reach, prefix: str, held: int) -> None:
        self.shard, self.revision, self.floor = reach.shard, reach.revision, reach.floor
        self._store, self._prefix, self._held = store, prefix.encode(), held
        self._aside = Aside()
        self._read = reach.revision
        self._complete = False
        self._pace = Pace(ENTRIES, held)
        self._attended = time.monotonic()

    def close(self) -> None:
        """Forget what was laid aside."""
        self._aside.close()

    def attend(self) -> None:
        """Read the log where that was not done lately.

        :raises Compacted: when some of it is not kept any more.
        :raises StorageError: when Redis fails.
        """
        if not self._complete and time.monotonic() - self._attended > ATTENTION:
            self._catch_up()

    def all(self, batch: int) -> Iterator[Laid]:
        """Yield everything as it was, by name; tombstones too.

        :param batch: the most records to read at once.
        :raises Compacted: when some of what has changed since is not known any more.
        :raises StorageError: when Redis fails, or something is damaged.
        """
        self._bury()
        pace = Pace(batch, self._held)
        last = b"(" + self._prefix + END if self._prefix else b"+"
        names = self._catch_up(b"[" + self._prefix if self._prefix else b"-", last, pace.limit)
        while names:
            texts = self._texts(names)
            pace.step(sum(map(len, filter(None, texts))), len(names))
            following = self._catch_up(b"(" + names[-1], last, pace.limit)
            yield from self._as_they_were(names, texts)
            names = following
        yield from self._laid(batch)
        self._complete = True

    def changed(self, since: int, batch: int) -> Iterator[Laid]:
        """Return what has changed behind a revision, as it was in the moment; the log is read at once.

        :param since: the revision.
        :param batch: the most records to read at once.
        :raises Compacted: when some of what has changed is not known any more.
        :raises StorageError: when Redis fails.
        """
        for glance in self._behind(since, AFTER):
            entries = [entry for entry in glance.entries if entry[0] <= self.revision]
            self._aside.last((name, text) for _, name, _, text in entries if name.startswith(self._prefix))
            self.floor = glance.floor
            if len(entries) < len(glance.entries):
                break
        return self._laid(batch)

    def has_changed(self, since: int) -> bool:
        """Tell whether anything has changed behind a revision.

        :param since: the revision.
        :raises StorageError: when Redis fails.
        """
        if since == self.revision or not self._prefix:
            return since != self.revision
        try:
            names = (name for glance in self._behind(since, NEITHER) for _, name, _, _ in glance.entries)
            return any(name.startswith(self._prefix) for name in names)
        except Compacted:
            return True

    def _laid(self, batch: int, last: bytes = END) -> Iterator[Laid]:
        pace = Pace(batch, self._held)
        while laid := self._aside.take(pace.limit, last):
            pace.step(sum(len(text or b"") for _, text in laid), len(laid))
            yield from laid

    def _bury(self) -> None:
        """Lay aside the tombstones of then. One that is gone has raised the floor, or is in the log."""
        place: Any = b"0"
        pace = Pace(GRAVES, self._held)
        while True:
            place, names = self._ask("graves", [2, self.shard.pointer, self.shard.dead], [place, pace.limit])
            mine = [name for name in names if name.startswith(self._prefix)]
            for at in range(0, len(mine), pace.limit):
                some = mine[at : at + pace.limit]
                texts = self._texts(some)
                known = zip(some, texts, strict=True)
                self._aside.first((name, text) for name, text in known if text and self._is_of_then(text))
                pace.step(sum(map(len, filter(None, texts))), len(some))
            self.attend()
            if int(place) == 0:
                return

    def _as_they_were(self, names: Sequence[bytes], texts: Sequence[bytes | None]) -> Iterator[Laid]:
        """Yield a page, with what was laid aside in place of what is there now."""
        laid = ((name, 0, text) for name, text in self._laid(len(names), names[-1]))
        page = zip(names, repeat(1), texts, strict=False)
        # No two have the same two before the text, so that no text is compared.
        for name, some in groupby(merge(laid, page), key=itemgetter(0)):
            _, now, text = next(some)
            if now and not (text and self._is_of_then(text)):
                raise corrupt(Key(self.shard.bucket, name.decode()))
            yield name, text
        self._aside.end(names[-1])

    def _is_of_then(self, text: bytes) -> bool:
        return revision_of(text) <= self.revision

    def _texts(self, names: Sequence[bytes]) -> list[bytes | None]:
        if not names:
            return []
        keys = [self.shard.records + name for name in names]
        texts: list[bytes | None]
        generation, *texts = self._store.link.ask([("MGET", self.shard.pointer, *keys)])[0]
        if (generation or FIRST_GENERATION) != self.shard.generation:
            raise self._gone()
        return texts

    def _catch_up(self, first: bytes = b"-", last: bytes = b"+", limit: int = 0) -> list[bytes]:
        """Return names of now, and lay aside what the log says was there before everything that is changed."""
        names: list[bytes] | None = None
        for glance in self._behind(self._read, BEFORE, first, last, limit):
            names = glance.names if names is None else names
            self.floor = max(self.floor, glance.floor)
            self._aside.first(self._before(entry) for entry in glance.entries if entry[1].startswith(self._prefix))
            if glance.entries:
                self._read = glance.entries[-1][0]
        self._attended = time.monotonic()
        return names or []

    def _before(self, entry: tuple[int, bytes, int, bytes]) -> Laid:
        """Return what was there before a change; of a tombstone only the version is known."""
        _revision, name, version, text = entry
        if text or version - 1 <= self.floor:
            return name, text or None
        return name, whole(absent(Key(self.shard.bucket, name.decode()), version - 1, EPOCH))

    def _behind(
        self, since: int, wanted: bytes, first: bytes = b"-", last: bytes = b"+", limit: int = 0
    ) -> Iterator[Glance]:
        """Yield the log behind a revision to its end; the first time also names, which it was read behind."""
        read = since
        while True:
            most = self._pace.limit
            glance = self._glance([first, last, limit, read + 1, most, wanted])
            for revision, _, _, _ in glance.entries:
                if revision != read + 1:
                    raise self._gone()
                read = revision
            self._pace.step(sum(len(text) for *_, text in glance.entries), max(1, len(glance.entries)))
            complete = len(glance.entries) < most
            if read != glance.last and complete:
                raise self._gone()
            yield glance
            if complete or read == glance.last:
                return
            limit = 0

    def _glance(self, words: Command) -> Glance:
        at = self.shard
        keys = (5, at.pointer, at.revision, at.floor, at.names, at.log)
        last, floor, names, found = self._ask("glance", keys, words)
        parts = zip(found[::4], found[1::4], found[2::4], found[3::4], strict=True)
        entries = [(int(revision), name, int(version), text) for revision, name, version, text in parts]
        return Glance(int(last), int(floor), names, entries)

    def _ask(self, name: str, keys: Command, words: Command) -> list[Any]:
        answer: list[Any]
        state, *answer = self._store.link.look(name, [[*keys, self.shard.generation, *words]])[0]
        if state != 0:
            raise self._gone()
        return answer

    def _gone(self) -> Compacted:
        return Compacted(str(self._read), str(self.revision))

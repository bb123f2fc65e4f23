"""One shard's next generation, which a restore builds beside the present one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from ...core.record import Change, Key, Record
from ...errors import StorageTimeout
from ...redis_line import Word
from .codec import expiring, micros, told, unpacked, whole
from .keys import Shard
from .store import RedisStore

PATIENCE = 15.0
"""Seconds to wait for another restore of the shard."""

HOLD_MS = 3000
"""Milliseconds after which a restore that gives no sign of life loses its place, and its gates go by themselves."""

PIECE = 250
"""The most records that one script writes or removes, so that nobody waits long for it."""

PIECE_BYTES = 2 * 2**20

_PAUSE = 0.02


class Lost(Exception):
    """Somebody else has given up this generation."""


class Placed(Struct, frozen=True):
    """A record as it is going to lie in the new generation.

    :param name: its name.
    :param text: the record.
    :param due: when it expires, in microseconds; empty where it does not.
    :param died: when it died; empty for a live one.
    :param revision: of the change that the log is told; empty for none.
    :param told: what else the log is told.
    :param before: the live record before; empty for none.
    """

    name: str
    text: bytes
    due: bytes = b""
    died: bytes = b""
    revision: bytes = b""
    told: bytes = b""
    before: bytes = b""

    @property
    def words(self) -> tuple[Word, ...]:
        """The arguments for ``build.lua``."""
        return self.name, self.text, self.due, self.died, self.revision, self.told, self.before

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return len(self.text) + len(self.before)


class Generation:
    """A generation on its way.

    Its log begins with what the restore changes, and its first revision leaves one out behind the last one of the
    present generation: whoever follows from there sees the gap.

    :param store: the way to Redis.
    :param shard: the shard, under any generation.
    :param token: what tells the restore from others.
    :param log_length: about how long its log may grow.
    :raises StorageTimeout: when another restore does not come to its end.
    :raises StorageError: when Redis fails.
    """

    def __init__(self, store: RedisStore, shard: Shard, token: bytes, log_length: int) -> None:
        self._store, self._token, self._log_length = store, token, log_length
        generation, last, floor, new, *given_up = self._begun(shard)
        self.old = store.layout.moved(shard, generation)
        self.new = store.layout.under(shard, new)
        self.last, self.floor = int(last), int(floor)
        self.revision = self.last
        self.touched = False
        for each in given_up:
            clear(store, store.layout.under(shard, each))

    def _begun(self, shard: Shard) -> list[bytes]:
        deadline = time.monotonic() + PATIENCE
        keys = (shard.pointer, shard.revision, shard.floor, shard.generations, shard.builder)
        while True:
            state, *answer = self._store.link.run("begin", [len(keys), *keys, self._token, HOLD_MS])
            if state == 0:
                return list(answer)
            if time.monotonic() > deadline:
                raise StorageTimeout(
                    f"Another restore of the bucket {shard.bucket!r} is on its way: wait for it, and try again."
                )
            time.sleep(_PAUSE)

    def reach(self, revision: int) -> None:
        """Have its revisions begin behind one.

        :param revision: one that is not lower than the last.
        """
        self.revision = revision

    def change(self, change: Change) -> Placed:
        """Have a change take place.

        :param change: the change.
        """
        self.touched = True
        self.revision += 1
        after = replace(change.after, revision=self.revision)
        before = b"" if change.before is None else whole(change.before)
        died = micros(after.deleted_at)
        return Placed(change.key.name, whole(after), expiring(after), died, b"%d" % self.revision, told(change), before)

    def lay(self, record: Record) -> Placed:
        """Have a record be something else without a change.

        :param record: the record.
        """
        self.touched = True
        return Placed(record.key.name, whole(record), expiring(record), micros(record.deleted_at))

    def keep(self, key: Key, text: bytes) -> Placed:
        """Have a record be what it is.

        :param key: its key.
        :param text: the record.
        :raises StorageError: when it is damaged.
        """
        flags = text[:99].split(b" ", 3)[2]
        if b"d" not in flags and b"e" not in flags:
            return Placed(key.name, text)
        record = unpacked(text, key)
        return Placed(key.name, text, expiring(record), micros(record.deleted_at))

    def put(self, placed: Sequence[Placed]) -> None:
        """Write records that are not in it yet.

        :param placed: the records.
        :raises Lost: when it was given up.
        :raises StorageError: when Redis fails.
        """
        new = self.new
        for piece in _pieces(placed):
            keys = [new.generations, new.builder, *new.held, *(new.record(each.name) for each in piece)]
            words: list[Word] = [self._token, HOLD_MS, new.generation, self._log_length]
            for each in piece:
                words += each.words
            if self._store.link.run("build", [len(keys), *keys, *words]) != 0:
                raise Lost

    def missing(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return records of the present generation that are not in this one.

        :param names: their names.
        :raises StorageError: when Redis fails.
        """
        if not names:
            return {}
        keys = [shard.record(name) for name in names for shard in (self.old, self.new)]
        texts = self._store.link.look("rest", [[len(keys), *keys]])[0]
        return {name: text for name, text in zip(names, texts, strict=True) if text}


def clear(store: RedisStore, shard: Shard) -> None:
    """Remove a generation that is not the present one, a piece at a time; nothing where it is.

    :param store: the way to Redis.
    :param shard: the shard under that generation.
    :raises StorageError: when Redis fails.
    """
    names: list[bytes] = []
    while True:
        keys = [shard.generations, *shard.held, *(shard.records + name for name in names)]
        names = store.link.run("clear", [len(keys), *keys, shard.generation, PIECE, *names])
        if not names:
            return


def clear_all(store: RedisStore, shard: Shard) -> None:
    """Remove what restores have left behind that were killed, unless one is on its way.

    :param store: the way to Redis.
    :param shard: the shard, under any generation.
    :raises StorageError: when Redis fails.
    """
    for each in store.link.run("given_up", [3, shard.pointer, shard.generations, shard.builder]):
        clear(store, store.layout.under(shard, each))


def _pieces(placed: Sequence[Placed]) -> Iterator[list[Placed]]:
    piece: list[Placed] = []
    size = 0
    for each in placed:
        piece.append(each)
        size += each.size
        if len(piece) >= PIECE or size >= PIECE_BYTES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece

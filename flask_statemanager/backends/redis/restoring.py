"""A restore on Redis: other generations are built, and take the place of the present ones by one step."""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any

from msgspec.structs import replace

from ...core.record import Key, Record
from ...core.restores import chunks, compared, removing, returning
from ...core.snapshots import Restore, Restored, tombstone
from ...errors import StateConflict, StorageError, StorageTimeout
from ...redis_line import Command, Word
from .aside import END
from .codec import unpacked
from .generation import HOLD_MS, PATIENCE, PIECE, Generation, Lost, Placed, clear
from .keys import Shard
from .store import RedisStore

ATTEMPTS = 3
"""How often it is begun: at first while others write on, from the second time on they have to wait."""

_EXTENDING = HOLD_MS / 3000
"""Seconds after which the places of all shards are kept for a while longer."""

_PAUSE = 0.002

_ALL = b"-inf"
"""In place of now: nothing is past its expiry."""


class Restoring:
    """One restore.

    Each attempt puts first what is given into the new generations, over what is stored, and then the rest of what is
    stored. If somebody has written meanwhile, the step in which they take their places is refused, so that nothing that
    was acknowledged is lost, and it is begun again.

    :param store: the way to Redis.
    :param restore: what it shall come to.
    :param log_length: about how many changes of each shard of a bucket are kept.
    """

    def __init__(self, store: RedisStore, restore: Restore, log_length: Callable[[str], int]) -> None:
        self._store, self._restore, self._log_length = store, restore, log_length
        self._token = secrets.token_hex(8).encode()
        self._building: dict[tuple[str, int], Generation] = {}
        self._count = Restored()
        self._extended = 0.0

    def run(self, records: Callable[[], Iterable[Record]]) -> Restored:
        """Restore, or count only.

        :param records: returns the records by bucket and name.
        :raises StateConflict: when racers won every attempt.
        :raises StorageError: when Redis fails.
        """
        if self._restore.rehearsing:
            return self._rehearsed(records())
        try:
            for attempt in range(ATTEMPTS):
                with suppress(Lost):
                    self._build(records(), alone=attempt > 0)
                    self._flip()
                    return self._count
        finally:
            self._tidy()
        raise StateConflict(Key(self._restore.buckets[0], ""), None, None)

    # -- building --------------------------------------------------------------------------------------------------

    def _build(self, records: Iterable[Record], *, alone: bool) -> None:
        self._count = Restored()
        self._begin(alone=alone)
        for bucket, chunk in chunks(records):
            self._give(bucket, chunk)
        for built in self._building.values():
            self._complete(built)

    def _begin(self, *, alone: bool) -> None:
        shards = [shard for bucket in self._restore.buckets for shard in self._store.shards(bucket)]
        if alone:
            self._shut(shards)
        for shard in shards:
            built = Generation(self._store, shard, self._token, self._log_length(shard.bucket))
            built.floor = max(built.floor, self._restore.floors.get(shard.bucket, 0))
            self._building[shard.identity] = built
            self._extend()
        for _bucket, some in groupby(self._building.values(), key=lambda built: built.old.bucket):
            mine = list(some)
            # One is left out, so that no cursor from before leads on; and no shard of a bucket begins below another.
            first = max(built.last for built in mine) + 1
            for built in mine:
                built.reach(first)

    def _give(self, bucket: str, chunk: Sequence[Record]) -> None:
        """Put what is given into the new generations."""
        for built, some in self._by_shard(chunk):
            self._extend()
            floor, stored = self._stored(built.old, some)
            placed = [self._placed(built, each, stored.get(each.key.name), floor) for each in some]
            built.put([each for each in placed if each is not None])
        self._tell(bucket, [record.key.name for record in chunk])

    def _placed(self, built: Generation, record: Record, stored: Record | None, floor: int) -> Placed | None:
        self._count += compared(record, stored)
        floor = max(floor, built.floor)
        before = stored
        if record.version > (floor if stored is None else stored.version):
            # It starts from a version that is as high as any that was ever seen of it.
            before = tombstone(record, record.version) if stored is None else replace(stored, version=record.version)
        if record.deleted_at is None:
            return built.change(returning(self._restore, record, before, floor))
        if before is None:
            return None
        if self._restore.replacing and before.deleted_at is None:
            self._count += Restored(removed=1)
            return built.change(removing(self._restore, before))
        # What is as it was is left to those that are not given.
        return None if before is stored else built.lay(before)

    def _complete(self, built: Generation) -> None:
        """Put into a new generation what is not given: as it is, or removed."""
        if not self._restore.replacing and not built.touched:
            return
        for names in self._living(built.old):
            self._extend()
            removed: list[str] = []
            placed: list[Placed] = []
            for name, text in built.missing(names).items():
                key = Key(built.old.bucket, name)
                if self._restore.replacing and name.startswith(self._restore.prefix):
                    removed.append(name)
                    placed.append(built.change(removing(self._restore, unpacked(text, key))))
                else:
                    placed.append(built.keep(key, text))
            built.put(placed)
            self._count += Restored(removed=len(removed))
            self._tell(built.old.bucket, removed)
        for names in self._dead(built.old) if built.touched else ():
            self._extend()
            missing = built.missing(names)
            built.put([built.keep(Key(built.old.bucket, name), text) for name, text in missing.items()])

    def _living(self, shard: Shard) -> Iterator[list[str]]:
        behind, first = b"-", b"-"
        while behind:
            keys: Command = (3, shard.pointer, shard.names, shard.due)
            names, behind = self._look("list", [*keys, shard.generation, first, b"+", _ALL, PIECE])
            yield [name.decode() for name in names]
            first = b"(" + behind

    def _dead(self, shard: Shard) -> Iterator[list[str]]:
        place = b"0"
        while True:
            place, names = self._look("graves", [2, shard.pointer, shard.dead, shard.generation, place, PIECE])
            distinct = list(dict.fromkeys(name.decode() for name in names))
            for at in range(0, len(distinct), PIECE):
                yield distinct[at : at + PIECE]
            if int(place) == 0:
                return

    def _look(self, name: str, call: Command) -> list[Any]:
        state, *answer = self._store.link.look(name, [call])[0]
        if state != 0:
            raise Lost
        return list(answer)

    def _stored(self, shard: Shard, records: Sequence[Record]) -> tuple[int, dict[str, Record]]:
        """Return the floor, and what is stored, both of one moment."""
        keys = [record.key for record in records]
        _at, (floor, *texts) = self._store.values(shard, lambda at: [at.floor, *(at.record(key.name) for key in keys)])
        found = {key.name: unpacked(text, key) for key, text in zip(keys, texts, strict=True) if text is not None}
        return int(floor or 0), found

    def _by_shard(self, chunk: Sequence[Record]) -> list[tuple[Generation, list[Record]]]:
        parts = defaultdict[tuple[str, int], list[Record]](list)
        for record in chunk:
            parts[self._store.shard_of(record.key).identity].append(record)
        return [(self._building[identity], some) for identity, some in parts.items()]

    def _tell(self, bucket: str, names: Sequence[str]) -> None:
        if names and self._restore.told is not None:
            self._restore.told(bucket, names)

    # -- taking their places ---------------------------------------------------------------------------------------

    def _flip(self) -> None:
        """Have all take their places: on one server in one step, on a cluster shard by shard behind all their gates."""
        everyone = list(self._building.values())
        if not self._store.spans:
            self._step(everyone)
            return
        self._shut([built.old for built in everyone])
        for built in everyone:
            last = self._store.link.ask([("GET", built.old.revision)])[0]
            if built.touched and int(last or 0) != built.last:
                raise Lost
        for built in everyone:
            self._step([built])

    def _step(self, some: Sequence[Generation]) -> None:
        keys: list[bytes] = []
        words: list[Word] = [self._token]
        for built in some:
            at = built.old
            keys += (at.pointer, at.gate, at.revision, at.floor, at.generations, at.builder)
            new = built.new.generation if built.touched else b""
            words += (at.generation, new, built.last, built.revision, built.floor)
        if self._store.link.run("flip", [len(keys), *keys, *words]) != 0:
            raise Lost
        for built in some:
            if built.touched:
                self._store.layout.moved(built.old, built.new.generation)

    def _shut(self, shards: Sequence[Shard]) -> None:
        """Put up the gates of all shards, so that others' writes wait."""
        for shard in shards:
            deadline = time.monotonic() + PATIENCE
            put_up = ("SET", shard.gate, self._token, b"NX", b"PX", HOLD_MS)
            while self._store.link.ask([put_up])[0] is None:
                if self._store.link.ask([("GET", shard.gate)])[0] == self._token:
                    break
                if time.monotonic() > deadline:
                    raise StorageTimeout(
                        f"Others have had the bucket {shard.bucket!r} in Redis to themselves for more than "
                        f"{PATIENCE:.0f} s: nothing was restored, try again."
                    )
                time.sleep(_PAUSE)
            self._extend()

    def _extend(self) -> None:
        """Keep what is one's own, if it has not been done lately."""
        now = time.monotonic()
        if now - self._extended < _EXTENDING:
            return
        self._extended = now
        for built in self._building.values():
            self._store.link.run("extend", [2, built.old.gate, built.old.builder, self._token, HOLD_MS])

    def _tidy(self) -> None:
        """Remove what is not the present generation, and give free what is still held.

        What cannot be done now is done by the next restore.
        """
        with suppress(StorageError):
            for built in self._building.values():
                for shard in (built.new, built.old):
                    clear(self._store, shard)
                for own in (built.old.gate, built.old.builder):
                    self._store.link.run("release", [1, own, self._token])

    # -- counting --------------------------------------------------------------------------------------------------

    def _rehearsed(self, records: Iterable[Record]) -> Restored:
        restore = self._restore
        for bucket, chunk in chunks(records):
            parts = defaultdict[Shard, list[Record]](list)
            for record in chunk:
                parts[self._store.shard_of(record.key)].append(record)
            for shard, some in parts.items():
                stored = self._stored(shard, some)[1]
                self._count += sum((compared(each, stored.get(each.key.name)) for each in some), Restored())
            self._tell(bucket, [record.key.name for record in chunk])
        if not restore.replacing:
            return self._count
        there = self._count.changed + self._count.same
        living = sum(self._number(bucket) for bucket in restore.buckets)
        return self._count + Restored(removed=max(0, living - there))

    def _number(self, bucket: str) -> int:
        """Return how many live records it concerns, those past their expiry too."""
        prefix = self._restore.prefix.encode()
        first, last, before = (b"[" + prefix, b"(" + prefix + END, b"(" + prefix) if prefix else (b"-", b"+", b"")
        answers = self._store.each(
            "tally",
            self._store.shards(bucket),
            lambda at: [3, at.pointer, at.names, at.due, at.generation, first, last, before, _ALL],
        )
        return sum(int(number) for (number,) in answers)

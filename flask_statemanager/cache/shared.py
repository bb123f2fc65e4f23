"""Entries in Redis, which all processes share: looking at them, keeping them, and making them all doubtful.

An entry counts only under the present generation of its slot, so that a process that could not write one takes all of
the slot away from everybody by a new generation. Both come in the same round trip.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Collection
from importlib.resources import files
from zlib import crc32

from msgspec import Struct

from ..core.entry import Entry
from ..redis_line import Command, Line, Script, Word, accepted
from .keys import CacheKeys, slot_of

UNDER_WAY = 30.0
"""Seconds that anything may be under way between a store and Redis: so long live tombstones, and bars after a doubt."""

ANY = b"*"
"""In place of the generation that something was read under: it was not read, but written."""

_NO_GENERATION = b"-"


class Found(Struct, frozen=True):
    """What lies under a key.

    :param entry: the entry, or None where there is none that counts.
    :param generation: what an entry that is read from the store now may be kept under.
    """

    entry: Entry | None
    generation: bytes


class SharedEntries:
    """The entries of one store.

    :param line: to Redis.
    :param keys: what the keys are called.
    :param ttl: seconds that an entry lives.
    """

    def __init__(self, line: Line, keys: CacheKeys, ttl: float) -> None:
        self._line = line
        self._keys = keys
        self._life = max(1, int(ttl * 1000))
        self._keep = _script(line, "keep.lua")
        self._renew = _script(line, "renew.lua")

    def look(self, path: str) -> Found:
        """Look at one entry.

        :param path: which record.
        :raises redis.exceptions.RedisError: when Redis does not answer, or refuses.
        :raises OSError: when Redis does not answer.
        """
        command = (b"MGET", self._keys.generations[slot_of(path)], self._keys.entry(path))
        generation, value = accepted(self._line.ask([command])[0])
        return Found(_counted(value, generation, path), generation or _NO_GENERATION)

    def look_many(self, paths: Collection[str]) -> dict[str, Found]:
        """Look at many entries in one round trip.

        :param paths: which records.
        :raises redis.exceptions.RedisError: when Redis does not answer, or refuses.
        :raises OSError: when Redis does not answer.
        """
        by_slot = defaultdict[int, list[str]](list)
        for path in paths:
            by_slot[slot_of(path)].append(path)
        commands = [
            (b"MGET", self._keys.generations[slot], *map(self._keys.entry, there)) for slot, there in by_slot.items()
        ]
        found: dict[str, Found] = {}
        for there, answer in zip(by_slot.values(), self._line.ask(commands), strict=True):
            generation, *values = accepted(answer)
            for path, value in zip(there, values, strict=True):
                found[path] = Found(_counted(value, generation, path), generation or _NO_GENERATION)
        return found

    def keep(self, entries: dict[str, Entry], read_under: dict[str, bytes] | None = None) -> None:
        """Keep entries, none of them over a newer version.

        :param entries: by path.
        :param read_under: the generation that each was read under, by path; None for what was just written.
        :raises redis.exceptions.RedisError: when Redis does not answer, or refuses.
        :raises OSError: when Redis does not answer.
        """
        batches = defaultdict[tuple[int, bytes], list[str]](list)
        for path in entries:
            batches[slot_of(path), ANY if read_under is None else read_under[path]].append(path)
        token, under_way = secrets.token_hex(8), round(UNDER_WAY * 1000)
        calls: list[Command] = []
        for (slot, generation), paths in batches.items():
            names = [self._keys.entry(path) for path in paths]
            words: list[Word] = [len(names) + 1, self._keys.generations[slot], *names]
            words += [generation, token, self._life, under_way]
            for path in paths:
                words += _told(path, entries[path])
            calls.append(words)
        self._keep.run(calls)

    def renew(self, slots: Collection[int]) -> None:
        """Give slots a new generation: no entry that was kept before counts.

        :param slots: which ones.
        :raises redis.exceptions.RedisError: when Redis does not answer, or refuses.
        :raises OSError: when Redis does not answer.
        """
        self._renew.run([(1, self._keys.generations[slot], secrets.token_hex(8)) for slot in slots])

    def server(self) -> str | None:
        """Return what tells this Redis from one that was restarted or has taken its place; None if it is not told.

        :raises redis.exceptions.RedisError: when Redis does not answer.
        :raises OSError: when Redis does not answer.
        """
        (answer,) = self._line.ask([("INFO", "replication")])
        lines = answer.decode().splitlines() if isinstance(answer, bytes) else []
        return next((line for line in lines if line.startswith("master_replid:")), None)

    def ping(self) -> None:
        """Ask Redis whether it is there.

        :raises redis.exceptions.RedisError: when it does not answer, or refuses.
        :raises OSError: when it does not answer.
        """
        accepted(self._line.ask([("PING",)])[0])

    def close(self) -> None:
        """Close this process's connections."""
        self._line.close()


def _script(line: Line, file: str) -> Script:
    return Script(line, files(__package__).joinpath(file).read_bytes())


def _told(path: str, entry: Entry) -> tuple[str | bytes, ...]:
    text = entry.text()
    return str(entry.version), b"%08x %b" % (_check(text, path), text), "1" if entry.deleted else "0"


def _check(text: bytes, path: str) -> int:
    """Return a number by which a torn text, or one of another record, is recognised."""
    return crc32(text, crc32(path.encode()))


def _counted(value: bytes | None, generation: bytes | None, path: str) -> Entry | None:
    """Read what lies under a key: "generation version check text"; whatever else it may be counts as nothing."""
    if value is None or generation is None:
        return None
    try:
        written_under, _version, check, text = value.split(b" ", 3)
        counts = written_under == generation and int(check, 16) == _check(text, path)
        return Entry.read(text) if counts else None
    except ValueError:
        return None

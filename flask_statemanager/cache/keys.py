"""What the cache's keys in Redis are called.

Every key carries the number of a slot in braces, which a Redis Cluster hashes by: an entry and the generation of its
slot lie on one node, so that one command or script can look at both.
"""

from __future__ import annotations

from zlib import crc32

SLOTS = 16
"""Over how many generations the entries are spread: what a lost write makes doubtful is one of them."""


def slot_of(path: str) -> int:
    """Return the slot of a record, the same in every process.

    :param path: which record, as ``str(key)`` writes it.
    """
    return crc32(path.encode()) % SLOTS


class CacheKeys:
    """The names under one prefix.

    :param prefix: what every key begins with.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._beginnings = [f"{prefix}{{{slot}}}:".encode() for slot in range(SLOTS)]
        self.generations = [beginning + b"generation" for beginning in self._beginnings]

    def entry(self, path: str) -> bytes:
        """Return the name of a record's entry.

        :param path: which record.
        """
        name = path.encode()
        return self._beginnings[crc32(name) % SLOTS] + name

    def path(self, name: bytes) -> str | None:
        """Return which record an entry's name belongs to; None for a generation.

        :param name: a key under the prefix.
        """
        _beginning, _mark, path = name[len(self.prefix.encode()) :].partition(b"}:")
        return path.decode() if path != b"generation" else None

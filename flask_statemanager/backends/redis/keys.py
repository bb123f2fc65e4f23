"""What the keys of the Redis backend are called.

All keys of one shard of a bucket carry the same text in braces, which a Redis Cluster hashes by, so that they lie on
one node and one script can work on all of them. What a shard holds lies under a *generation*, the number that the key
``…:gen`` names (0 where there is none): to write another generation and to set that one key replaces all at once.
Revisions and the version floor are the shard's own, so that they never go back, whatever generation is current.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from msgspec import Struct

from ...core.record import Key
from ...errors import ConfigurationError, shown

FIRST_GENERATION = b"0"

_OWN = (b":gen", b":gate", b":revision", b":floor", b":generations", b":builder")


class Shard(Struct, frozen=True):
    """The keys of one shard under one generation.

    :param bucket: the collection.
    :param number: which shard of it.
    :param generation: which generation.
    :param pointer: names the present generation.
    :param gate: is there while one writer has the shard to itself.
    :param revision: the last revision that was drawn.
    :param floor: the highest version of a purged tombstone.
    :param generations: those that may hold anything beside the present one, and the last number that was given.
    :param builder: is there while one restore has the shard to itself.
    :param names: the names of the live records, all of the same score.
    :param due: the live records that expire, by ``expires_at``.
    :param sweep: the same, each by when a sweeper is to look at it.
    :param dead: the tombstones, by ``deleted_at``.
    :param sums: what the live records take in bytes, and how many have metadata.
    :param heads: how many live records there are, by what their names begin with.
    :param log: the stream of changes.
    :param records: what the keys of the records begin with.
    """

    bucket: str
    number: int
    generation: bytes
    pointer: bytes
    gate: bytes
    revision: bytes
    floor: bytes
    generations: bytes
    builder: bytes
    names: bytes
    due: bytes
    sweep: bytes
    dead: bytes
    sums: bytes
    heads: bytes
    log: bytes
    records: bytes

    @classmethod
    def at(cls, beginning: bytes, bucket: str, number: int, generation: bytes = FIRST_GENERATION) -> Shard:
        """Name the keys.

        :param beginning: what all keys of the shard begin with.
        :param bucket: the collection.
        :param number: which shard of it.
        :param generation: which generation.
        """
        own = (beginning + name for name in _OWN)
        parts = (b"names", b"due", b"sweep", b"dead", b"sums", b"heads", b"log", b"r:")
        return cls(bucket, number, generation, *own, *(b"%b:%b:%b" % (beginning, generation, part) for part in parts))

    @property
    def identity(self) -> tuple[str, int]:
        """Which shard it is, whatever its generation."""
        return self.bucket, self.number

    @property
    def written(self) -> tuple[bytes, ...]:
        """The keys that a write needs besides the record's own, in the order of ``write.lua``."""
        return (
            *(self.pointer, self.gate, self.revision, self.floor, self.names, self.due),
            *(self.sweep, self.dead, self.sums, self.heads, self.log),
        )

    @property
    def overwritten(self) -> tuple[bytes, ...]:
        """The keys that ``over.lua`` needs besides the record's own, in its order."""
        return self.pointer, self.gate, self.revision, self.sums, self.log

    @property
    def held(self) -> tuple[bytes, ...]:
        """The keys of its generation besides the records, in the order of ``build.lua`` and ``clear.lua``."""
        return self.names, self.due, self.sweep, self.dead, self.sums, self.heads, self.log

    def record(self, name: str) -> bytes:
        """Return the key of a record.

        :param name: the record's name.
        """
        return self.records + name.encode()


class Layout:
    """Finds the shard of a record, under the generation that was last seen.

    :param prefix: what every key begins with, behind the brace.
    :param shards: how many shards a bucket has.
    :raises ConfigurationError: when the prefix has braces, which would change what a cluster hashes by.
    """

    def __init__(self, prefix: str, shards: Callable[[str], int]) -> None:
        if "{" in prefix or "}" in prefix:
            raise ConfigurationError(f"The prefix {shown(prefix)} of keys in Redis is unusable: take the braces out.")
        self.prefix = prefix
        self._shards = shards
        self._known: dict[str, list[Shard]] = {}

    def knows(self, bucket: str) -> bool:
        """Tell whether a bucket was :meth:`opened`.

        :param bucket: the collection.
        """
        return bucket in self._known

    def declared(self, bucket: str) -> int:
        """Return over how many shards a bucket is declared to be spread.

        :param bucket: the collection.
        """
        return self._shards(bucket)

    def counter(self, bucket: str) -> bytes:
        """Return the key that holds over how many shards a bucket was spread when it was first used.

        :param bucket: the collection.
        """
        return self._beginning(bucket, 0) + b":shards"

    def opened(self, bucket: str) -> None:
        """Name the keys of a bucket.

        :param bucket: the collection.
        """
        numbers = range(self._shards(bucket))
        self._known[bucket] = [Shard.at(self._beginning(bucket, number), bucket, number) for number in numbers]

    def all(self, bucket: str) -> list[Shard]:
        """Return the shards of a bucket that was opened.

        :param bucket: the collection.
        """
        return list(self._known[bucket])

    def of(self, key: Key) -> Shard:
        """Return the shard of a record, whose bucket was opened.

        :param key: which record.
        """
        shards = self._known[key.bucket]
        return shards[0] if len(shards) == 1 else shards[crc32(key.name.encode()) % len(shards)]

    def under(self, shard: Shard, generation: bytes) -> Shard:
        """Name the keys of a shard under another generation, which need not be the present one.

        :param shard: the shard.
        :param generation: which generation.
        """
        return Shard.at(self._beginning(shard.bucket, shard.number), shard.bucket, shard.number, generation)

    def moved(self, shard: Shard, generation: bytes | None) -> Shard:
        """Take in that a shard is under another generation.

        :param shard: the shard as it was believed to be.
        :param generation: what its pointer says.
        """
        current = self.under(shard, generation or FIRST_GENERATION)
        # Of two threads that meet here one may be forgotten: it is asked again then.
        shards = list(self._known[shard.bucket])
        shards[shard.number] = current
        self._known[shard.bucket] = shards
        return current

    def _beginning(self, bucket: str, number: int) -> bytes:
        return f"{{{self.prefix}{bucket}:{number}}}".encode()

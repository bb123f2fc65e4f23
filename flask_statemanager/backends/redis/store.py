"""What the parts of the Redis backend share: the way to Redis, the layout of keys, and reading under a generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...core.record import Key
from ...errors import ConfigurationError, StorageError
from ...redis_line import Command
from .keys import FIRST_GENERATION, Layout, Shard
from .link import Link

ATTEMPTS = 10
"""How often something is looked at under yet another generation before that is given up."""


class RedisStore:
    """Reads under the present generation, whichever that is.

    :param link: to Redis.
    :param layout: what the keys are called.
    """

    def __init__(self, link: Link, layout: Layout) -> None:
        self.link = link
        self.layout = layout

    @property
    def spans(self) -> bool:
        """Whether shards may lie on different nodes, so that no script can have them all."""
        return self.link.line.spans

    def shard_of(self, key: Key) -> Shard:
        """Return the shard of a record.

        :param key: which record.
        :raises ConfigurationError: when its bucket was spread otherwise.
        :raises StorageError: when the storage fails.
        """
        if not self.layout.knows(key.bucket):
            self._open(key.bucket)
        return self.layout.of(key)

    def shards(self, bucket: str) -> list[Shard]:
        """Return the shards of a bucket.

        :param bucket: the collection.
        :raises ConfigurationError: when it was spread otherwise.
        :raises StorageError: when the storage fails.
        """
        if not self.layout.knows(bucket):
            self._open(bucket)
        return self.layout.all(bucket)

    def values(self, shard: Shard, keys: Callable[[Shard], Sequence[bytes]]) -> tuple[Shard, list[bytes | None]]:
        """Read some keys of a shard in one round trip, again where it turns out to be under another generation.

        :param shard: the shard as it is believed to be.
        :param keys: names the keys.
        :returns: the shard as it is, and the values.
        :raises StorageError: when the storage fails.
        """
        for _ in range(ATTEMPTS):
            generation, *values = self.link.ask([("MGET", shard.pointer, *keys(shard))])[0]
            if (generation or FIRST_GENERATION) == shard.generation:
                return shard, values
            shard = self.layout.moved(shard, generation)
        raise restless(shard)

    def each(self, name: str, shards: Sequence[Shard], call: Callable[[Shard], Command]) -> list[list[Any]]:
        """Run a script that only reads on some shards, in one round trip on one server.

        :param name: the script; it answers with 0 and what it found, or with 1 and another generation.
        :param shards: the shards as they are believed to be.
        :param call: the number of keys, the keys and the arguments for one of them.
        :returns: what was found, in the order of the shards.
        :raises StorageError: when the storage fails.
        """
        found: dict[int, list[Any]] = {}
        left = list(enumerate(shards))
        for _ in range(ATTEMPTS):
            answers = self.link.look(name, [call(shard) for _place, shard in left])
            again: list[tuple[int, Shard]] = []
            for (place, shard), (state, *answer) in zip(left, answers, strict=True):
                if state == 0:
                    found[place] = answer
                else:
                    again.append((place, self.layout.moved(shard, answer[0])))
            if not again:
                return [found[place] for place in range(len(shards))]
            left = again
        raise restless(left[0][1])

    def _open(self, bucket: str) -> None:
        """Make sure that a bucket is spread as it was when it was first used: else nothing in it would be found."""
        declared, counter = self.layout.declared(bucket), self.layout.counter(bucket)
        found = self.link.ask([("GET", counter)])[0]
        if found is None:
            _set, found = self.link.ask([("SET", counter, declared, b"NX"), ("GET", counter)])
        if found != b"%d" % declared:
            there = found.decode(errors="replace") if found else "no"
            raise ConfigurationError(
                f"The bucket {bucket!r} is spread over {there} shards in this Redis, and declared with "
                f"shards={declared}: declare it as it is, or export its keys and bring them into a new bucket."
            )
        self.layout.opened(bucket)


def restless(shard: Shard) -> StorageError:
    """Return the error for a shard whose generation changes again and again.

    :param shard: the shard.
    """
    return StorageError(
        f"The bucket {shard.bucket!r} is being replaced in Redis again and again: wait for the restores to end."
    )

"""Waiting for changes on Redis: blocking reads, on connections of the follower's own."""

from __future__ import annotations

import select
import time
from typing import Any

from redis.exceptions import AskError

from ...redis_line import FAILURES
from .cursors import parsed
from .keys import Shard
from .store import RedisStore

SLICE = 2.0
"""The most seconds of one blocking read: in between it is noticed that a bucket was restored, or a master replaced."""

MARGIN = 5.0
"""Seconds that the answer to a blocking read may come late."""


class Waiting:
    """Waits for one follower, in one thread at a time.

    On one server all streams of a bucket are read at once. On a cluster each shard has a connection, on which a read is
    left waiting until it is answered: what it says is only that it is worth to look.

    :param store: the way to Redis, and the keys.
    :param bucket: the collection.
    """

    def __init__(self, store: RedisStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket
        self._asked: dict[int, Any] = {}
        self._idle: dict[int, Any] = {}

    def wait(self, cursor: str, seconds: float) -> bool:
        """Wait until there may be something behind a cursor.

        :param cursor: the cursor.
        :param seconds: the most seconds.
        :returns: False when the time was over.
        :raises StateValidationError: when it is no cursor of this bucket.
        :raises StorageError: when Redis fails.
        """
        deadline = time.monotonic() + seconds
        while True:
            shards = self._store.shards(self._bucket)
            revisions = parsed(cursor, len(shards))
            if self._moved(shards, revisions):
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            try:
                self._listen(shards, revisions, min(left, SLICE))
            except AskError:  # the keys move to another node of the cluster: whoever looks will follow them
                self.close()
                return True
            except FAILURES as error:
                self.close()
                self._store.link.fail(error, reading=True)

    def close(self) -> None:
        """Close the connections."""
        for connections in (self._asked, self._idle):
            while connections:
                connections.popitem()[1].disconnect()

    def _moved(self, shards: list[Shard], revisions: list[int]) -> bool:
        """Tell whether the counters stand elsewhere; under which generation the log is, they do not care."""
        answers = self._store.link.ask([("MGET", shard.pointer, shard.revision) for shard in shards])
        for shard, (generation, _last) in zip(shards, answers, strict=True):
            if (generation or b"0") != shard.generation:
                self._store.layout.moved(shard, generation)
                return True
        return any(int(last or 0) != revision for (_at, last), revision in zip(answers, revisions, strict=True))

    def _listen(self, shards: list[Shard], revisions: list[int], seconds: float) -> None:
        """Have Redis wait, and return as soon as it answers, or when the time is over."""
        together = [[*range(len(shards))]] if not self._store.spans else [[number] for number in range(len(shards))]
        for numbers in together:
            first = numbers[0]
            if first not in self._asked:
                connection = self._idle.pop(first, None) or self._connected(shards[first])
                streams = [shards[number].log for number in numbers]
                positions = [f"{revisions[number]}-0" for number in numbers]
                connection.send_command(
                    *("XREAD", "COUNT", 1, "BLOCK", max(1, int(seconds * 1000)), "STREAMS", *streams, *positions)
                )
                self._asked[first] = connection
        self._hear(seconds + MARGIN)

    def _hear(self, seconds: float) -> None:
        by_socket = {connection._sock: number for number, connection in self._asked.items()}
        ready, _writable, _failed = select.select(list(by_socket), [], [], seconds)
        if not ready:
            raise TimeoutError("a blocking read is not answered")
        for sock in ready:
            number = by_socket[sock]
            connection = self._asked.pop(number)
            self._idle[number] = connection
            connection.read_response(disable_decoding=True)

    def _connected(self, shard: Shard) -> Any:
        return self._store.link.line.connect_to(shard.log)

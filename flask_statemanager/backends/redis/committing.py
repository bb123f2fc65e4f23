"""Committing on Redis: one script, which compares before it writes; and gates, so that nobody loses for ever."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ...errors import ConfigurationError, StateConflict, StorageError, StorageTimeout
from .codec import corrupt
from .keys import Shard
from .store import RedisStore
from .unit import ANY, RedisUnit, Write

PATIENCE = 5.0
"""Seconds to wait for somebody else's gate."""

GATE_MS = 1000
"""Milliseconds after which a gate goes by itself, where its holder does not come to an end."""

COOLING = 1.0
"""Seconds for which a shard counts as fought over."""

Shards = Mapping[tuple[str, int], Shard]
"""Shards in order, by what they are whatever their generation."""

_DONE, _GENERATION, _RACED, _OTHER, _NO_RECORD, _GATED = range(6)


class Committing:
    """Writes changes by one script.

    A unit whose revisions are foretold loses to every write of the same shard, so that in a busy shard it might lose
    every time. Where one has lost lately, the next has a gate put up while it reads, decides and commits, which lasts
    some hundred microseconds; whoever else writes waits for it to go. The gate is a courtesy, the comparison in the
    script is what counts.

    :param store: the way to Redis, and the keys.
    :param log_length: about how many changes of each shard of a bucket are kept.
    """

    def __init__(self, store: RedisStore, log_length: Callable[[str], int]) -> None:
        self._store = store
        self._log_length = log_length
        self._hot: dict[tuple[str, int], float] = {}

    def write(self, writes: Sequence[Write]) -> list[int]:
        """Write changes, each over the version that it was decided on.

        :param writes: the changes, in order.
        :returns: their revisions.
        :raises StateConflict: when another version is stored.
        :raises StorageError: when Redis fails.
        """
        shards = {write.shard.identity: write.shard for write in writes}
        state, *answer = self._sent(writes, shards, ANY, {})
        if state == _DONE:
            return [int(revision) for revision in answer]
        raise self._lost(writes, shards, state, answer, told=True)

    def write_one(self, write: Write) -> int:
        """Write one change over the version that it was decided on, in the shortest way that serves.

        :param write: the change.
        :returns: its revision.
        :raises StateConflict: when another version is stored.
        :raises StorageError: when Redis fails.
        """
        words = write.plain_words()
        if words is not None:
            shard = write.shard
            keys = (*shard.overwritten, shard.record(write.change.key.name))
            call = (len(keys), *keys, shard.generation, *words, self._log_length(shard.bucket))
            found = self._store.link.run("over", call)
            if found is not None:
                return int(found)
        return self.write([write])[0]

    def commit(self, unit: RedisUnit) -> None:
        """Write what a unit has collected, with the revisions that were foretold.

        :param unit: the unit.
        :raises StateConflict: when somebody else has written to one of its shards.
        :raises StorageError: when Redis fails.
        """
        if not unit.writes:
            return
        self.check(unit)
        state, *answer = self._sent(unit.writes, unit.shards, unit.token, unit.last)
        if state != _DONE:
            raise self._lost(unit.writes, unit.shards, state, answer, told=False)
        unit.gate = None

    @contextmanager
    def gates(self, unit: RedisUnit) -> Iterator[None]:
        """Let a unit have a gate within the block.

        :param unit: the unit.
        """
        unit.lasting = True
        try:
            yield
        finally:
            if unit.gate is not None:
                # One that is left standing goes by itself.
                with suppress(StorageError):
                    self._store.link.run("release", [1, unit.gate, unit.token])

    def enter(self, unit: RedisUnit, shard: Shard) -> None:
        """Put up the gate of a shard that is fought over.

        A unit has one at most, so that no two can wait for each other.

        :param unit: the unit that is going to read for writing.
        :param shard: the shard.
        :raises StorageTimeout: when somebody else has it up for too long.
        :raises StorageError: when Redis fails.
        """
        until = self._hot.get(shard.identity) if self._hot else None
        if until is None or not unit.lasting or unit.gate is not None:
            return
        if time.monotonic() >= until:
            self._hot.pop(shard.identity, None)
            return
        unit.token = secrets.token_hex(8).encode()
        put_up = ("SET", shard.gate, unit.token, b"NX", b"PX", GATE_MS)
        deadline = time.monotonic() + PATIENCE
        while self._store.link.ask([put_up])[0] is None:
            _wait(deadline, shard)
        unit.gate = shard.gate

    def check(self, unit: RedisUnit) -> None:
        """Refuse what one script cannot look at.

        :param unit: a unit.
        :raises ConfigurationError: when it has read for writing, or written, in several shards of a cluster.
        """
        self.check_shards(unit.shards)

    def check_shards(self, shards: Collection[tuple[str, int]]) -> None:
        """Refuse more shards than one script can look at.

        :param shards: which ones.
        :raises ConfigurationError: when there are several of a cluster.
        """
        if self._store.spans and len(shards) > 1:
            raise ConfigurationError(
                "On a Redis Cluster one transaction is about one shard of one bucket: write the keys one by one, or "
                "declare the bucket with shards=1 and keep in it what is written together."
            )

    def _sent(
        self, writes: Sequence[Write], shards: Shards, token: bytes, last: Mapping[tuple[str, int], int]
    ) -> list[Any]:
        """Run the script, again as long as it finds somebody else's gate."""
        numbers = {identity: number for number, identity in enumerate(shards, 1)}
        keys = [key for shard in shards.values() for key in shard.written]
        words: list[bytes | str | int] = [token, len(shards)]
        for identity, shard in shards.items():
            words += (shard.generation, last.get(identity, ANY), self._log_length(shard.bucket))
        for write in writes:
            keys.append(write.shard.record(write.change.key.name))
            words += write.words(numbers[write.shard.identity])
        call = [len(keys), *keys, *words]
        deadline = time.monotonic() + PATIENCE
        answer: list[Any] = self._store.link.run("write", call)
        while answer[0] == _GATED:
            _wait(deadline, writes[0].shard)
            answer = self._store.link.run("write", call)
        return answer

    def _lost(
        self, writes: Sequence[Write], shards: Shards, state: int, answer: list[Any], *, told: bool
    ) -> StateConflict | StorageError:
        """Return the error for what the script has refused; a unit's lost race says nothing of expectations."""
        if state == _NO_RECORD:
            return corrupt(writes[answer[0] - 1].change.key)
        if state == _OTHER:
            change = writes[answer[0] - 1].change
            return StateConflict(change.key, change.version - 1 if told else None, int(answer[1]))
        shard = list(shards.values())[answer[0] - 1]
        if state == _GENERATION:
            self._store.layout.moved(shard, answer[1])
        else:
            self._hot[shard.identity] = time.monotonic() + COOLING
        return StateConflict(writes[0].change.key, None, None)


def _wait(deadline: float, shard: Shard) -> None:
    """Wait a moment for somebody else's gate to go."""
    if time.monotonic() > deadline:
        raise StorageTimeout(
            f"Somebody else has had the bucket {shard.bucket!r} in Redis to himself for more than {PATIENCE:.0f} s: "
            "nothing was written, try again."
        )
    time.sleep(random.uniform(0.0002, 0.001))  # noqa: S311 - spreading racers needs no secrecy

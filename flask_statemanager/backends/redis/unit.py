"""The unit of work on Redis: what it writes is collected, and committed by one script if nobody was faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from ...core.ports import Act, Unit
from ...core.record import Change, Key, Record
from .codec import expiring, micros, packed, told
from .keys import Shard

ANY = b"-"
"""In place of a revision or record: whichever it is."""

_PLAIN = {b"-": b"", b"z": b"", b"m": b"m", b"mz": b"m"}
"""The flags of records that neither are tombstones nor expire, and what they say of metadata."""


class Write(Struct, frozen=True):
    """One change on its way.

    :param change: the change.
    :param shard: where its record lies, under the generation that it was read in.
    :param tail: the record, all but version and revision; written at once, as the caller may edit it later.
    :param believed: the record before or its digest, where only a belief says what that is.
    """

    change: Change
    shard: Shard
    tail: bytes
    believed: bytes = ANY

    @classmethod
    def of(cls, change: Change, shard: Shard, believed: bytes = ANY) -> Write:
        """Write down a change.

        :param change: the change.
        :param shard: where its record lies.
        :param believed: the record before or its digest, where only a belief says what that is.
        """
        return cls(change, shard, packed(change.after), believed)

    def words(self, number: int) -> tuple[bytes | str | int, ...]:
        """Return the arguments for ``write.lua``.

        :param number: which one of the shards it is of, from 1 on.
        """
        change, after = self.change, self.change.after
        return (
            *(number, change.key.name, change.version - 1, self.believed, change.version),
            *(self.tail, expiring(after), micros(after.deleted_at), told(change)),
        )

    def plain_words(self) -> tuple[bytes | str | int, ...] | None:
        """Return the arguments for ``over.lua``, but for generation and log; None where it cannot serve."""
        change, before = self.change, self.change.before
        if before is None or before.expires_at is not None:
            return None
        flags, size, _rest = self.tail.split(b" ", 2)
        noted = _PLAIN.get(flags)
        if noted is None:
            return None
        version = change.version
        return version - 1, self.believed, version, self.tail, size, noted, change.key.name, told(change)


class Stored(Struct, frozen=True):
    """What lay under a key.

    :param record: the record, a tombstone too, or None.
    :param version: its version; where there is none, the shard's floor.
    """

    record: Record | None
    version: int


class RedisUnit(Unit):
    """Collects changes, and remembers what they were decided on.

    Revisions are foretold from the one that was the last when the first record was read for writing. The commit takes
    place only if it is the last one still: then nothing that was read so has changed either.

    :ivar writes: the changes, in order.
    :ivar acts: what to do after the commit.
    :ivar doubts: what to do where nobody knows whether it is done.
    :ivar pending: the records as the changes leave them.
    :ivar seen: what was read for writing.
    :ivar last: the last revision of each shard when the unit first looked.
    :ivar shards: the shards of these, under the generation of that time.
    :ivar token: what tells the unit's gate from those of others.
    :ivar gate: the key of the gate that it has; None for none.
    :ivar lasting: whether it may have one, as it is committed or rolled back in the end.
    """

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.acts: list[Act] = []
        self.doubts: list[Callable[[], None]] = []
        self.pending: dict[Key, Record] = {}
        self.seen: dict[Key, Stored] = {}
        self.last: dict[tuple[str, int], int] = {}
        self.shards: dict[tuple[str, int], Shard] = {}
        self.token = ANY
        self.gate: bytes | None = None
        self.lasting = False

    def after_commit(self, act: Act) -> None:
        """Remember what to do after the commit.

        :param act: called in the order of registration.
        """
        self.acts.append(act)

    def in_doubt(self, act: Callable[[], None]) -> None:
        """Remember what to do where nobody knows whether the commit is done.

        :param act: called without arguments.
        """
        self.doubts.append(act)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Forget the block's writes when it raises."""
        writes, acts, pending = len(self.writes), len(self.acts), dict(self.pending)
        try:
            yield
        except BaseException:
            del self.writes[writes:]
            del self.acts[acts:]
            self.pending = pending
            raise

    def foretold(self, shard: Shard) -> int:
        """Return the revision that the next change of a shard will get.

        :param shard: the shard, whose last revision is known.
        """
        if len(self.last) == 1:
            return self.last[shard.identity] + len(self.writes) + 1
        before = sum(1 for write in self.writes if write.shard.identity == shard.identity)
        return self.last[shard.identity] + before + 1

"""Following the log on Redis: a stream for each shard, whose entries bear the revisions as their ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...core.follows import Page, Wait, Watches
from ...core.looks_back import LooksBack
from ...core.record import Change, Key
from ...errors import Compacted
from .codec import change_of
from .cursors import parsed, written
from .keys import Shard
from .store import RedisStore
from .waiting import Waiting

BACK = 500
"""How many entries are looked at in one step, when the log is read backwards."""

_Entries = list[tuple[int, dict[bytes, bytes]]]


class RedisLog(RedisStore, Watches, LooksBack):
    """Reads the log of a bucket.

    A cursor has one revision for each shard, joined by dots. Revisions of a shard are drawn and logged in one step, so
    that a gap between them is a piece that was trimmed.
    """

    one_log = False

    def position(self, bucket: str) -> str:
        """Return the cursor behind the last change of now.

        :param bucket: the collection.
        :raises StorageError: when Redis fails.
        """
        shards = self.shards(bucket)
        return written(int(last or 0) for last in self.link.ask([("GET", shard.revision) for shard in shards]))

    def follow(self, bucket: str, cursor: str, *, prefix: str = "", limit: int = 500) -> Page:
        """Return the changes behind a cursor: of one shard by revision, of several by time.

        :param bucket: the collection.
        :param cursor: from :meth:`position` or a page; ``"0"`` for the beginning.
        :param prefix: only records whose names begin so.
        :param limit: the most entries of the log to look at.
        :raises Compacted: when some of what lies behind the cursor is not kept any more.
        :raises StateValidationError: when it is no cursor of this bucket.
        :raises StorageError: when Redis fails, or an entry is damaged.
        """
        shards = self.shards(bucket)
        revisions = parsed(cursor, len(shards))
        behind = {shard.number: revision + 1 for shard, revision in zip(shards, revisions, strict=True)}
        answers = self.each(
            "follow",
            shards,
            lambda at: [3, at.pointer, at.revision, at.log, at.generation, behind[at.number], max(1, limit)],
        )
        last = [int(answer[0]) for answer in answers]
        logs = [_entries(answer[1]) for answer in answers]
        if not all(map(_complete, revisions, last, logs)):
            raise Compacted(cursor, written(last))
        heads = [[change_of(bucket, revision, fields) for revision, fields in log] for log in logs]
        taken = _merged(heads, revisions, max(1, limit))
        wanted = [(change, behind) for change, behind in taken if change.key.name.startswith(prefix)]
        return Page(
            [change for change, _behind in wanted],
            written(revisions),
            more=any(map(int.__lt__, revisions, last)),
            cursors=[behind for _change, behind in wanted],
        )

    def latest(self, bucket: str, name: str, limit: int) -> list[Change]:
        """Return the newest changes of a record that are still kept, newest first; all of its shard's log is looked at.

        :param bucket: the collection.
        :param name: the record.
        :param limit: the most changes.
        :raises StorageError: when Redis fails, or an entry is damaged.
        """
        shard, wanted = self.shard_of(Key(bucket, name)), name.encode()
        found: list[Change] = []
        end = "+"
        while len(found) < limit:
            entries = self._back(shard, end)
            found += [change_of(bucket, number, fields) for number, fields in entries if fields[b"n"] == wanted]
            if len(entries) < BACK:
                break
            end = f"{entries[-1][0] - 1}-0"
        return found[:limit]

    def forget_latest(self, bucket: str, prefix: str) -> int:
        """Remove what is still kept of the changes of records whose names begin alike, at once and for good.

        :param bucket: the collection.
        :param prefix: how the names begin.
        :returns: how many changes were removed.
        :raises StorageError: when Redis fails; some may be gone by then.
        """
        wanted = prefix.encode()
        return sum(self._forgotten(shard, wanted) for shard in self.shards(bucket))

    def _forgotten(self, shard: Shard, wanted: bytes) -> int:
        gone, end = 0, "+"
        while True:
            entries = self._back(shard, end)
            # Where the last look has found another generation, the log is that one's.
            shard = self.layout.all(shard.bucket)[shard.number]
            numbers = [number for number, fields in entries if fields[b"n"].startswith(wanted)]
            if numbers:
                gone += int(self.link.ask([("XDEL", shard.log, *(f"{number}-0" for number in numbers))])[0])
            if len(entries) < BACK:
                return gone
            end = f"{entries[-1][0] - 1}-0"

    def _back(self, shard: Shard, end: str) -> _Entries:
        return _entries(self.each("back", [shard], lambda at: [2, at.pointer, at.log, at.generation, end, BACK])[0][0])

    @contextmanager
    def following(self, bucket: str) -> Iterator[Wait]:
        """Open connections of the follower's own, on which Redis says when there is something.

        :param bucket: the collection.
        :raises StorageError: when Redis fails.
        """
        waiting = Waiting(self, bucket)
        try:
            yield waiting.wait
        finally:
            waiting.close()


def _entries(answer: Sequence[Any]) -> _Entries:
    return [
        (int(number.partition(b"-")[0]), dict(zip(fields[::2], fields[1::2], strict=True))) for number, fields in answer
    ]


def _complete(revision: int, last: int, entries: _Entries) -> bool:
    """Tell whether the entries go on right behind a revision, as far as the log goes."""
    if not entries:
        return revision == last
    return all(number == revision + place for place, (number, _fields) in enumerate(entries, 1))


def _merged(logs: list[list[Change]], revisions: list[int], limit: int) -> list[tuple[Change, str]]:
    """Take changes off the heads of the logs, the earliest first, and move the revisions on.

    :returns: each change with the cursor behind it.
    """
    taken: list[tuple[Change, str]] = []
    places = [0] * len(logs)
    while len(taken) < limit:
        heads = [(log[places[shard]].at, shard) for shard, log in enumerate(logs) if places[shard] < len(log)]
        if not heads:
            break
        _at, shard = min(heads)
        change = logs[shard][places[shard]]
        places[shard] += 1
        revisions[shard] = change.revision
        taken.append((change, written(revisions)))
    return taken

"""A log as the streams read it: that of one bucket, or the one in which all buckets of a store lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from msgspec import Struct

from ...core.follows import Page, Wait, Watches
from ...core.record import Change

PAGE = 500
"""How many entries of a log are read at once."""


class Entry(Struct, frozen=True):
    """One change in a log.

    :param change: the change.
    :param before: the position before it.
    :param behind: the position behind it.
    """

    change: Change
    before: str
    behind: str


class Stretch(Struct, frozen=True):
    """A piece of a log.

    :param entries: its changes in order.
    :param cursor: the position behind all that was looked at.
    :param more: whether there is more behind it already.
    """

    entries: list[Entry]
    cursor: str
    more: bool


class Source(Struct, frozen=True):
    """Where the changes of a bucket are found.

    :param log: the name of the log that it lies in, as cursors of several logs write it.
    :param watches: what follows the bucket there.
    """

    log: str
    watches: Watches


class Log:
    """One log.

    :param name: its name.
    :param source: finds the source of a bucket in it.
    """

    def __init__(self, name: str, source: Callable[[str], Source]) -> None:
        self.name = name
        self._source = source

    def position(self, bucket: str) -> str:
        """Return the cursor behind the last change of now.

        :param bucket: one of the buckets in the log.
        :raises StorageError: when the storage fails.
        """
        return self._source(bucket).watches.position(bucket)

    def following(self, bucket: str) -> AbstractContextManager[Wait]:
        """Open what a reader needs to wait for changes.

        :param bucket: one of the buckets in the log.
        :raises StorageError: when the storage fails.
        """
        return self._source(bucket).watches.following(bucket)

    def read(self, cursor: str, buckets: Sequence[str]) -> Stretch:
        """Return the changes of some buckets behind a cursor.

        :param cursor: the cursor.
        :param buckets: one or more of those in the log.
        :raises Compacted: when some of what lies behind the cursor is not kept any more.
        :raises StateValidationError: when it is no cursor of this log.
        :raises StorageError: when the storage fails.
        """
        pages = [self._source(bucket).watches.follow(bucket, cursor, limit=PAGE) for bucket in buckets]
        return _stretch(cursor, pages[0]) if len(pages) == 1 else _together(cursor, pages)


def _stretch(cursor: str, page: Page) -> Stretch:
    return Stretch(_entries(cursor, page.changes, page.cursors), page.cursor, page.more)


def _together(cursor: str, pages: Sequence[Page]) -> Stretch:
    """Put pages of one log together, as far as all of them have come."""
    reached = [int(page.cursor) for page in pages]
    end = min(reached)
    changes = sorted(
        (change for page in pages for change in page.changes if change.revision <= end),
        key=lambda change: change.revision,
    )
    more = any(page.more for page in pages) or end < max(reached)
    return Stretch(_entries(cursor, changes, []), str(end), more)


def _entries(cursor: str, changes: Sequence[Change], cursors: Sequence[str]) -> list[Entry]:
    behind = cursors or [str(change.revision) for change in changes]
    before = [cursor, *behind[:-1]]
    return [Entry(*each) for each in zip(changes, before, behind, strict=False)]

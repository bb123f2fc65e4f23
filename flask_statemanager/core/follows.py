"""The power to follow the log: ordered, complete, resumable, and never silently incomplete."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager

from msgspec import Struct

from ..errors import StateValidationError, shown
from .record import Change

Wait = Callable[[str, float], bool]
"""Takes a cursor and seconds; returns as soon as there may be something behind the cursor, at the latest after these
seconds. False when the time was over."""


class Page(Struct, frozen=True):
    """A piece of the log.

    :param changes: in the order of their revisions, each with the record before it.
    :param cursor: the position behind everything that was looked at, also where no change of it was wanted.
    :param more: whether there is more behind it already.
    :param cursors: the position behind each change; empty where that is its revision.
    """

    changes: list[Change]
    cursor: str
    more: bool = False
    cursors: list[str] = []


_DECIMAL = re.compile("[0-9]{1,19}", re.ASCII)


def revision_in(cursor: object) -> int:
    """Return the revision that the cursor of one store is.

    :param cursor: decimal text.
    :raises StateValidationError: when it is anything else.
    """
    if not isinstance(cursor, str) or not _DECIMAL.fullmatch(cursor) or int(cursor) >= 2**63:
        raise no_cursor(cursor)
    return int(cursor)


def no_cursor(cursor: object) -> StateValidationError:
    """Return the error for what is no cursor of a bucket.

    :param cursor: what was given.
    """
    hint = "pass the cursor of a page or of a change of this bucket, or '0' for the beginning."
    return StateValidationError({"cursor": [f"{shown(cursor)} is not a position in the log of this bucket: {hint}"]})


class Watches(ABC):
    """Power: the log of a bucket can be read on from any position, by any process, while others write.

    A cursor is text that holds one revision for each store that the bucket lies in, with dots between them; ``"0"`` is
    the beginning of all. A reader passes a revision only when every lower one is visible or will never be. Changes of
    one transaction become visible together.

    :ivar one_log: whether all buckets lie in one log, so that a cursor of one of them is one of all.
    """

    one_log: bool

    @abstractmethod
    def position(self, bucket: str) -> str:
        """Return the cursor behind the last change of now.

        :param bucket: the collection.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def follow(self, bucket: str, cursor: str, *, prefix: str = "", limit: int = 500) -> Page:
        """Return the changes behind a cursor.

        :param bucket: the collection.
        :param cursor: from :meth:`position` or a page; ``"0"`` for the beginning.
        :param prefix: only records whose names begin so.
        :param limit: the most entries of the log to look at.
        :raises Compacted: when some of what lies behind the cursor is not kept any more, or the log does not reach as
            far as the cursor, because the store was put back to an earlier state.
        :raises StateValidationError: when it is no cursor of this bucket.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def following(self, bucket: str) -> AbstractContextManager[Wait]:
        """Open what a follower needs to wait for changes without asking all the time: one for each follower.

        :param bucket: the collection.
        :raises StorageError: when the storage fails.
        """

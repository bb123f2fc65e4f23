"""Browsing keys like folders: names are listed in order, and what lies in a folder is jumped over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from msgspec import Struct

from ..core.lists import Span
from ..core.names import check_prefix
from ..kv.parts import KvParts

PAGE = 50
"""The most entries of a page."""

STEP = 100
"""How many names are read at once; a folder with more of them costs one step more."""

SEPARATORS = "/:"
"""What ends the name of a folder."""

BEHIND = "\x7f"
"""Stands behind every character that a name can have."""

MOST_COUNTED = 1000
"""Up to how many keys a listing of buckets counts."""


class Entry(Struct, frozen=True):
    """What stands in a folder.

    :param name: the key, or what the keys of a folder begin with.
    :param label: the part of it behind the present folder.
    :param folder: whether it is a folder.
    """

    name: str
    label: str
    folder: bool


class Folder(Struct, frozen=True):
    """A page of a folder.

    :param prefix: what its keys begin with.
    :param entries: in order.
    :param next: behind what the next page begins; None where there is none.
    :param parents: the folders around it, from the outermost.
    """

    prefix: str
    entries: list[Entry]
    next: str | None
    parents: list[Entry]


class Browser:
    """Looks into one bucket.

    :param parts: the bucket.
    """

    def __init__(self, parts: KvParts) -> None:
        self._parts = parts

    def page(self, prefix: str, after: str | None, *, flat: bool) -> Folder:
        """Return a page of a folder.

        :param prefix: what the keys begin with.
        :param after: behind which entry; None for the first page.
        :param flat: list every key instead of folders.
        :raises StateValidationError: when no key can begin so.
        :raises StorageError: when the storage fails.
        """
        beginning = check_prefix(prefix)
        last = None if not after else check_prefix(after, "after")
        if last is not None and not flat and last[-1] in SEPARATORS:
            last += BEHIND
        found = list(islice(self._entries(beginning, last, flat=flat), PAGE + 1))
        more = found[PAGE - 1].name if len(found) > PAGE else None
        return Folder(beginning, found[:PAGE], more, _parents(beginning))

    def some(self, prefix: str, limit: int) -> list[str]:
        """Return the first keys that begin alike.

        :param prefix: what they begin with.
        :param limit: the most of them.
        :raises StorageError: when the storage fails.
        """
        return self._listed(check_prefix(prefix), None, limit)

    def _entries(self, prefix: str, last: str | None, *, flat: bool) -> Iterator[Entry]:
        while names := self._listed(prefix, last, STEP):
            jumped = None
            for name in names:
                if jumped is not None and name.startswith(jumped):
                    continue
                jumped = None if flat else _folder(name, prefix)
                yield Entry(jumped or name, (jumped or name)[len(prefix) :], jumped is not None)
            last = names[-1] if jumped is None else jumped + BEHIND
            if len(names) < STEP:
                return

    def _listed(self, prefix: str, after: str | None, limit: int) -> list[str]:
        bucket = self._parts.bucket
        with bucket.reading() as unit:
            return self._parts.lists.listed(unit, Span(bucket.name, bucket.clock.now(), prefix, after, limit))


def counted(parts: KvParts) -> tuple[int, bool]:
    """Return how many keys a bucket has, and whether that is all of them: more than a thousand are not counted.

    :param parts: the bucket.
    :raises StorageError: when the storage fails.
    """
    found = len(Browser(parts).some("", MOST_COUNTED + 1))
    return min(found, MOST_COUNTED), found <= MOST_COUNTED


def _folder(name: str, prefix: str) -> str | None:
    """Return what the keys of the folder begin with that a key lies in, or None for one that lies in none."""
    ends = [at for at in map(_finder(name, len(prefix)), SEPARATORS) if at >= 0]
    end = min(ends, default=len(name))
    return name[: end + 1] if end + 1 < len(name) else None


def _finder(name: str, start: int) -> Callable[[str], int]:
    return lambda separator: name.find(separator, start)


def _parents(prefix: str) -> list[Entry]:
    ends = [at + 1 for at, letter in enumerate(prefix) if letter in SEPARATORS]
    starts = [0, *ends]
    return [Entry(prefix[:end], prefix[start:end], folder=True) for start, end in zip(starts, ends, strict=False)]

"""Cursors of streams: how far each of the logs was read that a stream is made of.

Where that is one log, as it is for all buckets of a database, the cursor is the log's own: a number, or several with
dots between them. Of several logs it is ``name=cursor`` of each, with commas between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import zip_longest

from ...core.follows import no_cursor

_PART = re.compile(r"[A-Za-z0-9_.-]{1,80}=[0-9.]{1,20000}", re.ASCII)
_CURSOR = re.compile(r"[0-9]{1,19}(\.[0-9]{1,19}){0,1023}", re.ASCII)


def written(cursors: Mapping[str, str], logs: Iterable[str]) -> str:
    """Write the cursor of a stream.

    :param cursors: how far each log was read, by its name; others too.
    :param logs: the names of the stream's logs, sorted.
    """
    names = tuple(logs)
    return cursors[names[0]] if len(names) == 1 else ",".join(f"{name}={cursors[name]}" for name in names)


def read(cursor: str, logs: Iterable[str]) -> dict[str, str]:
    """Read the cursor of a stream.

    :param cursor: the text.
    :param logs: the names of the stream's logs, sorted.
    :returns: how far each log was read.
    :raises StateValidationError: when it is none, or one of other logs.
    """
    names = tuple(logs)
    if cursor == "0":
        return dict.fromkeys(names, "0")
    if len(names) == 1 and "=" not in cursor:
        found = {names[0]: cursor}
    else:
        parts = cursor.split(",")
        if not all(map(_PART.fullmatch, parts)):
            raise no_cursor(cursor)
        found = dict(part.split("=", 1) for part in parts)
    if not found.keys() >= set(names) or not all(_CURSOR.fullmatch(found[name]) for name in names):
        raise no_cursor(cursor)
    return {name: found[name] for name in names}


def numbers(cursor: str) -> list[int]:
    """Return the revisions that the cursor of a log holds.

    :param cursor: the cursor.
    """
    return [int(part) for part in cursor.split(".")]


def reaches(cursor: str, other: str) -> bool:
    """Tell whether everything that lies before one cursor lies before another.

    :param cursor: the other.
    :param other: the one.
    """
    return all(mine >= its for mine, its in zip_longest(numbers(cursor), numbers(other), fillvalue=0))


def furthest(cursor: str, other: str) -> str:
    """Return the cursor behind all that lies before one of two.

    :param cursor: one of them.
    :param other: the other.
    """
    both = zip_longest(numbers(cursor), numbers(other), fillvalue=0)
    return ".".join(str(max(pair)) for pair in both)


def is_behind(step: tuple[str, str], floor: str) -> bool:
    """Tell whether a change lies behind a cursor.

    :param step: the cursors before and behind the change, which differ in the number that counts it.
    :param floor: the cursor.
    """
    before, behind = step
    moved = zip_longest(numbers(before), numbers(behind), numbers(floor), fillvalue=0)
    return any(new != old and new > known for old, new, known in moved)

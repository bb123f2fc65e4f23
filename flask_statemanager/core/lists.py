"""The power to list records by the beginning of their names, and to tell how much there is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any

from msgspec import Struct

PREFIX_END = ":"
"""What ends the part of a name by which :class:`Measure` counts."""

_LAST, _SURROGATES, _BEHIND_SURROGATES = 0x10FFFF, 0xD800, 0xE000
"""The last code point, and those between which none can be stored."""


class Span(Struct, frozen=True):
    """The live records of one bucket whose names begin alike; what is past its ``expires_at`` is not among them.

    :param bucket: the collection.
    :param now: the moment that decides what has expired.
    :param prefix: how the names begin; empty for all.
    :param after: only names behind this one.
    :param limit: the most names; None for all.
    """

    bucket: str
    now: datetime
    prefix: str = ""
    after: str | None = None
    limit: int | None = None


class Measure(Struct, frozen=True):
    """How much a bucket holds.

    :param keys: the number of live records.
    :param bytes: what their data takes as JSON, approximately where the store writes JSON in its own way.
    :param with_metadata: how many have metadata.
    :param prefixes: the number of live records by what their names have up to the first colon, the colon included; a
        name without one counts under the empty prefix.
    """

    keys: int
    bytes: int
    with_metadata: int
    prefixes: dict[str, int]


def prefix_end(prefix: str) -> str | None:
    """Return the first text behind all that begin with a prefix, by code point; None where none is behind them.

    With it a prefix is a range, which any sorted index serves.

    :param prefix: how the texts begin.

    >>> prefix_end("user:")
    'user;'
    """
    for at in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[at])
        if point < _LAST:
            return prefix[:at] + chr(_BEHIND_SURROGATES if point + 1 == _SURROGATES else point + 1)
    return None


class Lists(ABC):
    """Power: lists names by their beginning, in the order of their code points, at a cost that does not grow."""

    @abstractmethod
    def listed(self, unit: Any, span: Span) -> list[str]:
        """Return names in order.

        :param unit: an open unit.
        :param span: which ones.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def tally(self, unit: Any, span: Span) -> int:
        """Return how many names there are, its limit left aside.

        :param unit: an open unit.
        :param span: which ones.
        :raises StorageError: when the storage fails.
        """

    @abstractmethod
    def measure(self, unit: Any, bucket: str, now: datetime, most: int | None) -> Measure | None:
        """Return how much a bucket holds, or None where that means to look at more records than wanted.

        A store that keeps count need not look at records, and answers whatever the bound.

        :param unit: an open unit.
        :param bucket: the collection.
        :param now: the moment that decides what has expired.
        :param most: the most records to look at; None for as many as there are.
        :raises StorageError: when the storage fails.
        """

"""Searches by fields without an index for them, counted by field, so that an operator sees what to index."""

from __future__ import annotations

from collections.abc import Sequence

from ..config import ANY_TYPE
from .counters import Counters

MOST_FIELDS = 100
"""How many fields are told apart; callers choose the paths, and counters stay for good."""

_LONGEST = 100
_OTHERS = "search.unindexed.others"


class UnservedSearches:
    """Counts as ``search.unindexed.<type>.<path>``; fields beyond the hundredth, and very long ones, as ``others``.

    :param counters: where to count.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._known: set[str] = set()

    def __call__(self, type_name: str | None, paths: Sequence[str]) -> None:
        """Count one search.

        :param type_name: the type that was searched, or None for all.
        :param paths: the fields without an index.
        """
        for path in paths:
            name = f"search.unindexed.{type_name or ANY_TYPE}.{path}"
            if name not in self._known and len(path) <= _LONGEST and len(self._known) < MOST_FIELDS:
                self._known.add(name)
            self._counters.increment(name if name in self._known else _OTHERS)

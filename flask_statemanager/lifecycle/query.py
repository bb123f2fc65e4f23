"""StateQuery: a search that runs when it is looked at, in pages, however many states it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import overload

from msgspec import Struct
from msgspec.structs import replace

from ..core.query import Order, Query, cursor_after, parse_cursor
from ..core.record import Record
from ..errors import StateValidationError
from .state import State

MAX_PAGE = 1000
"""The most states of one page; iteration fetches half as many at a time."""

EXACT_TO = 10_000
"""Up to how many states an estimated count is exact."""


class Page(Struct, frozen=True):
    """Some states of a search.

    :param items: the states.
    :param next: the cursor that goes on behind them, or None when there are no more.
    :param previous: the cursor that goes back before them, or None when they are the first.
    """

    items: list[State]
    next: str | None
    previous: str | None = None

    def __iter__(self) -> Iterator[State]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class StateQuery(Sequence[State]):
    """The states that a search finds, fetched as they are needed.

    Iterate over it (bounded memory, whatever the number), slice it, ask for :meth:`page` or :meth:`count`. ``bool()``
    reads one row, ``len()`` loads the whole result. In the default order each state that exists throughout an
    iteration appears exactly once, whatever is written meanwhile.

    :param query: what to search; its moment is taken anew for each page.
    :param search: runs a query.
    :param count: counts a query, exactly up to a number where one is given.
    :param fresh: gives a query the present moment.
    """

    def __init__(
        self,
        query: Query,
        *,
        search: Callable[[Query], list[Record]],
        count: Callable[[Query, int | None], int],
        fresh: Callable[[Query], Query],
    ) -> None:
        self._query = query
        self._search = search
        self._count = count
        self._fresh = fresh
        self._loaded: list[State] | None = None

    @property
    def query(self) -> Query:
        """What is searched, at the present moment."""
        return self._fresh(self._query)

    def __iter__(self) -> Iterator[State]:
        if self._loaded is not None:
            yield from self._loaded
        else:
            yield from self._fetched()

    def _fetched(self) -> Iterator[State]:
        query = replace(self._fresh(self._query), limit=MAX_PAGE // 2)
        while True:
            records = self._search(query)
            yield from map(State.of, records)
            if len(records) < MAX_PAGE // 2:
                return
            last = records[-1]
            query = replace(self._fresh(query), after=(query.order.value(last), last.key.name))

    def page(self, size: int = 50, after: str | None = None, *, before: str | None = None) -> Page:
        """Return one page, found by key and not by counting rows away.

        :param size: the most states, 1 to 1000.
        :param after: the ``next`` of the page before.
        :param before: or the ``previous`` of the page behind; the states come in the same order as ever.
        :raises StateValidationError: when size or cursor are unusable.
        :raises StorageError: when the storage fails.
        """
        if type(size) is not int or not 1 <= size <= MAX_PAGE:
            raise StateValidationError({"size": [f"Must be a number from 1 to {MAX_PAGE}."]})
        if after is not None and before is not None:
            raise StateValidationError({"before": ["Give either after or before."]})
        if before is None:
            found, more = self._behind(self._query.order, after, size)
            return self._page(found, following=more, preceding=after is not None)
        order = self._query.order
        found, more = self._behind(Order(order.by, descending=not order.descending), before, size)
        return self._page(found[::-1], following=True, preceding=more)

    def _behind(self, order: Order, place: str | None, size: int) -> tuple[list[Record], bool]:
        """Return what lies behind a place in an order, which may be the other way round, and whether there is more."""
        position = None if place is None else parse_cursor(place, self._query.order)
        records = self._search(replace(self._fresh(self._query), order=order, after=position, limit=size + 1))
        return records[:size], len(records) > size

    def _page(self, records: list[Record], *, following: bool, preceding: bool) -> Page:
        order = self._query.order
        behind = cursor_after(records[-1], order) if records and following else None
        ahead = cursor_after(records[0], order) if records and preceding else None
        return Page([State.taking(record) for record in records], behind, ahead)

    def count(self, value: object = None, *, estimate: bool = False) -> int:
        """Return how many states there are, counted by the storage.

        :param value: with a value, how often it occurs in the loaded result, as in every sequence.
        :param estimate: count no further than 10,000, and say about how many it is when there are more.
        :raises StorageError: when the storage fails.
        """
        if value is not None:
            return self._all().count(value)  # type: ignore[arg-type]
        return self._count(self._fresh(self._query), EXACT_TO if estimate else None)

    def first(self) -> State | None:
        """Return the first state, or None.

        :raises StorageError: when the storage fails.
        """
        return next(iter(self[:1]), None)

    def __bool__(self) -> bool:
        return bool(self._loaded) if self._loaded is not None else self.first() is not None

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, index: int) -> State: ...

    @overload
    def __getitem__(self, index: slice) -> list[State]: ...

    def __getitem__(self, index: int | slice) -> State | list[State]:
        wanted = slice(index, index + 1) if isinstance(index, int) else index
        start, stop = wanted.start or 0, wanted.stop
        if self._loaded is not None or min(start, 0 if stop is None else stop) < 0 or wanted.step not in (None, 1):
            return self._all()[index]
        if stop is None:
            return list(islice(self._fetched(), start, None))
        found = self._slice(start, stop)
        if isinstance(index, slice):
            return found
        if not found:
            raise IndexError("The search finds fewer states than that.")
        return found[0]

    def _slice(self, start: int, stop: int) -> list[State]:
        if stop <= MAX_PAGE:
            records = self._search(replace(self._fresh(self._query), limit=max(0, stop)))
            return [State.taking(record) for record in records[start:]]
        return list(islice(self._fetched(), start, stop))

    def _all(self) -> list[State]:
        if self._loaded is None:
            self._loaded = list(self._fetched())  # list(self) would ask __len__ first
        return self._loaded

    def __repr__(self) -> str:
        return f"<StateQuery type={self._query.type!r} filters={len(self._query.filters)}>"

"""The power Counts: as many as a search finds, and beyond a bound about as many."""

from __future__ import annotations

from typing import ClassVar

from ...core.ports import Backend
from ...core.powers import Counts, require
from ...core.query import parse_filters
from ..cases import DOCUMENTS, FILTER_CASES
from ..clock import START
from .searching import query_of
from .statuses import LAPSES, STATUS_CASES, fill_statuses
from .store import Store


class CountContract:
    """How many a search would find."""

    power: ClassVar[str] = "Counts"

    def test_as_many_are_counted_as_the_table_says(self, backend: Backend, store: Store) -> None:
        """Filters, types, statuses and owners count as they find."""
        counts = require(backend, Counts, "The count contract")  # type: ignore[type-abstract]
        store.fill(DOCUMENTS)
        with backend.reading() as unit:
            asked = [(case, query_of(filters=parse_filters(case.filters))) for case in FILTER_CASES]
            wrong = [case for case, query in asked if counts.count(unit, query) != len(case.found.split())]
        assert wrong == []

    def test_statuses_are_counted_with_their_lapses(self, backend: Backend, store: Store) -> None:
        """An expired record counts as what it has become."""
        counts = require(backend, Counts, "The count contract")  # type: ignore[type-abstract]
        fill_statuses(store)
        with backend.reading() as unit:
            found = [counts.count(unit, query_of(lapses=LAPSES, **asked)) for asked, _ in STATUS_CASES]
        assert found == [len(names.split()) for _, names in STATUS_CASES]

    def test_cursor_and_limit_are_left_aside(self, backend: Backend, store: Store) -> None:
        """A count is of everything."""
        counts = require(backend, Counts, "The count contract")  # type: ignore[type-abstract]
        for name in "abc":
            store.create(name)
        with backend.reading() as unit:
            assert counts.count(unit, query_of(after=(START, "b"), limit=1)) == 3

    def test_up_to_a_bound_a_count_is_exact_and_beyond_it_greater(self, backend: Backend, store: Store) -> None:
        """An estimate never hides that there are more."""
        counts = require(backend, Counts, "The count contract")  # type: ignore[type-abstract]
        for name in "abcdef":
            store.create(name, {"v": name})
        found = query_of(filters=parse_filters({"data.v__lt": "e"}))
        with backend.reading() as unit:
            assert [counts.count(unit, found, exact_to=bound) for bound in (4, 5, 1000)] == [4, 4, 4]
            assert counts.count(unit, query_of(), exact_to=6) == 6
            assert counts.count(unit, found, exact_to=3) > 3
            assert counts.count(unit, query_of(), exact_to=1) > 1

    def test_several_counts_at_once_are_what_they_are_apart(self, backend: Backend, store: Store) -> None:
        """Each up to the bound, whatever the others ask."""
        counts = require(backend, Counts, "The count contract")  # type: ignore[type-abstract]
        for name in "abcdef":
            store.create(name, {"v": name})
        queries = [query_of(), query_of(prefix="a"), query_of(prefix="zz"), query_of(type="none"), query_of(prefix="c")]
        with backend.reading() as unit:
            assert counts.count_each(unit, queries) == [6, 1, 0, 0, 1]
            assert counts.count_each(unit, []) == []
            all_, *few = counts.count_each(unit, queries, exact_to=1)
            assert all_ > 1
            assert few == [1, 0, 0, 1]
            assert min(counts.count_each(unit, [queries[1], queries[0], queries[4]], exact_to=0)) > 0

"""The power Searches: one meaning of every filter, order, status and cursor."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from ...core.codec import MAX_DEPTH
from ...core.ports import Backend
from ...core.powers import Searches, require
from ...core.query import ORDERS, Order, Query, parse_filters
from ...core.record import JSON, Record
from ...core.times import parse_times
from ..cases import DOCUMENTS, FILTER_CASES, ODD_NAMES, Case
from ..clock import START
from .statuses import HOUR, LAPSES, MIXED_CASES, STATUS_CASES, fill_mixed, fill_statuses
from .store import BUCKET, Store, change_of, new_record


def query_of(**asked: Any) -> Query:
    """Return a query in the contract's bucket, at a fixed moment.

    :param asked: further fields of the query.
    """
    return Query(BUCKET, START, **asked)


class SearchContract:
    """What a search finds, in which order, page by page."""

    power: ClassVar[str] = "Searches"

    @pytest.fixture
    def finder(self, backend: Backend) -> Finder:
        """The backend's search with short verbs."""
        return Finder(backend)

    @pytest.fixture
    def documents(self, store: Store) -> None:
        """The table's documents, stored."""
        store.fill(DOCUMENTS)

    def test_an_empty_bucket_finds_nothing(self, finder: Finder) -> None:
        """An empty list, not an error."""
        assert finder.names() == []

    def test_every_filter_finds_what_the_table_says(self, documents: None, finder: Finder) -> None:
        """Every operator against every JSON type; all wrong cases are listed."""
        wrong = [(case, found) for case in FILTER_CASES if (found := finder.by(case.filters)) != _sorted(case.found)]
        assert wrong == []

    def test_every_filter_means_the_same_on_metadata(self, store: Store, finder: Finder) -> None:
        """Data and metadata are searched alike."""
        changes = (new_record(name, metadata=document) for name, document in DOCUMENTS.items())
        store.apply(*(change_of(None, record, "create") for record in changes))
        swapped = [
            Case(_on_metadata(case.filters), case.found) for case in FILTER_CASES if "metadata" not in str(case.filters)
        ]
        wrong = [(case, found) for case in swapped if (found := finder.by(case.filters)) != _sorted(case.found)]
        assert wrong == []

    def test_all_filters_must_hold(self, documents: None, finder: Finder) -> None:
        """Conditions are joined by and."""
        assert finder.by({"data.v__gt": 0, "data.v__ne": 1, "data.v__lt": 2}) == ["half", "tiny"]
        assert finder.by({"data.v": 1, "metadata.v__exists": True}) == []

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_an_odd_member_name_finds_itself_and_nothing_else(self, store: Store, finder: Finder, name: str) -> None:
        """No character of a path is syntax, at the top and further in."""
        store.fill({"at_top": {name: 1}, "further_in": {"x": {name: "text"}}, "neither": {"a": 1, "x": {"y": [1]}}})
        assert finder.by({f"data.{name}__eq": 1}) == ["at_top"]
        assert finder.by({f"data.x.{name}__startswith": "te"}) == ["further_in"]
        assert finder.by({f"data.{name}__exists": True}) == ["at_top"]

    @pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1, 5000])
    def test_a_path_of_any_length_is_only_a_path(self, store: Store, finder: Finder, depth: int) -> None:
        """The deepest document is found by its path, and a deeper path finds nothing."""
        document: JSON = 1
        for _ in range(MAX_DEPTH):
            document = {"a": document}
        store.fill({"deep": document, "flat": {"a": 1}})
        path = ".".join(["data", *["a"] * depth])
        there = ["deep"] if depth == MAX_DEPTH else []
        assert finder.by({path: 1}) == finder.by({f"{path}__gte": 1}) == finder.by({f"{path}__exists": True}) == there
        assert finder.by({f"{path}__startswith": ""}) == []

    def test_a_range_of_moments_finds_what_was_written_in_it(self, store: Store, finder: Finder) -> None:
        """To the microsecond, beside filters, in whatever zone the moments are given."""
        store.fill({name: {"v": name} for name in "abc"})
        later = START + timedelta(microseconds=1)
        store.update("b", at=later)
        store.update("c", at=later + HOUR)
        for asked, wanted in (
            ({"updated_at__gt": START}, "b c"),
            ({"updated_at__gte": START, "updated_at__lt": later}, "a"),
            ({"updated_at__lte": later.astimezone(timezone(HOUR))}, "a b"),
            ({"updated_at__gt": START, "created_at__lte": START}, "b c"),
            ({"created_at__gt": START}, ""),
        ):
            times, _ = parse_times(asked)
            assert finder.names(times=times) == wanted.split()
            assert finder.names(times=times, filters=parse_filters({"data.v__ne": "c"})) == [
                name for name in wanted.split() if name != "c"
            ]

    def test_tombstones_and_other_buckets_are_not_found(self, store: Store, finder: Finder) -> None:
        """Only the living, only here."""
        store.create("a", {"v": 1})
        store.create("b", {"v": 1})
        store.create("c", {"v": 1}, bucket="other")
        store.delete("b")
        assert finder.by({"data.v": 1}) == ["a"]

    def test_what_is_found_is_the_whole_record(self, store: Store, finder: Finder) -> None:
        """The same record that reading gives."""
        stored = store.create("a", {"v": [1]}, metadata={"m": 1}, owner="me", expires_at=START)
        assert finder.search() == [stored]

    def test_a_record_is_found_by_what_it_holds_now(self, store: Store, finder: Finder) -> None:
        """Not by what it held before."""
        store.create("a", {"v": "before"})
        store.update("a", data={"v": "after"})
        assert finder.by({"data.v": "before"}) == []
        assert finder.by({"data.v": "after"}) == ["a"]

    def test_a_unit_finds_its_own_writes(self, backend: Backend, finder: Finder) -> None:
        """A search runs in the unit's transaction."""
        with backend.writing() as unit:
            backend.apply(unit, change_of(None, new_record("a"), "create"))
            assert [record.key.name for record in finder.searches.search(unit, query_of())] == ["a"]

    def test_types_statuses_and_owners_find_what_the_table_says(self, store: Store, finder: Finder) -> None:
        """Past its expiry a record counts as being in the lapse rule's target."""
        fill_statuses(store)
        wrong = []
        for asked, names in STATUS_CASES:
            found = finder.names(lapses=LAPSES, **asked)
            if found != _sorted(names):
                wrong.append((asked, found))
        assert wrong == []

    def test_without_lapse_rules_a_status_is_the_stored_one(self, store: Store, finder: Finder) -> None:
        """Expiry alone changes nothing."""
        fill_statuses(store)
        assert finder.names(statuses=("paused",)) == ["paused_past"]

    @pytest.mark.parametrize("by", ORDERS)
    @pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
    def test_pages_put_together_are_the_whole_in_order(
        self, store: Store, finder: Finder, by: str, descending: bool
    ) -> None:
        """By every order, with ties, at every page size; names break ties by code point."""
        records = _shuffled(store)
        order = Order(by, descending)
        whole = finder.search(order=order)
        wanted = sorted(records, key=lambda record: (order.value(record), record.key.name), reverse=descending)
        assert whole == wanted
        for size in (1, 2, 3, len(whole)):
            assert finder.paged(size, order=order) == wanted

    @pytest.mark.parametrize("by", ORDERS)
    @pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
    def test_pages_of_statuses_put_together_are_the_whole_in_order(
        self, store: Store, finder: Finder, by: str, descending: bool
    ) -> None:
        """What has lapsed into a status lies among what is stored with it, each once, at every page size."""
        fill_mixed(store)
        order = Order(by, descending)
        wrong = []
        for asked, names in MIXED_CASES:
            whole = finder.search(order=order, lapses=LAPSES, **asked)
            wanted = sorted(whole, key=lambda record: (order.value(record), record.key.name), reverse=descending)
            paged = [finder.paged(size, order=order, lapses=LAPSES, **asked) for size in (1, 2, 5)]
            found = sorted(record.key.name for record in whole)
            if found != _sorted(names) or whole != wanted or any(each != whole for each in paged):
                wrong.append((asked, found))
        assert wrong == []

    def test_more_statuses_than_have_a_way_of_their_own_are_found(self, store: Store, finder: Finder) -> None:
        """However many are asked for, and each once where one is asked for twice."""
        fill_mixed(store)
        others = tuple(f"s{number}" for number in range(40))
        assert finder.names(statuses=("expired", *others), lapses=LAPSES) == _sorted("e1 e2 p1 p2 p3 o2")
        assert finder.names(statuses=("expired", "expired"), lapses=LAPSES) == _sorted("e1 e2 p1 p2 p3 o2")

    def test_a_page_goes_on_behind_a_record_that_is_gone(self, store: Store, finder: Finder) -> None:
        """A cursor is a position, not a record."""
        for name in "abcd":
            store.create(name)
        position = (START, "b")
        store.delete("b")
        assert [record.key.name for record in finder.search(after=position)] == ["c", "d"]

    def test_a_filtered_page_is_full_when_there_are_enough(self, documents: None, finder: Finder) -> None:
        """The limit counts what is found, not what was looked at."""
        filters = parse_filters({"data.v__gt": 0})
        assert len(finder.search(filters=filters, limit=3)) == 3
        assert len(finder.paged(3, filters=filters)) == len(finder.by({"data.v__gt": 0}))

    def test_a_limit_of_zero_finds_nothing(self, documents: None, finder: Finder) -> None:
        """Zero is a number, not no limit."""
        assert finder.search(limit=0) == []

    def test_only_paths_that_were_asked_for_are_named_as_without_an_index(self, finder: Finder) -> None:
        """Each path once, or none where records have no indexes; nothing of a query without filters."""
        asked = {"data.v": 1, "metadata.a.b__gte": "x", "metadata.a.b__lt": "y", "data.w__exists": True}
        named = finder.searches.unserved(query_of(filters=parse_filters(asked)))
        assert named in ([], ["data.v", "metadata.a.b", "data.w"])
        assert finder.searches.unserved(query_of()) == []

    def test_editing_what_was_found_changes_nothing(self, store: Store, finder: Finder) -> None:
        """Found records are the reader's own."""
        store.create("a", {"v": [1]})
        finder.search()[0].data["v"].append(2)
        assert finder.search()[0].data == {"v": [1]}


class Finder:
    """The search of a backend with short verbs.

    :param backend: one that searches.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.searches = require(backend, Searches, "The search contract")  # type: ignore[type-abstract]

    def search(self, **asked: Any) -> list[Record]:
        """Return the found records.

        :param asked: further fields of the query.
        """
        with self.backend.reading() as unit:
            return self.searches.search(unit, query_of(**asked))

    def names(self, **asked: Any) -> list[str]:
        """Return the found names, sorted.

        :param asked: further fields of the query.
        """
        return sorted(record.key.name for record in self.search(**asked))

    def by(self, filters: dict[str, Any]) -> list[str]:
        """Return the names that filters find, sorted.

        :param filters: as a caller writes them.
        """
        return self.names(filters=parse_filters(filters))

    def paged(self, size: int, *, order: Order | None = None, **asked: Any) -> list[Record]:
        """Return what is found, fetched page by page.

        :param size: records a page.
        :param order: the order.
        :param asked: further fields of the query.
        """
        order = order or Order()
        found: list[Record] = []
        after: Any = None
        while page := self.search(order=order, after=after, limit=size, **asked):
            assert len(page) <= size
            found += page
            after = (order.value(page[-1]), page[-1].key.name)
        return found


def _sorted(names: str) -> list[str]:
    return sorted(names.split())


def _on_metadata(filters: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("data.", "metadata.", 1): value for name, value in filters.items()}


def _shuffled(store: Store) -> list[Record]:
    """Store records whose orders disagree, with ties in every one but the name and the revision."""
    names = ("b", "a", "B", "a1", "~", "Z", "_")
    for number, name in enumerate(names):
        made = START + timedelta(microseconds=number % 3)
        store.create(name, created_at=made, updated_at=made)
    for name in ("~", "b", "a1", "b"):
        store.update(name, at=START + HOUR + timedelta(microseconds=len(name)))
    return [replace(store.found(name)) for name in names]

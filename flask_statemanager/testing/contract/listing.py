"""The power Lists: names by their beginning, in order, and how much there is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest

from ...core.lists import Lists, Measure, Span
from ...core.ports import Backend
from ...core.powers import require
from ..clock import START
from .store import BUCKET, Store

NAMES = ("a", "a:", "a:1", "a:10", "a:2", "a:b:c", "aa", "ab:1", "b", "B", "~", "ä", "ö:1", "\U0001f600:1")
"""Beginnings that contain each other, both cases, and beyond ASCII."""


class ListContract:
    """Listing, counting and measuring."""

    power: ClassVar[str] = "Lists"

    @pytest.fixture
    def names(self, backend: Backend) -> Names:
        """The backend's power with short verbs."""
        return Names(backend)

    def test_names_come_in_the_order_of_their_code_points(self, names: Names, store: Store) -> None:
        """Whatever language or order they were stored in; upper case goes before lower case."""
        store.fill({name: {} for name in reversed(NAMES)})
        assert names.listed() == sorted(NAMES)

    def test_nothing_has_no_names(self, names: Names, store: Store) -> None:
        """An empty list, and zero."""
        store.create("a", bucket="other")
        assert names.listed() == []
        assert names.tally() == 0

    def test_a_prefix_is_how_names_begin_and_nothing_else(self, names: Names, store: Store) -> None:
        """No character of it means anything special, and the name that is the prefix is among them."""
        odd = ("a%b", "a_b", "a*b", "axb", "a\\b", "a%", "a'b")
        store.fill({name: {} for name in (*NAMES, *odd)})
        everything = sorted((*NAMES, *odd))
        for prefix in ("", "a", "a:", "a:1", "a%", "a_", "a*", "a\\", "a'", "B", "ä", "ö", "\U0001f600", "~", "none"):
            wanted = [name for name in everything if name.startswith(prefix)]
            assert names.listed(prefix=prefix) == wanted, prefix
            assert names.tally(prefix=prefix) == len(wanted), prefix

    @pytest.mark.parametrize("prefix", ["\U0010ffff", "x\U0010ffff", "\ud7ff", "\uffff"])
    def test_a_prefix_at_the_end_of_the_code_points_is_none_for_others(
        self, names: Names, store: Store, prefix: str
    ) -> None:
        """Nothing comes behind the last one, and between two there may be none that can be stored."""
        store.fill({name: {} for name in (f"{prefix}1", f"{prefix}2", "x", "y", "\ue000")})
        assert names.listed(prefix=prefix) == [f"{prefix}1", f"{prefix}2"]

    def test_pages_go_on_behind_a_name(self, names: Names, store: Store) -> None:
        """Each name once, whatever the size of the pages."""
        store.fill({name: {} for name in NAMES})
        for prefix in ("", "a", "a:"):
            wanted = [name for name in sorted(NAMES) if name.startswith(prefix)]
            for size in (1, 2, 3, 100):
                seen: list[str] = []
                after = None
                while page := names.listed(prefix=prefix, after=after, limit=size):
                    assert len(page) <= size
                    seen += page
                    after = page[-1]
                assert seen == wanted

    def test_a_page_goes_on_behind_a_name_that_is_not_there(self, names: Names, store: Store) -> None:
        """Removed meanwhile, before the prefix or behind it."""
        store.fill({name: {} for name in ("a:1", "a:3", "b:1")})
        assert names.listed(prefix="a:", after="a:2") == ["a:3"]
        assert names.listed(prefix="a:", after="A") == ["a:1", "a:3"]
        assert names.listed(prefix="a:", after="b") == []
        assert names.tally(prefix="a:", after="a:2") == 1

    def test_a_limit_is_for_lists_and_not_for_counts(self, names: Names, store: Store) -> None:
        """Zero is a number, not no limit."""
        store.fill({name: {} for name in NAMES})
        assert names.listed(limit=0) == []
        assert names.tally(limit=1) == len(NAMES)

    def test_what_is_dead_or_expired_is_not_there(self, names: Names, store: Store) -> None:
        """Tombstones not at all; the expired from the very moment on, without anybody having written it down."""
        store.create("alive", expires_at=START + timedelta(microseconds=1))
        store.create("expired", expires_at=START)
        store.create("for_ever")
        store.create("gone")
        store.delete("gone")
        assert names.listed() == ["alive", "for_ever"]
        assert names.tally() == 2
        assert names.listed(now=START + timedelta(seconds=1)) == ["for_ever"]
        assert names.listed(now=START - timedelta(seconds=1)) == ["alive", "expired", "for_ever"]

    def test_what_comes_back_is_there_again(self, names: Names, store: Store) -> None:
        """A name that was removed and made again, and one that was only changed."""
        store.create("a")
        store.create("b")
        assert names.listed() == ["a", "b"]
        store.delete("a")
        assert names.listed() == ["b"]
        store.recreate("a", at=START + timedelta(seconds=1))
        store.update("b", data={"n": 1})
        assert names.listed() == ["a", "b"]

    def test_a_bucket_lists_its_own(self, names: Names, store: Store) -> None:
        """The same names elsewhere are another's."""
        store.create("a")
        store.create("a", bucket="other")
        store.create("b", bucket="other")
        assert names.listed() == ["a"]
        assert names.measured().keys == 1

    # -- measuring -------------------------------------------------------------------------------------------------

    def test_nothing_measures_nothing(self, names: Names) -> None:
        """All zero, with a bound of zero too."""
        assert names.measured() == names.measured(0) == Measure(0, 0, 0, {})

    def test_prefixes_are_counted_up_to_the_first_colon(self, names: Names, store: Store) -> None:
        """The colon included; names without one count under the empty prefix."""
        store.fill({name: {} for name in NAMES})
        counted = {"": 6, "a:": 5, "ab:": 1, "ö:": 1, "\U0001f600:": 1}
        assert names.measured().prefixes == counted
        assert names.measured().keys == len(NAMES)

    def test_metadata_is_counted_where_there_is_any(self, names: Names, store: Store) -> None:
        """An empty object is none."""
        store.create("a", metadata={"m": None})
        store.create("b", metadata={})
        store.create("c", {"d": 1}, metadata={"m": 1, "n": [1]})
        assert names.measured().with_metadata == 2

    def test_bytes_are_those_of_the_data_as_json(self, names: Names, store: Store) -> None:
        """In UTF-8; a store that writes JSON in its own way may be off by its spaces."""
        store.create("a", {"text": "ü" * 1000})
        assert 2011 <= names.measured().bytes <= 2020
        store.create("b", {"text": "x" * 5000}, metadata={"not": "counted" * 1000})
        assert 2011 + 5011 <= names.measured().bytes <= 7040

    def test_only_the_living_are_measured(self, names: Names, store: Store) -> None:
        """As in a list."""
        store.create("a:1")
        store.create("a:2", metadata={"m": 1}, expires_at=START)
        store.create("a:3", metadata={"m": 1})
        store.delete("a:3")
        found = names.measured()
        assert (found.keys, found.with_metadata, found.prefixes) == (1, 0, {"a:": 1})

    def test_what_is_measured_within_a_bound_is_right(self, names: Names, store: Store) -> None:
        """Where it takes more than the bound there is no answer, rather than a wrong one."""
        store.fill({f"k:{number}": {"n": number} for number in range(10)})
        everything = names.measured()
        assert everything.keys == 10
        assert names.measured(10) == names.measured(1000) == everything
        for most in (9, 0):
            assert names.measure(most) in (None, everything)


class Names:
    """The power with short verbs; each opens a unit of its own.

    :param backend: the backend under test.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.power: Lists = require(backend, Lists, "The list contract")  # type: ignore[type-abstract]

    def listed(self, *, now: datetime = START, **fields: Any) -> list[str]:
        """List names.

        :param now: the moment.
        :param fields: of the span.
        """
        with self.backend.reading() as unit:
            return self.power.listed(unit, Span(BUCKET, now, **fields))

    def tally(self, *, now: datetime = START, **fields: Any) -> int:
        """Count names.

        :param now: the moment.
        :param fields: of the span.
        """
        with self.backend.reading() as unit:
            return self.power.tally(unit, Span(BUCKET, now, **fields))

    def measure(self, most: int | None = None) -> Measure | None:
        """Measure the bucket.

        :param most: the most records to look at.
        """
        with self.backend.reading() as unit:
            return self.power.measure(unit, BUCKET, START, most)

    def measured(self, most: int | None = None) -> Measure:
        """Measure the bucket, which must be possible.

        :param most: the most records to look at.
        """
        found = self.measure(most)
        assert found is not None
        return found

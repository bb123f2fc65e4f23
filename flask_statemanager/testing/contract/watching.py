"""The power Watches: the log read on from anywhere, ordered, unique, complete, resumable."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import ClassVar

import pytest
from msgspec.structs import replace

from ...core.follows import Page, Watches
from ...core.ports import Backend
from ...core.powers import KeepsHistory, require
from ...core.record import Change, Key
from ...errors import Compacted, StateConflict, StateValidationError
from ..clock import START
from .store import BUCKET, ORIGIN, PATIENCE, Store, change_of, fail, new_record, patiently

BEGINNING = "0"

NO_CURSORS = ("", "x", "-1", "1.5", " 1", "1 ", "+1", "0x1", "1_0", "\u0661", "9" * 40, "'", "\x00")
"""None of them is a cursor."""


class WatchContract:
    """Following the log of a bucket. Cursors are opaque here, but for the beginning."""

    power: ClassVar[str] = "Watches"

    def compact(self, backend: Backend) -> None:
        """Have the log of the bucket forget all that it may; override it where that is not KeepsHistory's.

        :param backend: the backend under test.
        """
        history = require(backend, KeepsHistory, "The watch contract")  # type: ignore[type-abstract]
        with backend.writing() as unit:
            assert history.forget_changes(unit, START + timedelta(days=1), 10_000, bucket=BUCKET)

    @pytest.fixture
    def feed(self, backend: Backend) -> Feed:
        """The backend's power with short verbs."""
        return Feed(backend)

    def test_an_empty_log_has_a_position_and_nothing_behind_it(self, feed: Feed) -> None:
        """Nor behind the beginning."""
        for cursor in (BEGINNING, feed.position()):
            page = feed.page(cursor)
            assert (page.changes, page.more) == ([], False)
            assert feed.page(page.cursor).changes == []

    def test_every_change_is_there_in_order_with_everything(self, feed: Feed, store: Store) -> None:
        """Event, origin, moment, and the records before and after it."""
        first = store.create("a", {"n": [1]}, metadata={"m": 1}, owner="me")
        other = store.create("b")
        second = store.update("a", event="park", at=START + timedelta(seconds=1), data={"n": [2]})
        third = store.delete("a", at=START + timedelta(seconds=2))
        again = store.recreate("a", {"n": [3]}, at=START + timedelta(seconds=3))
        lives = [(first, None, "create"), (second, first, "park"), (third, second, "delete"), (again, None, "create")]
        wanted = [
            Change(after.revision, after.key, after.version, event, before, after, ORIGIN, after.updated_at)
            for after, before, event in lives
        ]
        changes = feed.all()
        assert [change for change in changes if change.key.name == "a"] == wanted
        assert [change.after for change in changes if change.key.name == "b"] == [other]
        assert feed.steps(changes) == ["a1", "b1", "a2", "a3", "a4"]

    def test_behind_a_position_is_what_came_later(self, feed: Feed, store: Store) -> None:
        """Neither less nor more, and a page that found nothing has a cursor to go on from too."""
        store.create("a")
        here = feed.position()
        assert feed.page(here).changes == []
        later = feed.page(here).cursor
        store.update("a")
        store.create("b")
        assert feed.steps(feed.all(here)) == feed.steps(feed.all(later)) == ["a2", "b1"]
        assert feed.steps(feed.page(feed.position()).changes) == []

    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    def test_pages_go_on_where_the_last_one_ended(self, feed: Feed, store: Store, limit: int) -> None:
        """Each change once, whatever the size; the last page says that there is no more."""
        for name in "abc":
            store.create(name)
            store.create(name, bucket="other")
        for name in "abc":
            store.update(name)
        pages = feed.pages(limit=limit)
        assert [step for page in pages for step in feed.steps(page.changes)] == ["a1", "b1", "c1", "a2", "b2", "c2"]
        assert max(len(page.changes) for page in pages) <= limit
        assert not pages[-1].more
        assert feed.page(pages[-1].cursor).changes == []

    def test_a_reader_may_begin_again_from_any_cursor_it_had(self, feed: Feed, store: Store) -> None:
        """And gets the same again."""
        for number in range(6):
            store.create(f"n{number}")
        pages = feed.pages(limit=1)
        for at, page in enumerate(pages):
            rest = [change for later in pages[at + 1 :] for change in later.changes]
            assert feed.all(page.cursor) == rest

    def test_a_prefix_leaves_others_out_and_passes_them(self, feed: Feed, store: Store) -> None:
        """They do not come again."""
        for name in ("user:1", "user:2", "users", "job:1", "us%r:1"):
            store.create(name)
        store.update("user:1")
        store.update("job:1")
        page = feed.page(BEGINNING, prefix="user:")
        assert feed.steps(page.changes) == ["user:11", "user:21", "user:12"]
        assert feed.page(page.cursor).changes == []
        assert feed.steps(feed.page(BEGINNING, prefix="us%").changes) == ["us%r:11"]
        assert feed.page(BEGINNING, prefix="none").changes == []

    def test_other_buckets_have_their_own_log(self, feed: Feed, store: Store) -> None:
        """Their changes are not shown, and hold nothing up."""
        store.create("a", bucket="other")
        store.create("b")
        store.create("c", bucket="other")
        assert feed.steps(feed.all()) == ["b1"]
        assert feed.steps(feed.all(bucket="other")) == ["a1", "c1"]
        assert (feed.position() == feed.power.position("other")) is feed.power.one_log

    def test_what_was_rolled_back_or_refused_is_never_seen(self, backend: Backend, feed: Feed, store: Store) -> None:
        """And what comes later is."""
        stored = store.create("a")
        with suppress(ZeroDivisionError), backend.writing() as unit:
            backend.apply(unit, change_of(None, new_record("b"), "create"))
            backend.apply(unit, change_of(stored, replace(stored, status="next"), "update"))
            fail()
        with pytest.raises(StateConflict):
            store.apply(change_of(None, new_record("a"), "create"))
        store.create("c")
        assert feed.steps(feed.all()) == ["a1", "c1"]
        store.update("a")
        assert feed.steps(feed.all()) == ["a1", "c1", "a2"]

    def test_changes_of_one_unit_are_seen_together(self, feed: Feed, store: Store) -> None:
        """In the order in which they were made."""
        store.fill({name: {} for name in "dacb"})
        assert feed.steps(feed.page(BEGINNING).changes) == ["d1", "a1", "c1", "b1"]

    def test_editing_what_was_read_changes_nothing(self, feed: Feed, store: Store) -> None:
        """Changes are the reader's own."""
        store.create("a", {"n": [1]})
        store.update("a", data={"n": [2]})
        for change in feed.all():
            change.after.data["n"].append(9)
            if change.before is not None:
                change.before.data.clear()
        assert [change.after.data for change in feed.all()] == [{"n": [1]}, {"n": [2]}]
        assert store.found("a").data == {"n": [2]}

    @pytest.mark.parametrize("cursor", NO_CURSORS)
    def test_what_is_no_cursor_is_refused(self, feed: Feed, store: Store, cursor: str) -> None:
        """With a sentence that says what to pass instead."""
        store.create("a")
        with pytest.raises(StateValidationError) as refused:
            feed.page(cursor)
        assert list(refused.value.errors) == ["cursor"]

    def test_a_cursor_that_the_log_has_not_reached_is_of_another_life_of_the_store(
        self, feed: Feed, store: Store
    ) -> None:
        """As after a backup was put back: with one to go on from."""
        store.create("a")
        with pytest.raises(Compacted) as refused:
            feed.page(str(store.found("a").revision + 1000))
        assert feed.page(refused.value.restart).changes == []

    # -- what is not kept any more -----------------------------------------------------------------------------------

    def test_a_cursor_behind_which_something_is_gone_is_refused(
        self, backend: Backend, feed: Feed, store: Store
    ) -> None:
        """With one to go on from, behind which comes what is written later."""
        store.create("a")
        early = feed.position()
        for number in range(5):
            store.update("a", data={"n": number})
        assert feed.steps(feed.all(early)) == ["a2", "a3", "a4", "a5", "a6"]
        late = feed.position()
        self.compact(backend)
        cursors = [late]
        for cursor in (BEGINNING, early):
            with pytest.raises(Compacted) as refused:
                feed.page(cursor)
            assert refused.value.cursor == cursor
            cursors.append(refused.value.restart)
        assert [feed.page(cursor).changes for cursor in cursors] == [[], [], []]
        store.update("a")
        assert [feed.steps(feed.all(cursor)) for cursor in cursors] == [["a7"]] * 3

    # -- waiting -----------------------------------------------------------------------------------------------------

    def test_waiting_in_vain_ends_with_its_time(self, feed: Feed, store: Store) -> None:
        """False, and at once where no time is given."""
        store.create("a")
        with feed.power.following(BUCKET) as wait:
            for seconds in (0.0, 0.05):
                assert not wait(feed.position(), seconds)

    def test_what_is_there_already_is_not_waited_for(self, feed: Feed, store: Store) -> None:
        """Without any time too."""
        here = feed.position()
        store.create("a")
        with feed.power.following(BUCKET) as wait:
            assert wait(here, 0.0)
            assert wait(BEGINNING, PATIENCE)

    def test_a_follower_that_waits_gets_what_others_write(self, feed: Feed, store: Store) -> None:
        """One change after another, each soon; several followers each for itself."""
        names = [f"n{number}" for number in range(5)]
        turns = threading.Semaphore(0)
        one, other = (Follower(feed, lambda seen: len(seen) >= len(names), heard=turns.release) for _ in range(2))
        with ThreadPoolExecutor(2) as pool:
            ended = [pool.submit(one.run), pool.submit(other.run)]
            for name in names:
                store.create(name)
                assert turns.acquire(timeout=PATIENCE)
                assert turns.acquire(timeout=PATIENCE)
            assert [each.result(PATIENCE) for each in ended] == [None, None]
        assert one.seen == other.seen == [f"{name}1" for name in names]

    def test_writers_that_fail_at_times_are_followed_without_gap_or_repetition(
        self, backend: Backend, feed: Feed, store: Store
    ) -> None:
        """Every version of every record once and in order, although the reader begins anew from its cursor."""
        records, versions = 3, 12
        store.fill({f"n{number}": {} for number in range(records)})
        start = feed.position()

        def write(key: Key, turn: int) -> None:
            with suppress(ZeroDivisionError), backend.writing() as unit:
                stored = backend.read(unit, key, lock=True)
                assert stored is not None
                backend.apply(unit, change_of(stored, replace(stored, data={"turn": turn}), "update"))
                if turn % 2:
                    fail()

        def write_all(number: int) -> None:
            for turn in range(2 * (versions - 1)):
                patiently(partial(write, Key(BUCKET, f"n{number}"), turn))

        wanted = records * (versions - 1)
        follower = Follower(feed, lambda seen: len(seen) >= wanted, cursor=start, limit=4)
        with ThreadPoolExecutor(records + 1) as pool:
            reading = pool.submit(follower.run)
            for writing in [pool.submit(write_all, number) for number in range(records)]:
                writing.result(PATIENCE)
            reading.result(PATIENCE)
        for number in range(records):
            mine = [step for step in follower.seen if step.startswith(f"n{number}")]
            assert mine == [f"n{number}{version}" for version in range(2, versions + 1)]
        assert len(follower.seen) == wanted
        assert feed.page(follower.cursor).changes == []


class Feed:
    """The power with short verbs.

    :param backend: the backend under test.
    """

    def __init__(self, backend: Backend) -> None:
        self.power: Watches = require(backend, Watches, "The watch contract")  # type: ignore[type-abstract]

    def position(self) -> str:
        """Return the cursor of now."""
        return self.power.position(BUCKET)

    def page(self, cursor: str, *, prefix: str = "", limit: int = 500, bucket: str = BUCKET) -> Page:
        """Return what lies behind a cursor.

        :param cursor: the cursor.
        :param prefix: how names begin.
        :param limit: how much to look at.
        :param bucket: in which bucket.
        """
        return self.power.follow(bucket, cursor, prefix=prefix, limit=limit)

    def pages(self, cursor: str = BEGINNING, *, limit: int = 500, bucket: str = BUCKET) -> list[Page]:
        """Return page after page, to the last.

        :param cursor: where to begin.
        :param limit: how much to look at for each.
        :param bucket: in which bucket.
        """
        found = [self.page(cursor, limit=limit, bucket=bucket)]
        while found[-1].more:
            found.append(self.page(found[-1].cursor, limit=limit, bucket=bucket))
        return found

    def all(self, cursor: str = BEGINNING, *, bucket: str = BUCKET) -> list[Change]:
        """Return everything behind a cursor.

        :param cursor: where to begin.
        :param bucket: in which bucket.
        """
        return [change for page in self.pages(cursor, bucket=bucket) for change in page.changes]

    def steps(self, changes: list[Change]) -> list[str]:
        """Name changes by record and version, for example ``a1``.

        :param changes: the changes.
        """
        return [f"{change.key.name}{change.version}" for change in changes]


class Follower:
    """Follows until it has seen enough, and begins anew from its cursor after every page.

    :param feed: what to follow.
    :param enough: tells whether it has.
    :param cursor: where to begin.
    :param limit: how much to look at for each page.
    :param heard: called at each change.
    """

    def __init__(
        self,
        feed: Feed,
        enough: Callable[[list[str]], bool],
        *,
        cursor: str = BEGINNING,
        limit: int = 500,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        self._feed = feed
        self._enough = enough
        self._limit = limit
        self._heard = heard
        self.cursor = cursor
        self.seen: list[str] = []

    def run(self) -> None:
        """Follow."""
        with self._feed.power.following(BUCKET) as wait:
            while not self._enough(self.seen):
                page = patiently(partial(self._feed.page, self.cursor, limit=self._limit))
                self.cursor = page.cursor
                for step in self._feed.steps(page.changes):
                    self.seen.append(step)
                    self._heard()
                if not page.more and not self._enough(self.seen):
                    assert wait(self.cursor, PATIENCE), f"nothing came behind {self.cursor} after {self.seen}"

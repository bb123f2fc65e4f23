"""The feed: what PostgreSQL's transactions can do to the order of revisions, and who wakes a follower."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import MetaData, create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from flask_statemanager.backends.memory import MemoryBackend
from flask_statemanager.backends.sql import feed as feed_module
from flask_statemanager.backends.sql import following as following_module
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.following import Pulse, Waiting
from flask_statemanager.backends.sql.frontier import Frontier, Note, safe
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.ports import Backend
from flask_statemanager.core.record import Key
from flask_statemanager.errors import Compacted, StateConflict, StorageError, StorageTimeout
from flask_statemanager.testing.clock import START
from flask_statemanager.testing.contract import Store
from flask_statemanager.testing.contract.store import BUCKET, change_of, fail, new_record
from flask_statemanager.testing.contract.watching import BEGINNING

PATIENCE = 30.0

Open = Callable[[], SqlBackend]


@pytest.fixture
def opened() -> Iterator[Callable[[str], SqlBackend]]:
    """Open backends that are closed at the end."""
    with ExitStack() as stack:

        def opened(url: str) -> SqlBackend:
            backend = SqlBackend(create_engine(url), declare(MetaData()), owned=True)
            stack.callback(backend.close)
            backend.create_tables()
            return backend

        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def open_one(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Open one more backend on the same database, as another process would."""
    url = f"sqlite:///{tmp_path / 'feed.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened = request.getfixturevalue("opened")  # behind the database, to be closed before it
    return lambda: opened(url)


@pytest.fixture
def postgres(postgres_url: str, opened: Callable[[str], SqlBackend]) -> SqlBackend:
    """A backend on PostgreSQL."""
    return opened(postgres_url)


class Writer:
    """A transaction that stays open until it is told to end."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._loan = backend.writing()
        self.unit: Any = self._loan.__enter__()

    def begin(self) -> int:
        """Have the transaction's id given out."""
        cursor = self.unit.connection.execute("SELECT pg_current_xact_id()::text::bigint")
        return int(cursor.fetchone()[0])

    def create(self, name: str) -> int:
        return self.backend.apply(self.unit, change_of(None, new_record(name), "create"))

    def delete(self, name: str) -> int:
        before = Store(self.backend).found(name)
        gone = replace(before, version=before.version + 1, status="deleted", deleted_at=START)
        return self.backend.apply(self.unit, change_of(before, gone, "delete"))

    def commit(self) -> None:
        self._loan.__exit__(None, None, None)

    def roll_back(self) -> None:
        error = ZeroDivisionError()
        self._loan.__exit__(ZeroDivisionError, error, None)


def steps(backend: Any, cursor: str = BEGINNING, **asked: Any) -> tuple[list[str], str]:
    page = backend.follow(BUCKET, cursor, **asked)
    return [f"{change.key.name}{change.version}" for change in page.changes], page.cursor


# -- what is passed, on PostgreSQL -------------------------------------------------------------------------------------


def test_a_lower_revision_that_commits_later_is_waited_for(postgres: SqlBackend) -> None:
    early, late = Writer(postgres), Writer(postgres)
    assert [early.create("a"), late.create("b")] == [1, 2]
    late.commit()
    for _ in range(3):
        assert steps(postgres) == ([], "0")
    early.commit()
    assert steps(postgres) == (["a1", "b1"], "2")


def test_an_overtaken_write_is_not_lost(postgres: SqlBackend) -> None:
    """The one that began first draws and commits in between: by the ids of what is visible it looks complete."""
    overtaker, overtaken = Writer(postgres), Writer(postgres)
    lower_id = overtaker.begin()
    assert lower_id < overtaken.begin()
    assert [overtaken.create("lost"), overtaker.create("found")] == [1, 2]
    overtaker.commit()
    naive = (
        "SELECT revision FROM statemanager_history WHERE revision > 0 "
        "AND xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
    )
    with postgres.engine.connect() as connection:
        assert connection.scalars(text(naive)).all() == [2]
    assert steps(postgres) == ([], "0")
    overtaken.commit()
    assert steps(postgres) == (["lost1", "found1"], "2")


def test_what_was_rolled_back_is_passed_at_once(postgres: SqlBackend) -> None:
    gone, kept = Writer(postgres), Writer(postgres)
    assert [gone.create("a"), kept.create("b")] == [1, 2]
    gone.roll_back()
    kept.commit()
    assert steps(postgres) == (["b1"], "2")
    assert postgres.position(BUCKET) == "2"


def test_revisions_that_were_drawn_in_vain_are_passed(postgres: SqlBackend) -> None:
    """Two create one record, and one of them has drawn for nothing."""
    store = Store(postgres)
    first = store.create("a")
    for _ in range(3):
        with pytest.raises(StateConflict):
            store.apply(change_of(None, new_record("a"), "create"))
        with pytest.raises(StateConflict):
            store.apply(replace(change_of(first, first, "update"), version=7))
    last = store.create("b")
    assert last.revision > first.revision + 1
    assert steps(postgres) == (["a1", "b1"], str(last.revision))


def test_what_is_before_the_gap_is_read_while_it_is_open(postgres: SqlBackend) -> None:
    store = Store(postgres)
    store.create("a")
    gap = Writer(postgres)
    gap.create("b")
    for name in "cd":
        store.create(name)
    assert steps(postgres) == (["a1"], "1")
    assert steps(postgres, "1") == ([], "1")
    assert not postgres.follow(BUCKET, "1").more
    gap.commit()
    assert steps(postgres, "1") == (["b1", "c1", "d1"], "4")


def test_a_gap_may_be_another_buckets(postgres: SqlBackend) -> None:
    """It is settled by that bucket's row, and a change behind it is not held up for good."""
    gap = Writer(postgres)
    postgres.apply(gap.unit, change_of(None, new_record("a", bucket="other"), "create"))
    Store(postgres).create("b")
    assert steps(postgres) == ([], "0")
    gap.commit()
    assert steps(postgres) == (["b1"], "2")


def test_while_a_gap_is_open_no_more_ids_are_used_up(postgres: SqlBackend) -> None:
    """One is noted for all who ask, and the next only when that is settled."""
    gap, store = Writer(postgres), Store(postgres)
    gap.create("a")
    store.create("b")
    steps(postgres)
    noted = postgres._frontier.note
    assert noted is not None
    store.create("c")
    for _ in range(5):
        steps(postgres)
    assert postgres._frontier.note == noted
    gap.commit()
    assert steps(postgres) == (["a1", "b1", "c1"], "3")
    assert postgres._frontier.settled >= noted.revision


def test_an_unrelated_writing_transaction_delays_what_is_behind_a_gap_and_nothing_else(postgres: SqlBackend) -> None:
    store, gone = Store(postgres), Writer(postgres)
    with Session(postgres.engine) as session:
        session.execute(text("CREATE TABLE note (n int)"))
        store.create("a")
        assert steps(postgres) == (["a1"], "1")
        gone.create("b")
        gone.roll_back()
        store.create("c")
        assert steps(postgres, "1") == ([], "1")
        session.commit()
    assert steps(postgres, "1") == (["c1"], "3")


def test_what_another_thread_has_learned_meanwhile_does_not_hold_for_an_earlier_look(postgres: SqlBackend) -> None:
    """Between its look and its judgement somebody else settles the gap, which this look has not seen filled."""
    gap = Writer(postgres)
    gap.create("a")
    Store(postgres).create("b")
    run, frontier = postgres._feed.entries, postgres._frontier
    with postgres.reading() as unit:
        plain, told = unit.run, []

        def meanwhile(statement: Any, values: Any, **options: Any) -> Any:
            rows = plain(statement, values, **options)
            if statement is run and not told:
                gap.commit()
                told.append(postgres.position(BUCKET))
            return rows

        unit.run = meanwhile  # type: ignore[method-assign]
        entries, number = postgres._look(unit, 0, 10)
    assert told == ["2"]
    assert frontier.settled == 2
    assert ([entry.name for entry in entries], number) == (["b"], 0)


def test_a_database_that_was_made_anew_is_followed_from_its_beginning(postgres: SqlBackend) -> None:
    store = Store(postgres)
    for name in "abc":
        store.create(name)
    assert postgres.position(BUCKET) == "3"
    postgres.tables.state.metadata.drop_all(postgres.engine)
    postgres.create_tables()
    gap = Writer(postgres)
    assert steps(postgres) == ([], "0")
    gap.create("d")
    store.create("e")
    assert steps(postgres) == ([], "0")
    gap.commit()
    assert steps(postgres) == (["d1", "e1"], "2")


# -- the position of now -----------------------------------------------------------------------------------------------


def test_the_position_of_now_waits_for_what_may_still_come_before_it(postgres: SqlBackend) -> None:
    gap, store = Writer(postgres), Store(postgres)
    gap.create("a")
    store.create("b")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(postgres.position, BUCKET)
        with pytest.raises(concurrent.futures.TimeoutError):
            asked.result(0.2)
        gap.commit()
        assert asked.result(PATIENCE) == "2"


def test_where_nothing_is_missing_the_position_waits_for_nobody(
    postgres: SqlBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "PATIENCE", 0.0)
    store = Store(postgres)
    store.create("a")
    later = Writer(postgres)
    later.create("b")
    assert postgres.position(BUCKET) == "1"
    later.commit()
    assert postgres.position(BUCKET) == "2"


def test_a_position_that_stays_open_is_one_that_is_settled_or_refused(
    postgres: SqlBackend, postgres_url: str, opened: Callable[[str], SqlBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "PATIENCE", 0.0)
    store = Store(postgres)
    store.create("a")
    assert postgres.position(BUCKET) == "1"
    gap = Writer(postgres)
    gap.create("b")
    store.create("c")
    assert postgres.position(BUCKET) == "1"
    with pytest.raises(StorageTimeout, match="pg_stat_activity"):
        opened(postgres_url).position(BUCKET)
    gap.commit()
    assert steps(postgres, "1") == (["b1", "c1"], "3")


# -- many writers ------------------------------------------------------------------------------------------------------


class Load:
    """Writers that roll back at times, and what they have committed, by revision and name.

    :param open_one: opens a backend for each.
    :param turns: how often each of them writes.
    """

    def __init__(self, open_one: Open, turns: int) -> None:
        self._open = open_one
        self._turns = turns
        self._lock = threading.Lock()
        self.over = threading.Event()
        self.committed: list[tuple[int, str]] = []

    def write(self, number: int) -> None:
        """Change one record, and make another here or in another bucket; every fourth time in vain."""
        backend, key = self._open(), Key(BUCKET, f"n{number}")
        for turn in range(self._turns):
            other = new_record(f"n{number}-{turn}", bucket="other" if turn % 3 == 0 else BUCKET)
            with suppress(ZeroDivisionError), backend.writing() as unit:
                stored = backend.read(unit, key, lock=True)
                assert stored is not None
                drawn = backend.apply(unit, change_of(stored, replace(stored, data={"turn": turn}), "update"))
                written = [(drawn, key), (backend.apply(unit, change_of(None, other, "create")), other.key)]
                if turn % 4 == 1:
                    fail()
                unit.after_commit(partial(self._note, [each for each in written if each[1].bucket == BUCKET]))

    def _note(self, written: list[tuple[int, Key]]) -> None:
        with self._lock:
            self.committed += [(revision, key.name) for revision, key in written]

    def read(self, cursor: str) -> list[tuple[int, str]]:
        """Follow to the end, from time to time as one who was restarted and knows nothing but the cursor."""
        seen: list[tuple[int, str]] = []
        while True:
            over, backend = self.over.is_set(), self._open()
            with backend.following(BUCKET) as wait:
                for _ in range(5):
                    page = backend.follow(BUCKET, cursor, limit=7)
                    seen += [(change.revision, change.key.name) for change in page.changes]
                    cursor = page.cursor
                    if not page.more and not wait(cursor, 0.05) and over:
                        return seen


@pytest.mark.slow
def test_four_writers_that_roll_back_at_times_are_followed_by_a_reader_that_restarts(open_one: Open) -> None:
    """Every committed change once, in the order of the revisions, whatever the reader knew before."""
    start, load = open_one(), Load(open_one, turns=40)
    for number in range(4):
        Store(start).create(f"n{number}")
    with ThreadPoolExecutor(5) as pool:
        reading = pool.submit(load.read, start.position(BUCKET))
        for writing in [pool.submit(load.write, number) for number in range(4)]:
            writing.result(PATIENCE * 3)
        load.over.set()
        seen = reading.result(PATIENCE)
    assert seen == sorted(load.committed)
    assert len(seen) == 4 * (30 + 19)


# -- what was removed --------------------------------------------------------------------------------------------------


def test_what_is_removed_while_a_page_is_read_is_not_left_out_silently(open_one: Open) -> None:
    backend, other = open_one(), open_one()
    store = Store(backend)
    store.create("a")
    store.update("a")
    plain = backend.changes_of

    def late(*asked: Any) -> Any:
        with other.writing() as unit:
            other.forget_changes(unit, START + timedelta(days=1), 10)
        return plain(*asked)

    backend.changes_of = late  # type: ignore[method-assign]
    with pytest.raises(Compacted) as refused:
        backend.follow(BUCKET, BEGINNING)
    assert refused.value.restart == "2"


def test_a_bucket_is_compacted_by_itself_and_a_rollback_takes_that_back(open_one: Open) -> None:
    backend = open_one()
    store = Store(backend)
    store.create("a", bucket="other")
    for name in "ab":
        store.create(name)
        store.update(name)
    with suppress(ZeroDivisionError), backend.writing() as unit:
        assert len(backend.forget_changes(unit, START + timedelta(days=1), 10)) == 2
        fail()
    assert steps(backend)[0] == ["a1", "a2", "b1", "b2"]
    with backend.writing() as unit:
        assert backend.forget_changes(unit, START + timedelta(days=1), 1) == [2]
    with pytest.raises(Compacted):
        steps(backend, "1")
    assert steps(backend, "2")[0] == ["a2", "b1", "b2"]
    assert len(backend.follow("other", BEGINNING).changes) == 1


def test_a_log_that_was_emptied_keeps_its_positions(open_one: Open) -> None:
    """The newest change is gone with its record, and who had read it goes on from there."""
    backend = open_one()
    store = Store(backend)
    store.create("a")
    store.delete("a")
    here = backend.position(BUCKET)
    with backend.writing() as unit:
        assert backend.forget_tombstones(unit, BUCKET, START + timedelta(days=1), 10) == 1
    with backend.writing() as unit:
        assert backend.forget_changes(unit, START + timedelta(days=1), 10) == [1, 2]
    assert backend.position(BUCKET) == here == "2"
    assert steps(backend, here) == ([], here)
    with pytest.raises(Compacted):
        steps(backend)


# -- waiting -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have followers look again only when somebody wakes them."""
    monkeypatch.setattr(following_module, "FIRST", PATIENCE * 10)
    monkeypatch.setattr(following_module, "LONGEST", PATIENCE * 10)


def waited_for(backend: SqlBackend, write: Callable[[], None]) -> bool:
    """Wait in a thread, and write once it waits."""
    cursor, asleep = backend.position(BUCKET), threading.Event()
    with backend.following(BUCKET) as wait, ThreadPoolExecutor(1) as pool:
        plain = wait._newest  # type: ignore[attr-defined]

        def newest() -> int:
            found = plain()
            asleep.set()
            return int(found)

        wait._newest = newest  # type: ignore[attr-defined]
        waiting = pool.submit(wait, cursor, PATIENCE)
        assert asleep.wait(PATIENCE)
        write()
        return waiting.result(PATIENCE)


def test_a_follower_is_woken_by_its_own_process(open_one: Open, no_polls: None) -> None:
    backend = open_one()

    def write() -> None:
        Store(backend).create("a")
        backend.announce()

    assert waited_for(backend, write)


def test_a_follower_is_woken_by_another_process(
    postgres: SqlBackend, postgres_url: str, opened: Callable[[str], SqlBackend], no_polls: None
) -> None:
    other = opened(postgres_url)
    names = iter("abc")

    def write() -> None:
        Store(other).create(next(names))
        other.announce()

    assert [waited_for(postgres, write) for _ in range(3)] == [True] * 3


def test_where_nobody_wakes_a_follower_it_looks_by_itself(open_one: Open) -> None:
    backend, other = open_one(), open_one()
    assert waited_for(backend, lambda: Store(other).fill({"a": {}}))


def test_announcing_without_followers_hurts_nobody(open_one: Open) -> None:
    backend = open_one()
    backend.announce()
    backend.close()
    backend.announce()


def test_who_comes_back_with_the_same_cursor_is_told_again_after_a_pause_only() -> None:
    """What it was told of is not settled: it would ask without end."""
    pulse = Pulse()
    wait = Waiting(pulse, lambda: 5)
    assert wait("1", 0.0)
    assert not wait("1", 0.0)
    assert wait("1", PATIENCE)
    assert wait("2", 0.0)
    assert not wait("5", 0.0)


def test_a_closed_backend_leaves_no_thread_behind(postgres: SqlBackend) -> None:
    before = set(threading.enumerate())
    with postgres.following(BUCKET) as wait:
        assert not wait(BEGINNING, 0.0)
        postgres.announce()
    assert {thread.name for thread in set(threading.enumerate()) - before} >= {"statemanager-listener"}
    postgres.close()
    assert not {thread for thread in set(threading.enumerate()) - before if thread.name.startswith("statemanager")}


# -- one connection for all --------------------------------------------------------------------------------------------


def test_on_in_memory_sqlite_an_open_write_of_the_application_is_not_passed() -> None:
    """Its revision may be given out again."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    backend = SqlBackend(engine, declare(MetaData()), owned=True)
    backend.create_tables()
    Store(backend).create("a")
    with Session(engine) as session:
        backend.apply(backend.joined(session, write=True), change_of(None, new_record("b"), "create"))  # type: ignore[arg-type]
        assert steps(backend) == ([], "0")
        with pytest.raises(StorageError, match="open write"):
            backend.position(BUCKET)
        with backend.following(BUCKET) as wait:
            assert not wait("0", 0.0)
        session.rollback()
    assert steps(backend) == (["a1"], "1")
    assert backend.position(BUCKET) == "1"
    backend.close()


def test_in_memory_an_open_unit_of_the_reader_itself_is_not_passed() -> None:
    backend = MemoryBackend()
    Store(backend).create("a")
    with backend.writing() as unit:
        backend.apply(unit, change_of(None, new_record("b"), "create"))
        assert backend.position(BUCKET) == "1"
        assert steps(backend) == (["a1"], "1")
        with backend.writing() as inner:
            backend.apply(inner, change_of(None, new_record("c"), "create"))
        assert backend.position(BUCKET) == "1"
    assert steps(backend, "1") == (["b1", "c1"], "3")


# -- the rule by itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "revisions", "settled", "passed"),
    [
        (0, [], 0, 0),
        (0, [1, 2, 3], 0, 3),
        (0, [2, 3], 0, 0),
        (0, [1, 3], 0, 1),
        (0, [1, 3], 2, 2),
        (0, [2, 4, 6], 4, 2),
        (7, [8, 9, 11], 0, 2),
        (7, [9], 8, 1),
        (7, [20], 30, 1),
    ],
)
def test_revisions_are_passed_up_to_the_first_gap_that_is_not_settled(
    after: int, revisions: list[int], settled: int, passed: int
) -> None:
    assert safe(after, revisions, settled) == passed


def test_a_note_is_settled_when_every_transaction_up_to_its_own_has_ended() -> None:
    frontier = Frontier()
    frontier.note = Note(100, 7)
    assert [frontier.settled_at(oldest, 3) for oldest in (99, 100)] == [3, 3]
    assert frontier.note is not None
    assert frontier.settled_at(101, 3) == 7
    assert (frontier.settled, frontier.note) == (7, None)
    assert frontier.settled_at(200, 3) == 3

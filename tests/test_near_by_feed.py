"""The near cache without Redis: true to the database, whatever its transactions do, or silent."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from flask_statemanager.backends.sql import feed as feed_module
from flask_statemanager.backends.sql import gaps as gaps_module
from flask_statemanager.backends.sql import telling as telling_module
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.gaps import Gaps
from flask_statemanager.core.hearing import Hearing
from flask_statemanager.core.record import Key
from flask_statemanager.errors import StorageTimeout
from flask_statemanager.testing.clock import START
from flask_statemanager.testing.contract.store import BUCKET, Store
from flask_statemanager.testing.contract.telling import told
from tests.nearness import near_hits, read, warm
from tests.processes.child import Child, until
from tests.servers.postgres_server import PostgresServer
from tests.servers.proxy import TcpProxy
from tests.test_feed import Writer, opened, postgres  # noqa: F401 - its fixtures
from tests.worlds import World, build, entered, uri_for

world_of = contextmanager(entered)
NEAR = {"STATEMANAGER_NEAR_CACHE_BYTES": 100_000, "STATEMANAGER_CACHE_TTL": 600}

# -- which revisions were seen -----------------------------------------------------------------------------------------


def test_what_lies_between_what_was_seen_is_a_gap_until_it_is_seen_or_settled() -> None:
    gaps = Gaps(10)
    assert (gaps.open, gaps.lowest) == ([], 11)
    gaps.see([11, 14, 15, 20], 10)
    assert (gaps.open, gaps.lowest, gaps.highest) == ([(12, 13), (16, 19)], 12, 20)
    gaps.see([12, 17, 22], 10)
    assert gaps.open == [(13, 13), (16, 16), (18, 19), (21, 21)]
    gaps.see([], 16)
    assert gaps.open == [(18, 19), (21, 21)]
    gaps.see([18, 19], 18)
    assert gaps.open == [(21, 21)]
    gaps.see([21, 23], 18)
    assert (gaps.open, gaps.lowest, gaps.highest) == ([], 24, 23)


def test_too_many_gaps_become_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps_module, "MOST_GAPS", 2)
    gaps = Gaps(0)
    gaps.see([2, 4], 0)
    assert gaps.open == [(1, 1), (3, 3)]
    gaps.see([6], 0)
    assert gaps.open == [(1, 5)]
    gaps.see([2, 4], 0)
    assert gaps.open == [(1, 5)]
    gaps.see([1, 2, 3, 4], 0)
    assert gaps.open == [(5, 5)]


# -- what PostgreSQL's transactions can do -----------------------------------------------------------------------------


@pytest.fixture
def hearing(postgres: SqlBackend) -> Iterator[Hearing]:  # noqa: F811 - the fixture
    """What is heard with, for which nothing before now counts."""
    with postgres.hearing() as hearing:
        hearing.asked()
        yield hearing


def names(hearing: Hearing) -> set[str]:
    return {path.partition(":")[2] for path in told(hearing.asked())}


def test_what_a_long_transaction_holds_back_in_the_feed_is_told_at_once(
    postgres: SqlBackend,  # noqa: F811 - the fixture
    hearing: Hearing,
) -> None:
    long = Writer(postgres)
    long.create("held")
    for name in "abc":
        Store(postgres).create(name)
        assert postgres.follow(BUCKET, "0").changes == [], "the feed waits"
        assert names(hearing) == {name}
    long.commit()
    assert names(hearing) == {"held"}
    assert names(hearing) == set()


def test_each_late_commit_is_told_when_it_can_be_read(postgres: SqlBackend, hearing: Hearing) -> None:  # noqa: F811
    """In whichever order they come, and with one among them that is rolled back."""
    writers = [Writer(postgres) for _ in range(5)]
    for number, writer in enumerate(writers):
        writer.create(f"n{number}")
    for number in (4, 2, 1):
        writers[number].commit()
        assert names(hearing) == {f"n{number}"}
    writers[3].roll_back()
    assert names(hearing) == set()
    writers[0].commit()
    assert names(hearing) == {"n0"}


def test_gaps_of_what_was_rolled_back_are_given_up(postgres: SqlBackend, hearing: Any) -> None:  # noqa: F811
    gone = Writer(postgres)
    gone.create("gone")
    Store(postgres).create("a")
    assert names(hearing) == {"a"}
    gone.roll_back()
    until(lambda: (names(hearing), not hearing._gaps.open)[1], "the gap is given up")


def test_one_who_begins_beside_a_long_transaction_hears_what_it_commits(
    postgres: SqlBackend,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed_module, "PATIENCE", 0.2)
    Store(postgres).create("before")
    assert postgres.position(BUCKET) == "1"
    long = Writer(postgres)
    long.create("held")
    Store(postgres).create("after")
    with postgres.hearing() as hearing:
        assert hearing.asked() is None
        long.commit()
        assert "held" in names(hearing)


def test_one_who_begins_where_nothing_is_settled_waits_for_the_transaction(
    postgres: SqlBackend,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed_module, "PATIENCE", 0.2)
    long = Writer(postgres)
    long.create("held")
    Store(postgres).create("after")
    with postgres.hearing() as hearing:
        with pytest.raises(StorageTimeout, match="stays open"):
            hearing.asked()
        long.commit()
        assert hearing.asked() is None
        assert names(hearing) == set()


@pytest.mark.parametrize("held", [False, True])
def test_what_was_pruned_before_it_was_seen_makes_everything_doubtful(
    postgres: SqlBackend,  # noqa: F811 - the fixture
    hearing: Hearing,
    held: bool,
) -> None:
    store, long = Store(postgres), Writer(postgres)
    if held:
        long.create("held")
    store.create("a")
    assert names(hearing) == {"a"}
    store.update("a")
    store.update("a")
    with postgres.writing() as unit:
        # Of all but the newest there is nothing left.
        assert postgres.forget_changes(unit, START + timedelta(days=1), 100, bucket=BUCKET)
    assert hearing.asked() is None
    long.roll_back()
    store.update("a")
    assert names(hearing) == {"a"}


def test_what_was_pruned_long_after_it_was_seen_disturbs_nobody(
    postgres: SqlBackend,  # noqa: F811 - the fixture
    hearing: Hearing,
) -> None:
    store = Store(postgres)
    for _ in range(3):
        store.create("a") if store.read("a") is None else store.update("a")
    store.create("b")
    assert names(hearing) == {"a", "b"}
    with postgres.writing() as unit:
        assert postgres.forget_changes(unit, START + timedelta(days=1), 100, bucket=BUCKET)
    assert names(hearing) == set()


def test_what_was_pruned_before_it_was_seen_counts_below_what_was_pruned_before(
    postgres: SqlBackend,  # noqa: F811 - the fixture
    hearing: Hearing,
) -> None:
    """How far the log has lost something says nothing of what is lost below."""
    store, moment = Store(postgres), START + timedelta(days=1)
    store.create("gone")
    assert names(hearing) == {"gone"}
    late = Writer(postgres)
    late.delete("gone")
    store.create("a")
    store.update("a")
    with postgres.writing() as unit:
        assert postgres.forget_changes(unit, moment, 100, bucket=BUCKET) == [3]
    hearing.asked()
    assert names(hearing) == set()
    late.commit()
    with postgres.writing() as unit:
        assert postgres.forget_tombstones(unit, BUCKET, moment, 100) == 1
    with postgres.writing() as unit:
        assert postgres.forget_changes(unit, moment, 100, bucket=BUCKET) == [1, 2]
    assert hearing.asked() is None
    assert names(hearing) == set()


def test_more_than_can_be_told_one_by_one_is_everything(
    postgres: SqlBackend,  # noqa: F811 - the fixture
    hearing: Hearing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telling_module, "MOST", 3)
    store = Store(postgres)
    store.fill({name: {} for name in "abc"})
    assert names(hearing) == set("abc")
    store.fill({name: {} for name in "defg"})
    assert hearing.asked() is None
    assert names(hearing) == set()
    store.update("a")
    assert names(hearing) == {"a"}


def test_a_database_that_was_emptied_makes_everything_doubtful(
    postgres: SqlBackend,  # noqa: F811 - the fixture
    hearing: Hearing,
) -> None:
    Store(postgres).create("a")
    assert names(hearing) == {"a"}
    with postgres.engine.begin() as connection:
        connection.execute(text("ALTER TABLE statemanager_history DISABLE TRIGGER USER"))
        connection.execute(text("TRUNCATE statemanager_history, statemanager_state RESTART IDENTITY CASCADE"))
    assert hearing.asked() is None
    Store(postgres).create("b")
    assert names(hearing) == {"b"}


# -- in an application -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Put an application together, and another, each with a near cache, on one database."""
    uri = uri_for(request.param, tmp_path, request)
    with ExitStack() as stack:
        yield lambda **config: stack.enter_context(world_of(build(request.param, uri, **NEAR, **config)))


def test_the_second_read_asks_nobody(make: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    world = make()
    state = world.states.register_state("u1", "user", {"n": [1]})
    warm(world)
    monkeypatch.setattr(world.runtime.backend, "fetch", None)
    assert world.states.get_state("u1") == state
    assert world.states.get_states(["u1"]) == {"u1": state}
    assert world.states.get_state("u1").data is not world.states.get_state("u1").data  # type: ignore[union-attr]
    assert world.states.get_health_status()["cache"] == "on"
    assert world.states.get_health_status()["cache_hit_rate"] > 0


def test_many_are_kept_by_reading_many(make: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    world = make()
    for name in ("u1", "u2", "u3"):
        world.states.register_state(name, "user")
    warm(world, "u1")
    assert len(world.states.get_states(["u1", "u2", "u3", "u4"])) == 3
    monkeypatch.setattr(world.runtime.backend, "read_many", None)
    assert len(world.states.get_states(["u1", "u2", "u3"])) == 3


def test_own_writes_are_seen_at_once(make: Callable[..., World]) -> None:
    world = make()
    world.states.register_state("u1", "user")
    for number in range(2, 12):
        warm(world)
        world.states.update_state("u1", expect=number - 1)
        assert read(world) == number
    world.states.delete_state("u1")
    assert read(world) is None


def test_what_others_write_is_seen_soon_and_a_strong_read_sees_it_now(make: Callable[..., World]) -> None:
    reader, writer = make(), make()
    writer.states.register_state("u1", "user")
    for number in range(2, 5):
        warm(reader)
        writer.states.update_state("u1")
        with reader.app.app_context():
            found = reader.states.get_state("u1", consistency="strong")
        assert found is not None
        assert found.version == number
        until(lambda number=number: read(reader) == number, "the change is seen")  # type: ignore[misc]
    writer.states.delete_state("u1")
    until(lambda: read(reader) is None, "the deletion is seen")


def test_keys_and_values_are_kept_too(make: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = make(), make()
    writer.states.kv.set("k", 1)
    before = near_hits(reader)

    def value() -> Any:
        with reader.app.app_context():
            return reader.states.kv.get("k")

    until(lambda: (value(), near_hits(reader))[1] > before, "the near cache answers")
    writer.states.kv.set("k", 2)
    until(lambda: value() == 2, "the change is seen")


def test_a_change_behind_a_gap_is_not_served_longer_than_the_lease(postgres_url: str) -> None:
    """The feed would hold it back for as long as a writing transaction takes."""
    with (
        world_of(build("postgresql", postgres_url, **NEAR)) as reader,
        world_of(build("postgresql", postgres_url)) as writer,
    ):
        writer.states.register_state("u1", "user")
        warm(reader)
        with writer.states.transaction(writer.db.session):
            writer.states.register_state("u2", "user")
        assert read(reader, "u2") is None
        with writer.app.app_context():  # its session is another one
            writer.states.update_state("u1")
            assert writer.runtime.backend.follow("state", "1").changes == [], "the feed waits"
        until(lambda: read(reader) == 2, "the change is seen")
        warm(reader)
        writer.db.session.commit()
        until(lambda: read(reader, "u2") == 1, "what was committed late is seen")


def test_a_look_that_a_write_overtakes_is_not_kept(make: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    world = make()
    world.states.register_state("u1", "user")
    warm(world)
    backend, cache = world.runtime.backend, world.runtime.cache
    fetch = backend.fetch

    def overtaken(key: Key) -> Any:
        found = fetch(key)
        world.states.update_state("u1")
        return found

    cache._near.clear()
    with monkeypatch.context() as patch:
        patch.setattr(backend, "fetch", overtaken)
        assert read(world) == 1, "it was asked before the write"
    assert cache.at_hand("state:u1") is None
    assert read(world) == 2


def test_a_look_that_began_before_the_listener_was_back_is_not_kept(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changed while nobody listened was not heard of."""
    reader, writer = make(), make()
    writer.states.register_state("u1", "user")
    warm(reader)
    backend, cache = reader.runtime.backend, reader.runtime.cache
    fetch, marks = backend.fetch, cache._near._marks
    broken = threading.Event()

    class Broken:
        beats = 0

        def wait(self, *_call: Any) -> None:
            broken.set()
            raise OSError("the line is cut")

    def slow(key: Key) -> Any:
        found = fetch(key)
        with writer.app.app_context():
            writer.states.update_state("u1")
        hearings[-1]._pulse = Broken()
        assert broken.wait(60)
        until(lambda: cache._near._marks is not marks and cache._near.serving, "the listener is back")
        return found

    hearings: list[Any] = []
    hear = cache._listener._hear

    @contextmanager
    def known() -> Iterator[Any]:
        with hear() as found:
            hearings.append(found)
            yield found

    cache.close()
    again = type(cache._listener)(known, cache._near, 1.0)
    monkeypatch.setattr(cache, "_listener", again)
    try:
        warm(reader)
        marks = cache._near._marks
        cache._near.drop("state:u1")
        with monkeypatch.context() as patch:
            patch.setattr(backend, "fetch", slow)
            assert read(reader) == 1, "it was asked before the write"
        assert cache.at_hand("state:u1") is None
        assert read(reader) == 2
    finally:
        again.close()


def test_a_killed_connection_forgets_everything_and_comes_back(
    postgres_server: PostgresServer, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with world_of(build("postgresql", postgres_url, **NEAR)) as world:
        world.states.register_state("u1", "user")
        warm(world)
        near = world.runtime.cache._near
        marks = near._marks
        postgres_server.disconnect(postgres_url)
        until(lambda: near._marks is not marks, "everything is forgotten")

        def again() -> bool:
            try:
                warm(world)
            except Exception:  # noqa: BLE001 - a connection of the pool was killed too
                return False
            return True

        until(again, "it serves again")
        assert world.states.get_health_status()["cache"] == "on"


def test_what_is_not_heard_is_not_served_for_longer_than_the_lease(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    with TcpProxy(postgres_server.port) as proxy:
        behind = postgres_url.replace(f":{postgres_server.port}/", f":{proxy.port}/")
        lease = {"STATEMANAGER_NEAR_CACHE_LEASE": 0.2}
        with (
            world_of(build("postgresql", postgres_url)) as writer,
            world_of(build("postgresql", behind, **NEAR, **lease)) as deaf,
        ):
            deaf.states.register_state("u1", "user")
            warm(deaf)
            proxy.freeze()
            with writer.app.app_context():
                writer.states.update_state("u1")
            near = deaf.runtime.cache._near
            # An answer that was on its way before the freeze may be read late, and counts from its question on.
            until(lambda: not near.serving and deaf.runtime.cache.at_hand("state:u1") is None, "the lease is over")
            hits = near_hits(deaf)
            proxy.thaw()
            until(lambda: read(deaf) == 2 and near_hits(deaf) > hits, "it serves again")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_processes_hear_of_each_other(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    uri = uri_for(kind, tmp_path, request)
    with world_of(build(kind, uri)) as world:
        world.states.register_state("u1", "user", {"n": 0})
    near = {"SHARED_NEAR_BYTES": "100000"}
    with (
        Child("reader", {"url": uri}, environment=near) as one,
        Child("reader", {"url": uri}, environment=near) as other,
    ):
        assert [one.hear(), other.hear()] == ["ready", "ready"]
        for version in range(2, 6):
            writer, reader = (one, other) if version % 2 else (other, one)
            reader.tell({"do": "warm", "name": "u1"})
            assert reader.hear() == version - 1
            writer.tell({"do": "write", "name": "u1", "data": {"n": version}})
            assert writer.hear() == version

            def seen(reader: Child = reader, version: int = version) -> bool:
                reader.tell({"do": "read", "name": "u1"})
                return bool(reader.hear() == version)

            until(seen, "the other's write is seen")
        assert one.rest() == other.rest() == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_forked_process_begins_empty_and_listens_for_itself(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    uri = uri_for(kind, tmp_path, request)
    with world_of(build(kind, uri)) as world:
        world.states.register_state("u1", "user")
    with Child("reader", {"url": uri}, environment={"SHARED_NEAR_BYTES": "100000"}) as child:
        assert child.hear() == "ready"
        child.tell({"do": "fork", "number": 2, "name": "u1"})
        for version, early, late in child.hear():
            assert (version, early) == (1, 0)
            assert late > 0
        child.tell({"do": "warm", "name": "u1"})
        assert child.hear() == 1, "the parent's connections are whole"
        assert child.rest() == []


def test_a_restore_is_heard(tmp_path: Path) -> None:
    kept = {"STATEMANAGER_SNAPSHOTS": str(tmp_path / "snapshots")}
    uri = f"sqlite:///{tmp_path / 'w.db'}"
    with world_of(build("sqlite", uri, **NEAR)) as reader, world_of(build("sqlite", uri, **kept)) as writer:
        writer.states.register_state("u1", "user", {"n": 1})
        made = writer.states.snapshots.create_snapshot()
        writer.states.update_state("u1", {"n": 2})
        warm(reader)
        writer.states.snapshots.restore_snapshot(made)

        def value() -> Any:
            with reader.app.app_context():
                return reader.states.get_state("u1").data["n"]  # type: ignore[union-attr]

        until(lambda: value() == 1, "what was restored is seen")


def test_before_states_of_one_process_it_has_no_effect_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with world_of(build("memory-sqlite", "sqlite://", **NEAR)) as world:
        with caplog.at_level(logging.WARNING, "flask_statemanager"):
            assert world.states.get_state("u1") is None
        assert caplog.text.count("STATEMANAGER_NEAR_CACHE_BYTES has no effect") == 1


def test_closing_ends_its_thread(make: Callable[..., World]) -> None:
    world = make()
    world.states.register_state("u1", "user")
    warm(world)
    cache = world.runtime.cache
    thread = cache._listener._thread
    assert thread.is_alive()
    cache.close()
    assert not thread.is_alive()
    assert cache.at_hand("state:u1") is None
    assert cache.read(Key("state", "u1"), world.runtime.backend.fetch) is not None

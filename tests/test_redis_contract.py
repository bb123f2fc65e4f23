"""The contract suite on a real Redis: in one shard, and in several."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import ClassVar

import pytest
from msgspec.structs import replace

from flask_statemanager.backends.redis.backend import RedisBackend
from flask_statemanager.backends.redis.codec import change_of as change_in_log
from flask_statemanager.backends.redis.opening import open_redis
from flask_statemanager.core.ports import Backend
from flask_statemanager.core.record import Change, Key
from flask_statemanager.core.snapshots import Scan
from flask_statemanager.errors import Compacted
from flask_statemanager.testing.clock import START
from flask_statemanager.testing.contract import (
    BackendContract,
    ExpiryContract,
    ListContract,
    LookBackContract,
    PurgeContract,
    SnapshotContract,
    WatchContract,
)
from flask_statemanager.testing.contract.purging import Graves
from flask_statemanager.testing.contract.snapshotting import Shots
from flask_statemanager.testing.contract.store import BUCKET, Store, change_of
from flask_statemanager.testing.contract.watching import BEGINNING, Feed

MINUTE = timedelta(minutes=1)
SHARDS = 3
NAMES = [f"k{number}" for number in range(9)]


class RedisContract(
    ExpiryContract,
    ListContract,
    LookBackContract,
    PurgeContract,
    SnapshotContract,
    WatchContract,
    BackendContract,
):
    """What Redis is held to, on a server and on a cluster."""

    powers: ClassVar[set[str]] = {"Expires", "Lists", "LooksBack", "Purges", "Snapshots", "Watches"}
    purges_at_once: ClassVar[bool] = True

    def compact(self, backend: Backend) -> None:
        """The log is trimmed by what is written, to its last entry at the most."""
        assert isinstance(backend, RedisBackend)
        for shard in backend.shards(BUCKET):
            backend.client.xtrim(shard.log, maxlen=1, approximate=False)

    def history(self, backend: Backend, name: str) -> list[Change]:
        """What the log has of it."""
        assert isinstance(backend, RedisBackend)
        shard = backend.shard_of(Key(BUCKET, name))
        log = backend.layout.moved(shard, backend.client.get(shard.pointer)).log
        entries = backend.client.xrange(log)
        changes = [change_in_log(BUCKET, int(number.split(b"-")[0]), fields) for number, fields in entries]
        return [change for change in changes if change.key.name == name]

    def test_no_bound_is_too_low_for_a_measure(self, backend: Backend, store: Store) -> None:
        """As what lives is counted at every write."""
        store.fill({"a": {}, "b": {}})
        with backend.reading() as unit:
            measured = backend.measure(unit, BUCKET, START, 0)  # type: ignore[attr-defined]
        assert measured is not None
        assert measured.keys == 2


class TestRedis(RedisContract):
    @pytest.fixture
    def backend(self, redis_url: str) -> Iterator[Backend]:
        backend = RedisBackend(open_redis(redis_url))
        yield backend
        backend.close()


class TestSpreadRedis(RedisContract):
    """The same with several shards on one server, where one transaction may write to all of them.

    Each shard has revisions and a version floor of its own; between shards there is no order but time.
    """

    @pytest.fixture
    def backend(self, redis_url: str) -> Iterator[Backend]:
        backend = RedisBackend(open_redis(redis_url), shards=lambda _bucket: SHARDS)
        yield backend
        backend.close()

    @pytest.fixture
    def neighbours(self, backend: Backend) -> list[str]:
        """They lie in one shard."""
        assert isinstance(backend, RedisBackend)
        names = [f"n{number:03}" for number in range(300)]
        return [name for name in names if backend.shard_of(Key(BUCKET, name)).number == 0]

    def test_revisions_grow_over_all_keys(self, store: Store) -> None:
        """Within each shard."""
        drawn = [store.create("a").revision, store.update("a").revision, store.delete("a").revision]
        assert drawn == [1, 2, 3]

    def test_revisions_grow_over_a_rollback(self, backend: Backend, store: Store) -> None:
        """Within each shard."""
        first = store.create("a")
        with pytest.raises(ZeroDivisionError), backend.writing() as unit:  # noqa: PT012 - the block itself fails
            backend.apply(unit, change_of(first, replace(first, status="next"), "update"))
            raise ZeroDivisionError
        assert store.update("a").revision > first.revision

    # -- following ---------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    def test_pages_go_on_where_the_last_one_ended(self, feed: Feed, store: Store, limit: int) -> None:
        """In the order of time, wherever the records lie."""
        for minute, name in enumerate(NAMES):
            store.create(name, updated_at=START + minute * MINUTE)
            store.create(name, bucket="other")
        for minute, name in enumerate(NAMES, len(NAMES)):
            store.update(name, at=START + minute * MINUTE)
        pages = feed.pages(limit=limit)
        wanted = [f"{name}{version}" for version in (1, 2) for name in NAMES]
        assert [step for page in pages for step in feed.steps(page.changes)] == wanted
        assert max(len(page.changes) for page in pages) <= limit
        assert not pages[-1].more
        assert feed.page(pages[-1].cursor).changes == []

    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    def test_of_one_moment_each_change_comes_once_in_the_order_of_its_shard(
        self, backend: RedisBackend, feed: Feed, store: Store, limit: int
    ) -> None:
        for name in NAMES:
            store.create(name)
        for name in NAMES:
            store.update(name)
        changes = [change for page in feed.pages(limit=limit) for change in page.changes]
        wanted = [f"{name}{version}" for version in (1, 2) for name in NAMES]
        assert sorted(feed.steps(changes)) == sorted(wanted)
        for number in range(SHARDS):
            here = [change for change in changes if backend.shard_of(change.key).number == number]
            assert feed.steps(here) == [step for step in wanted if step in feed.steps(here)]

    def test_a_prefix_leaves_others_out_and_passes_them(self, feed: Feed, store: Store) -> None:
        """They do not come again."""
        for minute, name in enumerate(("user:1", "user:2", "users", "job:1", "us%r:1")):
            store.create(name, updated_at=START + minute * MINUTE)
        store.update("user:1", at=START + 5 * MINUTE)
        store.update("job:1", at=START + 6 * MINUTE)
        page = feed.page(BEGINNING, prefix="user:")
        assert feed.steps(page.changes) == ["user:11", "user:21", "user:12"]
        assert feed.page(page.cursor).changes == []
        assert feed.steps(feed.page(BEGINNING, prefix="us%").changes) == ["us%r:11"]
        assert feed.page(BEGINNING, prefix="none").changes == []

    def test_a_cursor_that_the_log_has_not_reached_is_of_another_life_of_the_store(
        self, feed: Feed, store: Store
    ) -> None:
        """Whichever shard's log it is."""
        store.create("a")
        here = feed.position().split(".")
        for number in range(SHARDS):
            beyond = [str(int(revision) + 1000 * (number == at)) for at, revision in enumerate(here)]
            with pytest.raises(Compacted) as refused:
                feed.page(".".join(beyond))
            assert feed.page(refused.value.restart).changes == []

    # -- snapshots ---------------------------------------------------------------------------------------------------

    def test_a_cursor_that_lies_ahead_is_of_another_store(self, shots: Shots, store: Store) -> None:
        """Whichever shard's revision it is."""
        store.create("a")
        here = shots.position().cursors[BUCKET].split(".")
        for number in range(SHARDS):
            beyond = [str(int(revision) + 1000 * (number == at)) for at, revision in enumerate(here)]
            scan = Scan((BUCKET,), since={BUCKET: ".".join(beyond)})
            with pytest.raises(Compacted), shots.power.looking(scan):
                pass  # pragma: no cover - never entered
            assert shots.power.has_changed(scan)

    # -- purging -----------------------------------------------------------------------------------------------------

    def test_each_shard_has_a_floor_of_its_own(self, backend: RedisBackend, graves: Graves) -> None:
        names = {backend.shard_of(Key(BUCKET, name)).number: name for name in NAMES}
        assert len(names) == SHARDS
        for number, name in names.items():
            graves.bury(name, at=START, versions=2 + number)
        assert graves.forget(START + MINUTE) == SHARDS
        assert {number: graves.floor(name) for number, name in names.items()} == {0: 2, 1: 3, 2: 4}

"""Archives for tests: a store of each kind, the files of its snapshots, and what writes into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, create_engine

from flask_statemanager.backends.memory import MemoryBackend
from flask_statemanager.backends.redis.backend import RedisBackend
from flask_statemanager.backends.redis.opening import open_redis
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.engine import make_engine
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.bucket import Bucket
from flask_statemanager.core.ports import Backend
from flask_statemanager.core.publisher import Publisher
from flask_statemanager.core.record import Key, Origin
from flask_statemanager.core.retry import retried
from flask_statemanager.core.snapshots import Scan
from flask_statemanager.core.step import Policy, Step
from flask_statemanager.snapshots.archive import Archive
from flask_statemanager.snapshots.directory import DirectoryStorage
from flask_statemanager.snapshots.storage import SnapshotStorage
from flask_statemanager.testing.clock import FakeClock
from flask_statemanager.testing.contract.store import change_of, new_record

ORIGIN = Origin("a test")
SHARDS = 3


def origin(*, actor: str | None, source: str | None, reason: str | None) -> Origin:
    """Return who asks."""
    return Origin(actor or "system", source, reason)


class Kept:
    """Some buckets in one store, and their archive.

    :param backend: the store.
    :param storage: where snapshots go.
    :param buckets: the names of the buckets.
    """

    def __init__(self, backend: Backend, storage: SnapshotStorage, *buckets: str) -> None:
        self.backend, self.storage = backend, storage
        self.clock = FakeClock()
        self.doubted: list[tuple[str, str]] = []
        self.backends = dict.fromkeys(buckets or ("kv",), backend)
        policy = Policy(10**6, lambda _record, _now: None)
        self.buckets = {name: Bucket(name, policy, backend, Publisher(), clock=self.clock) for name in self.backends}
        self.archive = Archive(
            storage,
            lambda: self.backends,
            clock=self.clock,
            origin=origin,
            doubt=lambda bucket, names: self.doubted.extend((bucket, name) for name in names),
        )

    def set(self, name: str, value: Any, bucket: str = "kv", expect: Any = None) -> Any:
        """Write a value, and return the record."""

        def decide(stored: Any, _now: Any) -> Step:
            return Step("set", new_record(name, {"value": value}, bucket=bucket))

        return self.buckets[bucket].write(name, decide, origin=ORIGIN, expect=expect)

    def remove(self, name: str, bucket: str = "kv") -> None:
        """Leave a tombstone."""

        def decide(stored: Any, now: Any) -> Step:
            return Step("remove", new_record(name, bucket=bucket, deleted_at=now))

        self.buckets[bucket].write(name, decide, origin=ORIGIN)

    def found(self, name: str, bucket: str = "kv") -> Any:
        """Return what is stored."""
        return self.backend.fetch(Key(bucket, name))

    def values(self, bucket: str = "kv") -> dict[str, Any]:
        """Return all live values by name."""
        with self.backend.looking(Scan((bucket,))) as look:  # type: ignore[attr-defined]
            return {
                record.key.name: record.data["value"] for some in look.batches for record in some if not record.deleted
            }

    def together(self, values: Mapping[str, Callable[[Any], Any]]) -> None:
        """Write what becomes of several values, in one transaction; the names are locked in their order."""

        def once() -> None:
            with self.backend.writing() as unit:
                for name, change in sorted(values.items()):
                    stored = self.backend.read(unit, Key("kv", name), lock=True)
                    value = change(None if stored is None or stored.deleted else stored.data["value"])
                    self.backend.apply(unit, change_of(stored, new_record(name, {"value": value}, bucket="kv"), "set"))

        retried(once)


def fill(kept: Kept, values: Mapping[str, Any]) -> None:
    """Write many values at once, each in the place of what is there."""
    names = sorted(values)
    if isinstance(kept.backend, RedisBackend):
        kept.together({name: lambda _value, new=values[name]: new for name in names})
        return
    with kept.backend.writing() as unit:
        for at in range(0, len(names), 1000):
            some = names[at : at + 1000]
            stored = kept.backend.read_many(unit, "kv", some, lock=True)  # type: ignore[attr-defined]
            records = [new_record(name, {"value": values[name]}, bucket="kv") for name in some]
            changes = [change_of(stored.get(record.key.name), record, "set") for record in records]
            kept.backend.apply_many(unit, changes)  # type: ignore[attr-defined]


def make_backend(kind: str, request: pytest.FixtureRequest, folder: Path) -> Backend:
    """Return an empty store."""
    if kind == "memory":
        return MemoryBackend()
    if kind.startswith("redis"):
        shards = SHARDS if kind == "redis-spread" else 1
        return RedisBackend(open_redis(request.getfixturevalue("redis_url")), shards=lambda _bucket: shards)
    if kind == "sqlite":
        engine = make_engine(f"sqlite:///{folder / f'store-{len(list(folder.iterdir()))}.db'}")
    else:
        engine = create_engine(request.getfixturevalue("postgres_url"))
    backend = SqlBackend(engine, declare(MetaData()), owned=True)
    backend.create_tables()
    return backend


@pytest.fixture(params=["memory", "sqlite", "postgresql", "redis", "redis-spread"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    """A store of each kind, and a directory of snapshots."""
    backend = make_backend(request.param, request, tmp_path)
    yield Kept(backend, DirectoryStorage(tmp_path / "snapshots"))
    backend.close()


@pytest.fixture
def remembered(tmp_path: Path) -> Kept:
    """A store in memory, and a directory of snapshots."""
    return Kept(MemoryBackend(), DirectoryStorage(tmp_path / "snapshots"))

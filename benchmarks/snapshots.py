"""Snapshots of many small keys, beside a plain read of them that is compressed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from tempfile import TemporaryDirectory

import redis
from sqlalchemy import create_engine, select

from benchmarks.ground import Ground, Store
from benchmarks.kv import Keys
from benchmarks.rounds import Contestant, Operation, timed
from benchmarks.work import EXTENSION, PLAIN_READ, RESTORE, SNAPSHOT
from flask_statemanager.core.snapshots import Snapshots

NUMBER, LARGE, QUICK = 100_000, 1_000_000, 500
"""How many keys a snapshot is of; with ``--large``, with ``--quick``."""

_BLOCK = 256 * 1024
_LEVEL = 3
"""As the extension compresses: blocks of so many bytes, by so much effort."""

_ROWS = 1000


def contestants(ground: Ground, store: Store, stack: ExitStack) -> Iterator[Contestant]:
    """Yield a snapshot and its restore, each beside the plain read.

    :param ground: says whether to be quick, and whether a million is wanted.
    :param store: where.
    :param stack: closes what is opened.
    """
    number = QUICK if ground.choice.quick else LARGE if ground.choice.large else NUMBER
    folder = stack.enter_context(TemporaryDirectory(prefix="statemanager-bench-"))
    ours = Keys(store, stack, snapshots=folder)
    ours.fill(number)
    backend = ours.extension.app.extensions["statemanager"].shelves.parts("kv").bucket.backend
    if not isinstance(backend, Snapshots):
        return
    with ours.extension.app.app_context():
        archive = ours.extension.manager.snapshots
        kept = archive.create_snapshot(["kv"])

    def make(_number: int) -> None:
        made = archive.create_snapshot(["kv"])
        assert made.keys == number
        archive.delete_snapshot(made)

    def restore(_number: int) -> None:
        assert archive.restore_snapshot(kept).same == number

    plain = _plain_redis(ours, store) if store.short == "redis" else _plain_sql(ours)
    for work, operation in ((SNAPSHOT, make), (RESTORE, restore)):
        yield Contestant(store.name, work, PLAIN_READ, timed(plain), number, 1)
        yield Contestant(store.name, work, EXTENSION, ours.timed(operation), number, 1)


def _plain_sql(ours: Keys) -> Operation:
    """Return what selects all keys and compresses them."""
    table = ours.extension.app.extensions["statemanager"].backend.tables.state
    columns = (table.c.name, table.c.version, table.c.data, table.c.metadata, table.c.created_at, table.c.updated_at)
    statement = select(*columns).where(table.c.bucket == "kv").order_by(table.c.name)
    engine = create_engine(ours.extension.url)

    def read(_number: int) -> None:
        with engine.connect() as connection:
            found = connection.execution_options(stream_results=True, yield_per=_ROWS).execute(statement)
            _compress(repr(tuple(row)).encode() for row in found)

    return read


def _plain_redis(ours: Keys, store: Store) -> Operation:
    """Return what scans all keys of the bucket, gets their values and compresses them."""
    client = redis.Redis.from_url(store.fresh())
    pattern = f"{{{ours.prefix}kv:0}}:*:r:*"

    def read(_number: int) -> None:
        _compress(_values(client, pattern))

    return read


def _values(client: redis.Redis, pattern: str) -> Iterator[bytes]:
    cursor = None
    while cursor != 0:
        cursor, names = client.scan(cursor or 0, pattern, _ROWS)
        yield from client.mget(names) if names else ()


def _compress(lines: Iterable[bytes]) -> None:
    block, size = [], 0
    for line in lines:
        block.append(line)
        size += len(line)
        if size >= _BLOCK:
            zlib.compress(b"\n".join(block), _LEVEL)
            block, size = [], 0
    zlib.compress(b"\n".join(block), _LEVEL)

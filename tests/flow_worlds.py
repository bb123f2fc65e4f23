"""Applications with conversations, on each store that they may live in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_statemanager.core.record import Record
from tests.worlds import KV_KINDS, World, build, entered, uri_for


def flows_in(redis_url: str) -> dict[str, Any]:
    """Return the config of conversations in a Redis.

    :param redis_url: the Redis.
    """
    return {"STATEMANAGER_FLOWS_BACKEND": "redis", "STATEMANAGER_REDIS_URL": redis_url}


@pytest.fixture(params=KV_KINDS)
def flow_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application whose conversations live in memory, in an SQLite file, in PostgreSQL, in Redis."""
    kind = request.param
    config = flows_in(request.getfixturevalue("redis_url")) if kind == "redis" else {}
    yield from entered(build(kind, uri_for(kind, tmp_path, request), **config))


@pytest.fixture
def redis_flow_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application whose conversations live in Redis."""
    config = flows_in(request.getfixturevalue("redis_url"))
    yield from entered(build("redis", uri_for("redis", tmp_path, request), **config))


@pytest.fixture
def memory_flow_world() -> Iterator[World]:
    """An application whose conversations live in memory."""
    yield from entered(build("memory", "sqlite://"))


def stored(world: World, name: str) -> Record | None:
    """Return what lies under a key of the conversations, as it counts now.

    :param world: the application.
    :param name: the key's name.
    """
    found: Record | None = world.runtime.shelves.kept("flows").bucket.get(name, strong=True)
    return found

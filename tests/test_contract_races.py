"""Processes that race for one version: exactly one wins."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import MetaData

from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.engine import make_engine
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.bucket import Bucket
from flask_statemanager.core.clock import SystemClock
from flask_statemanager.core.publisher import Publisher
from flask_statemanager.core.query import ChangeQuery
from flask_statemanager.core.step import Policy, Step
from flask_statemanager.errors import StateConflict
from flask_statemanager.testing.contract.store import BUCKET, ORIGIN, Store, change_of, new_record

RACERS, ROUNDS, PATIENCE = 2, 10, 60


def backend_at(url: str) -> SqlBackend:
    return SqlBackend(make_engine(url), declare(MetaData()), owned=True)


def race(url: str, start: Any, outcomes: Any) -> None:
    """Try to write the next version of one record, round by round."""
    backend = backend_at(url)
    store = Store(backend)
    for _ in range(ROUNDS):
        seen = store.found("a")
        start.wait(PATIENCE)
        try:
            store.apply(change_of(seen, replace(seen, status="next"), "update"))
        except StateConflict:
            outcomes.put("lost")
        else:
            outcomes.put("won")
        start.wait(PATIENCE)
    backend.close()


def count_up(url: str, start: Any, outcomes: Any) -> None:
    """Add to one number, each time from what is stored."""
    backend = backend_at(url)
    bucket = Bucket(BUCKET, Policy(10_000, lambda record, now: None), backend, Publisher(), clock=SystemClock())
    start.wait(PATIENCE)
    for _ in range(ROUNDS):
        bucket.write(
            "a",
            lambda record, now: record and Step("update", replace(record, data={"n": record.data["n"] + 1})),
            origin=ORIGIN,
        )
    outcomes.put("done")
    backend.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'states.db'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    backend = backend_at(url)
    backend.create_tables()
    store = Store(backend)
    store.apply(change_of(None, new_record("a", {"n": 0}), "create"))
    yield store
    backend.close()


def run(target: Any, url: str) -> list[str]:
    context = multiprocessing.get_context("spawn")
    start, outcomes = context.Barrier(RACERS), context.Queue()
    racers = [context.Process(target=target, args=(url, start, outcomes)) for _ in range(RACERS)]
    for racer in racers:
        racer.start()
    expected = RACERS * (ROUNDS if target is race else 1)
    found = [outcomes.get(timeout=PATIENCE) for _ in range(expected)]
    for racer in racers:
        racer.join(PATIENCE)
        assert racer.exitcode == 0
    return found


@pytest.mark.slow
def test_of_two_processes_on_one_version_exactly_one_wins_each_round(url: str, store: Store) -> None:
    outcomes = run(race, url)
    assert sorted(outcomes) == ["lost"] * ROUNDS * (RACERS - 1) + ["won"] * ROUNDS
    assert store.found("a").version == ROUNDS + 1


@pytest.mark.slow
def test_no_increment_of_two_processes_is_lost(url: str, store: Store) -> None:
    assert run(count_up, url) == ["done"] * RACERS
    assert store.found("a").data == {"n": RACERS * ROUNDS}
    with store.backend.reading() as unit:
        changes = store.backend.changes(unit, ChangeQuery(BUCKET))  # type: ignore[attr-defined]
    assert [change.version for change in changes] == list(range(1, RACERS * ROUNDS + 2))
    assert [change.after.data["n"] for change in changes] == list(range(RACERS * ROUNDS + 1))

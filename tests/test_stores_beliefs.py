"""Who writes a store again and again spares the storage a round trip, and loses nothing by it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from uuid import uuid4

import pytest

from flask_statemanager import StateConflict
from flask_statemanager.redis_line import PrivateLine
from flask_statemanager.stores import StateManager, StateManagerConfig
from flask_statemanager.stores.beliefs import LARGEST, MOST

Make = Callable[[], StateManager]


@pytest.fixture(params=["redis", "postgresql"])
def process(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Return what makes a manager, as each process has its own, of the same stores."""
    kind = "redis" if request.param == "redis" else "database"
    url = request.getfixturevalue("redis_url" if kind == "redis" else "postgres_url")
    config = StateManagerConfig(kind, key_prefix=uuid4().hex, **{f"{kind}_url": url})
    with ExitStack() as stack:

        def make() -> StateManager:
            made = StateManager(config)
            stack.callback(made.close)
            return made

        yield make


def version(manager: StateManager) -> int:
    entry = manager.get_store_entry("filters", "ada")
    return 0 if entry is None else entry.version


def test_every_write_is_a_version_whoever_wrote_between(process: Make) -> None:
    one, other = process(), process()
    for number in range(4):
        one.set_store_data("filters", number, user_id="ada")
    other.set_store_data("filters", "between", user_id="ada")
    one.set_store_data("filters", "over", user_id="ada")
    assert (version(one), one.get_store_data("filters", user_id="ada")) == (6, "over")
    other.delete_store_data("filters", user_id="ada")
    one.set_store_data("filters", "again", user_id="ada")
    assert (version(other), other.get_store_data("filters", user_id="ada")) == (8, "again")
    with pytest.raises(StateConflict):
        one.set_store_data("filters", "stale", user_id="ada", expect=6)
    one.clear_user_data("ada")
    one.set_store_data("filters", "anew", user_id="ada")
    assert one.get_store_data("filters", user_id="ada") == "anew"
    assert version(one) > 8


def test_racers_lose_no_write_and_no_version(process: Make) -> None:
    managers = [process(), process()]
    assert [version(each) for each in managers] == [0, 0]
    barrier = threading.Barrier(4)

    def write(worker: int) -> None:
        barrier.wait()
        for number in range(10):
            managers[worker % 2].set_store_data("filters", [worker, number], user_id="ada")

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write, worker) for worker in range(4)]:
            done.result()
    assert version(managers[0]) == 40


def test_the_third_write_and_those_behind_it_take_one_round_trip(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = StateManager(StateManagerConfig("redis", redis_url=redis_url, key_prefix=uuid4().hex))
    trips: list[object] = []
    ask = PrivateLine.ask

    def counted(line: PrivateLine, *args: object, **options: object) -> object:
        trips.append(args)
        return ask(line, *args, **options)  # type: ignore[arg-type]

    manager.set_store_data("filters", 0, user_id="ada")
    monkeypatch.setattr(PrivateLine, "ask", counted)
    counts = []
    for number in range(3):
        trips.clear()
        manager.set_store_data("filters", number, user_id="ada")
        counts.append(len(trips))
    manager.close()
    assert counts[-1] == 1, counts


def test_only_some_and_only_small_records_are_remembered() -> None:
    manager = StateManager(StateManagerConfig("memory"))
    for number in range(MOST + 5):
        manager.set_store_data(f"s{number}", number, user_id="ada")
    for _time in range(3):
        manager.set_store_data("large", [f"{at:x}" for at in range(LARGEST * 4)], user_id="ada")
    entry = manager.get_store_entry("large", "ada")
    assert entry is not None
    assert entry.version == 3

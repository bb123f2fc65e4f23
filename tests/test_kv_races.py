"""Processes that race each other for keys: no increment lost, one winner, nothing of an earlier life, no write skew."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from flask_statemanager import Revision, StateConflict
from flask_statemanager.kv import If, Put
from tests.processes.application import Shared, opened
from tests.processes.child import LONG, until
from tests.processes.crew import Crew
from tests.processes.kv_acts import ACCOUNTS, HITS, LIMIT, MONEY, STEPS
from tests.processes.racer import RACERS
from tests.worlds import SHARED_KV_KINDS

ROUNDS = 100 if LONG else 10
LOOPS = 8 if LONG else 1
"""Rounds of what takes many steps by itself."""

pytestmark = pytest.mark.slow

Fared = list[dict[str, Any]]


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with Crew(RACERS) as crew:
        yield crew


@pytest.fixture(params=SHARED_KV_KINDS)
def lone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    """An application on an empty store, whose clock is the real one."""
    postgres = request.param == "postgresql"
    url = request.getfixturevalue("postgres_url") if postgres else f"sqlite:///{tmp_path / 'shared.db'}"
    redis_url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    with opened(url, redis_url=redis_url) as shared:
        shared.db.create_all()
        yield shared


@pytest.fixture
def shared(lone: Shared, crew: Crew) -> Shared:
    """The same, which all racers have opened."""
    settings = lone.runtime.settings
    crew.open(str(lone.app.config["SQLALCHEMY_DATABASE_URI"]), settings.redis_url)
    return lone


def answers(fared: Fared) -> list[Any]:
    """Return what everybody has told, and see that nobody has failed."""
    assert all(each["won"] for each in fared), fared
    return [each["answer"] for each in fared]


def winner_of(fared: Fared, loss: str) -> int:
    """Return who has won, and see that it is one, and that the others lost as they should."""
    winners = [number for number, each in enumerate(fared) if each["won"]]
    assert len(winners) == 1, fared
    assert all(each["won"] or each["error"] == loss for each in fared), fared
    return winners[0]


# -- no increment lost -------------------------------------------------------------------------------------------------


def test_no_increment_by_compare_and_swap_is_lost(shared: Shared, crew: Crew) -> None:
    for turn, fared in enumerate(crew.race("count_by_swap", LOOPS)):
        attempts = answers(fared)
        entry = shared.states.kv.get_entry(f"s{turn}")
        assert entry is not None
        assert (entry.value, entry.version) == (RACERS * STEPS, RACERS * STEPS)
        assert sum(attempts) > RACERS * STEPS, "somebody was in somebody's way"


def test_no_increment_over_the_version_that_was_read_is_lost(shared: Shared, crew: Crew) -> None:
    shared.states.kv.set("v", 0)
    for fared in crew.race("count_by_version", LOOPS):
        assert sum(answers(fared)) > 0, "somebody was in somebody's way"
    entry = shared.states.kv.get_entry("v")
    assert entry is not None
    assert (entry.value, entry.version) == (LOOPS * RACERS * STEPS, LOOPS * RACERS * STEPS + 1)


def test_no_increment_is_lost_and_each_has_a_sum_of_its_own(shared: Shared, crew: Crew) -> None:
    for turn, fared in enumerate(crew.race("count_by_increment", LOOPS)):
        sums = answers(fared)
        assert all(each == sorted(each) for each in sums)
        assert sorted(chain.from_iterable(sums)) == list(range(1, RACERS * STEPS + 1))
        entry = shared.states.kv.get_entry(f"i{turn}")
        assert entry is not None
        assert (entry.value, entry.version) == (RACERS * STEPS, RACERS * STEPS)


# -- one winner --------------------------------------------------------------------------------------------------------


def test_one_of_eight_processes_creates_a_key(shared: Shared, crew: Crew) -> None:
    for turn, fared in enumerate(crew.race("begin_it", ROUNDS)):
        winner = winner_of(fared, "StateExists")
        assert shared.states.kv.get(f"c{turn}") == winner
        assert fared[winner]["answer"] == 1


def test_one_of_eight_processes_swaps_nothing_for_its_value(shared: Shared, crew: Crew) -> None:
    for turn, fared in enumerate(crew.race("swap_from_nothing", ROUNDS)):
        swapped = answers(fared)
        assert sorted(swapped) == [False] * (RACERS - 1) + [True]
        assert shared.states.kv.get(f"n{turn}") == swapped.index(True)


def test_one_of_eight_processes_removes_a_key(shared: Shared, crew: Crew) -> None:
    for turn in range(ROUNDS):
        shared.states.kv.set(f"r{turn}", "here")
    for turn, fared in enumerate(crew.race("remove_it", ROUNDS)):
        assert sorted(answers(fared)) == [False] * (RACERS - 1) + [True]
        assert not shared.states.kv.exists(f"r{turn}")


def test_who_expects_the_version_from_before_it_was_made_anew_loses_although_the_value_is_the_same(
    shared: Shared, crew: Crew
) -> None:
    """After a removal and a creation the version that everybody knew is two behind."""
    shared.states.kv.set("aba", "the same")
    for turn, fared in enumerate(crew.race("make_anew", ROUNDS)):
        seen = 2 * turn + 1
        winner = winner_of(fared, "StateConflict")
        assert fared[winner]["answer"] == seen + 2
        assert all(each["expected"] == seen for each in fared if not each["won"])
    entry = shared.states.kv.get_entry("aba")
    assert entry is not None
    assert entry.version == 2 * ROUNDS + 1


# -- earlier lives -----------------------------------------------------------------------------------------------------


def refuses(shared: Shared, seen: Any) -> None:
    """See that nothing is done for who expects a key as he has seen it."""
    kv = shared.states.kv
    before = kv.get_entry("k")
    for expect in (seen.version, Revision(seen.revision)):
        with pytest.raises(StateConflict):
            kv.set("k", "late", expect=expect)
        with pytest.raises(StateConflict):
            kv.remove("k", expect=expect)
        with pytest.raises(StateConflict):
            kv.set_metadata("k", {"late": True}, expect=expect)
        with pytest.raises(StateConflict):
            kv.apply([If.version("k", expect)], [Put("k", "late")])
    assert kv.get_entry("k") == before
    assert kv.compare_and_swap("k", "of an earlier life", "late") is False
    assert kv.get_entry("k") == before


def purge(shared: Shared) -> None:
    """Forget that keys were removed."""
    bucket = shared.runtime.shelves.parts("kv").bucket
    later = bucket.clock.now() + timedelta(days=1)
    with bucket.backend.writing() as unit:
        assert bucket.backend.forget_tombstones(unit, "kv", later, 1000) > 0


def test_nothing_is_swapped_or_expected_on_a_removed_key(lone: Shared) -> None:
    kv = lone.states.kv
    seen = kv.set("k", "of an earlier life")
    kv.remove("k")
    refuses(lone, seen)
    purge(lone)
    refuses(lone, seen)
    assert kv.compare_and_swap("k", None, "anew") is True


@pytest.mark.parametrize("purged", [False, True])
def test_nothing_of_an_earlier_life_is_expected_of_a_key_that_was_made_anew(lone: Shared, purged: bool) -> None:
    kv, seen = lone.states.kv, []
    for number in range(5):
        entry = kv.create("k", f"life {number}")
        for earlier in seen:
            assert entry.version > earlier.version
            assert entry.revision > earlier.revision
            refuses(lone, earlier)
        seen += [entry, kv.set("k", f"life {number} goes on")]
        refuses(lone, seen[-2])
        kv.remove("k", expect=seen[-1].version)
        for earlier in seen:
            refuses(lone, earlier)
        if purged:
            purge(lone)


def test_nothing_of_an_earlier_life_is_expected_of_another_key_behind_the_floor(lone: Shared) -> None:
    """The floor belongs to the bucket: whatever is new begins above all that was forgotten."""
    kv = lone.states.kv
    for number in range(4):
        kv.set("long", number)
    kv.remove("long")
    purge(lone)
    assert kv.create("k", 1).version > 5


# -- several keys ------------------------------------------------------------------------------------------------------


def test_of_two_that_each_write_if_the_other_has_not_only_one_writes(shared: Shared, crew: Crew) -> None:
    for turn, fared in enumerate(crew.race("cross", ROUNDS)):
        written = {each["answer"] for each in fared if each["won"]}
        assert len(written) == 1, fared
        assert all(each["won"] or each["error"] == "StateConflict" for each in fared), fared
        assert set(shared.states.kv.get_many([f"x{turn}", f"y{turn}"])) == written


def test_of_two_that_each_leave_if_the_other_stays_one_stays(shared: Shared, crew: Crew) -> None:
    for turn in range(ROUNDS):
        shared.states.kv.set_many({f"a{turn}": "on", f"b{turn}": "on"})
    for turn, fared in enumerate(crew.race("cross_by_value", ROUNDS)):
        assert len({each["answer"] for each in fared if each["won"]}) == 1, fared
        assert all(each["won"] or each["error"] == "StateConflict" for each in fared), fared
        assert sorted(shared.states.kv.get_many([f"a{turn}", f"b{turn}"]).values()) == ["off", "on"]


def test_transfers_between_accounts_keep_their_sum(shared: Shared, crew: Crew) -> None:
    kv = shared.states.kv
    kv.set_many({f"account:{number}": MONEY for number in range(ACCOUNTS)})
    for fared in crew.race("transfer", LOOPS):
        answers(fared)
    entries = [kv.get_entry(f"account:{number}") for number in range(ACCOUNTS)]
    assert sum(entry.value for entry in entries) == ACCOUNTS * MONEY
    assert all(entry.value >= 0 for entry in entries)
    assert sum(entry.version - 1 for entry in entries) == 2 * LOOPS * RACERS * STEPS


# -- leases and limits -------------------------------------------------------------------------------------------------


def test_one_of_eight_processes_takes_a_lease(shared: Shared, crew: Crew) -> None:
    for turn, fared in enumerate(crew.race("take_lease", ROUNDS)):
        tokens = answers(fared)
        assert sorted(token is None for token in tokens) == [False] + [True] * (RACERS - 1)
        holder = next(number for number, token in enumerate(tokens) if token is not None)
        assert shared.states.kv.get(f"l{turn}") == {"holder": f"racer {holder}"}


def test_whoever_outlives_the_lease_counts_nothing_and_nothing_is_lost(shared: Shared, crew: Crew) -> None:
    tokens: list[int] = []
    for fared in crew.race("count_under_lease", LOOPS):
        tokens += chain.from_iterable(answers(fared))
    assert shared.states.kv.get("fenced") == len(tokens) > 0
    assert len(set(tokens)) == len(tokens)


def test_a_holder_that_has_outlived_its_lease_is_refused_and_its_successor_is_not(lone: Shared) -> None:
    kv = lone.states.kv
    late, next_one = kv.lease("lease", ttl=0.05), kv.lease("lease", ttl=3600)
    assert late.acquire()
    until(next_one.acquire, "the lease is over")
    assert next_one.token > late.token
    with pytest.raises(StateConflict):
        late.set("k", "late")
    with pytest.raises(StateConflict):
        late.apply([Put("k", "late")])
    with pytest.raises(StateConflict):
        late.renew()
    assert late.release() is False
    assert not kv.exists("k")
    next_one.set("k", "in time")
    assert kv.get("k") == "in time"
    assert kv.get("lease") == {"holder": next_one.holder}


def test_a_holder_whose_lease_is_over_is_refused_also_where_nobody_has_taken_it(lone: Shared) -> None:
    kv = lone.states.kv
    late = kv.lease("lease", ttl=0.05)
    assert late.acquire()
    until(lambda: not kv.exists("lease"), "the lease is over")
    with pytest.raises(StateConflict):
        late.set("k", "late")
    with pytest.raises(StateConflict):
        late.renew()
    assert late.release() is False
    assert not kv.exists("k")
    assert not kv.exists("lease")


def test_eight_processes_are_admitted_as_often_as_the_limit_says(shared: Shared, crew: Crew) -> None:
    assert RACERS * HITS > LIMIT
    for turn, fared in enumerate(crew.race("hit", ROUNDS)):
        assert sum(answers(fared)) == LIMIT
        assert shared.states.kv.get(f"h{turn}") == LIMIT

"""Processes that race each other on real databases: one winner, no lost update, no error but the promised ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError

from tests.processes.application import Shared, opened
from tests.processes.child import LONG
from tests.processes.crew import Crew
from tests.processes.racer import FIELDS, RACERS

ROUNDS = 200 if LONG else 25

pytestmark = pytest.mark.slow

Fared = list[dict[str, Any]]


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with Crew(RACERS) as crew:
        yield crew


@pytest.fixture(params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path: Path, crew: Crew) -> Iterator[Shared]:
    """An empty database, which all racers have opened."""
    postgres = request.param == "postgresql"
    url = request.getfixturevalue("postgres_url") if postgres else f"sqlite:///{tmp_path / 'shared.db'}"
    with opened(url) as shared:
        shared.db.create_all()
        crew.open(url)
        yield shared


def versions(shared: Shared, state_id: str) -> list[int]:
    """Return the versions that the log has of a state, and see that they are all there."""
    found = [entry["version"] for entry in shared.states.get_state_history(state_id, limit=1000)]
    state = shared.states.get_state(state_id)
    assert state is not None
    assert found == list(range(1, state.version + 1)), f"the versions of {state_id}"
    return found


def rows(shared: Shared, table: str) -> int:
    """Count the rows of a table of the states."""
    with shared.db.engine.connect() as connection:
        found: int = connection.execute(text(f"SELECT count(*) FROM statemanager_{table}")).scalar_one()  # noqa: S608
        return found


def winner_of(fared: Fared, *losses: str) -> int:
    """Return who has won, and see that it is one, and that the others lost as they should."""
    winners = [number for number, each in enumerate(fared) if each["won"]]
    assert len(winners) == 1, fared
    assert all(each["won"] or each["error"] in losses for each in fared), fared
    return winners[0]


# -- one winner --------------------------------------------------------------------------------------------------------


def test_one_of_eight_processes_makes_a_transition_and_the_others_are_told_the_status(
    shared: Shared, crew: Crew
) -> None:
    for turn in range(ROUNDS):
        shared.states.register_state(f"t{turn}", "user")
    for turn, fared in enumerate(crew.race("transition", ROUNDS)):
        winner = winner_of(fared, "TransitionNotAllowed")
        assert {(each["status"], each["version"]) for each in fared if not each["won"]} == {("active", 2)}
        state = shared.states.get_state(f"t{turn}")
        assert state is not None
        assert (state.version, state.status, state.data) == (2, "active", {"winner": winner})
        assert versions(shared, f"t{turn}") == [1, 2]
    assert rows(shared, "history") == 2 * ROUNDS


def test_one_of_eight_processes_makes_a_self_transition_of_the_expected_version(shared: Shared, crew: Crew) -> None:
    shared.states.register_state("self", "user")
    for turn, fared in enumerate(crew.race("self_transition", ROUNDS)):
        winner = winner_of(fared, "StateConflict")
        losers = [each for each in fared if not each["won"]]
        assert {(each["expected"], each["actual"]) for each in losers} == {(turn + 1, turn + 2)}
        past = shared.states.get_state("self", at=turn + 2)
        assert past is not None
        assert past.data == {"winner": winner}
    assert versions(shared, "self")[-1] == rows(shared, "history") == ROUNDS + 1


def test_who_expects_the_version_from_before_there_and_back_loses_although_the_status_is_the_same(
    shared: Shared, crew: Crew
) -> None:
    shared.states.register_state("aba", "user")
    shared.states.update_state("aba", transition="activate")
    for turn, fared in enumerate(crew.race("there_and_back", ROUNDS)):
        seen = 2 * turn + 2
        winner_of(fared, "StateConflict")
        losers = [each for each in fared if not each["won"]]
        assert all(each["expected"] == seen and each["actual"] in (seen + 1, seen + 2) for each in losers), fared
    history = shared.states.get_state_history("aba", limit=1000)
    assert [entry["to_status"] for entry in history] == ["created", "active", *["suspended", "active"] * ROUNDS]
    assert versions(shared, "aba")[-1] == rows(shared, "history") == 2 * ROUNDS + 2


def test_one_of_eight_processes_creates_a_state(shared: Shared, crew: Crew) -> None:
    for turn, fared in enumerate(crew.race("create", ROUNDS)):
        winner = winner_of(fared, "StateExists")
        state = shared.states.get_state(f"c{turn}")
        assert state is not None
        assert (state.version, state.data) == (1, {"winner": winner})
    assert rows(shared, "history") == ROUNDS


def test_a_failed_payment_never_overwrites_a_paid_one_nor_a_paid_one_a_failed_one(shared: Shared, crew: Crew) -> None:
    """Even racers complete and odd ones fail; half of them in the application's own transaction."""
    for turn in range(ROUNDS):
        shared.states.register_state(f"p{turn}", "payment")
    kept = []
    for turn, fared in enumerate(crew.race("settle_payment", ROUNDS)):
        winner = winner_of(fared, "TransitionNotAllowed")
        event, status = ("fail", "failed") if winner % 2 else ("complete", "completed")
        assert {(each["status"], each["version"]) for each in fared if not each["won"]} == {(status, 2)}
        state = shared.states.get_state(f"p{turn}")
        assert state is not None
        assert (state.status, state.data, state.version) == (status, {"by": winner}, 2)
        assert versions(shared, f"p{turn}") == [1, 2]
        kept += [f"p{turn}:{event}"] if winner % 4 >= 2 else []
    assert shared.notes() == sorted(kept), "rows of losers have stayed, or the winner's has not"


# -- no lost update ----------------------------------------------------------------------------------------------------


def test_fifty_concurrent_merges_of_fifty_fields_keep_fifty(shared: Shared, crew: Crew) -> None:
    """Eight processes with six or seven threads each, none of which expects a version."""
    rounds = 6 if LONG else 3
    for turn in range(rounds):
        shared.states.register_state(f"m{turn}", "user")
    for turn, fared in enumerate(crew.race("merge_fields", rounds)):
        assert all(each["won"] for each in fared), fared
        reached = sorted(version for each in fared for version in each["answer"])
        assert reached == list(range(2, FIELDS + 2))
        state = shared.states.get_state(f"m{turn}")
        assert state is not None
        assert state.data == {f"f{number}": number for number in range(FIELDS)}
        assert versions(shared, f"m{turn}")[-1] == FIELDS + 1


# -- one request -------------------------------------------------------------------------------------------------------


def test_a_webhook_that_eight_processes_deliver_at_once_makes_one_change_and_gets_equal_answers(
    shared: Shared, crew: Crew
) -> None:
    for turn in range(ROUNDS):
        shared.states.register_state(f"w{turn}", "user")
    for turn, fared in enumerate(crew.race("repeat_request", ROUNDS)):
        assert all(each["won"] for each in fared), fared
        state = shared.states.get_state(f"w{turn}")
        assert all(each["answer"] == state for each in fared), fared
        assert versions(shared, f"w{turn}") == [1, 2]
    assert rows(shared, "idempotency") == ROUNDS
    assert rows(shared, "history") == 2 * ROUNDS


def test_a_creation_that_eight_processes_ask_for_at_once_makes_one_state(shared: Shared, crew: Crew) -> None:
    rounds = max(10, ROUNDS // 4)
    for fared in crew.race("repeat_registration", rounds):
        assert all(each["won"] for each in fared), fared
        answer = fared[0]["answer"]
        assert all(each["answer"] == answer for each in fared), fared
        assert shared.states.get_state(answer["state_id"]) == answer
    assert rows(shared, "state") == rows(shared, "history") == rounds


# -- the database's own rule -------------------------------------------------------------------------------------------


def test_the_database_refuses_a_second_entry_of_one_version(shared: Shared) -> None:
    shared.states.register_state("u1", "user")
    history = shared.runtime.backend.tables.history
    with shared.db.engine.connect() as connection:
        entry = dict(connection.execute(select(history)).mappings().one())
        with pytest.raises(IntegrityError):
            connection.execute(insert(history).values({**entry, "revision": entry["revision"] + 1}))
        connection.rollback()
        connection.execute(insert(history).values({**entry, "revision": entry["revision"] + 1, "version": 2}))
        connection.rollback()

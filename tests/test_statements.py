"""How many statements an operation sends: counted at the driver, so that none is added unnoticed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.worlds import World


@pytest.fixture
def counted(sql_world: World, caplog: pytest.LogCaptureFixture) -> Callable[[Callable[[], Any]], int]:
    """Count the statements that the backend sends during a call."""

    def count(call: Callable[[], Any]) -> int:
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "flask_statemanager.sql"):
            call()
        return len([record for record in caplog.records if record.name == "flask_statemanager.sql"])

    return count


def test_each_verb_sends_no_more_statements_than_it_needs(sql_world: World, counted: Any) -> None:
    states = sql_world.states
    assert counted(lambda: states.register_state("u1", "user", {"a": 1})) == 3
    assert counted(lambda: states.update_state("u1", {"a": 2}, "activate")) == 3
    assert counted(lambda: states.update_state("u1", {"a": 3}, expect=2)) == 3
    assert counted(lambda: states.get_state("u1")) == 1
    assert counted(lambda: states.get_state("u1", at=1)) == 1
    assert counted(lambda: states.get_state_history("u1")) == 1
    assert counted(states.get_recent_changes) == 1
    assert counted(lambda: bool(states.search_states("user"))) == 1
    assert counted(lambda: states.search_states("user").page(10)) == 1
    assert counted(lambda: states.search_states("user").count()) == 1
    assert counted(lambda: list(states.search_states("user"))) == 1
    assert counted(lambda: states.allowed_transitions("u1")) == 1
    assert counted(lambda: states.rollback_state("u1", to_version=1)) == 4
    assert counted(lambda: states.delete_state("u1")) == 3


def test_declaring_a_search_sends_nothing(sql_world: World, counted: Any) -> None:
    assert counted(lambda: sql_world.states.search_states("user", {"data.a": 1})) == 0


def test_searches_are_not_prepared_by_psycopg(postgres_world: World) -> None:
    """After five runs psycopg would prepare them, and a generic plan can pass an expression index by."""
    world = postgres_world
    for _ in range(10):
        list(world.states.search_states("user", {"data.a": 1}))
    with world.runtime.backend.reading() as unit:
        cursor = unit.connection.cursor()
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        assert [row for row in cursor.fetchall() if "jsonb" in row[0].lower() or "#>" in row[0]] == []

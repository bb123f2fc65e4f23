"""How many statements an operation sends: counted at the driver, so that none is added unnoticed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from flask_statemanager import Deadline, Machine, StorageError, Transition
from flask_statemanager.backends.sql.statements import Compiled
from flask_statemanager.core.record import Key
from tests.worlds import World


@pytest.fixture
def counted(
    sql_world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], Any]], int]:
    """Count the statements that the backend sends during a call, the look for a worker once a minute left aside."""
    monkeypatch.setattr(sql_world.runtime.workshop.desk, "look", lambda: None)

    def count(call: Callable[[], Any]) -> int:
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "flask_statemanager.sql"):
            call()
        return len([record for record in caplog.records if record.name == "flask_statemanager.sql"])

    return count


@pytest.fixture
def write(sql_world: World) -> int:
    """How many statements a write needs: PostgreSQL writes a state and its history by one, SQLite by two."""
    return 1 if sql_world.runtime.backend.engine.dialect.name == "postgresql" else 2


def test_each_verb_sends_no_more_statements_than_it_needs(sql_world: World, counted: Any, write: int) -> None:
    states = sql_world.states
    assert counted(lambda: states.register_state("u1", "user", {"a": 1})) == write
    assert counted(lambda: states.update_state("u1", {"a": 2}, "activate")) == write + 1
    assert counted(lambda: states.update_state("u1", {"a": 3}, expect=2)) == write + 1
    assert counted(lambda: states.get_state("u1")) == 1
    assert counted(lambda: states.get_state("u1", at=1)) == 1
    assert counted(lambda: states.get_state_history("u1")) == 1
    assert counted(states.get_recent_changes) == 1
    assert counted(lambda: bool(states.search_states("user"))) == 1
    assert counted(lambda: states.search_states("user").page(10)) == 1
    assert counted(lambda: states.search_states("user").count()) == 1
    assert counted(lambda: list(states.search_states("user"))) == 1
    assert counted(lambda: states.allowed_transitions("u1")) == 1
    assert counted(lambda: states.rollback_state("u1", to_version=1)) == write + 2
    assert counted(lambda: states.delete_state("u1")) == write + 1


WAYS = (
    Transition("open", ["new", "held"], "pending"),
    Transition("hold", ["pending"], "held"),
    Transition("complete", ["pending"], "completed"),
    Transition("lapse", ["pending", "held"], "lapsed"),
)
DEADLINES = (Deadline("pending", 900, "lapse"), Deadline("held", 900, "lapse"))


def test_a_deadline_costs_one_statement_and_two_between_statuses_that_both_have_one(
    sql_world: World, counted: Any, write: int
) -> None:
    states = sql_world.states
    states.define("payment", Machine(initial="new", transitions=WAYS, deadlines=DEADLINES))
    assert counted(lambda: states.register_state("p1", "payment")) == write
    assert counted(lambda: states.update_state("p1", transition="open")) == write + 2  # enters one
    assert counted(lambda: states.update_state("p1", {"a": 1})) == write + 1  # stays
    assert counted(lambda: states.update_state("p1", transition="hold")) == write + 3  # leaves one, enters another
    states.update_state("p1", transition="open")
    assert counted(lambda: states.update_state("p1", transition="complete")) == write + 2  # leaves one


def test_a_deadline_that_goes_on_costs_a_look_at_what_is_left_of_it(sql_world: World, counted: Any, write: int) -> None:
    states = sql_world.states
    lasting = Deadline("pending", 900, "lapse", "remaining")
    states.define("payment", Machine(initial="pending", transitions=WAYS, deadlines=[lasting]))
    assert counted(lambda: states.register_state("p1", "payment")) == write + 1  # of a new state nothing can be left
    assert counted(lambda: states.update_state("p1", transition="hold")) == write + 2
    assert counted(lambda: states.update_state("p1", transition="open")) == write + 3


def _nothing(*_given: Any) -> None:
    """Stand for an effect; ``print`` has no signature on Python 3.10."""


def test_effects_cost_one_statement_however_many_they_are(sql_world: World, counted: Any, write: int) -> None:
    states = sql_world.states
    states.define("payment", Machine(initial="new", transitions=WAYS, deadlines=DEADLINES))
    states.register_callback("user_created", _nothing, durable=True, name="one")
    for name in ("a", "b", "c"):
        states.register_callback("user_suspended", _nothing, durable=True, name=name)
        states.register_callback("payment", _nothing, durable=True, name=f"payment-{name}")
    assert counted(lambda: states.register_state("u1", "user")) == write + 1
    assert counted(lambda: states.update_state("u1", {"a": 1}, "suspend")) == write + 2
    states.register_state("p1", "payment")
    assert counted(lambda: states.update_state("p1", transition="open")) == write + 2  # the deadline is set with them
    assert counted(lambda: states.update_state("p1", transition="complete")) == write + 3  # and another one is stopped


def test_an_idempotency_key_costs_two_statements_and_its_repetition_has_two(
    sql_world: World, counted: Any, write: int
) -> None:
    states = sql_world.states
    states.register_state("u1", "user")
    assert counted(lambda: states.update_state("u1", {"a": 1}, idempotency_key="k")) == write + 3
    assert counted(lambda: states.update_state("u1", {"a": 1}, idempotency_key="k")) == 2


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


def test_a_read_gives_its_connection_back_as_it_was_found(postgres_world: World) -> None:
    """In no transaction, and beginning one with its next statement, whether the read has failed or not."""
    backend, found = postgres_world.runtime.backend, []

    def returned(connection: Any, _record: Any) -> None:
        found.append((connection.autocommit, connection.info.transaction_status))

    event.listen(backend.engine, "checkin", returned)
    postgres_world.states.get_state("u1")
    backend.fetch_unread(Key("state", "u1"))
    with pytest.raises(StorageError, match="division by zero"):
        backend._pool.rows(Compiled("SELECT 1 / 0", None, {}), {})
    event.remove(backend.engine, "checkin", returned)
    assert found == [(False, 0)] * 3


def test_what_was_prepared_for_an_empty_table_goes_by_the_key(postgres_world: World) -> None:
    """PostgreSQL stays with the plan; by any other index it would walk through all states of a table that has grown."""
    states = postgres_world.states
    states.register_state("u1", "user")
    backend = postgres_world.runtime.backend
    with backend.reading() as unit:
        values = backend._statements.key_values(Key("state", "u1"))
        for _ in range(10):  # prepared at the fifth, and planned for good at the fifth from then on
            unit.run(backend._statements.read, values)
            unit.run(backend._statements.read_locked, values)
        cursor = unit.connection.cursor()
        cursor.execute("SET enable_seqscan = off")
        cursor.execute("SELECT name FROM pg_prepared_statements WHERE statement LIKE '%statemanager_state.bucket =%'")
        plans = []
        for (name,) in cursor.fetchall():
            cursor.execute("SET plan_cache_mode = force_generic_plan")
            cursor.execute(f"EXPLAIN EXECUTE {name} ('state', 'u1')")
            plans.append("\n".join(row[0] for row in cursor.fetchall()))
        cursor.execute("RESET ALL")
    assert len(plans) == 2
    assert all("statemanager_state_pkey" in plan for plan in plans), plans


def test_what_is_drawn_is_named_where_rows_come_from(postgres_world: World) -> None:
    """SQLAlchemy before 2.0.25 leaves a table out that occurs only in what is set."""
    statements = postgres_world.runtime.backend._statements
    for statement in (statements.put_next, statements.put_believed):
        update = statement.sql.partition("UPDATE")[2].partition("RETURNING")[0]
        assert "drawn" in update.partition("FROM")[2].partition("WHERE")[0]
        assert "drawn.revision" in update.partition("WHERE")[2]


def test_each_verb_of_keys_sends_no_more_statements_than_it_needs(sql_world: World, counted: Any, write: int) -> None:
    kv, postgres = sql_world.states.kv, write == 1
    first = write + 1 if postgres else write + 2  # SQLite reads the floor of its bucket, PostgreSQL compares it
    assert counted(lambda: kv.create("a", 1)) == first
    assert counted(lambda: kv.set("b", 1, metadata={"m": 1}, ttl=60)) == first
    assert counted(lambda: kv.get("a")) == 1
    assert counted(lambda: kv.get_entry("a")) == 1
    assert counted(lambda: kv.get_many(["a", "b", "c"])) == 1
    assert counted(lambda: kv.set("a", 2)) == write + 1
    assert counted(lambda: kv.set("a", 3, expect=2)) == write + 1
    assert counted(lambda: kv.compare_and_swap("a", 3, 4)) == write + 1
    assert counted(lambda: kv.compare_and_swap("a", 3, 5)) == 1
    assert counted(lambda: kv.increment("a")) == write + 1
    assert counted(lambda: kv.keys("a")) == 1
    assert counted(lambda: kv.count("a")) == 1
    assert counted(lambda: kv.remove("a")) == write + 1
    assert counted(lambda: kv.set("a", 1)) == write + 1


def test_a_key_above_a_floor_is_begun_with_what_is_known_of_the_floor(
    sql_world: World, counted: Any, write: int
) -> None:
    kv, postgres = sql_world.states.kv, write == 1
    kv.set("a", 1)
    kv.remove("a")
    sql_world.clock.advance(90_000)
    sql_world.states.run_worker()
    guessed_wrong = counted(lambda: kv.create("b", 1))
    assert counted(lambda: kv.create("c", 1)) == (write + 1 if postgres else write + 2)
    assert guessed_wrong > write + 1 or not postgres
    assert (kv.get_entry("b").version, kv.get_entry("c").version) == (3, 3)

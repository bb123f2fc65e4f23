"""Corners where a write could be lost, half-written, seen too early, or answered with the wrong words."""

from __future__ import annotations

import contextvars
import os
import signal
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from sqlalchemy import MetaData, create_engine, event
from sqlalchemy.orm import Session

from flask_statemanager import (
    ConfigurationError,
    GuardFailed,
    LimitExceeded,
    Machine,
    StateConflict,
    StateManager,
    StateManagerError,
    StateNotFound,
    StateValidationError,
    StorageError,
    StorageUnavailable,
    Transition,
    TransitionNotAllowed,
    signals,
)
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.engine import make_engine
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.config import Settings
from flask_statemanager.core.query import MAX_FILTERS, MAX_VALUES
from flask_statemanager.metrics.counters import Counters
from flask_statemanager.testing.capture import Captured
from flask_statemanager.testing.contract.store import change_of, new_record
from tests.servers.redis_server import RedisServer
from tests.worlds import World, build, cached_by, entered

HUGE = 10**5000


# -- transactions ------------------------------------------------------------------------------------------------------


def test_what_a_callback_writes_after_a_commit_inside_a_block_is_kept(sql_world: World) -> None:
    world = sql_world

    @world.states.register_callback("user_created")
    def log(state_id: str, *_rest: Any) -> None:
        world.states.register_state(f"log_{state_id}", "feature")

    with world.states.transaction(world.db.session):
        world.states.register_state("u1", "user")
        world.db.session.commit()
    world.db.session.remove()
    assert world.states.get_state("log_u1") is not None


def test_a_context_copied_in_a_block_does_not_join_after_it(sql_world: World) -> None:
    world = sql_world
    with world.states.transaction(world.db.session):
        copied = contextvars.copy_context()
    world.db.session.rollback()
    copied.run(world.states.register_state, "u1", "user")
    world.db.session.rollback()
    assert world.states.get_state("u1") is not None


def test_a_block_goes_on_with_the_session_that_follows_a_removed_one(sql_world: World) -> None:
    world = sql_world
    with world.states.transaction(world.db.session):
        world.states.register_state("u1", "user")
        world.db.session.commit()
        world.db.session.remove()
        world.states.register_state("u2", "user")
        world.db.session.commit()
        world.db.session.remove()
        world.states.register_state("u3", "user", idempotency_key="k1")
        world.db.session.commit()
    assert world.states.search_states("user").count() == 3


@pytest.mark.parametrize("joined", [True, False])
def test_what_hooks_wrote_goes_with_the_write_that_a_hook_refuses(
    sql_world: World, joined: bool, captured_states: Captured
) -> None:
    world = sql_world
    world.states.register_callback(
        "user_suspended", lambda state_id, *_rest: world.states.register_state("audit", "feature"), when="before"
    )

    @world.states.register_callback("user_suspended", when="before")
    def veto(*_call: Any) -> None:
        raise PermissionError

    world.states.register_state("u1", "user")
    captured_states.sent.clear()
    session = world.db.session if joined else None
    with pytest.raises(PermissionError):
        world.states.update_state("u1", transition="suspend", session=session)
    world.states.update_state("u1", {"a": 1}, session=session)
    world.db.session.commit()
    assert world.states.get_state("audit") is None
    assert [change.key.name for change in captured_states.changes] == ["u1"]


def test_what_a_nested_refusal_wrote_is_undone_though_the_hook_goes_on(world: World) -> None:
    @world.states.register_callback("session_created", when="before")
    def audited_and_refused(*_call: Any) -> None:
        world.states.register_state("audit", "feature")
        raise PermissionError

    @world.states.register_callback("user_created", when="before")
    def tries(*_call: Any) -> None:
        with pytest.raises(PermissionError):
            world.states.register_state("s1", "session")

    world.states.register_state("u1", "user")
    assert world.states.get_state("u1") is not None
    assert world.states.get_state("audit") is None
    assert len(world.states.get_recent_changes()) == 1


def test_a_hook_that_writes_its_own_state_or_nests_without_end_is_refused_by_name(world: World) -> None:
    world.states.register_state("u1", "user")
    world.states.register_callback(
        "user_suspended", lambda state_id, *_rest: world.states.update_state(state_id), when="before"
    )
    with pytest.raises(StateManagerError, match="'before' hook of that write"):
        world.states.update_state("u1", transition="suspend")
    world.states.register_callback(
        "session_created", lambda *call: world.states.register_state(None, "session"), when="before"
    )
    with pytest.raises(StateManagerError, match="look for a loop"):
        world.states.register_state("s1", "session")
    assert len(world.states.get_recent_changes()) == 1


def test_many_changes_in_one_commit_are_no_cascade(sqlite_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_statemanager.core.publisher.MAX_CASCADE", 5)
    world = sqlite_world

    @world.states.register_callback("user_created")
    def log(state_id: str, *_rest: Any) -> None:
        world.states.register_state(f"log_{state_id}", "feature")

    with world.states.transaction(world.db.session):
        for number in range(20):
            world.states.register_state(f"u{number}", "user")
    world.db.session.commit()
    assert world.states.search_states("feature").count() == 20


def test_a_session_that_cannot_be_used_is_an_error_of_ours(sql_world: World) -> None:
    world = sql_world
    session = world.db.session
    with Session() as nowhere, pytest.raises(ConfigurationError, match="no database"):
        world.states.register_state("u1", "user", session=nowhere)
    broken = Session(create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none?connect_timeout=2"))
    with pytest.raises(StorageUnavailable):
        world.states.register_state("u1", "user", session=broken)
    session.connection().invalidate()
    with pytest.raises(StorageError, match="roll it back"):
        world.states.register_state("u1", "user", session=session)
    session.rollback()
    world.states.register_state("u1", "user", session=session)
    session.commit()


def test_a_transaction_that_has_failed_says_to_roll_back(postgres_world: World) -> None:
    world = postgres_world
    with pytest.raises(Exception, match="nowhere"):
        world.db.session.connection().exec_driver_sql("SELECT * FROM nowhere")
    with pytest.raises(StorageError, match="roll the session back"):
        world.states.register_state("u1", "user", session=world.db.session)
    world.db.session.rollback()


def test_a_thread_never_waits_for_its_own_session(postgres_world: World) -> None:
    world = postgres_world
    session = world.db.session
    world.states.register_state("u1", "user")
    world.states.update_state("u1", {"a": 1}, session=session)
    world.states.register_state("u2", "user", session=session)
    for verb in (lambda: world.states.update_state("u1"), lambda: world.states.register_state("u2", "user")):
        with pytest.raises(StorageError, match="session="):
            verb()
    nested = session.begin_nested()
    world.states.register_state("u3", "user", session=session)
    nested.rollback()
    assert world.states.register_state("u3", "user").version == 1
    with session.begin_nested():
        world.states.register_state("u4", "user", session=session)
    with pytest.raises(StorageError, match="session="):
        world.states.register_state("u4", "user")
    session.rollback()
    assert world.states.update_state("u1", {"b": 1}).data == {"b": 1}
    assert world.states.register_state("u4", "user").version == 1


def test_joining_an_engine_without_transactions_is_refused(postgres_url: str) -> None:
    options = {"SQLALCHEMY_ENGINE_OPTIONS": {"isolation_level": "AUTOCOMMIT"}}
    for world in entered(build("postgresql", postgres_url, **options)):
        with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            world.states.register_state("u1", "user", session=world.db.session)


def test_expect_counts_for_a_tombstone_too(world: World) -> None:
    for _ in range(3):
        world.states.register_state("u1", "user")
        world.states.delete_state("u1")
    with pytest.raises(StateConflict):
        world.states.rollback_state("u1", 1, undelete=True, expect=1)
    with pytest.raises(StateNotFound):
        world.states.update_state("u1", expect=1)
    assert world.states.rollback_state("u1", 1, undelete=True, expect=6).version == 7


# -- what hooks and receivers get --------------------------------------------------------------------------------------


def test_a_receiver_that_edits_its_change_edits_a_copy(world: World) -> None:
    heard = []

    def greedy(sender: Any, change: Any) -> None:
        change.after.data["amount"] = {1, 2}

    def tidy(sender: Any, change: Any) -> None:
        heard.append(change.after.data)

    world.states.register_validator("user", lambda state: state["data"]["amount"] < 10)
    with (
        signals.state_changing.connected_to(greedy),
        signals.state_changed.connected_to(greedy),
        signals.state_changed.connected_to(tidy),
    ):
        state = world.states.register_state("u1", "user", {"amount": 5})
    assert state.data == heard[0] == {"amount": 5}
    assert world.states.get_state("u1") == state


def test_a_muted_signal_is_silent(world: World, captured_states: Captured) -> None:
    with signals.state_changed.muted():
        world.states.register_state("u1", "user")
    assert captured_states.names == ["state-registered"]


def test_a_guard_that_raises_refuses_with_its_message(world: World) -> None:
    def broken(old: Any, new: Any) -> bool:
        raise ValueError("no limit is set")

    world.states.define("order", Machine(transitions=[Transition("ship", ["created"], "shipped", guards=broken)]))
    world.states.register_state("o1", "order")
    with pytest.raises(GuardFailed, match="no limit is set"):
        world.states.update_state("o1", transition="ship")
    assert world.states.explain("o1", "ship").reason == "no limit is set."
    assert world.states.allowed_transitions("o1") == ["update", "delete"]
    with pytest.raises(ConfigurationError, match="guards"):
        Machine(transitions=[Transition("ship", ["created"], "shipped", guards=[5])])  # type: ignore[list-item]


def test_callbacks_that_could_never_run_are_refused(world: World) -> None:
    async def later(*call: Any) -> None:
        raise AssertionError

    with pytest.raises(ConfigurationError, match="not async"):
        world.states.register_callback("user", later)
    with pytest.raises(ConfigurationError, match="named by text"):
        world.states.register_callback(None, print)  # type: ignore[call-overload]
    register = world.states.register_callback("user")
    with world.app.test_request_context("/"), pytest.raises(ConfigurationError, match="during a request"):
        register(lambda *call: None)


# -- machines and the past ---------------------------------------------------------------------------------------------


def test_a_rollback_to_a_moment_restores_what_was_seen_then(world: World) -> None:
    world.states.register_state("s1", "session", ttl=60)
    moment = world.clock.advance(90)
    world.clock.advance(10)
    world.states.update_state("s1", transition="activate")
    assert world.states.get_state("s1", at=moment).status == "expired"  # type: ignore[union-attr]
    assert world.states.rollback_state("s1", at=moment).status == "expired"


def test_deleting_and_undeleting_does_not_leave_a_final_status(world: World) -> None:
    paid = [Transition("pay", ["created"], "paid"), Transition("refund", ["paid"], "refunded")]
    world.states.define("order", Machine(transitions=paid, final=["refunded"]))
    world.states.register_state("o1", "order")
    world.states.update_state("o1", transition="pay")
    world.states.update_state("o1", transition="refund")
    world.states.delete_state("o1")
    with pytest.raises(TransitionNotAllowed, match="final"):
        world.states.rollback_state("o1", to_version=2, undelete=True)
    assert world.states.rollback_state("o1", to_version=3, undelete=True).status == "refunded"
    with pytest.raises(ConfigurationError, match="final"):
        Machine(transitions=[*paid, Transition("update", "*", "created")], final=["refunded"])


def test_a_state_in_a_status_that_its_machine_lost_can_be_annotated_and_deleted(world: World) -> None:
    world.states.define("order", Machine(transitions=[Transition("pay", ["created"], "paid")]))
    world.states.register_state("o1", "order")
    world.states.update_state("o1", transition="pay")
    world.states.define("order", Machine(initial="new", transitions=[Transition("pay", ["new"], "settled")]))
    assert world.states.allowed_transitions("o1") == ["update", "delete"]
    with pytest.raises(TransitionNotAllowed):
        world.states.update_state("o1", transition="pay")
    assert world.states.update_state("o1", {"a": 1}).status == "paid"
    assert world.states.delete_state("o1").status == "deleted"


def test_a_version_that_is_not_on_record_is_named(world: World) -> None:
    world.states.register_state("u1", "user")
    with pytest.raises(StateNotFound, match="version 77"):
        world.states.rollback_state("u1", to_version=77)
    with pytest.raises(StateValidationError, match="rollback_state"):
        world.states.update_state("u1", transition="rollback")


# -- hostile arguments -------------------------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"


def test_hostile_arguments_get_short_answers_of_ours(world: World) -> None:
    states = world.states
    states.register_state("u1", "user")
    for hostile in (
        lambda: states.register_state("u2", "user", {HUGE: 1}),  # type: ignore[dict-item]
        lambda: states.register_state(HUGE, "user"),  # type: ignore[arg-type]
        lambda: states.register_state("u2", HUGE),  # type: ignore[arg-type]
        lambda: states.register_state("u2", "user", {b"x" * 10**6: 1}),  # type: ignore[dict-item]
        lambda: states.update_state("u1", expect=HUGE),
        lambda: states.update_state("u1", mode=HUGE),  # type: ignore[arg-type]
        lambda: states.get_recent_changes(limit=HUGE),
        lambda: states.search_states(filters={"data.a": HUGE}),
        lambda: states.search_states(filters={HUGE: 1}),  # type: ignore[dict-item]
        lambda: states.search_states(filters={"data." + "x" * 10**6 + "__near": 1}),
        lambda: states.search_states(order_by=HUGE),  # type: ignore[arg-type]
        lambda: states.search_states(status=5),  # type: ignore[arg-type]
        lambda: states.get_state_history("u1", after=-1),
    ):
        with pytest.raises((StateValidationError, LimitExceeded)) as caught:
            hostile()
        assert len(str(caught.value)) < 400
    assert states.search_states(status=Colour.RED).count() == 0  # type: ignore[arg-type]


def test_a_search_has_stated_limits_and_works_up_to_them(world: World) -> None:
    world.states.register_state("u1", "user", {"n": 7, "t": "x", "b": True, "z": None})
    many = [*range(MAX_VALUES - 3), "x", True, None]
    for name in ("n", "t", "b", "z"):
        assert world.states.search_states("user", {f"data.{name}__in": many}).count() == 1
    assert world.states.search_states("user", {"data.n__in": []}).count() == 0
    filters = {f"data.x{number}__exists": False for number in range(MAX_FILTERS)}
    assert world.states.search_states("user", filters).count() == 1
    assert world.states.search_states("user", status=[f"s{n}" for n in range(MAX_FILTERS)]).count() == 0
    for refused in (
        {"filters": {"data.n__in": range(MAX_VALUES + 1)}},
        {"filters": {"data.n__in": [*many, 1]}},
        {"filters": filters | {"data.y": 1}},
        {"status": [f"s{n}" for n in range(MAX_FILTERS + 1)]},
    ):
        with pytest.raises((LimitExceeded, StateValidationError)):
            world.states.search_states("user", **refused)  # type: ignore[arg-type]


# -- databases ---------------------------------------------------------------------------------------------------------


def test_the_end_of_time_is_readable_in_every_time_zone(postgres_url: str) -> None:
    for world in entered(build("postgresql", f"{postgres_url}?options=-c%20timezone%3DAsia/Tokyo")):
        last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)
        state = world.states.register_state("s1", "session", expires_at=last)
        assert world.states.get_state("s1") == state
        assert list(world.states.search_states("session")) == [state]
        assert world.states.get_state("s1", at=1) == state


def test_a_listener_that_speaks_at_check_out_does_no_harm(postgres_url: str) -> None:
    for world in entered(build("postgresql", postgres_url)):

        def tenant(connection: Any, *_rest: Any) -> None:
            connection.cursor().execute("SELECT set_config('app.tenant', 'a', false)")

        event.listen(world.db.engine, "checkout", tenant)
        world.states.register_state("u1", "user")
        assert world.states.get_state("u1") is not None
        with world.runtime.backend.reading() as unit:
            cursor = unit.connection.cursor()
            cursor.execute("SELECT current_setting('app.tenant')")
            assert cursor.fetchone() == ("a",)


def test_a_schema_may_have_any_name(postgres_url: str) -> None:
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql('CREATE SCHEMA "My schema"')
    backend = SqlBackend(engine, declare(MetaData(schema="My schema")))
    backend.create_tables()
    change = change_of(None, new_record("u1"), "create")
    with backend.writing() as unit:
        assert backend.apply(unit, change) == 1
    with backend.reading() as unit:
        assert backend.read(unit, change.key) is not None
    engine.dispose()
    with pytest.raises(ConfigurationError, match="schema_translate_map"):
        SqlBackend(engine.execution_options(schema_translate_map={None: "x"}), declare(MetaData()))


def test_in_memory_sqlite_comes_back_after_its_engine_was_disposed_of(memory_sqlite_world: World) -> None:
    world = memory_sqlite_world
    world.states.register_state("u1", "user")
    world.db.engine.dispose()
    world.db.create_all()
    assert world.states.get_state("u1") is None
    assert world.states.register_state("u1", "user").version == 1


@pytest.mark.parametrize("of_the_app", [False, True])
def test_a_forked_child_opens_connections_of_its_own(postgres_url: str, of_the_app: bool) -> None:
    engine = build("postgresql", postgres_url).runtime.backend.engine if of_the_app else make_engine(postgres_url)
    with engine.connect() as connection:
        here = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - reported through the pipe
        with engine.connect() as connection:
            os.write(writer, str(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(reader, 100)) != here
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT pg_backend_pid()").scalar() == here
    os.close(reader)
    os.close(writer)
    engine.dispose()


def test_a_forked_child_counts_though_a_thread_was_counting() -> None:
    counters = Counters()
    with counters._locks.get():
        child = os.fork()
        if child == 0:  # pragma: no cover - it ends by itself, or by the alarm
            signal.alarm(30)
            counters.increment("cache.hit")
            os._exit(counters.value("cache.hit"))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


# -- cache and configuration -------------------------------------------------------------------------------------------


def test_a_write_that_the_cache_missed_is_not_answered_from_it(
    tmp_path: Path, redis_server: RedisServer, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis answers, and takes nothing: as long as that is so, nothing in it is believed, and the log says so once."""
    now = [0.0]
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", **cached_by(redis_url))):
        world.states.register_state("u1", "user")
        world.runtime.cache._clock = lambda: now[0]
        with Redis.from_url(redis_url) as client:
            client.config_set("maxmemory", 1)
            try:
                world.states.update_state("u1")
                for _ in range(3):
                    now[0] += 5
                    assert world.states.get_state("u1").version == 2  # type: ignore[union-attr]
                    assert world.states.get_states(["u1"])["u1"].version == 2
            finally:
                client.config_set("maxmemory", 0)
        now[0] += 5
        hits = world.runtime.counters.value("cache.hit")
        for _ in range(2):
            assert world.states.get_state("u1").version == 2  # type: ignore[union-attr]
        assert world.runtime.counters.value("cache.hit") == hits + 1
        assert caplog.text.count("cannot be reached") == 1


def test_a_callback_reads_what_has_just_been_written(tmp_path: Path, redis_url: str) -> None:
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", **cached_by(redis_url))):
        seen: list[Any] = []

        @world.states.register_callback("user_created")
        def answer(state_id: str, *_rest: Any) -> None:
            world.states.update_state(state_id, {"n": 2})  # noqa: B023
            seen.append(world.states.get_state(state_id).data)  # type: ignore[union-attr]  # noqa: B023
            world.states.delete_state(state_id)  # noqa: B023
            seen.append(world.states.get_state(state_id))  # noqa: B023

        world.states.register_state("u1", "user")
        assert seen == [{"n": 2}, None]


def test_a_store_is_told_from_another_by_its_options_and_by_its_prefix() -> None:
    def identity(uri: str) -> str:
        return SqlBackend(create_engine(uri), declare(MetaData())).identity

    base = "postgresql+psycopg://one:secret@127.0.0.1/app"
    assert identity(f"{base}?application_name=a") == identity("postgresql+psycopg://two@127.0.0.1/app")
    assert identity(f"{base}?options=-csearch_path%3Da") != identity(f"{base}?options=-csearch_path%3Db")
    assert "secret" not in identity(base)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("CACHE_URL", "http://x"),
        ("CACHE_URL", "nonsense"),
        ("CACHE_URL", "redis://h:notaport/0"),
        ("CACHE_URL", "redis://h:0/0"),
        ("CACHE_TTL", 1e300),
        ("CACHE_PREFIX", ""),
        ("CACHE", "yes"),
        ("NEAR_CACHE_BYTES", -1),
        ("NEAR_CACHE_LEASE", 0),
    ],
)
def test_an_unusable_cache_setting_is_refused_at_once(key: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"STATEMANAGER_{key}"):
        Settings.from_mapping({f"STATEMANAGER_{key}": value})


def test_managers_are_looked_at_when_they_are_passed(state_manager_reset: None, tmp_path: Path) -> None:
    for wrong in ({"redis_manager": 42}, {"database_manager": 42}, {"redis_manager": AsyncRedis()}):
        with pytest.raises(ConfigurationError, match="offers no"):
            StateManager(**wrong)
    with pytest.raises(ConfigurationError, match="db="):
        StateManager(db=object())
    url = f"sqlite:///{tmp_path / 'm.db'}"
    assert StateManager(database_manager=url) is StateManager(database_manager="".join(url))
    StateManager().register_state("u1", "user")
    assert StateManager(database_manager=f"{url}").get_state("u1") is not None
    assert Flask("unrelated").extensions == {}

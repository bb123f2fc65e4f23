"""Durable effects: stored with the change or not at all, carried out at least once, in order, until they are dead."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from flask_statemanager import ConfigurationError, PermanentFailure, StateManager, signals
from flask_statemanager.core.jobs import EFFECT, Job
from flask_statemanager.core.record import Key
from flask_statemanager.effects.durable import LONGEST_PAUSE, LOST, Durability
from flask_statemanager.effects.queue import JobQueue
from flask_statemanager.testing.capture import captured
from tests.worlds import World, build, entered


class Mail:
    """An effect that notes its calls, and fails as often as it is told to."""

    def __init__(self, failures: int = 0, error: type[Exception] = RuntimeError) -> None:
        self.calls: list[Any] = []
        self.failures = failures
        self.error = error

    def __call__(
        self,
        state_id: str,
        old_state: dict[str, Any],
        new_state: dict[str, Any],
        transition_type: str,
        *,
        key: str,
        attempt: int,
    ) -> None:
        self.calls.append((state_id, old_state, new_state, transition_type, key, attempt))
        if len(self.calls) <= self.failures:
            raise self.error("no connection")

    @property
    def keys(self) -> list[str]:
        return [call[4] for call in self.calls]


def on(world: World, mail: Callable[..., Any], event: str = "user", name: str = "mail", **options: Any) -> None:
    world.states.register_callback(event, mail, durable=True, name=name, **options)


def statuses(world: World) -> list[str]:
    return [effect.status for effect in world.states.list_effects()]


def queue_of(world: World, name: str = "w1") -> JobQueue:
    backend = world.runtime.backend
    return JobQueue(backend, backend, world.clock, 30.0, name)


def notes(world: World) -> list[str]:
    world.db.session.rollback()
    return [note.text for note in world.db.session.query(world.note).order_by(world.note.id)]


# -- stored with the change --------------------------------------------------------------------------------------------


def test_an_effect_is_stored_with_its_change_and_carried_out_by_a_worker(world: World) -> None:
    mail = Mail()
    on(world, mail, "user_suspended")
    world.states.register_state("u1", "user", {"a": 1})
    world.states.update_state("u1", {"a": 2}, "suspend")
    assert mail.calls == []
    assert [(e.key, e.status, e.attempts) for e in world.states.list_effects()] == [("state:u1:2:mail", "pending", 0)]
    assert world.states.run_worker() == 1
    ((state_id, old, new, transition, key, attempt),) = mail.calls
    assert (state_id, transition, key, attempt) == ("u1", "suspend", "state:u1:2:mail", 1)
    assert (old["status"], old["data"], new["status"], new["data"]) == ("created", {"a": 1}, "suspended", {"a": 2})
    assert statuses(world) == ["done"]
    assert world.states.run_worker() == 0
    assert world.runtime.counters.value("effect.done") == 1


def test_a_vetoed_change_leaves_no_effect(world: World) -> None:
    def veto(*_call: Any) -> None:
        raise PermissionError("not today")

    on(world, Mail())
    world.states.register_callback("user", veto, when="before")
    with pytest.raises(PermissionError):
        world.states.register_state("u1", "user")
    assert world.states.list_effects() == []


def test_a_rolled_back_transaction_leaves_no_effect(sql_world: World) -> None:
    states, session = sql_world.states, sql_world.db.session
    on(sql_world, Mail())
    states.register_state("u1", "user", session=session)
    session.rollback()
    with states.transaction(session):
        states.register_state("u2", "user")
    session.rollback()
    assert states.list_effects() == []
    states.register_state("u3", "user", session=session)
    session.commit()
    assert [effect.state_id for effect in states.list_effects()] == ["u3"]


def test_a_rolled_back_savepoint_takes_its_own_effects_and_only_those(sql_world: World) -> None:
    states, session = sql_world.states, sql_world.db.session
    on(sql_world, Mail())
    states.register_state("u1", "user", session=session)
    with session.begin_nested() as inner:
        states.register_state("u2", "user", session=session)
        inner.rollback()
    with session.begin_nested():
        states.register_state("u3", "user", session=session)
    session.commit()
    assert [effect.state_id for effect in states.list_effects()] == ["u1", "u3"]
    assert states.run_worker() == 2
    with states.transaction(session), session.begin_nested():
        states.register_state("u4", "user", session=session)
    session.rollback()
    assert states.run_worker() == 0


def test_a_change_has_one_job_for_each_name_however_many_events_match(world: World) -> None:
    mail, other = Mail(), Mail()
    for event in ("*", "user", "user_created", "create"):
        on(world, mail, event)
    on(world, other, "user", "other")
    world.states.register_state("u1", "user")
    world.states.run_worker()
    assert mail.keys == ["state:u1:1:mail"]
    assert other.keys == ["state:u1:1:other"]


def test_an_effect_for_one_state_hears_only_of_it(world: World) -> None:
    mail = Mail()
    on(world, mail, state_id="u2")
    for name in ("u1", "u2"):
        world.states.register_state(name, "user")
    world.states.run_worker()
    assert [call[0] for call in mail.calls] == ["u2"]


def test_an_effect_sees_the_states_of_its_version_although_they_have_moved_on(world: World) -> None:
    mail = Mail()
    on(world, mail)
    world.states.register_state("u1", "user", {"n": 1})
    world.states.update_state("u1", {"n": 2})
    world.states.delete_state("u1")
    world.states.register_state("u1", "user", {"n": 4})
    world.states.run_worker()
    seen = [(old.get("data"), new["data"], new["version"], new["status"]) for _id, old, new, *_rest in mail.calls]
    assert seen == [
        (None, {"n": 1}, 1, "created"),
        ({"n": 1}, {"n": 2}, 2, "created"),
        ({"n": 2}, {"n": 2}, 3, "deleted"),
        (None, {"n": 4}, 4, "created"),
    ]


# -- attempts ----------------------------------------------------------------------------------------------------------


def test_a_failed_effect_is_tried_again_under_the_same_key(world: World) -> None:
    mail = Mail(failures=2)
    on(world, mail, backoff=10)
    world.states.register_state("u1", "user")
    assert world.states.run_worker() == 1
    (effect,) = world.states.list_effects()
    assert (effect.status, effect.attempts, effect.error) == ("pending", 1, "RuntimeError: no connection")
    assert 'raise self.error("no connection")' in effect.traceback
    assert effect.worker is None
    assert world.states.run_worker() == 0
    world.clock.advance(10)
    world.states.run_worker()
    world.clock.advance(20)
    world.states.run_worker()
    assert [(call[4], call[5]) for call in mail.calls] == [("state:u1:1:mail", number) for number in (1, 2, 3)]
    assert statuses(world) == ["done"]
    assert world.runtime.counters.value("effect.failed") == 2


def test_pauses_double_up_to_an_hour_and_half_of_each_is_random() -> None:
    durability = Durability("mail", backoff=5)
    for attempts, most in ((1, 5), (2, 10), (3, 20), (10, 2560), (11, LONGEST_PAUSE), (1000, LONGEST_PAUSE)):
        found = {durability.pause(attempts) for _ in range(50)}
        assert timedelta(seconds=most / 2) <= min(found) < max(found) <= timedelta(seconds=most)


def test_the_next_attempt_waits_for_the_pause(world: World) -> None:
    on(world, Mail(failures=9), backoff=10)
    world.states.register_state("u1", "user")
    for most in (10, 20, 40):
        assert world.states.run_worker() == 1
        due = datetime.fromisoformat(world.states.list_effects()[0].due_at.replace("Z", "+00:00"))
        assert timedelta(seconds=most / 2) <= due - world.clock.now() <= timedelta(seconds=most)
        world.clock.set(due - timedelta(microseconds=1))
        assert world.states.run_worker() == 0
        world.clock.set(due)


def test_used_up_attempts_make_a_dead_letter_that_is_told_once(world: World) -> None:
    on(world, Mail(failures=9), retries=1, backoff=1)
    world.states.register_state("u1", "user")
    with captured(signals.effect_dead) as told:
        world.states.run_worker()
        assert told.sent == []
        world.clock.advance(1)
        world.states.run_worker()
        world.clock.advance(9999)
        assert world.states.run_worker() == 0
    (effect,) = world.states.list_effects()
    assert (effect.status, effect.attempts, effect.error) == ("dead", 2, "RuntimeError: no connection")
    assert "Traceback" in effect.traceback
    assert [sent.payload["effect"]["key"] for sent in told.sent] == ["state:u1:1:mail"]
    assert [sent.payload["effect"]["status"] for sent in told.sent] == ["dead"]
    assert world.runtime.counters.value("effect.dead") == 1


def test_a_permanent_failure_is_not_tried_again(world: World) -> None:
    mail = Mail(failures=1, error=PermanentFailure)
    on(world, mail)
    world.states.register_state("u1", "user")
    world.states.run_worker()
    assert [(e.status, e.attempts, e.error) for e in world.states.list_effects()] == [
        ("dead", 1, "PermanentFailure: no connection")
    ]


@pytest.mark.parametrize(
    ("topic", "version", "error"),
    [("gone", 1, "No code knows the effect 'gone'"), ("mail", 9, "Version 9 is no longer in the history")],
    ids=["unknown name", "pruned version"],
)
def test_what_cannot_be_carried_out_goes_to_the_dead_letters(
    world: World, topic: str, version: int, error: str
) -> None:
    mail = Mail()
    on(world, mail, "user_suspended")
    world.states.register_state("u1", "user")
    now = world.clock.now()
    with world.runtime.backend.writing() as unit:
        job = Job(EFFECT, Key("state", "u1"), topic, version, due_at=now, created_at=now)
        world.runtime.backend.enqueue(unit, [job])
    world.states.run_worker()
    (effect,) = world.states.list_effects()
    assert effect.status == "dead"
    assert effect.error.startswith(error)
    assert mail.calls == []


def test_workers_that_die_use_attempts_up(world: World) -> None:
    mail = Mail()
    on(world, mail, retries=1)
    world.states.register_state("u1", "user")
    for _ in range(2 + LOST):
        assert len(queue_of(world).claim(1)) == 1
        world.clock.advance(31)
    assert world.states.run_worker() == 1
    (effect,) = world.states.list_effects()
    assert effect.status == "dead"
    assert effect.error == "5 attempts ended, the last ones without a record: a worker was killed, perhaps."
    assert mail.calls == []


def test_an_effect_without_retries_is_carried_out_although_workers_were_killed_before_it(world: World) -> None:
    mail = Mail()
    on(world, mail, retries=0)
    world.states.register_state("u1", "user")
    for _ in range(LOST):
        assert len(queue_of(world).claim(1)) == 1
        world.clock.advance(31)
    world.states.run_worker()
    assert (statuses(world), len(mail.calls)) == (["done"], 1)


def test_the_last_error_on_record_is_kept_when_later_attempts_leave_none(world: World) -> None:
    on(world, Mail(failures=1), retries=1, backoff=10)
    world.states.register_state("u1", "user")
    world.states.run_worker()
    world.clock.advance(10)
    for _ in range(1 + LOST):
        assert len(queue_of(world).claim(1)) == 1
        world.clock.advance(31)
    world.states.run_worker()
    (effect,) = world.states.list_effects()
    assert effect.status == "dead"
    assert effect.error.endswith("The last error on record: RuntimeError: no connection")
    assert effect.traceback.startswith("Traceback")


class Unreadable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (RuntimeError("x" * 1_000_000), "RuntimeError: xxx"),
        (RuntimeError("a\x00b"), "RuntimeError: a\\x00b"),
        (RuntimeError("a\ud800b"), "RuntimeError: a\\ud800b"),
        (RuntimeError(), "RuntimeError"),
        (Unreadable(), "Unreadable: its message cannot be read"),
        (AssertionError("é ☃"), "AssertionError: é ☃"),
        (SystemExit("over"), "SystemExit: over"),
        (asyncio.CancelledError("late"), "CancelledError: late"),
    ],
    ids=["huge", "NUL", "surrogate", "empty", "unreadable", "unicode", "exit", "cancelled"],
)
def test_any_error_is_kept_in_a_form_that_can_be_stored(world: World, error: BaseException, kept: str) -> None:
    def broken(*_call: Any) -> None:
        raise error

    on(world, broken, retries=0)
    world.states.register_state("u1", "user")
    world.states.run_worker()
    (effect,) = world.states.list_effects()
    assert effect.status == "dead"
    assert effect.error[: len(kept)] == kept
    assert len(effect.error) <= 2000
    assert len(effect.traceback) < 10_100
    assert effect.traceback.startswith("Traceback")


# -- order -------------------------------------------------------------------------------------------------------------


def test_an_effect_waits_for_its_earlier_versions_of_the_same_state_only(world: World) -> None:
    mail, other = Mail(failures=1), Mail()
    on(world, mail, backoff=10)
    on(world, other, name="other")
    world.states.register_state("u1", "user")
    world.states.update_state("u1", {"a": 1})
    world.states.run_worker()
    world.states.register_state("u2", "user")
    world.states.run_worker()
    assert mail.keys == ["state:u1:1:mail", "state:u2:1:mail"]
    assert other.keys == ["state:u1:1:other", "state:u1:2:other", "state:u2:1:other"]
    world.clock.advance(10)
    world.states.run_worker(threads=4)
    assert mail.keys[2:] == ["state:u1:1:mail", "state:u1:2:mail"]


def test_an_unordered_effect_does_not_wait(world: World) -> None:
    mail = Mail(failures=1)
    on(world, mail, backoff=10, ordered=False)
    world.states.register_state("u1", "user")
    world.states.update_state("u1", {"a": 1})
    world.states.run_worker()
    assert sorted(mail.keys) == ["state:u1:1:mail", "state:u1:2:mail"]
    assert sorted(statuses(world)) == ["done", "pending"]


def test_a_dead_letter_does_not_hold_up_later_versions(world: World) -> None:
    mail = Mail(failures=1, error=PermanentFailure)
    on(world, mail)
    world.states.register_state("u1", "user")
    world.states.update_state("u1", {"a": 1})
    world.states.run_worker()
    assert statuses(world) == ["dead", "done"]


# -- the session of an effect ------------------------------------------------------------------------------------------


def test_what_is_written_through_the_session_is_committed_with_the_success(sql_world: World) -> None:
    def book(*_call: Any, key: str, session: Any, attempt: int) -> None:
        session.add(sql_world.note(text=f"{key} {attempt}"))
        session.flush()
        if attempt == 1:
            raise RuntimeError("after the writing")

    on(sql_world, book, backoff=1)
    sql_world.states.register_state("u1", "user")
    sql_world.states.run_worker()
    assert notes(sql_world) == []
    assert statuses(sql_world) == ["pending"]
    sql_world.clock.advance(1)
    sql_world.states.run_worker()
    assert notes(sql_world) == ["state:u1:1:mail 2"]
    assert statuses(sql_world) == ["done"]


def test_a_savepoint_of_the_session_does_not_outlive_its_rollback(sql_world: World) -> None:
    """SQLite's driver would commit it when it is released."""

    def book(*_call: Any, key: str, session: Any, attempt: int) -> None:
        with session.begin_nested():
            session.add(sql_world.note(text=f"{key} {attempt}"))
        if attempt < 3:
            raise RuntimeError("a later step")

    on(sql_world, book, backoff=0)
    sql_world.states.register_state("u1", "user")
    sql_world.states.run_worker()
    assert (notes(sql_world), statuses(sql_world)) == (["state:u1:1:mail 3"], ["done"])


def test_what_an_effect_leaves_open_in_the_applications_session_is_rolled_back_before_its_end_is_noted(
    sql_world: World,
) -> None:
    """On SQLite the open write would keep the record of the success out."""

    def careless(*_call: Any) -> None:
        sql_world.db.session.add(sql_world.note(text="never committed"))
        sql_world.db.session.flush()

    on(sql_world, careless)
    sql_world.states.register_state("u1", "user")
    assert sql_world.states.run_worker() == 1
    assert (notes(sql_world), statuses(sql_world)) == ([], ["done"])


def test_on_in_memory_sqlite_jobs_are_done_one_after_another(memory_sqlite_world: World) -> None:
    """All sessions share one connection there: what one rolls back would be another's."""
    assert memory_sqlite_world.runtime.workshop.make_worker(threads=8).threads == 1
    assert memory_sqlite_world.runtime.workshop.make_worker().threads == 1


def test_a_refused_commit_is_a_failed_attempt(sql_world: World) -> None:
    def book(*_call: Any, session: Any) -> None:
        session.add(sql_world.note(text=None))

    on(sql_world, book)
    sql_world.states.register_state("u1", "user")
    sql_world.states.run_worker()
    (effect,) = sql_world.states.list_effects()
    assert (effect.status, effect.attempts) == ("pending", 1)
    assert effect.error.startswith("IntegrityError")


def test_a_lost_lease_takes_what_the_session_has_written_with_it(sql_world: World) -> None:
    def book(*_call: Any, key: str, session: Any, attempt: int) -> None:
        session.add(sql_world.note(text=f"{key} {attempt}"))
        if attempt == 1:
            sql_world.clock.advance(31)
            (again,) = queue_of(sql_world, "w2").claim(1)
            sql_world.runtime.workshop.effects.run(again)

    on(sql_world, book)
    sql_world.states.register_state("u1", "user")
    (job,) = queue_of(sql_world).claim(1)
    sql_world.runtime.workshop.effects.run(job)
    assert notes(sql_world) == ["state:u1:1:mail 2"]
    assert [(e.status, e.attempts) for e in sql_world.states.list_effects()] == [("done", 2)]
    assert sql_world.runtime.counters.value("effect.late") == 1


def test_what_a_timed_out_attempt_writes_through_the_session_is_undone(sql_world: World) -> None:
    def book(*_call: Any, session: Any) -> None:
        session.add(sql_world.note(text="late"))
        sql_world.runtime.workshop.effects.timed_out(job)

    on(sql_world, book, timeout=7, backoff=1)
    sql_world.states.register_state("u1", "user")
    (job,) = queue_of(sql_world).claim(1)
    assert sql_world.runtime.workshop.effects.timeout_of(job) == 7
    sql_world.runtime.workshop.effects.run(job)
    (effect,) = sql_world.states.list_effects()
    assert (effect.status, effect.error) == ("pending", "The attempt took longer than 7 seconds.")
    assert notes(sql_world) == []


def test_a_failure_after_a_lost_lease_does_not_overwrite_the_success(world: World) -> None:
    def slow(*_call: Any, attempt: int) -> None:
        if attempt == 1:
            world.clock.advance(31)
            (again,) = queue_of(world, "w2").claim(1)
            world.runtime.workshop.effects.run(again)
            raise RuntimeError("too late")

    on(world, slow)
    world.states.register_state("u1", "user")
    (job,) = queue_of(world).claim(1)
    world.runtime.workshop.effects.run(job)
    assert [(e.status, e.error) for e in world.states.list_effects()] == [("done", None)]


def test_an_effect_may_use_the_applications_session(sql_world: World) -> None:
    def book(state_id: str, *_call: Any) -> None:
        sql_world.db.session.add(sql_world.note(text=state_id))
        sql_world.db.session.commit()

    on(sql_world, book)
    sql_world.states.register_state("u1", "user")
    sql_world.states.run_worker()
    assert notes(sql_world) == ["u1"]
    assert statuses(sql_world) == ["done"]


def test_an_effect_writes_states_which_cause_further_effects(world: World) -> None:
    mail = Mail()

    def activate(state_id: str, *_call: Any) -> None:
        world.states.update_state(state_id, transition="activate", actor="welcome")

    on(world, activate, "user_created", "activate")
    on(world, mail, "user_activated")
    world.states.register_state("u1", "user")
    assert world.states.run_worker() == 2
    assert mail.keys == ["state:u1:2:mail"]
    assert world.states.get_state_history("u1")[-1].actor == "welcome"


def test_a_state_that_an_effect_writes_through_its_session_is_committed_with_the_success(sql_world: World) -> None:
    states = sql_world.states

    def activate(state_id: str, *_call: Any, session: Any, attempt: int) -> None:
        states.update_state(state_id, transition="activate", session=session)
        session.execute(text("SELECT 1"))
        if attempt == 1:
            raise RuntimeError("after the transition")

    heard = Mail()
    states.register_callback("user_activated", lambda *call: heard.calls.append(call))
    on(sql_world, activate, "user_created", backoff=1)
    states.register_state("u1", "user")
    states.run_worker()
    assert [entry.version for entry in states.get_state_history("u1")] == [1]
    sql_world.clock.advance(1)
    states.run_worker()
    assert [entry.to_status for entry in states.get_state_history("u1")] == ["created", "active"]
    assert len(heard.calls) == 1
    assert statuses(sql_world) == ["done"]


def test_writing_a_state_beside_an_open_session_of_sqlite_fails_the_attempt_and_names_the_cure(
    sqlite_world: World,
) -> None:
    def book(state_id: str, *_call: Any, session: Any) -> None:
        session.add(sqlite_world.note(text="x"))
        session.flush()
        sqlite_world.states.update_state(state_id, transition="activate")

    on(sqlite_world, book, "user_created")
    sqlite_world.states.register_state("u1", "user")
    sqlite_world.states.run_worker()
    (effect,) = sqlite_world.states.list_effects()
    assert (effect.status, effect.attempts) == ("pending", 1)
    assert "session=" in effect.error
    assert notes(sqlite_world) == []


def test_a_backend_without_transactions_to_join_hands_over_no_session(world: World) -> None:
    given: list[Any] = []
    on(world, lambda *_call, session: given.append(session))
    world.states.register_state("u1", "user")
    world.states.run_worker()
    assert [session is None for session in given] == [world.kind == "memory"]


# -- declaring ---------------------------------------------------------------------------------------------------------


class Sender:
    def send(self, state_id: str, old: Any, new: Any, transition: str, key: str = "") -> None:
        seen.append(("method", key))

    @staticmethod
    def plain(state_id: str, old: Any, new: Any, transition: str) -> None:
        seen.append(("static", None))

    async def later(self, *call: Any) -> None: ...


class Calls:
    def __call__(self, *call: Any, **extras: Any) -> None:
        seen.append(("object", sorted(extras)))


class Later:
    async def __call__(self, *call: Any) -> None: ...


@pytest.fixture
def memory() -> Iterator[World]:
    """An application in memory, for what is the same on every backend."""
    yield from entered(build("memory", "sqlite://"))


def four(state_id: str, old: Any, new: Any, transition: str, more: str = "x", *, attempt: int) -> None:
    seen.append((more, attempt))


def generates(*call: Any) -> Any:
    yield call


seen: list[Any] = []


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (Sender().send, ("method", "state:u1:1:mail")),
        (Sender.plain, ("static", None)),
        (Calls(), ("object", ["attempt", "key", "session"])),
        (four, ("x", 1)),
        (functools.partial(four, more="y"), ("y", 1)),
        (lambda *call, **extras: seen.append(extras["attempt"]), 1),
    ],
    ids=["method", "static method", "object", "function", "partial", "lambda"],
)
def test_functions_of_all_shapes_get_the_keywords_that_they_name(
    memory: World, function: Callable[..., Any], expected: Any
) -> None:
    seen.clear()
    on(memory, function)
    memory.states.register_state("u1", "user")
    memory.states.run_worker()
    assert seen == [expected]


@pytest.mark.parametrize(
    "function",
    [
        lambda state_id: None,
        lambda a, b, c, d, e: None,
        lambda a, b, c, d, *, mail: None,
        lambda a, b, c, key: None,
        Sender().later,
        Later(),
        generates,
        "mail",
    ],
    ids=["too few", "too many", "unknown keyword", "taken name", "async", "async object", "generator", "text"],
)
def test_a_function_that_could_not_be_carried_out_is_refused_when_it_is_declared(memory: World, function: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"durable effect takes|must be callable"):
        on(memory, function)
    assert memory.runtime.declarations.callbacks.effects == []


def test_an_effect_is_named_after_module_and_function_unless_told_otherwise(memory: World) -> None:
    callbacks = memory.runtime.declarations.callbacks
    memory.states.register_callback("user", four, durable=True)
    assert memory.states.effect("user_created", name="own")(Sender.plain) is Sender.plain
    assert callbacks.effects == ["own", "tests.test_durable.four"]


@pytest.mark.parametrize(
    ("function", "name", "said"),
    [
        (four, "a:b", "colon"),
        (four, "x" * 256, "too large"),
        (four, "", "not empty"),
        (four, "a\x00b", "cannot be used"),
        (four, 5, "not 5"),
        (lambda *call: None, None, "pass name="),
        (functools.partial(four), None, "pass name="),
        (Calls(), None, "pass name="),
    ],
    ids=["colon", "too long", "empty", "NUL", "number", "lambda", "partial", "object"],
)
def test_a_name_that_is_not_stable_or_cannot_be_stored_is_refused(
    memory: World, function: Any, name: Any, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        memory.states.register_callback("user", function, durable=True, name=name)


def test_a_name_belongs_to_one_function_with_one_set_of_options(memory: World) -> None:
    sender = Sender()
    on(memory, sender.send, "user_created")
    on(memory, sender.send, "user_deleted")
    for function, retries in ((four, None), (sender.send, 1), (Sender().send, None)):
        with pytest.raises(ConfigurationError, match="another durable effect 'mail'"):
            on(memory, function, retries=retries)
    memory.states.register_state("u1", "user")
    memory.states.delete_state("u1")
    assert len(memory.states.list_effects()) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"retries": -1},
        {"retries": 1.5},
        {"retries": True},
        {"retries": 1001},
        {"backoff": -1},
        {"backoff": float("nan")},
        {"backoff": "5"},
        {"timeout": 0},
        {"timeout": 86_401},
        {"timeout": float("inf")},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(memory: World, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(options))}=.* must be a number from"):
        on(memory, four, **options)


def test_the_limits_of_the_options_can_be_used(memory: World) -> None:
    on(memory, four, name="least", retries=0, backoff=0, timeout=0.001, ordered=False)
    on(memory, four, name="most", retries=1000, backoff=86_400, timeout=86_400, ordered=True)
    assert memory.runtime.declarations.callbacks.effects == ["least", "most"]


@pytest.mark.parametrize(
    "option", [{"name": "x"}, {"retries": 1}, {"backoff": 1}, {"timeout": 1}, {"ordered": False}], ids=str
)
def test_a_callback_that_is_not_durable_refuses_the_options_of_durable_ones(
    memory: World, option: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match="pass durable=True"):
        memory.states.register_callback("user", four, **option)


def test_a_durable_callback_cannot_veto(memory: World) -> None:
    with pytest.raises(ConfigurationError, match="leave when= out"):
        on(memory, four, when="before")


def test_an_effect_cannot_be_declared_while_a_request_is_under_way(memory: World) -> None:
    decorator = memory.states.effect("user", name="mail")
    with memory.app.test_request_context(), pytest.raises(ConfigurationError, match="during a request"):
        memory.states.effect("user", name="other")
    with memory.app.test_request_context(), pytest.raises(ConfigurationError, match="during a request"):
        decorator(four)
    assert memory.runtime.declarations.callbacks.effects == []


def test_every_failed_attempt_is_logged_with_its_traceback_and_a_dead_letter_as_an_error(
    memory: World, caplog: pytest.LogCaptureFixture
) -> None:
    on(memory, Mail(failures=9), retries=0)
    memory.states.register_state("u1", "user")
    with caplog.at_level(logging.WARNING, "flask_statemanager.effects"):
        memory.states.run_worker()
    assert [
        (r.levelname, r.exc_info is not None) for r in caplog.records if r.name == "flask_statemanager.effects"
    ] == [
        ("WARNING", True),
        ("ERROR", False),
    ]
    assert "state:u1:1:mail is a dead letter: RuntimeError: no connection" in caplog.text


def test_effects_need_no_app() -> None:
    """A manager without an app keeps its jobs in memory, and a script carries them out."""
    StateManager.reset_instance()
    mail, manager = Mail(), StateManager()
    manager.register_callback("user", mail, durable=True, name="mail")
    with pytest.warns(UserWarning, match="works in memory"):
        manager.register_state("u1", "user")
    assert manager.run_worker() == 1
    assert mail.keys == ["state:u1:1:mail"]
    StateManager.reset_instance()


def test_an_attempt_that_takes_too_long_uses_an_attempt_up(memory: World) -> None:
    runner = memory.runtime.workshop.effects
    on(memory, Mail(), timeout=7, retries=1, backoff=1)
    memory.states.register_state("u1", "user")
    for expected in ("pending", "dead"):
        (job,) = queue_of(memory).claim(1)
        runner.timed_out(job)
        assert statuses(memory) == [expected]
        memory.clock.advance(1)
    assert memory.states.list_effects()[0].error == "The attempt took longer than 7 seconds."


def test_an_effect_that_no_code_knows_has_the_usual_timeout(memory: World) -> None:
    now = memory.clock.now()
    with memory.runtime.backend.writing() as unit:
        job = Job(EFFECT, Key("state", "u1"), "gone", 1, due_at=now, created_at=now)
        memory.runtime.backend.enqueue(unit, [job])
    (job,) = queue_of(memory).claim(1)
    assert memory.runtime.workshop.effects.timeout_of(job) == 60
    memory.runtime.workshop.effects.timed_out(job)
    assert statuses(memory) == ["pending"]


def test_a_function_of_a_script_needs_a_name(world: World) -> None:
    """A worker that imports the module knows it by another one."""

    def mail(*_call: Any) -> None: ...

    mail.__module__ = "__main__"
    with pytest.raises(ConfigurationError, match="pass name="):
        world.states.register_callback("user", mail, durable=True)
    assert world.states.register_callback("user", mail, durable=True, name="mail") is mail


@pytest.mark.parametrize("ordered", ["no", [], 0, float("nan")])
def test_whether_order_is_kept_is_said_by_true_or_false(memory: World, ordered: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be True or False"):
        memory.states.register_callback("user", lambda *_call: None, durable=True, name="m", ordered=ordered)

"""Timers: a transition made later, once, or never if it is not allowed then, with the reason."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from flask_statemanager import (
    Guard,
    JobNotFound,
    Machine,
    StateNotFound,
    StateTransition,
    StateValidationError,
    Transition,
)
from flask_statemanager.effects.queue import JobQueue
from flask_statemanager.lifecycle.timers import RETRIES
from flask_statemanager.testing.clock import START
from tests.worlds import World, build, entered

PATIENCE = 60.0


@pytest.fixture
def memory() -> Iterator[World]:
    """An application in memory, for what is the same on every backend."""
    yield from entered(build("memory", "sqlite://"))


def queue_of(world: World, name: str = "w1") -> JobQueue:
    backend = world.runtime.backend
    return JobQueue(backend, backend, world.clock, 30.0, name)


def only(world: World, state_id: str = "u1") -> Any:
    """The only timer of a state, in whatever status."""
    (timer,) = world.states.list_timers(state_id, status=None)
    return timer


def status_of(world: World, state_id: str = "u1") -> str:
    found = world.states.get_state(state_id)
    return "none" if found is None else found.status


def versions(world: World, state_id: str = "u1") -> list[str]:
    return [entry.transition_type for entry in world.states.get_state_history(state_id)]


# -- firing ------------------------------------------------------------------------------------------------------------


def test_a_timer_makes_its_transition_once_its_moment_has_come(world: World) -> None:
    world.states.register_state("u1", "user", {"a": 1, "b": {"c": 1}})
    timer = world.states.schedule_transition("u1", "suspend", after=60, data={"a": 2, "b": {"d": 2}})
    assert (timer.status, timer.due_at, timer.data) == (
        "pending",
        "2026-01-01T12:01:00.000000Z",
        {"a": 2, "b": {"d": 2}},
    )
    world.clock.advance(59.999999)
    assert world.states.run_worker() == 0
    world.clock.advance(0.000001)
    assert world.states.run_worker() == 1
    found = world.states.get_state("u1")
    assert found is not None
    assert (found.status, found.data) == ("suspended", {"a": 2, "b": {"c": 1, "d": 2}})
    assert (only(world).status, only(world).finished_at) == ("done", "2026-01-01T12:01:00.000000Z")
    world.clock.advance(9999)
    assert world.states.run_worker() == 0
    assert world.runtime.counters.value("timer.done") == 1


def test_the_history_names_who_asked_and_why(world: World) -> None:
    world.states.register_state("u1", "user")
    world.states.schedule_transition("u1", "suspend", after=1, actor="ann", source="billing", reason="unpaid")
    world.states.schedule_transition("u1", StateTransition.RESUME, after=2)
    world.clock.advance(3)
    world.states.run_worker()
    entries = world.states.get_state_history("u1")[1:]
    assert [(e.transition_type, e.actor, e.source, e.reason) for e in entries] == [
        ("suspend", "ann", "timer", "unpaid"),
        ("resume", "system", "timer", None),
    ]


def test_the_view_of_a_timer_has_every_key(world: World) -> None:
    world.states.register_state("u1", "user")
    timer = world.states.schedule_transition("u1", "suspend", after=60, key="k", actor="ann", reason="unpaid")
    assert timer == {
        "id": timer.id,
        "state_id": "u1",
        "transition": "suspend",
        "key": "k",
        "deadline": None,
        "status": "pending",
        "due_at": "2026-01-01T12:01:00.000000Z",
        "data": None,
        "metadata": None,
        "name": None,
        "only_in": None,
        "actor": "ann",
        "reason": "unpaid",
        "error": None,
        "created_at": "2026-01-01T12:00:00.000000Z",
        "finished_at": None,
    }
    assert world.states.get_timer(timer.id) == timer
    assert world.states.list_timers() == [timer]
    with pytest.raises(AttributeError, match="has no 'moment'"):
        _ = timer.moment
    with pytest.raises(JobNotFound) as missing:
        world.states.get_timer(99999)
    assert str(missing.value) == (
        "The timer 99999: there is none, or it has been forgotten since it ended; "
        "list_timers(status=None) shows those there are."
    )
    with pytest.raises(StateValidationError, match="timer_id"):
        world.states.get_timer(None)  # type: ignore[arg-type]


def test_data_means_what_it_means_in_an_update(world: World) -> None:
    states = world.states
    given: dict[str, dict[str, Any]] = {
        "bare": {"a": 2, "name": "Ann", "b": None},
        "envelope": {"data": {"b": {"d": 2}, "c": None}, "metadata": {"m": 2}, "name": "Ann"},
        "own": {"state_id": "own", "type": "USER", "data": {"a": 2}},
        "metadata": {"metadata": {"m": None}},
    }
    for name, data in given.items():
        for state_id in (name, f"{name}-now"):
            states.register_state(state_id, "user", {"data": {"a": 1, "b": {"c": 1}}, "metadata": {"m": 1}})
        states.schedule_transition(name, "suspend", after=60, data=data)
        states.update_state(f"{name}-now", data | ({"state_id": "own-now"} if name == "own" else {}), "suspend")
    timer = states.list_timers("envelope")[0]
    assert (timer.data, timer.metadata, timer.name) == ({"b": {"d": 2}, "c": None}, {"m": 2}, "Ann")
    world.clock.advance(60)
    assert states.run_worker() == 4
    for name in given:
        later, now = states.get_state(name), states.get_state(f"{name}-now")
        assert later is not None
        assert now is not None
        assert (later.data, later.metadata, later.status) == (now.data, now.metadata, "suspended")
        assert later.name == now.name.removesuffix("-now")


@pytest.mark.parametrize("envelope", [{"state_id": "u2", "data": {}}, {"type": "session", "metadata": {}}], ids=str)
def test_an_envelope_of_another_state_is_refused_when_the_timer_is_set(memory: World, envelope: dict[str, Any]) -> None:
    memory.states.register_state("u1", "user")
    with pytest.raises(StateValidationError, match="make them agree") as at_once:
        memory.states.update_state("u1", envelope, "suspend")
    with pytest.raises(StateValidationError) as later:
        memory.states.schedule_transition("u1", "suspend", after=5, data=envelope)
    assert later.value.errors == at_once.value.errors
    assert memory.states.list_timers(status=None) == []


def test_a_moment_in_the_past_means_at_once(world: World) -> None:
    world.states.register_state("u1", "user")
    world.states.schedule_transition("u1", "suspend", at=START - timedelta(days=1))
    assert world.states.get_health_status()["effects"]["waiting"] == 0
    world.states.run_worker()
    assert status_of(world) == "suspended"


def test_a_moment_is_the_same_in_every_time_zone(memory: World) -> None:
    memory.states.register_state("u1", "user")
    east = timezone(timedelta(hours=5))
    timer = memory.states.schedule_transition("u1", "suspend", at=datetime(2026, 1, 1, 18, 0, tzinfo=east))
    assert timer.due_at == "2026-01-01T13:00:00.000000Z"
    assert memory.states.schedule_transition("u1", "resume", after=timedelta(hours=1)).due_at == timer.due_at


def test_timers_that_are_due_together_fire_in_the_order_of_their_moments(world: World) -> None:
    world.states.register_state("u1", "user")
    for transition, after in (("activate", 3), ("suspend", 1), ("resume", 2)):
        world.states.schedule_transition("u1", transition, after=after)
    world.clock.advance(10)
    world.states.run_worker(threads=1)
    assert versions(world) == ["create", "suspend", "resume"]
    assert [t.status for t in world.states.list_timers(status=None)] == ["skipped", "done", "done"]


def test_after_a_restart_what_was_due_meanwhile_fires_at_once(sql_world: World) -> None:
    """Nothing is kept in the process: another app on the same database fires it."""
    sql_world.states.register_state("u1", "user")
    sql_world.states.schedule_transition("u1", "suspend", after=60)
    uri = sql_world.app.config["SQLALCHEMY_DATABASE_URI"]
    for again in entered(build(sql_world.kind, uri)):
        again.clock.advance(3600)
        assert again.states.run_worker() == 1
        assert status_of(again) == "suspended"


def test_each_timer_fires_once_with_two_workers(sql_world: World) -> None:
    names = [f"u{number}" for number in range(20)]
    for name in names:
        sql_world.states.register_state(name, "user")
        sql_world.states.schedule_transition(name, "update", after=1, data={"fired": True})
    sql_world.clock.advance(1)
    start = threading.Barrier(2)

    def work() -> None:
        with sql_world.app.app_context():
            start.wait(PATIENCE)
            sql_world.states.run_worker(threads=2)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
    assert [versions(sql_world, name) for name in names] == [["create", "update"]] * 20
    assert {timer.status for timer in sql_world.states.list_timers(status=None)} == {"done"}


# -- keys --------------------------------------------------------------------------------------------------------------


def test_a_timer_of_the_same_key_takes_the_earlier_ones_place(world: World) -> None:
    world.states.register_state("u1", "user")
    world.states.register_state("u2", "user")
    first = world.states.schedule_transition("u1", "suspend", after=60, key="k")
    world.states.schedule_transition("u2", "suspend", after=60, key="k")
    second = world.states.schedule_transition("u1", "activate", after=90, key="k")
    assert [t.transition for t in world.states.list_timers("u1", status=None)] == ["activate"]
    assert first.id == second.id
    world.clock.advance(90)
    world.states.run_worker()
    assert (status_of(world), status_of(world, "u2")) == ("active", "suspended")
    third = world.states.schedule_transition("u1", "suspend", after=60, key="k")
    assert third.id != second.id


def test_timers_without_a_key_stand_side_by_side(world: World) -> None:
    world.states.register_state("u1", "user")
    keys = {world.states.schedule_transition("u1", "suspend", after=60).key for _ in range(3)}
    assert len(keys) == len(world.states.list_timers("u1")) == 3


# -- skipped -----------------------------------------------------------------------------------------------------------


def skipped(world: World) -> str:
    """Fire what is due, and return why the timer of u1 was skipped."""
    world.clock.advance(60)
    before = len(world.states.get_state_history("u1"))
    assert world.states.run_worker() == 1
    timer = only(world)
    assert timer.status == "skipped"
    assert timer.finished_at is not None
    assert len(world.states.get_state_history("u1")) == before
    assert world.runtime.counters.value("timer.skipped") == 1
    assert world.states.run_worker() == 0
    return str(timer.error)


def test_a_timer_is_skipped_when_the_status_does_not_allow_its_transition(world: World) -> None:
    world.states.register_state("u1", "user")
    world.states.schedule_transition("u1", "resume", after=60)
    assert "'created' does not allow the transition 'resume'" in skipped(world)


def test_a_timer_is_skipped_when_the_state_is_in_another_status_than_it_is_for(world: World) -> None:
    world.states.register_state("u1", "user")
    world.states.schedule_transition("u1", "suspend", after=60, only_in="created")
    world.states.update_state("u1", transition="activate")
    assert skipped(world) == "The state has moved on to the status 'active', and the timer is for 'created'."


def test_a_timer_for_several_statuses_fires_in_each_of_them(world: World) -> None:
    world.states.register_state("u1", "user")
    world.states.schedule_transition("u1", "suspend", after=60, only_in=["created", "active"])
    world.states.update_state("u1", transition="activate")
    world.clock.advance(60)
    world.states.run_worker()
    assert status_of(world) == "suspended"


def test_a_timer_is_skipped_when_a_guard_refuses(world: World) -> None:
    paid = Guard(lambda present, planned: present.data["paid"], "paid", "it is not paid")
    world.states.define("order", Machine(transitions=[Transition("ship", ["created"], "shipped", guards=paid)]))
    world.states.register_state("u1", "order", {"paid": False})
    world.states.schedule_transition("u1", "ship", after=60)
    assert "'paid' refuses the transition 'ship': it is not paid" in skipped(world)


def test_a_timer_is_skipped_when_its_data_is_not_acceptable(world: World) -> None:
    world.states.register_validator("user", lambda state: state["data"].get("a") != 2)
    world.states.register_state("u1", "user", {"a": 1})
    world.states.schedule_transition("u1", "suspend", after=60, data={"a": 2})
    assert "refuses the state" in skipped(world)


def test_a_timer_is_skipped_when_the_state_is_deleted(world: World) -> None:
    world.states.register_state("u1", "user")
    world.states.schedule_transition("u1", "suspend", after=60)
    world.states.delete_state("u1")
    assert skipped(world) == "The state is deleted."


def test_a_timer_of_an_earlier_state_of_the_same_id_is_skipped(world: World) -> None:
    world.states.register_state("u1", "user")
    world.states.schedule_transition("u1", "suspend", after=60)
    world.clock.advance(1)
    world.states.delete_state("u1")
    world.states.register_state("u1", "user")
    assert "another one has its id" in skipped(world)
    assert status_of(world) == "created"


def test_a_timer_is_skipped_when_the_machine_has_changed(world: World) -> None:
    world.states.define("order", Machine(transitions=[Transition("ship", ["created"], "shipped")]))
    world.states.register_state("u1", "order")
    world.states.schedule_transition("u1", "ship", after=60)
    world.states.define("order", Machine(transitions=[Transition("send", ["created"], "sent")]))
    assert "There is no 'ship' here" in skipped(world)


def test_a_state_that_has_expired_meanwhile_expires_first(world: World) -> None:
    world.states.register_state("u1", "user", ttl=30)
    world.states.schedule_transition("u1", "activate", after=60)
    world.clock.advance(60)
    world.states.run_worker()
    assert versions(world) == ["create", "expire", "activate"]


# -- failing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("no connection"), SystemExit("no connection")])
def test_a_timer_that_a_hook_keeps_from_firing_is_tried_again(world: World, error: BaseException) -> None:
    calls: list[str] = []

    def sometimes(state_id: str, *_call: Any) -> None:
        calls.append(state_id)
        if len(calls) == 1:
            raise error

    world.states.register_callback("user_suspended", sometimes, when="before")
    world.states.register_state("u1", "user")
    world.states.schedule_transition("u1", "suspend", after=60)
    world.clock.advance(60)
    world.states.run_worker()
    assert (only(world).status, only(world).error) == ("pending", f"{type(error).__name__}: no connection")
    assert only(world).due_at == "2026-01-01T12:01:00.000000Z"
    assert status_of(world) == "created"
    assert world.states.run_worker() == 0
    world.clock.advance(5)
    world.states.run_worker()
    assert (only(world).status, only(world).error) == ("done", None)
    assert (world.runtime.counters.value("timer.failed"), world.runtime.counters.value("timer.done")) == (1, 1)


def test_a_timer_that_never_gets_through_is_dead_and_can_be_cancelled(world: World) -> None:
    def never(*_call: Any) -> None:
        raise RuntimeError("a\x00b\ud800")

    world.states.register_callback("user_suspended", never, when="before")
    world.states.register_state("u1", "user")
    world.states.schedule_transition("u1", "suspend", after=1)
    for _ in range(RETRIES + 1):
        world.clock.advance(3600)
        assert world.states.run_worker() == 1
    assert (only(world).status, only(world).error) == ("dead", "RuntimeError: a\\x00b\\ud800")
    world.clock.advance(99999)
    assert world.states.run_worker() == 0
    assert world.states.get_health_status()["effects"]["dead"] == 1
    assert world.states.cancel_scheduled("u1") == 1
    assert (only(world).status, world.states.get_health_status()["effects"]["dead"]) == ("cancelled", 0)


def test_workers_that_die_use_the_attempts_of_a_timer_up(memory: World) -> None:
    memory.states.register_state("u1", "user")
    memory.states.schedule_transition("u1", "suspend", after=1)
    for _ in range(RETRIES + 1):
        memory.clock.advance(31)
        assert len(queue_of(memory).claim(1)) == 1
    memory.clock.advance(31)
    memory.states.run_worker()
    assert (only(memory).status, status_of(memory)) == ("dead", "created")
    assert "their workers died" in only(memory).error


def test_a_timer_that_takes_too_long_is_tried_again_and_its_late_result_undone(memory: World) -> None:
    runner = memory.runtime.workshop.timers
    memory.states.register_state("u1", "user")
    memory.states.schedule_transition("u1", "suspend", after=1)
    memory.clock.advance(1)
    (job,) = queue_of(memory).claim(1)
    assert runner.timeout_of(job) == 60
    runner.timed_out(job)
    assert (only(memory).status, only(memory).error) == ("pending", "The attempt took too long.")
    runner.run(job)
    assert status_of(memory) == "created"
    assert memory.runtime.counters.value("timer.late") == 1


# -- cancelling --------------------------------------------------------------------------------------------------------


def test_timers_are_cancelled_by_key_by_transition_or_all(world: World) -> None:
    states = world.states
    states.register_state("u1", "user")
    states.register_state("u2", "user")
    for key, transition in (("a", "suspend"), ("b", "suspend"), ("c", "activate"), ("d", "activate")):
        states.schedule_transition("u1", transition, after=60, key=key)
    states.schedule_transition("u2", "suspend", after=60, key="a")
    assert states.cancel_scheduled("u1", key="a", actor="ann", reason="paid") == 1
    assert states.cancel_scheduled("u1", key="c", transition="suspend") == 0
    assert states.cancel_scheduled("u1", transition="activate") == 2
    assert [t.key for t in states.list_timers("u1")] == ["b"]
    assert states.cancel_scheduled("u1") == 1
    assert states.cancel_scheduled("u1") == states.cancel_scheduled("u9") == 0
    states.schedule_transition("u1", "suspend", after=60, key="e")
    assert states.cancel_scheduled("u1", actor="ann", source="billing", reason="paid") == 1
    assert states.list_timers("u1", status="cancelled")[-1].error == "cancelled by ann (billing): paid"
    with pytest.raises(StateValidationError, match="source"):
        states.cancel_scheduled("u1", source=5)  # type: ignore[arg-type]
    cancelled = states.list_timers("u1", status="cancelled")[:-1]
    assert (len(cancelled), cancelled[0].error) == (4, "cancelled by ann: paid")
    world.clock.advance(60)
    assert states.run_worker() == 1
    assert (status_of(world), status_of(world, "u2")) == ("created", "suspended")


def test_a_timer_that_is_cancelled_in_a_workers_hands_does_not_fire(world: World) -> None:
    world.states.register_state("u1", "user")
    world.states.schedule_transition("u1", "suspend", after=1)
    world.clock.advance(1)
    (job,) = queue_of(world).claim(1)
    assert world.states.cancel_scheduled("u1") == 1
    world.runtime.workshop.timers.run(job)
    assert (status_of(world), only(world).status) == ("created", "cancelled")
    assert world.runtime.counters.value("timer.late") == 1


def test_a_timer_that_is_replaced_in_a_workers_hands_fires_at_the_new_moment(world: World) -> None:
    world.states.register_state("u1", "user")
    world.states.schedule_transition("u1", "suspend", after=1, key="k")
    world.clock.advance(1)
    (job,) = queue_of(world).claim(1)
    world.states.schedule_transition("u1", "suspend", after=60, key="k")
    world.runtime.workshop.timers.run(job)
    assert status_of(world) == "created"
    world.clock.advance(60)
    world.states.run_worker()
    assert (status_of(world), only(world).status) == ("suspended", "done")


def test_cancelling_and_firing_at_once_end_in_one_of_the_two(sql_world: World) -> None:
    states, rounds = sql_world.states, 8
    ended: list[tuple[str, str, int]] = []
    for number in range(rounds):
        name = f"u{number}"
        states.register_state(name, "user")
        states.schedule_transition(name, "suspend", after=1)
        sql_world.clock.advance(1)
        (job,) = queue_of(sql_world).claim(1)
        start, cancelled = threading.Barrier(2), list[int]()

        def cancel(name: str = name, start: threading.Barrier = start, told: list[int] = cancelled) -> None:
            with sql_world.app.app_context():
                start.wait(PATIENCE)
                told.append(states.cancel_scheduled(name))

        racer = threading.Thread(target=cancel)
        racer.start()
        start.wait(PATIENCE)
        sql_world.runtime.workshop.timers.run(job)
        racer.join(PATIENCE)
        ended.append((only(sql_world, name).status, status_of(sql_world, name), cancelled[0]))
    assert len(ended) == rounds
    assert set(ended) <= {("done", "suspended", 0), ("cancelled", "created", 1)}


# -- joined ------------------------------------------------------------------------------------------------------------


def test_setting_and_cancelling_join_a_transaction_and_its_rollback(sql_world: World) -> None:
    states, session = sql_world.states, sql_world.db.session
    states.register_state("u1", "user")
    states.schedule_transition("u1", "suspend", after=60, key="a")
    with states.transaction(session):
        states.schedule_transition("u1", "activate", after=60, key="b")
        assert states.cancel_scheduled("u1", key="a") == 1
        assert [t.key for t in states.list_timers("u1")] == ["b"]
    session.rollback()
    assert [t.key for t in states.list_timers("u1")] == ["a"]
    states.schedule_transition("u1", "activate", after=60, key="b", session=session)
    states.cancel_scheduled("u1", key="a", session=session)
    assert [t.key for t in states.list_timers("u1", session=session)] == ["b"]
    session.commit()
    assert [t.key for t in states.list_timers("u1")] == ["b"]


def test_a_timer_can_be_set_for_a_state_of_the_same_transaction(sql_world: World) -> None:
    states, session = sql_world.states, sql_world.db.session
    states.register_state("u1", "user", session=session)
    states.schedule_transition("u1", "suspend", after=60, session=session)
    session.commit()
    assert only(sql_world).status == "pending"


def test_a_hook_may_set_a_timer_which_a_veto_takes_back(world: World) -> None:
    def remind(state_id: str, _old: Any, new_state: dict[str, Any], _transition: str) -> None:
        world.states.schedule_transition(state_id, "resume", after=60)
        if new_state["data"].get("veto"):
            raise PermissionError("not today")

    world.states.register_callback("user_suspended", remind, when="before")
    world.states.register_state("u1", "user")
    with pytest.raises(PermissionError):
        world.states.update_state("u1", {"veto": True}, "suspend")
    assert world.states.list_timers(status=None) == []
    world.states.update_state("u1", transition="suspend")
    assert only(world).transition == "resume"


# -- arguments ---------------------------------------------------------------------------------------------------------

LATER = START + timedelta(hours=1)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({}, "at"),
        ({"at": LATER, "after": 5}, "at"),
        ({"at": datetime(2026, 1, 1)}, "at"),  # noqa: DTZ001 - the promise is that it is refused
        ({"at": "2026-01-01"}, "at"),
        ({"at": START + timedelta(days=3651)}, "at"),
        ({"at": datetime.max.replace(tzinfo=timezone.utc)}, "at"),
        ({"at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))}, "at"),
        ({"after": -1}, "after"),
        ({"after": timedelta(seconds=-1)}, "after"),
        ({"after": True}, "after"),
        ({"after": "5"}, "after"),
        ({"after": float("nan")}, "after"),
        ({"after": float("inf")}, "after"),
        ({"after": 10**400}, "after"),
        ({"after": timedelta(days=3651)}, "after"),
        ({"after": 1, "data": [1]}, "data"),
        ({"after": 1, "data": {"a": float("nan")}}, "data"),
        ({"after": 1, "data": {"data": {}, "metadata": [1]}}, "metadata"),
        ({"after": 1, "data": {"data": {}, "name": 5}}, "name"),
        ({"after": 1, "key": ""}, "key"),
        ({"after": 1, "key": "a:b"}, "key"),
        ({"after": 1, "key": "x" * 256}, "key"),
        ({"after": 1, "key": "ü"}, "key"),
        ({"after": 1, "key": 5}, "key"),
        ({"after": 1, "only_in": []}, "only_in"),
        ({"after": 1, "only_in": 5}, "only_in"),
        ({"after": 1, "only_in": "pendign"}, "only_in"),
        ({"after": 1, "only_in": ["created", 5]}, "only_in"),
        ({"after": 1, "actor": 5}, "actor"),
        ({"after": 1, "reason": ""}, "reason"),
    ],
    ids=str,
)
def test_unusable_arguments_are_refused_by_name(memory: World, options: dict[str, Any], field: str) -> None:
    memory.states.register_state("u1", "user")
    with pytest.raises(StateValidationError) as refused:
        memory.states.schedule_transition("u1", "suspend", **options)
    assert [name.partition(".")[0] for name in refused.value.errors] == [field]
    assert memory.states.list_timers(status=None) == []


def test_the_furthest_moments_can_be_used(world: World) -> None:
    world.states.register_state("u1", "user")
    for options in ({"after": 3650 * 86400}, {"after": timedelta(days=3650)}, {"at": START + timedelta(days=3650)}):
        world.states.schedule_transition("u1", "suspend", **options)
    world.states.schedule_transition("u1", "suspend", after=0, key="A.z_0@/+=~-")
    assert len({timer.due_at for timer in world.states.list_timers()}) == 2


def test_a_timer_needs_a_live_state_and_a_transition_of_its_machine(world: World) -> None:
    with pytest.raises(StateNotFound):
        world.states.schedule_transition("u1", "suspend", after=1)
    world.states.register_state("u1", "user")
    with pytest.raises(StateValidationError, match="There is no 'ship' here"):
        world.states.schedule_transition("u1", "ship", after=1)
    with pytest.raises(StateValidationError, match="register_state"):
        world.states.schedule_transition("u1", "create", after=1)
    world.states.delete_state("u1")
    with pytest.raises(StateNotFound):
        world.states.schedule_transition("u1", "suspend", after=1)
    assert world.states.list_timers(status=None) == []


@pytest.mark.parametrize(
    "options",
    [
        {"status": "lost"},
        {"status": ["pending", 5]},
        {"status": 5},
        {"limit": -1},
        {"limit": None},
        {"after": "1"},
        {"state_id": "no id"},
    ],
    ids=str,
)
def test_a_listing_refuses_what_it_does_not_know(memory: World, options: dict[str, Any]) -> None:
    with pytest.raises(StateValidationError):
        memory.states.list_timers(**options)


def test_a_listing_goes_on_behind_an_id(world: World) -> None:
    world.states.register_state("u1", "user")
    ids = [world.states.schedule_transition("u1", "suspend", after=n).id for n in range(5)]
    assert [t.id for t in world.states.list_timers(limit=2)] == ids[:2]
    assert [t.id for t in world.states.list_timers(limit=2, after=ids[1])] == ids[2:4]
    assert [t.id for t in world.states.list_timers(status=["pending", "done"])] == ids
    assert world.states.list_timers(status="done") == []


def test_a_timer_that_takes_too_long_again_and_again_is_dead(memory: World) -> None:
    runner = memory.runtime.workshop.timers
    memory.states.register_state("u1", "user")
    memory.states.schedule_transition("u1", "suspend", after=1)
    for _ in range(RETRIES + 1):
        assert only(memory).status == "pending"
        memory.clock.advance(3600)
        (job,) = queue_of(memory).claim(1)
        runner.timed_out(job)
    assert (only(memory).status, only(memory).error) == ("dead", "The attempt took too long.")


def test_timers_are_listed_by_when_they_are_due_and_cancelled_one_by_one(world: World) -> None:
    states = world.states
    states.register_state("u1", "user")
    soon, later, also = (states.schedule_transition("u1", "suspend", after=seconds) for seconds in (60, 3600, 60))
    due = states.list_timers(due_until=START + timedelta(seconds=60), newest_first=True)
    assert [each.id for each in due] == [also.id, soon.id]
    assert states.list_timers(due_until=START + timedelta(seconds=60), newest_first=True, after=also.id) == [soon]
    assert states.cancel_scheduled("u1", timer_id=soon.id, actor="ada", reason="not now") == 1
    assert states.get_timer(soon.id).error == "cancelled by ada: not now"
    assert states.cancel_scheduled("u1", timer_id=soon.id) == 0
    assert [each.id for each in states.list_timers()] == [later.id, also.id]
    with pytest.raises(StateValidationError, match="due_until"):
        states.list_timers(due_until=datetime(2026, 1, 1))  # noqa: DTZ001

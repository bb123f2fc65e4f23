"""Deadlines: a status that lasts too long is left by itself, and leaving it in time stops that."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from flask_statemanager import ConfigurationError, Deadline, Machine, StateTransition, Transition, TransitionNotAllowed
from flask_statemanager.effects.queue import JobQueue
from flask_statemanager.lifecycle.timers import RETRIES
from tests.worlds import World, build, entered

PATIENCE = 60.0
WAYS = (
    Transition("complete", ["pending"], "completed"),
    Transition("hold", ["pending"], "held"),
    Transition("release", ["held"], "pending"),
    Transition("remind", ["pending"]),
    Transition("lapse", ["pending", "held"], "lapsed"),
    Transition("reopen", ["lapsed", "completed"], "pending"),
)


@pytest.fixture
def memory() -> Iterator[World]:
    """An application in memory, for what is the same on every backend."""
    yield from entered(build("memory", "sqlite://"))


def declare(world: World, *deadlines: Deadline, **options: Any) -> None:
    machine = Machine(initial=["pending", "held"], transitions=WAYS, deadlines=deadlines, **options)
    world.states.define("payment", machine)


def lapse(policy: Any = "restart", after: float | timedelta = 900) -> Deadline:
    return Deadline("pending", after, "lapse", policy)


def move(world: World, *transitions: str, seconds: float = 0) -> None:
    """Make transitions, each so many seconds after the one before."""
    for transition in transitions:
        world.clock.advance(seconds)
        world.states.update_state("p1", transition=transition)


def due(world: World) -> list[str]:
    """When the pending deadlines fall due, without the date."""
    return [timer.due_at[11:19] for timer in world.states.list_timers()]


def ended(world: World) -> list[str]:
    return [timer.status for timer in world.states.list_timers(status=None)]


def events(world: World, state_id: str = "p1") -> list[str]:
    return [entry.transition_type for entry in world.states.get_state_history(state_id)]


# -- firing ------------------------------------------------------------------------------------------------------------


def test_a_status_that_lasts_too_long_is_left_by_itself(world: World) -> None:
    declare(world, lapse(after=timedelta(minutes=15)))
    world.states.register_state("p1", "payment")
    (timer,) = world.states.list_timers("p1")
    assert (timer.transition, timer.key, timer.deadline, timer.due_at[11:19]) == ("lapse", None, "pending", "12:15:00")
    world.clock.advance(899)
    assert world.states.run_worker() == 0
    world.clock.advance(1)
    assert world.states.run_worker() == 1
    entry = world.states.get_state_history("p1")[-1]
    assert (entry.to_status, entry.actor, entry.source, entry.reason) == ("lapsed", "system", "deadline", None)
    assert ended(world) == ["done"]


def test_a_status_that_is_left_in_time_is_not_left_again(world: World) -> None:
    declare(world, lapse())
    world.states.register_state("p1", "payment")
    move(world, "complete", seconds=899)
    world.clock.advance(9999)
    assert world.states.run_worker() == 0
    assert ended(world) == ["cancelled"]


def test_changes_that_stay_in_the_status_do_not_move_the_deadline(world: World) -> None:
    declare(world, lapse())
    world.states.register_state("p1", "payment")
    move(world, "remind", "update", "remind", seconds=100)
    assert due(world) == ["12:15:00"]


def test_a_deadline_that_stays_in_the_status_fires_once(world: World) -> None:
    declare(world, Deadline("pending", 60, "remind"))
    world.states.register_state("p1", "payment")
    for _ in range(3):
        world.clock.advance(60)
        world.states.run_worker()
    assert events(world) == ["create", "remind"]


def test_one_status_may_have_several_deadlines(world: World) -> None:
    declare(world, Deadline("pending", 60, "remind"), lapse(), Deadline("held", 120, "lapse"))
    world.states.register_state("p1", "payment")
    assert due(world) == ["12:01:00", "12:15:00"]
    world.clock.advance(60)
    world.states.run_worker()
    move(world, "hold")
    assert due(world) == ["12:03:00"]
    world.clock.advance(120)
    world.states.run_worker()
    assert events(world) == ["create", "remind", "hold", "lapse"]


def test_the_initial_status_that_was_chosen_sets_its_own_deadlines(world: World) -> None:
    declare(world, lapse(), Deadline("held", 120, "lapse"))
    world.states.register_state("p1", "payment", initial_status="held")
    assert due(world) == ["12:02:00"]


def test_a_status_that_was_entered_before_the_deadline_was_declared_has_none(world: World) -> None:
    declare(world)
    world.states.register_state("p1", "payment")
    declare(world, lapse())
    move(world, "remind")
    assert ended(world) == []
    move(world, "hold", "release", seconds=1)
    assert due(world) == ["12:15:02"]


def test_a_deadline_whose_guard_refuses_is_skipped(world: World) -> None:
    guarded = Transition("lapse", ["pending"], "lapsed", guards=lambda present, planned: False)
    machine = Machine(initial="pending", transitions=[guarded], deadlines=[lapse()])
    world.states.define("payment", machine)
    world.states.register_state("p1", "payment")
    world.clock.advance(900)
    world.states.run_worker()
    assert (ended(world), events(world)) == (["skipped"], ["create"])


def test_a_deadline_may_delete(world: World) -> None:
    declare(world, Deadline("pending", 60, "delete"), lapse())
    world.states.register_state("p1", "payment")
    world.clock.advance(60)
    world.states.run_worker()
    assert world.states.get_state("p1") is None
    assert ended(world) == ["done", "cancelled"]


def test_cancelling_timers_leaves_deadlines_alone(world: World) -> None:
    declare(world, lapse())
    world.states.register_state("p1", "payment")
    world.states.schedule_transition("p1", "complete", after=60)
    assert world.states.cancel_scheduled("p1") == 1
    assert due(world) == ["12:15:00"]


def test_a_dead_deadline_can_be_cancelled(memory: World) -> None:
    def never(*_call: Any) -> None:
        raise RuntimeError("no")

    declare(memory, lapse())
    memory.states.register_callback("payment_lapsed", never, when="before")
    memory.states.register_state("p1", "payment")
    for _ in range(13):
        memory.clock.advance(3600)
        memory.states.run_worker()
    assert ended(memory) == ["dead"]
    assert memory.states.cancel_scheduled("p1") == 1
    assert ended(memory) == ["cancelled"]


def test_a_deadline_that_is_not_declared_any_more_is_skipped(world: World) -> None:
    declare(world, lapse(), Deadline("pending", 1200, "remind"))
    world.states.register_state("p1", "payment")
    declare(world, lapse("remaining", after=5), Deadline("held", 1200, "lapse"))
    world.clock.advance(899)
    assert world.states.run_worker() == 0  # what is set keeps its moment
    declare(world, Deadline("pending", 900, "remind"))
    world.clock.advance(1)
    world.states.run_worker()
    (skipped,) = world.states.list_timers(status="skipped")
    assert skipped.error == "The type 'payment' no longer has a deadline 'lapse' for the status 'pending'."
    assert events(world) == ["create"]
    world.clock.advance(300)
    world.states.run_worker()
    assert (events(world), ended(world)) == (["create", "remind"], ["skipped", "done"])


def test_a_deadline_that_is_not_declared_any_more_can_be_cancelled(world: World) -> None:
    declare(world, lapse("deadline"), Deadline("pending", 60, "remind"), Deadline("held", 60, "lapse"))
    world.states.register_state("p1", "payment")
    assert world.states.cancel_scheduled("p1") == 0
    declare(world, lapse("deadline"), Deadline("held", 60, "lapse"))
    assert world.states.cancel_scheduled("p1", transition="lapse") == 0
    assert world.states.cancel_scheduled("p1", key="pending") == 0
    assert world.states.cancel_scheduled("p1", actor="ann") == 1
    assert [(t.status, t.error) for t in world.states.list_timers(status=None)] == [
        ("pending", None),
        ("cancelled", "cancelled by ann"),
    ]
    declare(world)
    assert world.states.cancel_scheduled("p1") == 1
    assert set(ended(world)) == {"cancelled"}


@pytest.mark.parametrize("leaving", ["hold", "delete"])
def test_what_an_undeclared_deadline_has_left_behind_can_be_cancelled(world: World, leaving: str) -> None:
    declare(world, lapse("remaining"))
    world.states.register_state("p1", "payment")
    if leaving == "hold":
        move(world, "hold")
        assert ended(world) == ["paused"]
        assert world.states.cancel_scheduled("p1") == 0
        declare(world)
    else:
        declare(world)
        move(world, "delete")
        assert ended(world) == ["pending"]
        declare(world, lapse("remaining"))  # the deleted state has none, whatever its type declares
    assert world.states.cancel_scheduled("p1") == 1
    assert ended(world) == ["cancelled"]


# -- policies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "moment"), [("restart", "12:25:00"), ("deadline", "12:15:00"), ("remaining", "12:20:00")]
)
def test_what_entering_again_does_is_up_to_the_policy(world: World, policy: str, moment: str) -> None:
    declare(world, lapse(policy))
    world.states.register_state("p1", "payment")
    move(world, "hold", "release", seconds=300)
    assert due(world) == [moment]
    assert len(world.states.list_timers("p1", status="paused")) == 0
    world.clock.advance(3600)
    world.states.run_worker()
    assert events(world) == ["create", "hold", "release", "lapse"]


def test_a_clock_that_stops_elsewhere_goes_on_at_each_entry(world: World) -> None:
    declare(world, lapse("remaining"))
    world.states.register_state("p1", "payment")
    move(world, "hold", seconds=100)
    assert [t.status for t in world.states.list_timers(status=None)] == ["paused"]
    move(world, "release", seconds=1000)  # past the first moment, with 800 seconds left
    move(world, "hold", seconds=300)
    move(world, "release", seconds=1000)
    assert due(world) == ["12:48:20"]
    world.clock.advance(499)
    assert world.states.run_worker() == 0
    world.clock.advance(1)
    assert world.states.run_worker() == 1
    assert events(world)[-1] == "lapse"


def test_a_deadline_that_passes_while_the_state_is_elsewhere_fires_at_the_next_entry(world: World) -> None:
    declare(world, lapse("deadline"))
    world.states.register_state("p1", "payment")
    move(world, "hold", seconds=1)
    world.clock.advance(9999)
    assert world.states.run_worker() == 0
    move(world, "release")
    assert world.states.get_health_status()["effects"]["waiting"] == 0
    assert world.states.run_worker() == 1
    assert events(world) == ["create", "hold", "release", "lapse"]


@pytest.mark.parametrize("policy", ["restart", "deadline", "remaining"])
def test_a_deadline_that_has_fired_begins_anew(world: World, policy: str) -> None:
    declare(world, lapse(policy))
    world.states.register_state("p1", "payment")
    world.clock.advance(1000)
    world.states.run_worker()
    move(world, "reopen")
    assert due(world) == ["12:31:40"]


@pytest.mark.parametrize("policy", ["deadline", "remaining"])
@pytest.mark.parametrize("end", ["done", "skipped", "dead"])
def test_what_a_policy_promises_ends_with_the_deadline(world: World, policy: Any, end: str) -> None:
    def never(*_call: Any) -> None:
        raise RuntimeError("no")

    remind = Transition("remind", ["pending"], guards=lambda present, planned: end != "skipped")
    deadline = Deadline("pending", 900, "remind", policy)
    machine = Machine(initial="pending", transitions=[*WAYS[:3], remind], deadlines=deadline)
    world.states.define("payment", machine)
    if end == "dead":
        world.states.register_callback("payment_reminded", never, when="before")
    world.states.register_state("p1", "payment")
    for _ in range(RETRIES + 1):
        world.clock.advance(3600)
        world.states.run_worker()
    assert ended(world) == [end]
    move(world, "hold", "release", seconds=100)
    assert due(world) == ["01:18:20"]


@pytest.mark.parametrize("policy", ["restart", "deadline", "remaining"])
def test_a_state_that_is_registered_again_begins_anew(world: World, policy: str) -> None:
    declare(world, lapse(policy))
    world.states.register_state("p1", "payment")
    move(world, "hold", "delete", seconds=100)
    world.clock.advance(100)
    world.states.register_state("p1", "payment", initial_status="held")
    move(world, "release")
    assert due(world) == ["12:20:00"]


@pytest.mark.parametrize("policy", ["restart", "deadline", "remaining"])
def test_a_worker_that_held_the_deadline_when_the_status_was_left_changes_nothing(world: World, policy: str) -> None:
    declare(world, lapse(policy, after=60))
    world.states.register_state("p1", "payment")
    world.clock.advance(60)
    backend = world.runtime.backend
    (job,) = JobQueue(backend, backend, world.clock, 30.0, "w1").claim(1)
    move(world, "hold")
    world.runtime.workshop.timers.run(job)
    assert events(world) == ["create", "hold"]
    move(world, "release", seconds=10)
    moments = {"restart": "12:02:10", "deadline": "12:01:00", "remaining": "12:01:10"}
    assert due(world) == [moments[policy]]
    assert world.states.run_worker() == (0 if policy == "restart" else 1)


# -- the end -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["restart", "deadline", "remaining"])
@pytest.mark.parametrize("end", ["complete", "delete"])
def test_a_final_status_and_a_deletion_cancel_every_deadline(world: World, policy: str, end: str) -> None:
    machine = Machine(
        initial="pending",
        transitions=[*WAYS[:5], Transition("settle", ["held"], "completed")],
        final=["completed"],
        deadlines=[lapse(policy), Deadline("held", 60, "lapse")],
    )
    world.states.define("payment", machine)
    world.states.register_state("p1", "payment")
    move(world, "hold", "settle" if end == "complete" else "delete")
    assert set(ended(world)) == {"cancelled"}
    assert len(ended(world)) == 2
    world.clock.advance(9999)
    assert world.states.run_worker() == 0


def test_a_rollback_into_a_status_sets_its_deadline(world: World) -> None:
    declare(world, lapse())
    world.states.register_state("p1", "payment")
    move(world, "complete", seconds=100)
    world.clock.advance(100)
    world.states.rollback_state("p1", to_version=1)
    assert due(world) == ["12:18:20"]
    world.states.rollback_state("p1", to_version=2)
    assert due(world) == []


def test_a_deadline_comes_and_goes_with_the_transaction(sql_world: World) -> None:
    declare(sql_world, lapse())
    states, session = sql_world.states, sql_world.db.session
    states.register_state("p1", "payment", session=session)
    session.rollback()
    assert ended(sql_world) == []
    states.register_state("p1", "payment")
    states.update_state("p1", transition="complete", session=session)
    session.rollback()
    assert ended(sql_world) == ["pending"]


def test_an_expiry_is_a_deadline_like_any_other(world: World) -> None:
    expire = Transition("expire", ["pending"], "expired")
    machine = Machine(initial="pending", transitions=[expire], deadlines=[Deadline("pending", 60, "expire")])
    world.states.define("voucher", machine)
    world.states.register_state("v1", "voucher")
    world.states.register_state("v2", "voucher", ttl=30)
    world.clock.advance(60)
    world.states.run_worker()
    assert events(world, "v1") == events(world, "v2") == ["create", "expire"]
    assert ended(world)[0] == "done"
    assert ended(world)[1] in ("skipped", "cancelled")


def leave(world: World, name: str, start: threading.Barrier, refused: list[TransitionNotAllowed]) -> None:
    with world.app.app_context():
        start.wait(PATIENCE)
        try:
            world.states.update_state(name, transition="complete")
        except TransitionNotAllowed as error:
            refused.append(error)


def test_firing_and_leaving_at_once_end_in_one_transition(sql_world: World) -> None:
    """Without an uncaught deadlock, although both write the state and the job."""
    declare(sql_world, lapse(after=1))
    backend, rounds = sql_world.runtime.backend, 8
    for number in range(rounds):
        name = f"p{number}"
        sql_world.states.register_state(name, "payment")
        sql_world.clock.advance(1)
        (job,) = JobQueue(backend, backend, sql_world.clock, 30.0, "w1").claim(1)
        start, refused = threading.Barrier(2), list[TransitionNotAllowed]()
        racer = threading.Thread(target=leave, args=(sql_world, name, start, refused))
        racer.start()
        start.wait(PATIENCE)
        sql_world.runtime.workshop.timers.run(job)
        racer.join(PATIENCE)
        assert events(sql_world, name) == ["create", "lapse" if refused else "complete"]
    assert sql_world.runtime.counters.value("timer.failed") == 0


def test_leaving_in_a_session_while_a_worker_waits_for_the_state_is_no_deadlock(postgres_world: World) -> None:
    """The worker waits for the state before it touches the job, so that the session gets the job's row."""
    world, session = postgres_world, postgres_world.db.session
    declare(world, lapse(after=1))
    world.states.register_state("p1", "payment")
    world.clock.advance(1)
    backend = world.runtime.backend
    (job,) = JobQueue(backend, backend, world.clock, 30.0, "w1").claim(1)

    def fire() -> None:
        with world.app.app_context():
            world.runtime.workshop.timers.run(job)

    # The server would pick the worker, which is tried again: the session shall be the one that a deadlock ends.
    session.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
    world.states.update_state("p1", transition="remind", session=session)
    worker = threading.Thread(target=fire)
    worker.start()
    until_somebody_waits(world)
    world.states.update_state("p1", transition="complete", session=session)
    session.commit()
    worker.join(PATIENCE)
    assert events(world) == ["create", "remind", "complete"]
    assert ended(world) == ["cancelled"]
    assert world.runtime.counters.value("timer.late") == 1


def test_cancelling_in_a_session_while_a_worker_waits_for_the_state_is_no_deadlock(postgres_world: World) -> None:
    """The verb takes the state before the timers too, so the worker waits for it with nothing in hand."""
    world, session = postgres_world, postgres_world.db.session
    world.states.register_state("u1", "user")
    world.states.schedule_transition("u1", "suspend", after=1)
    world.clock.advance(1)
    backend = world.runtime.backend
    (job,) = JobQueue(backend, backend, world.clock, 30.0, "w1").claim(1)

    def fire() -> None:
        with world.app.app_context():
            world.runtime.workshop.timers.run(job)

    session.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
    assert world.states.cancel_scheduled("u1", session=session) == 1
    worker = threading.Thread(target=fire)
    worker.start()
    until_somebody_waits(world)
    world.states.update_state("u1", {"a": 1}, session=session)
    session.commit()
    worker.join(PATIENCE)
    assert (events(world, "u1"), ended(world)) == (["create", "update"], ["cancelled"])


def until_somebody_waits(world: World) -> None:
    """Return once a transaction of this database waits for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    ends = time.monotonic() + PATIENCE
    with world.db.engine.connect() as connection:
        while not connection.execute(waiting).scalar():
            connection.rollback()
            assert time.monotonic() < ends, "nobody waits"
            time.sleep(0.01)


# -- declaring ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deadline", "said"),
    [
        ("pending", "takes Deadline objects"),
        (Deadline("pending", 0, "lapse"), "must lie after now"),
        (Deadline("pending", -5, "lapse"), "must lie after now"),
        (Deadline("pending", float("nan"), "lapse"), "must lie after now"),
        (Deadline("pending", float("inf"), "lapse"), "must lie after now"),
        (Deadline("pending", 10**400, "lapse"), "must lie after now"),
        (Deadline("pending", timedelta(days=3651), "lapse"), "within ten years"),
        (Deadline("pending", True, "lapse"), "number of seconds"),
        (Deadline("pending", "15 minutes", "lapse"), "number of seconds"),  # type: ignore[arg-type]
        (Deadline("pending", 5, "lapse", "sometimes"), "policy='sometimes' is unknown"),  # type: ignore[arg-type]
        (Deadline("completed", 5, "lapse"), "does not allow the transition 'lapse'"),
        (Deadline("pendign", 5, "lapse"), "'pendign' does not allow"),
        (Deadline("pending", 5, "lapsed"), "does not allow the transition 'lapsed'"),
        (Deadline(["pending"], 5, "lapse"), "does not allow"),  # type: ignore[arg-type]
    ],
    ids=str,
)
def test_a_deadline_that_does_not_fit_the_machine_is_refused(deadline: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Machine(initial="pending", transitions=WAYS, deadlines=[deadline])


@pytest.mark.parametrize(
    "given", [None, 5, "pending", {"pending": 900}.get], ids=["none", "number", "text", "function"]
)
def test_deadlines_are_one_or_several(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="deadlines= takes"):
        Machine(initial="pending", transitions=WAYS, deadlines=given)
    for deadlines in (lapse(), [lapse()], iter([lapse()])):
        assert Machine(initial="pending", transitions=WAYS, deadlines=deadlines).deadlines == (lapse(),)


def test_two_deadlines_for_one_transition_of_a_status_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="same status and transition"):
        Machine(initial="pending", transitions=WAYS, deadlines=[lapse(), lapse("remaining", 5)])


def test_a_deadline_may_be_named_by_members_of_an_enum(world: World) -> None:
    expire = Transition("expire", ["pending"], "expired")
    deadline = Deadline("pending", 60, StateTransition.EXPIRE)
    world.states.define("voucher", Machine(initial="pending", transitions=[expire], deadlines=[deadline]))
    world.states.register_state("v1", "voucher")
    assert [timer.transition for timer in world.states.list_timers()] == ["expire"]
    world.clock.advance(60)
    world.states.run_worker()
    assert events(world, "v1") == ["create", "expire"]

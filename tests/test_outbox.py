"""The operator's view of durable effects: what is listed, what can be tried again, what can be given up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flask_statemanager import (
    Effect,
    JobNotFound,
    LimitExceeded,
    PermanentFailure,
    StateManager,
    StateValidationError,
)
from flask_statemanager.effects.queue import JobQueue
from tests.worlds import World, build, entered


@pytest.fixture
def memory() -> Iterator[World]:
    """An application in memory, for what is the same on every backend."""
    yield from entered(build("memory", "sqlite://"))


class Mail:
    """An effect that fails for good until it is mended."""

    def __init__(self) -> None:
        self.mended = False
        self.attempts: list[int] = []

    def __call__(self, *_call: Any, attempt: int) -> None:
        self.attempts.append(attempt)
        if not self.mended:
            raise PermanentFailure("no such mailbox")


def claimed(world: World) -> Any:
    backend = world.runtime.backend
    (job,) = JobQueue(backend, backend, world.clock, 30.0, "w1").claim(1)
    return job


def only(world: World) -> Effect:
    (effect,) = world.states.list_effects()
    return effect


def with_mail(world: World) -> tuple[StateManager, Mail]:
    """An effect that waits."""
    mail = Mail()
    world.states.register_callback("user", mail, durable=True, name="mail")
    world.states.register_state("u1", "user")
    return world.states, mail


def test_the_view_of_an_effect_has_every_key(world: World) -> None:
    states, _mail = with_mail(world)
    effect = only(world)
    assert effect == {
        "id": effect.id,
        "key": "state:u1:1:mail",
        "effect": "mail",
        "state_id": "u1",
        "version": 1,
        "status": "pending",
        "attempts": 0,
        "due_at": "2026-01-01T12:00:00.000000Z",
        "worker": None,
        "error": None,
        "traceback": None,
        "created_at": "2026-01-01T12:00:00.000000Z",
        "finished_at": None,
    }
    assert states.get_effect(effect.id) == effect
    claimed(world)
    assert (only(world).worker, only(world).attempts, only(world).due_at[11:19]) == ("w1", 1, "12:00:30")
    with pytest.raises(AttributeError, match="has no 'name'"):
        _ = effect.name


def test_a_listing_is_narrowed_and_goes_on_behind_an_id(world: World) -> None:
    states = world.states
    states.register_callback("user_created", lambda *call: None, durable=True, name="a")
    states.register_callback("user", lambda *call: None, durable=True, name="b")
    states.register_state("u1", "user")
    states.run_worker()
    states.register_state("u2", "user")
    states.schedule_transition("u2", "suspend", after=60)
    everything = states.list_effects()
    assert [e.id for e in everything] == sorted(e.id for e in everything)
    assert len(everything) == 4
    assert {e.status for e in states.list_effects(state_id="u1")} == {"done"}
    assert [e.state_id for e in states.list_effects(effect="a")] == ["u1", "u2"]
    assert [e.key for e in states.list_effects(status="pending", effect="b")] == ["state:u2:1:b"]
    assert states.list_effects(status=["done", "pending"]) == everything
    assert states.list_effects(status="dead") == states.list_effects(state_id="u9") == []
    assert states.list_effects(limit=3) == everything[:3]
    assert states.list_effects(limit=3, after=everything[2].id) == everything[3:]


@pytest.mark.parametrize(
    "options",
    [
        {"status": "lost"},
        {"status": ["dead", "lost"]},
        {"state_id": "no id"},
        {"effect": ""},
        {"limit": -1},
        {"limit": True},
        {"after": "1"},
    ],
    ids=str,
)
def test_a_listing_refuses_what_it_does_not_know(memory: World, options: dict[str, Any]) -> None:
    with pytest.raises(StateValidationError):
        memory.states.list_effects(**options)


@pytest.mark.parametrize("verb", ["get_effect", "retry_effect", "discard_effect"])
def test_only_effects_that_are_there_can_be_looked_at_or_moved(world: World, verb: str) -> None:
    with_mail(world)
    timer = world.states.schedule_transition("u1", "suspend", after=60)
    for number in (99999, timer.id):
        with pytest.raises(JobNotFound, match=f"The effect {number}: there is none"):
            getattr(world.states, verb)(number)
    for nothing in ("1", None, -1, 2**63, True):
        with pytest.raises(StateValidationError, match="effect_id"):
            getattr(world.states, verb)(nothing)


def test_a_dead_letter_is_tried_again_with_its_attempts_counted_anew(world: World) -> None:
    states, mail = with_mail(world)
    states.run_worker()
    assert (only(world).status, only(world).attempts) == ("dead", 1)
    mail.mended = True
    world.clock.advance(60)
    again = states.retry_effect(only(world).id)
    assert again == only(world)
    assert (again.status, again.attempts, again.finished_at) == ("pending", 0, None)
    assert again.error == "PermanentFailure: no such mailbox"
    assert states.run_worker() == 1
    assert (only(world).status, only(world).error, only(world).traceback) == ("done", None, None)
    assert mail.attempts == [1, 1]


def test_an_effect_that_waits_for_its_next_attempt_is_tried_at_once(world: World) -> None:
    def broken(*_call: Any) -> None:
        raise RuntimeError("no")

    world.states.register_callback("user", broken, durable=True, name="mail", backoff=600)
    world.states.register_state("u1", "user")
    world.states.run_worker()
    assert world.states.run_worker() == 0
    world.states.retry_effect(only(world).id)
    assert world.states.run_worker() == 1


def test_a_discarded_effect_is_not_carried_out_until_it_is_brought_back(world: World) -> None:
    states, mail = with_mail(world)
    mail.mended = True
    discarded = states.discard_effect(only(world).id)
    assert (discarded.status, discarded) == ("cancelled", only(world))
    assert discarded.finished_at is not None
    assert states.run_worker() == 0
    states.retry_effect(discarded.id)
    assert states.run_worker() == 1


def test_a_discarded_dead_letter_keeps_its_error(world: World) -> None:
    states, _mail = with_mail(world)
    states.run_worker()
    discarded = states.discard_effect(only(world).id)
    assert (discarded.status, discarded.error) == ("cancelled", "PermanentFailure: no such mailbox")
    assert "Traceback" in discarded.traceback
    assert states.get_health_status()["effects"]["dead"] == 0


def test_what_has_ended_cannot_be_moved(world: World) -> None:
    states, mail = with_mail(world)
    mail.mended = True
    states.run_worker()
    done = only(world)
    with pytest.raises(JobNotFound, match="it is done, and cannot be retried"):
        states.retry_effect(done.id)
    with pytest.raises(JobNotFound, match="it is done, and cannot be discarded"):
        states.discard_effect(done.id)
    states.update_state("u1", {"a": 1})
    waiting = states.list_effects(status="pending")[0]
    states.discard_effect(waiting.id)
    with pytest.raises(JobNotFound, match="it is cancelled, and cannot be discarded"):
        states.discard_effect(waiting.id)


def test_what_a_worker_has_is_left_to_it_until_its_lease_ends(world: World) -> None:
    states, mail = with_mail(world)
    mail.mended = True
    job = claimed(world)
    for verb in (states.retry_effect, states.discard_effect):
        with pytest.raises(JobNotFound, match="the worker w1 has it: wait until it ends"):
            verb(job.id)
    world.clock.advance(30)
    assert states.discard_effect(job.id).status == "cancelled"
    world.runtime.workshop.effects.run(job)  # the worker that had it comes back
    assert only(world).status == "cancelled"
    assert world.runtime.counters.value("effect.late") == 1


def test_what_ended_well_is_forgotten_after_a_week_and_dead_letters_stay(world: World) -> None:
    states, mail = with_mail(world)
    states.run_worker()
    mail.mended = True
    states.update_state("u1", {"a": 1})
    states.update_state("u1", {"a": 2})
    states.discard_effect(states.list_effects(status="pending")[0].id)
    states.run_worker()
    world.clock.advance(7 * 86_400)
    assert not world.runtime.workshop.forget(batch=1)
    assert [e.status for e in states.list_effects()] == ["dead", "cancelled", "done"]
    world.clock.advance(1)
    assert [world.runtime.workshop.forget(batch=1) for _ in range(3)] == [True, True, False]
    assert [e.status for e in states.list_effects()] == ["dead"]
    counts = world.runtime.workshop.outbox.counts()
    assert (counts.pending, counts.due, counts.dead) == (0, 0, 1)


def test_who_has_discarded_or_retried_an_effect_stands_with_it(world: World) -> None:
    states, _mail = with_mail(world)
    states.run_worker()
    number = only(world).id
    discarded = states.discard_effect(number, actor="ada", source="admin", reason="the mailbox is closed")
    assert discarded.error == (
        "discarded by ada (admin): the mailbox is closed -- before that: PermanentFailure: no such mailbox"
    )
    assert states.retry_effect(number, reason="it is open again").error.startswith(
        "retried by system: it is open again -- before that: discarded by ada"
    )
    with pytest.raises(StateValidationError, match="reason"):
        states.discard_effect(number, reason=7)  # type: ignore[arg-type]
    with pytest.raises(LimitExceeded):
        states.discard_effect(number, reason="x" * 1001)
    assert states.discard_effect(number, actor="a" * 1000, reason="r" * 1000).error.startswith("discarded by aaa")
    assert len(only(world).error) == 2000


def test_all_dead_letters_of_an_effect_are_retried_in_one_call(world: World) -> None:
    states, mail = with_mail(world)
    states.register_callback("user", lambda *_: None, durable=True, name="other")
    for number in range(2, 5):
        states.register_state(f"u{number}", "user")
    states.run_worker()
    told: list[int] = []
    outbox = world.runtime.workshop.outbox
    assert outbox.retry_dead("nothing", progress=told.append) == 0
    assert outbox.retry_dead("mail", "ada", told.append) == 4
    assert told == [0, 4]
    assert {each.error for each in states.list_effects(effect="mail")} == {
        "retried by ada -- before that: PermanentFailure: no such mailbox"
    }
    mail.mended = True
    states.run_worker()
    assert states.list_effects(status="dead") == []


def test_the_newest_effects_come_first_where_that_is_asked_for(memory: World) -> None:
    states, _mail = with_mail(memory)
    for number in range(2, 5):
        states.register_state(f"u{number}", "user")
    newest = states.list_effects(limit=2, newest_first=True)
    assert [each.state_id for each in newest] == ["u4", "u3"]
    assert [each.state_id for each in states.list_effects(after=newest[-1].id, newest_first=True)] == ["u2", "u1"]

"""The sweep: what has expired is written down once, whoever sweeps, and readers see no difference."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from flask_statemanager import State, StorageError
from flask_statemanager.core import sweep as sweeping
from flask_statemanager.core.sweep import ExpirySweep
from tests.worlds import World

PATIENCE = 60.0


def sweep_of(world: World) -> ExpirySweep:
    definitions = world.runtime.declarations.definitions
    return ExpirySweep(world.runtime.bucket, lambda: definitions.lapses, world.runtime.backend)


def swept(world: World, sweep: ExpirySweep | None = None) -> int:
    """Sweep until there is no more, and return how many expiries were written."""
    sweep = sweep or sweep_of(world)
    before = world.runtime.counters.value("change.expire")
    while sweep.run():
        pass
    return int(world.runtime.counters.value("change.expire") - before)


def events(world: World, state_id: str = "u1") -> list[str]:
    return [entry.transition_type for entry in world.states.get_state_history(state_id)]


def test_a_worker_writes_down_what_has_expired(world: World) -> None:
    world.states.register_state("u1", "user", {"a": 1}, ttl=60)
    world.states.register_state("u2", "user", ttl=61)
    world.states.register_state("u3", "user")
    world.clock.advance(60)
    world.states.run_worker()
    entry = world.states.get_state_history("u1")[-1]
    assert (entry.transition_type, entry.to_status, entry.actor, entry.source) == (
        "expire",
        "expired",
        "system",
        "expiry",
    )
    assert (events(world, "u2"), events(world, "u3")) == (["create"], ["create"])
    assert world.runtime.counters.value("change.expire") == 1
    world.states.run_worker()
    assert len(events(world)) == 2


def test_readers_see_before_the_sweep_what_they_see_after_it(world: World) -> None:
    world.states.register_state("u1", "user", {"a": 1}, ttl=60)
    world.clock.advance(61)

    def seen() -> Any:
        found = world.states.get_state("u1")
        assert found is not None
        return (
            {key: value for key, value in found.items() if key not in ("version", "revision", "updated_at")},
            [state.state_id for state in world.states.search_states("user", status="expired")],
            world.states.search_states("user", status="created").count(),
            world.states.allowed_transitions("u1"),
        )

    before = seen()
    assert before[0]["status"] == "expired"
    assert swept(world) == 1
    assert seen() == before


def test_sweeping_with_nothing_due_writes_nothing(world: World) -> None:
    sweep = sweep_of(world)
    assert swept(world, sweep) == 0
    world.states.register_state("u1", "user", ttl=60)
    world.states.register_state("u2", "user", ttl=60)
    world.states.delete_state("u2")
    world.states.update_state("u1", transition="activate", ttl=90)
    world.clock.advance(61)
    assert swept(world, sweep) == 0
    assert (events(world), events(world, "u2")) == (["create", "activate"], ["create", "delete"])


def test_callbacks_and_effects_hear_of_a_swept_expiry(world: World) -> None:
    heard: list[str] = []
    world.states.register_callback("user_expired", lambda *call: heard.append(f"after {call[0]}"))
    world.states.register_callback(
        "user_expired", lambda *call: heard.append(f"effect {call[0]}"), durable=True, name="mail"
    )
    world.states.register_state("u1", "user", ttl=60)
    world.clock.advance(61)
    world.states.run_worker()
    assert heard == ["after u1", "effect u1"]


@pytest.mark.parametrize("burst", [True, False])
def test_more_than_a_batch_is_swept_by_a_worker_that_ends(
    world: World, monkeypatch: pytest.MonkeyPatch, burst: bool
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 7)
    for number in range(20):
        world.states.register_state(f"u{number}", "user", ttl=60)
    world.clock.advance(61)
    world.states.run_worker(burst=burst)
    assert {len(events(world, f"u{number}")) for number in range(20)} == {2}


def test_one_sweep_is_one_batch_so_that_other_work_gets_its_turn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 5)
    for number in range(12):
        world.states.register_state(f"u{number}", "user", ttl=60)
    world.clock.advance(61)
    sweep, written = sweep_of(world), list[int]()
    more = True
    while more:
        more = sweep.run()
        written.append(int(world.runtime.counters.value("change.expire")))
    assert written == [5, 10, 12]


def test_an_effect_does_not_wait_for_the_end_of_a_long_sweep(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 5)
    expired: list[int] = []
    world.states.register_callback(
        "user_created",
        lambda *call: expired.append(int(world.runtime.counters.value("change.expire"))),
        durable=True,
        name="mail",
        state_id="late",
    )
    for number in range(20):
        world.states.register_state(f"u{number}", "user", ttl=60)
    world.states.register_state("late", "user")
    world.clock.advance(61)
    world.states.run_worker()
    assert expired == [5]
    assert world.runtime.counters.value("change.expire") == 20


def test_sweepers_that_get_nowhere_do_not_go_on_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 1)
    monkeypatch.setattr(world.runtime.bucket, "expire", lambda *call: False)
    world.states.register_state("u1", "user", ttl=60)
    world.clock.advance(61)
    assert not sweep_of(world).run()


def test_the_usual_batch_is_passed_too(memory_sqlite_world: World) -> None:
    world = memory_sqlite_world
    for number in range(sweeping.BATCH + 5):
        world.states.register_state(f"u{number}", "user", ttl=60)
    world.clock.advance(61)
    assert swept(world) == sweeping.BATCH + 5


def test_an_expiry_is_written_once_whoever_sweeps(sql_world: World) -> None:
    names = [f"u{number}" for number in range(10)]
    for name in names:
        sql_world.states.register_state(name, "user", ttl=60)
    sql_world.clock.advance(61)
    start = threading.Barrier(2)

    def sweep() -> None:
        with sql_world.app.app_context():
            start.wait(PATIENCE)
            sweep_of(sql_world).run()

    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.start()
    for sweeper in sweepers:
        sweeper.join(PATIENCE)
    assert sql_world.runtime.counters.value("change.expire") == 10
    assert [events(sql_world, name) for name in names] == [["create", "expire"]] * 10


def test_a_write_that_came_first_leaves_the_sweep_nothing_to_do(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.states.register_state("u1", "user", ttl=60)
    world.clock.advance(61)
    sweep = sweep_of(world)
    due = sweep._due

    def overtaken() -> list[str]:
        found = due()
        if found:
            world.states.update_state("u1", transition="activate")
        return found

    monkeypatch.setattr(sweep, "_due", overtaken)
    assert not sweep.run()
    assert events(world) == ["create", "expire", "activate"]


def veto_of(*names: str, error: type[BaseException] = PermissionError) -> Callable[..., None]:
    def veto(state_id: str, *_call: Any) -> None:
        if state_id in names:
            raise error("not today")

    return veto


@pytest.mark.parametrize("error", [PermissionError, SystemExit])
def test_a_veto_holds_up_nobody_else_and_is_asked_again_later(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 2)
    refused = ["u0", "u1", "u2"]
    world.states.register_callback("user_expired", veto_of(*refused, error=error), when="before")
    for number in range(8):
        world.states.register_state(f"u{number}", "user", ttl=60 + number)
    world.clock.advance(100)
    sweep = sweep_of(world)
    with caplog.at_level(logging.ERROR, "flask_statemanager.effects"):
        assert swept(world, sweep) == 5
    assert [events(world, name) for name in refused] == [["create"]] * 3
    found = world.states.get_state("u0")
    assert found is not None
    assert found.status == "expired"
    assert caplog.text.count("was refused; it is tried again later") == 3
    caplog.clear()
    assert swept(world, sweep) == 0
    assert caplog.text == ""
    world.states.register_state("u9", "user", ttl=1)
    world.clock.advance(1)
    assert swept(world, sweep) == 1  # what falls due meanwhile does not wait for them


def test_what_a_veto_has_allowed_in_the_end_is_swept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "PATIENCE", 0.0)
    answers = [False, True]

    def sometimes(*_call: Any) -> None:
        if not answers.pop(0):
            raise PermissionError("not today")

    world.states.register_callback("user_expired", sometimes, when="before")
    world.states.register_state("u1", "user", ttl=60)
    world.clock.advance(61)
    sweep = sweep_of(world)
    assert (swept(world, sweep), swept(world, sweep)) == (0, 1)
    assert events(world) == ["create", "expire"]


def test_a_storage_that_fails_ends_the_sweep(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.states.register_state("u1", "user", ttl=60)
    world.clock.advance(61)

    def broken(*_call: Any, **_options: Any) -> Any:
        raise StorageError("The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(world.runtime.backend, "apply", broken)
        with pytest.raises(StorageError, match="disk"):
            sweep_of(world).run()
    assert swept(world) == 1


def test_a_state_of_a_type_that_is_not_declared_any_more_stays_as_it_is(world: World) -> None:
    world.states.define("voucher")
    world.states.register_state("v1", "voucher", ttl=60)
    world.runtime.declarations.definitions._types.pop("voucher", None)
    world.clock.advance(61)
    assert swept(world) == 0
    assert isinstance(world.states.get_state("v1"), State)

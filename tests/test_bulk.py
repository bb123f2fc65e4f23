"""Many states at once: each comes to what it would have come to alone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from marshmallow import INCLUDE, Schema, fields

from flask_statemanager import (
    BulkInterrupted,
    ConfigurationError,
    Deadline,
    Guard,
    GuardFailed,
    IdempotencyKeyReused,
    LimitExceeded,
    Machine,
    StateConflict,
    StateExists,
    StateManagerError,
    StateNotFound,
    StateValidationError,
    StorageError,
    Transition,
    TransitionNotAllowed,
    signals,
)
from flask_statemanager.core.jobs import EFFECT, TIMER, JobQuery
from flask_statemanager.core.many import Move
from flask_statemanager.core.record import Origin
from flask_statemanager.errors import StorageUnavailable
from flask_statemanager.lifecycle.rules import plain_ways
from flask_statemanager.testing.clock import START
from tests.worlds import World, build, cached_by, entered

FUNDED = Guard.where({"data.balance__gte": 10, "metadata.open": True}, name="funded")


def _is_calm(present: Any, _planned: Any) -> bool:
    return "angry" not in present.data


class Email(Schema):
    email = fields.Str(required=True)

    class Meta:
        unknown = INCLUDE


def account(*guards: Any) -> Machine:
    return Machine(
        initial=["open", "closed"],
        transitions=[
            Transition("suspend", ["open"], "suspended", guards=guards),
            Transition("suspend", ["closed"], "gone"),
            Transition("revive", ["lost", "suspended"], "open"),
            Transition("expire", ["open", "suspended"], "lost"),
        ],
        final=["gone"],
    )


def populate(world: World, prefix: str) -> list[str]:
    """States of many types and fates; returns their ids, that of one that is not there among them."""
    states = world.states
    day = timedelta(days=1)

    def make(name: str, type_: str, data: Any = None, **more: Any) -> None:
        states.register_state(f"{prefix}/{name}", type_, data or {"email": "a@b.c"}, **more)

    for status in ("open", "closed"):
        for type_ in ("plain", "ruled", "coded", "checked", "schemed"):
            make(f"{type_}-{status}", type_, initial_status=status, owner="me", ttl=2 * day)
    make("poor", "ruled", {"data": {"balance": 9, "email": "x"}, "metadata": {"open": True}})
    make("rich", "ruled", {"data": {"balance": 10.0, "email": "x"}, "metadata": {"open": True}})
    make("shut", "ruled", {"data": {"balance": 99, "email": "x"}, "metadata": {"open": 1}})
    make("angry", "coded", {"angry": True})
    make("past", "plain", ttl=day / 2)
    make("past-poor", "ruled", {"data": {"balance": 1}, "metadata": {}}, ttl=day / 2)
    make("deleted", "plain")
    states.delete_state(f"{prefix}/deleted")
    make("lost", "plain")
    states.update_state(f"{prefix}/lost", transition="expire")
    make("stale", "plain", initial_status="closed")
    states.update_state(f"{prefix}/stale", transition="suspend")
    names = ["plain-open", "nobody", "poor", "rich", "shut", "angry", "past", "past-poor", "deleted", "lost", "stale"]
    for type_ in ("plain", "ruled", "coded", "checked", "schemed"):
        names += [f"{type_}-open", f"{type_}-closed"]
    return [f"{prefix}/{name}" for name in dict.fromkeys(names)]


def declare(world: World) -> None:
    """Types that leave the storage alone, have it ask rules, have code look at a state."""
    states = world.states
    states.define("plain", account())
    states.define("ruled", account(FUNDED))
    states.define("coded", account(Guard(_is_calm, reason="it is angry")))
    states.define("checked", account())
    states.define("schemed", account())


def tighten(world: World) -> None:
    """Rules that come after the states."""

    def needs_owner(state: dict[str, Any]) -> bool:
        return "owner" in state and "bad" not in state["data"]

    world.states.register_validator("checked", needs_owner)
    world.states.register_schema("schemed", Email)


def outcome(call: Callable[[], Any], prefix: str) -> str | None:
    try:
        call()
    except StateManagerError as error:
        return f"{type(error).__name__}: {str(error).replace(prefix, '*')}"
    return None


def told(error: Exception, prefix: str) -> str:
    return f"{type(error).__name__}: {str(error).replace(prefix, '*')}"


def stories(world: World, names: list[str], prefix: str) -> list[Any]:
    """Everything that is on record for states, without ids and revisions."""
    found: list[Any] = []
    for name in names:
        state = world.states.get_state(name)
        history = [dict(entry) for entry in world.states.get_state_history(name)]
        for entry in [*history, *([dict(state)] if state else [])]:
            entry["state_id"] = entry["state_id"].replace(prefix, "*")
            del entry["revision"]
            if "name" in entry:
                entry["name"] = entry["name"].replace(prefix, "*")
            found.append(entry)
    return found


@pytest.mark.parametrize("data", [None, {"metadata": {"open": False}, "name": "renamed"}, {"bad": 1}])
@pytest.mark.parametrize("transition", ["suspend", "update", "delete", "expire", "revive", "fly"])
@pytest.mark.parametrize("surroundings", ["quiet", "listened", "hooked"])
def test_each_state_comes_to_what_it_would_have_come_to_alone(
    world: World, data: Any, transition: str, surroundings: str
) -> None:
    declare(world)
    names = {prefix: populate(world, prefix) for prefix in ("alone", "many")}
    tighten(world)
    heard: list[tuple[str, Any, Any, str]] = []
    if surroundings != "quiet":
        world.states.register_callback("*", lambda *call: heard.append(call))
    if surroundings == "hooked":
        world.states.register_callback("*", lambda *call: None, when="before")
    world.clock.advance(86_400)
    alone = {
        name: outcome(lambda name=name: world.states.update_state(name, data, transition, reason="why"), "alone")
        for name in names["alone"]
    }
    calm, heard[:] = list(heard), []
    result = world.states.transition_many(names["many"], transition, data, reason="why", chunk=7)
    refused = {refusal.state_id: told(refusal.error, "many") for refusal in result.refused}
    assert [refused.get(name) for name in names["many"]] == list(alone.values())
    assert result.done == list(alone.values()).count(None)
    assert result.ok == (not result.refused)
    assert stories(world, names["many"], "many") == stories(world, names["alone"], "alone")
    assert sorted(_shown(call, "many") for call in heard) == sorted(_shown(call, "alone") for call in calm)


def _shown(call: tuple[str, Any, Any, str], prefix: str) -> str:
    name, old, new, event = call
    plain = [{key: value for key, value in state.items() if key != "revision"} for state in (old, new)]
    return repr((name, event, *plain)).replace(prefix, "*")


def test_refusals_come_in_the_order_of_the_input(world: World) -> None:
    world.states.register_many("user", [{"state_id": name} for name in "abcd"])
    world.states.update_state("b", transition="suspend")
    given = ["nobody", "a", "no/", "b", 7, "c", "", "d"]
    result = world.states.transition_many(given, "suspend", chunk=3)  # type: ignore[arg-type]
    assert [(r.index, r.state_id, type(r.error)) for r in result.refused] == [
        (0, "nobody", StateNotFound),
        (2, "no/", StateValidationError),
        (3, "b", TransitionNotAllowed),
        (4, "7", StateValidationError),
        (6, "", StateValidationError),
    ]
    assert (result.done, result.ok, result.ids, result.repeated) == (3, False, (), 0)


def test_an_id_that_occurs_twice_is_decided_twice(world: World) -> None:
    world.states.register_many("user", [{"state_id": "a"}, {"state_id": "b"}])
    result = world.states.transition_many(["a", "b", "a", "a"], "update", {"n": 1})
    assert result.done == 4
    assert [entry.version for entry in world.states.get_state_history("a")] == [1, 2, 3, 4]
    result = world.states.transition_many(["a", "b", "a"], "suspend")
    assert (result.done, [refusal.index for refusal in result.refused]) == (2, [2])


@pytest.mark.parametrize("targets", ["user_1", b"user_1", {"a": 1}, 7, None])
def test_what_is_no_list_of_ids_is_refused(world: World, targets: Any) -> None:
    with pytest.raises(StateValidationError, match="targets: Must be a list of state ids or a search"):
        world.states.transition_many(targets, "suspend")


@pytest.mark.parametrize("chunk", [0, -1, 5001, True, "1", 1.5])
def test_a_chunk_is_a_number_of_states(world: World, chunk: Any) -> None:
    with pytest.raises(StateValidationError, match="chunk: Must be a number from 1 to 5,000"):
        world.states.transition_many(["a"], "suspend", chunk=chunk)


@pytest.mark.parametrize("wrong", [{"transition": "no way"}, {"data": "text"}, {"data": {"n": object()}}, {"actor": 7}])
def test_unusable_arguments_are_refused_before_anything_is_written(world: World, wrong: Any) -> None:
    world.states.register_state("a", "user")
    with pytest.raises(StateValidationError):
        world.states.transition_many(["a"], **{"transition": "suspend", **wrong})
    assert world.states.get_state("a").version == 1  # type: ignore[union-attr]


def test_progress_is_told_after_each_chunk(world: World) -> None:
    world.states.register_many("user", [{"state_id": f"u{i}"} for i in range(5)])
    calls: list[Any] = []
    names = ["u0", "nobody", "u1", "u2", "u3"]
    world.states.transition_many(names, "suspend", chunk=2, progress=lambda *call: calls.append(call))
    assert calls == [(1, 2, 5), (3, 4, 5), (4, 5, 5)]
    calls.clear()
    world.states.transition_many(iter(names), "resume", chunk=4, progress=lambda *call: calls.append(call))
    assert calls == [(3, 4, None), (4, 5, None)]
    calls.clear()
    world.states.register_many("user", ({"state_id": f"n{i}"} for i in range(2)), progress=lambda *c: calls.append(c))
    assert calls == [(2, 2, None)]


def test_a_search_names_the_states_and_their_order(world: World) -> None:
    states = world.states
    states.register_many("user", [{"state_id": f"u{i}", "data": {"n": i}} for i in range(6)])
    states.register_state("other", "subscription", {"n": 5})
    heard: list[str] = []
    states.register_callback("*", lambda state_id, *_: heard.append(state_id))
    calls: list[Any] = []
    found = states.search_states("user", {"data.n__gte": 2}, order_by="-state_id")
    result = states.transition_many(found, "suspend", chunk=2, progress=lambda *call: calls.append(call))
    assert result.done == 4
    assert calls == [(2, 2, 4), (4, 4, 4)]
    assert heard == ["u4", "u5", "u2", "u3"]
    assert states.search_states(status="suspended").count() == 4
    assert states.transition_many(states.search_states("user", {"data.n": 99}), "suspend").done == 0


# -- announcements, counters, effects ------------------------------------------------------------------------------


def test_changes_are_announced_after_the_commit_in_the_order_of_the_revisions(world: World) -> None:
    states = world.states
    states.register_many("user", [{"state_id": f"u{i}"} for i in range(4)])
    heard: list[tuple[str, int, str | None]] = []

    def hear(_sender: Any, change: Any) -> None:
        present = states.get_state(change.key.name)
        assert present is not None
        heard.append((change.key.name, change.revision, present.status))
        if (change.key.name, change.event) == ("u0", "suspend"):
            states.update_state("u0", {"answered": True})

    with signals.state_changed.connected_to(hear):
        states.transition_many(["u3", "u0", "u1"], "suspend")
        states.transition_many(["u2"], "suspend", {"n": 1})
    assert sorted(name for name, _, _ in heard) == ["u0", "u0", "u1", "u2", "u3"]
    revisions = [revision for _, revision, _ in heard]
    assert revisions == sorted(revisions)
    assert {status for _, _, status in heard} == {"suspended"}


def test_every_change_is_counted_though_nobody_listens(world: World) -> None:
    states = world.states
    states.register_many("user", [{"state_id": f"u{i}"} for i in range(5)])
    states.transition_many([f"u{i}" for i in range(6)], "suspend", chunk=2)
    states.transition_many([f"u{i}" for i in range(5)], "suspend")
    value = world.runtime.counters.value
    assert (value("change.create"), value("change.suspend"), value("refused.suspend")) == (5, 5, 5)


def test_refused_transitions_are_told_of(world: World) -> None:
    world.states.register_state("a", "user")
    heard: list[Any] = []

    def hear(_sender: Any, **payload: Any) -> None:
        heard.append((payload["state_id"], payload["transition"], type(payload["error"])))

    with signals.transition_refused.connected_to(hear):
        world.states.transition_many(["a", "nobody"], "resume")
    assert heard == [("a", "resume", TransitionNotAllowed)]


@pytest.mark.parametrize("data", [None, {"n": 1}])
def test_durable_effects_and_deadlines_are_stored_with_each_change(world: World, data: Any) -> None:
    states = world.states
    machine = Machine(
        initial="open",
        transitions=[Transition("suspend", ["open"], "suspended"), Transition("drop", ["suspended"], "dropped")],
        deadlines=[Deadline("suspended", 60, "drop")],
    )
    states.define("ticket", machine)
    states.register_callback("ticket_suspended", lambda *_: None, durable=True, name="mail")
    states.register_many("ticket", [{"state_id": "a"}, {"state_id": "b"}, {"state_id": "c"}])
    states.transition_many(["a", "b", "nobody"], "suspend", data)
    backend = world.runtime.backend
    with backend.reading() as unit:
        jobs = backend.jobs(unit, JobQuery())
    assert sorted((job.key.name, job.topic, job.version) for job in jobs if job.kind == EFFECT) == [
        ("a", "mail", 2),
        ("b", "mail", 2),
    ]
    assert sorted((job.key.name, job.topic) for job in jobs if job.kind == TIMER) == [("a", "drop"), ("b", "drop")]


# -- hooks ---------------------------------------------------------------------------------------------------------


def test_what_a_hook_refuses_takes_the_hooks_writes_along_and_nothing_else(world: World) -> None:
    states = world.states
    states.register_many("user", [{"state_id": name} for name in ("a", "b", "c", "log")])

    def note(state_id: str, _old: Any, _new: Any, _transition: str) -> None:
        seen = states.get_state("log").data.get("seen", [])  # type: ignore[union-attr]
        if state_id != "log":
            states.update_state("log", {"seen": [*seen, state_id]})
        if state_id == "b":
            raise RuntimeError("not b")

    states.register_callback("suspend", note, when="before")
    result = states.transition_many(["c", "b", "a"], "suspend")
    assert [(refusal.state_id, repr(refusal.error)) for refusal in result.refused] == [("b", "RuntimeError('not b')")]
    assert states.get_state("log").data == {"seen": ["c", "a"]}  # type: ignore[union-attr]
    assert [states.get_state(name).status for name in "abc"] == ["suspended", "created", "suspended"]  # type: ignore[union-attr]


def test_a_storage_that_fails_in_a_hook_is_no_refusal(world: World) -> None:
    world.states.register_state("a", "user")

    def fail(*_: Any) -> None:
        raise StorageUnavailable("gone")

    world.states.register_callback("suspend", fail, when="before")
    with pytest.raises(BulkInterrupted) as raised:
        world.states.transition_many(["a"], "suspend")
    assert isinstance(raised.value.__cause__, StorageUnavailable)


def test_a_hook_may_move_many_in_the_transaction_of_the_write(world: World) -> None:
    states = world.states
    states.register_many("user", [{"state_id": name} for name in ("a", "b", "boss")])

    def cascade(state_id: str, _old: Any, _new: Any, _transition: str) -> None:
        if state_id == "boss":
            assert states.transition_many(["a", "b", "boss"], "suspend").done == 2
            raise ValueError("and yet no")

    states.register_callback("suspend", cascade, when="before")
    with pytest.raises(ValueError, match="and yet no"):
        states.update_state("boss", transition="suspend")
    assert states.search_states(status="suspended").count() == 0


# -- a session's transaction ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [None, {"n": 1}])
def test_with_a_session_everything_waits_for_its_commit(sql_world: World, data: Any) -> None:
    world, session = sql_world, sql_world.db.session
    heard: list[str] = []
    world.states.register_callback("suspend", lambda state_id, *_: heard.append(state_id))
    for ending in (session.rollback, session.commit):
        made = world.states.register_many("user", [{"state_id": f"u{i}"} for i in range(3)], session=session)
        assert made.ids == ("u0", "u1", "u2")
        session.add(world.note(text="mine"))
        result = world.states.transition_many(["u0", "nobody", "u1", "u2"], "suspend", data, session=session, chunk=2)
        assert (result.done, [refusal.state_id for refusal in result.refused]) == (3, ["nobody"])
        assert heard == []
        ending()
    assert sorted(heard) == ["u0", "u1", "u2"]
    assert session.query(world.note).count() == 1
    assert {state.version for state in world.states.search_states("user")} == {2}


def test_a_search_inside_a_session_sees_what_the_session_wrote(sql_world: World) -> None:
    session = sql_world.db.session
    with sql_world.states.transaction(session):
        sql_world.states.register_many("user", [{"state_id": "a"}])
        assert sql_world.states.transition_many(sql_world.states.search_states("user"), "suspend").done == 1
    session.rollback()
    assert sql_world.states.get_state("a") is None


def test_a_thread_does_not_wait_for_its_own_session(postgres_world: World) -> None:
    world, session = postgres_world, postgres_world.db.session
    world.states.register_many("user", [{"state_id": "a"}, {"state_id": "b"}])
    world.states.transition_many(["b"], "suspend", session=session)
    for data in (None, {"n": 1}):
        with pytest.raises(BulkInterrupted) as raised:
            world.states.transition_many(["a", "b"], "suspend", data)
        assert "Commit the session first, or join it with session=" in str(raised.value.__cause__)
    session.commit()


def test_memory_joins_no_session(world: World) -> None:
    if world.kind == "memory":
        with pytest.raises(ConfigurationError, match="cannot join"):
            world.states.transition_many(["a"], "suspend", session=world.db.session)
    else:
        assert world.states.transition_many([], "suspend", session=world.db.session).done == 0


def test_the_read_cache_is_brought_after(redis_url: str, tmp_path: Path) -> None:
    """Where there is one, somebody listens to each change."""
    for world in entered(build("sqlite", f"sqlite:///{tmp_path / 'w.db'}", **cached_by(redis_url))):
        states = world.states
        states.register_many("user", [{"state_id": "a"}, {"state_id": "b"}])
        assert [states.get_state(name).version for name in "ab"] == [1, 1]  # type: ignore[union-attr]
        states.transition_many(["a", "b"], "suspend")
        assert [states.get_state(name).status for name in "ab"] == ["suspended"] * 2  # type: ignore[union-attr]
        assert world.runtime.counters.value("cache.hit") == 4


# -- interruption and repetition -----------------------------------------------------------------------------------


@pytest.fixture
def breaking(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have the storage fail at a chunk, counted from 1."""

    def at(number: int) -> None:
        backend = world.runtime.backend
        seen = [0]
        original = backend.move_many

        def move_many(unit: Any, move: Any) -> Any:
            seen[0] += 1
            if seen[0] == number:
                raise StorageUnavailable("the cable is out")
            return original(unit, move)

        monkeypatch.setattr(backend, "move_many", move_many)

    return at


def test_an_interruption_says_what_is_committed(world: World, breaking: Callable[[int], None]) -> None:
    names = [f"u{i}" for i in range(6)]
    world.states.register_many("user", [{"state_id": name} for name in names])
    breaking(2)
    with pytest.raises(BulkInterrupted, match="Interrupted after 2 states, which stay changed") as raised:
        world.states.transition_many(["nobody", *names], "suspend", chunk=3)
    result: Any = raised.value.result
    assert (result.done, [refusal.state_id for refusal in result.refused]) == (2, ["nobody"])
    assert isinstance(raised.value, StorageError)
    assert isinstance(raised.value.__cause__, StorageUnavailable)
    assert [state.state_id for state in world.states.search_states(status="suspended")] == ["u0", "u1"]


def test_an_interrupted_call_with_a_key_goes_on_where_it_ended(world: World, breaking: Callable[[int], None]) -> None:
    names = [f"u{i}" for i in range(6)]
    world.states.register_many("user", [{"state_id": name} for name in names])
    breaking(3)

    def call() -> Any:
        return world.states.transition_many([*names, "nobody"], "update", chunk=2, idempotency_key="once")

    with pytest.raises(BulkInterrupted):
        call()
    result = call()
    assert (result.done, result.repeated, len(result.refused)) == (6, 4, 1)
    result = call()
    assert (result.done, result.repeated, len(result.refused)) == (6, 6, 1)
    assert {state.version for state in world.states.search_states("user")} == {2}
    assert {entry.version for entry in world.states.get_state_history("u0")} == {1, 2}


def test_a_key_belongs_to_one_call_and_one_actor(world: World) -> None:
    states = world.states
    states.register_many("user", [{"state_id": "a"}, {"state_id": "b"}])
    assert states.transition_many(["a"], "update", {"n": 1}, idempotency_key="k").done == 1
    for targets, transition, data in (
        (["a", "b"], "update", {"n": 1}),
        (["b"], "update", {"n": 1}),
        ([], "update", {"n": 1}),
        (states.search_states("user"), "update", {"n": 1}),
        (["a"], "suspend", {"n": 1}),
        (["a"], "update", {"n": 2}),
        (["a"], "update", None),
    ):
        with pytest.raises(IdempotencyKeyReused) as raised:
            states.transition_many(targets, transition, data, idempotency_key="k")
        assert (raised.value.key, raised.value.verb) == ("k", "transition_many")
    assert states.transition_many(iter(["a"]), "update", {"n": 1.0}, idempotency_key="k").repeated == 1
    assert [states.get_state(name).version for name in "ab"] == [2, 1]  # type: ignore[union-attr]
    assert states.transition_many(["a"], "update", {"n": 3}, idempotency_key="k", actor="another").repeated == 0
    assert states.transition_many(["a"], "update", {"n": 1}, idempotency_key="k" * 255).repeated == 0
    assert states.transition_many(["a"], "update", {"n": 1}, idempotency_key="k" * 255).repeated == 1


def test_no_key_is_taken_for_what_another_key_makes_of_an_id(world: World) -> None:
    states = world.states
    states.register_many("user", [{"state_id": "a"}, {"state_id": "b"}])
    assert states.transition_many(["a"], "update", idempotency_key="k").done == 1
    assert states.transition_many(["b"], "update", idempotency_key="k a").repeated == 0


def test_a_key_may_be_used_anew_when_it_is_forgotten(world: World) -> None:
    states = world.states
    states.register_many("user", [{"state_id": "a"}, {"state_id": "b"}])
    calls: list[Any] = []

    def dawdle(*call: int) -> None:
        calls.append(call)
        world.clock.advance(60)

    states.transition_many(["a", "b"], "update", {"n": 1}, chunk=1, progress=dawdle, idempotency_key="k")
    # The call is forgotten a moment before the second state is.
    world.clock.advance(timedelta(hours=72).total_seconds() - 90)
    result = states.transition_many(["b"], "update", {"n": 2}, idempotency_key="k")
    assert (result.done, result.repeated) == (1, 0)
    assert states.get_state("b").data == {"n": 2}  # type: ignore[union-attr]


def test_a_repeated_search_is_not_made_again(world: World) -> None:
    states = world.states
    states.register_many("user", [{"state_id": f"u{i}"} for i in range(4)])

    def call(**more: Any) -> Any:
        return states.transition_many(
            states.search_states("user", status="created"), "suspend", idempotency_key="k", **more
        )

    assert (call().done, call(chunk=3).repeated) == (4, 4)
    states.register_state("new", "user")
    told: list[Any] = []
    result = call(progress=lambda *numbers: told.append(numbers))
    assert (result.done, result.repeated, told) == (4, 4, [(4, 4, 4)])
    assert states.get_state("new").status == "created"  # type: ignore[union-attr]


def test_an_interrupted_search_goes_on_with_what_it_found(world: World, breaking: Callable[[int], None]) -> None:
    states = world.states
    states.register_many("user", [{"state_id": f"u{i}"} for i in range(6)])
    breaking(2)

    def call() -> Any:
        return states.transition_many(
            states.search_states("user", status="created", order_by="-state_id"),
            "suspend",
            chunk=2,
            idempotency_key="k",
        )

    with pytest.raises(BulkInterrupted):
        call()
    states.register_state("u9", "user")
    result = call()
    assert (result.done, result.repeated) == (6, 2)
    assert [state.state_id for state in states.search_states(status="created")] == ["u9"]


def test_a_search_is_the_same_however_it_is_put(world: World) -> None:
    states = world.states
    states.register_many("user", [{"state_id": "a", "data": {"n": 1, "plan": "pro"}}])

    def call(type_: str | None = "user", filters: Any = None, **more: Any) -> Any:
        found = states.search_states(type_, filters, **more)
        return states.transition_many(found, "update", idempotency_key="k")

    plans = {"data.n": 1, "data.plan__in": ["pro", "team", "free"]}
    assert call(filters=plans, status=["created", "active"]).done == 1
    world.clock.advance(60)
    for values in ({"free", "pro", "team"}, ("team", "team", "pro", "free")):
        again = call(filters={"data.plan__in": values, "data.n": 1.0}, status=["active", "created"])
        assert (again.done, again.repeated) == (1, 1)
    for other in (
        {"status": "created"},
        {"status": ["created", "active"], "owner": "me"},
        {"status": ["created", "active"], "order_by": "-created_at"},
        {"status": ["created", "active"], "type_": None},
        {"status": ["created", "active"], "filters": {**plans, "data.n": 2}},
        {"status": ["created", "active"], "filters": {**plans, "data.n__gte": 1}},
        {"status": ["created", "active"], "filters": {**plans, "created_at__gte": START}},
    ):
        with pytest.raises(IdempotencyKeyReused):
            call(**{"filters": plans, **other})


def test_a_call_that_changed_nothing_leaves_its_key_free(world: World) -> None:
    states = world.states
    states.register_many("user", [{"state_id": "a"}, {"state_id": "b"}])
    assert states.transition_many(["a", "nobody"], "resume", chunk=1, idempotency_key="k").done == 0
    assert states.transition_many([], "resume", idempotency_key="k").ok
    assert states.transition_many(["b"], "suspend", idempotency_key="k").done == 1
    with pytest.raises(IdempotencyKeyReused):
        states.transition_many(["a", "nobody"], "resume", idempotency_key="k")
    assert states.register_many("user", [{"state_id": "a"}], idempotency_key="k").done == 0
    assert states.register_many("user", [{"state_id": "c"}], idempotency_key="k").done == 1


def test_a_call_that_changed_something_keeps_its_key_and_decides_the_refused_anew(world: World) -> None:
    states = world.states
    states.register_many("user", [{"state_id": "a"}, {"state_id": "b"}])
    states.transition_many(["b"], "suspend")
    first = states.transition_many(["nobody", "b", "a"], "suspend", chunk=1, idempotency_key="k")
    assert (first.done, len(first.refused)) == (1, 2)
    with pytest.raises(IdempotencyKeyReused):
        states.transition_many(["b"], "resume", idempotency_key="k")
    states.register_state("nobody", "user")
    again = states.transition_many(["nobody", "b", "a"], "suspend", idempotency_key="k")
    assert (again.done, again.repeated, [refusal.state_id for refusal in again.refused]) == (2, 1, ["b"])


@pytest.mark.parametrize("surroundings", ["quiet", "hooked"])
def test_an_id_that_occurs_twice_is_decided_twice_with_a_key_too(world: World, surroundings: str) -> None:
    states = world.states
    if surroundings == "hooked":
        states.register_callback("*", lambda *_: None, when="before")
    states.register_many("user", [{"state_id": "a"}, {"state_id": "b"}])

    def move() -> Any:
        return states.transition_many(["a", "b", "a", "a"], "update", {"n": 1}, idempotency_key="k")

    assert ((first := move()).done, first.repeated) == (4, 0)
    assert ((again := move()).done, again.repeated) == (4, 4)
    assert [states.get_state(name).version for name in "ab"] == [4, 2]  # type: ignore[union-attr]
    result = states.transition_many(["a", "a"], "suspend", idempotency_key="s")
    assert (result.done, [refusal.index for refusal in result.refused]) == (1, [1])
    made = states.register_many("user", [{"state_id": "c"}, {"state_id": "c"}], idempotency_key="r")
    assert (made.ids, [type(refusal.error) for refusal in made.refused]) == (("c",), [StateExists])


def test_the_state_that_another_call_under_the_key_found_first_counts(world: World) -> None:
    """The same call is made again between two chunks, before the first has changed anything."""
    states = world.states
    states.register_many("user", [{"state_id": "u0"}, {"state_id": "u1"}])
    states.update_state("u0", transition="suspend")
    inner: list[Any] = []

    def call(progress: Any = None) -> Any:
        found = states.search_states("user", order_by="state_id")
        return states.transition_many(found, "suspend", chunk=1, idempotency_key="k", progress=progress)

    def meanwhile(*_: Any) -> None:
        if not inner:
            states.register_state("u2", "user")
            inner.append(call())

    result = call(meanwhile)
    assert (inner[0].done, inner[0].repeated) == (2, 0)
    assert (result.done, result.repeated) == (2, 2)
    assert [refusal.state_id for refusal in result.refused] == ["u0"]
    assert states.get_state("u1").version == 2  # type: ignore[union-attr]


def test_a_key_that_another_request_takes_meanwhile_ends_the_call(world: World) -> None:
    states = world.states
    states.register_many("user", [{"state_id": "a"}, {"state_id": "b"}])

    def meanwhile(*_: Any) -> None:
        states.transition_many(["a"], "activate", idempotency_key="k")

    with pytest.raises(IdempotencyKeyReused):
        states.transition_many(["nobody", "b"], "suspend", chunk=1, idempotency_key="k", progress=meanwhile)
    assert [states.get_state(name).status for name in "ab"] == ["active", "created"]  # type: ignore[union-attr]


def test_a_key_rides_in_the_sessions_transaction(sql_world: World) -> None:
    states, session = sql_world.states, sql_world.db.session
    states.register_many("user", [{"state_id": "a"}, {"state_id": "b"}])

    def call(targets: Any) -> Any:
        return states.transition_many(targets, "update", session=session, idempotency_key="k", chunk=1)

    assert call(["nobody"]).done == 0
    assert (call(["a", "b"]).repeated, call(["a", "b"]).repeated) == (0, 2)
    with pytest.raises(IdempotencyKeyReused):
        call(["a"])
    session.rollback()
    assert call(states.search_states("user")).repeated == 0
    session.commit()
    assert call(states.search_states("user")).repeated == 2
    session.commit()
    assert [states.get_state(name).version for name in "ab"] == [2, 2]  # type: ignore[union-attr]


def test_a_key_in_use_in_the_threads_own_session_is_named(postgres_world: World) -> None:
    states, session = postgres_world.states, postgres_world.db.session
    states.register_many("user", [{"state_id": "a"}])
    states.transition_many(["a"], "update", session=session, idempotency_key="my key")
    with pytest.raises(StorageError, match=r"The idempotency key 'my key' is .* this thread's session"):
        states.transition_many(["a"], "update", idempotency_key="my key")
    session.rollback()


def test_of_one_call_made_many_times_at_once_each_state_is_changed_once(sql_world: World) -> None:
    world = sql_world
    world.states.register_many("user", [{"state_id": name} for name in NAMES])
    results: list[Any] = []

    def call() -> None:
        found = world.states.search_states("user", status="created")
        results.append(world.states.transition_many(found, "suspend", {"n": 1}, chunk=7, idempotency_key="k"))

    _at_once(world, [call] * 4)
    assert [result.done for result in results] == [len(NAMES)] * 4
    assert sum(result.done - result.repeated for result in results) == len(NAMES)
    assert {state.version for state in world.states.search_states("user")} == {2}


# -- interruption by the caller's own code -------------------------------------------------------------------------


@pytest.mark.parametrize("progress", [7, "print", True])
def test_progress_that_is_no_function_is_refused_before_anything_is_written(world: World, progress: Any) -> None:
    world.states.register_state("a", "user")
    with pytest.raises(StateValidationError, match="progress: Must be a function"):
        world.states.transition_many(["a"], "suspend", progress=progress)
    with pytest.raises(StateValidationError, match="progress: Must be a function"):
        world.states.register_many("user", [{"state_id": "b"}], progress=progress)
    assert [state.version for state in world.states.search_states()] == [1]


def _ending(things: list[Any]) -> Iterator[Any]:
    yield from things
    raise OSError("the file is torn")


def _torn(_done: int, seen: int, _total: int | None) -> None:
    if seen == 4:
        raise OSError("the pipe is closed")


@pytest.mark.parametrize("by", ["input", "progress"])
def test_code_of_the_callers_that_fails_in_the_middle_does_not_lose_the_account(world: World, by: str) -> None:
    names = ["u0", "nobody", "u1", "u2"]
    states = world.states
    more: dict[str, Any] = {"progress": _torn} if by == "progress" else {}
    items: list[Any] = [{"state_id": "u0"}, 7, {"state_id": "u1"}, {"state_id": "u2"}]
    with pytest.raises(BulkInterrupted, match="Interrupted after 3 states, which stay changed") as raised:
        states.register_many("user", iter(items) if more else _ending(items), chunk=2, **more)
    result: Any = raised.value.result
    assert (result.ids, [refusal.index for refusal in result.refused]) == (("u0", "u1", "u2"), [1])
    with pytest.raises(BulkInterrupted) as raised:
        states.transition_many(iter(names) if more else _ending(names), "suspend", chunk=2, **more)
    result = raised.value.result
    assert (result.done, [refusal.state_id for refusal in result.refused]) == (3, ["nobody"])
    assert isinstance(raised.value.__cause__, OSError)
    assert states.search_states(status="suspended").count() == 3


def test_a_key_that_progress_uses_wrongly_does_not_lose_the_account(world: World) -> None:
    states = world.states
    states.register_state("other", "user")
    states.update_state("other", {"n": 1}, idempotency_key="k")

    def note(*_: Any) -> None:
        states.update_state("other", {"n": 2}, idempotency_key="k")

    with pytest.raises(BulkInterrupted) as raised:
        states.register_many("user", [{"state_id": "a"}], progress=note, idempotency_key="k")
    assert isinstance(raised.value.__cause__, IdempotencyKeyReused)
    assert raised.value.done == 1


@pytest.mark.parametrize("key", [None, "k"])
def test_an_input_that_fails_before_anything_is_written_fails_as_it_is(world: World, key: str | None) -> None:
    world.states.register_state("a", "user")
    with pytest.raises(OSError, match="torn"):
        world.states.transition_many(_ending(["a"]), "suspend", idempotency_key=key)
    with pytest.raises(OSError, match="torn"):
        world.states.register_many("user", _ending([{"state_id": "b"}]), idempotency_key=key)
    assert [state.version for state in world.states.search_states()] == [1]


def test_in_anothers_transaction_errors_come_as_they_are(sql_world: World) -> None:
    """Nothing is committed there, so there is nothing to give an account of."""
    states, session = sql_world.states, sql_world.db.session
    items = [{"state_id": f"u{i}"} for i in range(4)]
    with pytest.raises(OSError, match="closed"):
        states.register_many("user", items, chunk=2, session=session, progress=_torn)
    session.rollback()
    with pytest.raises(OSError, match="closed"), states.transaction(session):
        states.register_many("user", items, chunk=2, progress=_torn)
    session.rollback()
    assert states.search_states().count() == 0


# -- what repeated registrations come to ---------------------------------------------------------------------------


def test_what_was_refused_is_decided_anew_under_the_same_key(world: World) -> None:
    states = world.states
    states.register_state("a", "user")
    assert states.transition_many(["a"], "resume", idempotency_key="k").done == 0
    states.update_state("a", transition="suspend")
    assert states.transition_many(["a"], "resume", idempotency_key="k").repeated == 0
    assert states.transition_many(["a"], "resume", idempotency_key="k").repeated == 1


def test_a_repeated_registration_answers_with_the_same_ids(world: World) -> None:
    items = [{"data": {"n": 1}}, {"state_id": "mine"}, {"data": {"n": 2}, "ttl": 60}, {"ttl": object()}]
    first = world.states.register_many("user", items, idempotency_key="k", chunk=2)
    again = world.states.register_many("user", items, idempotency_key="k")
    assert first.ids == again.ids
    assert (first.repeated, again.repeated) == (0, 3)
    assert [refusal.index for refusal in again.refused] == [3]
    assert world.states.search_states("user").count() == 3
    for other in (items[:2], [*items, {}], items[::-1], [{"data": {"n": 9}}, *items[1:]], []):
        with pytest.raises(IdempotencyKeyReused):
            world.states.register_many("user", other, idempotency_key="k")
    with pytest.raises(IdempotencyKeyReused):
        world.states.register_many("subscription", items, idempotency_key="k")
    assert world.states.search_states().count() == 3


def test_equal_items_are_recognised_however_they_are_put(world: World) -> None:
    moment = world.clock.now() + timedelta(days=1)
    abroad = moment.astimezone(timezone(timedelta(hours=5)))
    asked = [
        [{"ttl": ttl}, {"expires_at": at, "data": {"n": n}}]
        for ttl, at, n in [(60, moment, 1), (60.0, abroad, 1.0), (timedelta(minutes=1), moment, 1)]
    ]
    asked.append([{"ttl": 60}, {"expires_at": moment, "initial_data": {"n": 1}}])
    results = [world.states.register_many("user", items, idempotency_key="k") for items in asked]
    assert [(result.done, result.repeated) for result in results] == [(2, 0), (2, 2), (2, 2), (2, 2)]
    for items in ([{"ttl": 61}, asked[0][1]], [{"ttl": True}, asked[0][1]], [asked[0][0], {"expires_at": moment}]):
        with pytest.raises(IdempotencyKeyReused):
            world.states.register_many("user", items, idempotency_key="k")


def test_a_registration_that_died_goes_on_without_a_second_of_anything(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [{"data": {"n": n}} for n in range(5)]
    backend = world.runtime.backend
    original, seen = backend.apply_many, [0]

    def apply_many(unit: Any, changes: Any) -> Any:
        seen[0] += 1
        if seen[0] == 2:
            raise StorageUnavailable("the cable is out")
        return original(unit, changes)

    monkeypatch.setattr(backend, "apply_many", apply_many)
    with pytest.raises(BulkInterrupted) as raised:
        world.states.register_many("user", iter(items), chunk=2, idempotency_key="k")
    first: Any = raised.value.result
    result = world.states.register_many("user", iter(items), chunk=2, idempotency_key="k")
    assert (result.done, result.repeated, result.ids[:2]) == (5, 2, first.ids)
    assert sorted(state.data["n"] for state in world.states.search_states("user")) == [0, 1, 2, 3, 4]


# -- races ---------------------------------------------------------------------------------------------------------

NAMES = [f"r{i:02}" for i in range(30)]


@pytest.fixture(params=[1, 1000])
def copied(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """From how many changes on COPY is used: from the first, or never."""
    number: int = request.param
    monkeypatch.setattr("flask_statemanager.backends.sql.many.COPIED", number)
    return number


@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize("data", [None, {"n": 1}])
def test_bulk_and_single_transitions_race_without_a_gap(sql_world: World, data: Any) -> None:
    world = sql_world
    world.states.register_many("user", [{"state_id": name} for name in NAMES])
    done: list[int] = []

    def many(names: list[str], transition: str) -> int:
        return world.states.transition_many(names, transition, data, chunk=10).done

    def single(transition: str) -> int:
        return sum(outcome(lambda n=name: world.states.update_state(n, data, transition), "") is None for name in NAMES)

    works = [
        lambda: many(NAMES, "suspend"),
        lambda: many(NAMES[::-1], "activate"),
        lambda: many(NAMES[::-1], "update"),
        lambda: single("suspend"),
        lambda: single("activate"),
    ]
    _at_once(world, [lambda work=work: done.extend(work() for _ in range(3)) for work in works])
    found = {state.state_id: state for state in world.states.search_states("user")}
    for name in NAMES:
        history = world.states.get_state_history(name)
        versions = [entry.version for entry in history]
        assert versions == list(range(1, len(versions) + 1))
        assert [entry.from_status for entry in history[1:]] == [entry.to_status for entry in history[:-1]]
        assert (found[name].version, found[name].status) == (versions[-1], history[-1].to_status)
        assert found[name].revision == history[-1].revision
    assert sum(state.version for state in found.values()) == len(NAMES) + sum(done)


@pytest.mark.usefixtures("copied")
def test_one_id_is_registered_by_one_of_many(sql_world: World) -> None:
    world = sql_world
    ids: list[str] = []
    refused: list[type] = []

    def register(names: list[str]) -> None:
        result = world.states.register_many("user", [{"state_id": name} for name in names], chunk=15)
        ids.extend(result.ids)
        refused.extend(type(refusal.error) for refusal in result.refused)

    def register_singly() -> None:
        for name in NAMES:
            try:
                ids.append(world.states.register_state(name, "user").state_id)
            except StateExists as error:
                refused.append(type(error))

    ways: list[Callable[[], None]] = [lambda: register(NAMES), lambda: register(NAMES[::-1]), register_singly]
    _at_once(world, [*ways, lambda: register(NAMES)])
    assert sorted(ids) == NAMES
    assert set(refused) == {StateExists}
    assert len(refused) == 3 * len(NAMES)
    assert {state.version for state in world.states.search_states("user")} == {1}


def _at_once(world: World, works: list[Callable[[], Any]]) -> None:
    barrier = threading.Barrier(len(works))
    failed: list[BaseException] = []

    def run(work: Callable[[], Any]) -> None:
        try:
            with world.app.app_context():
                barrier.wait(30)
                work()
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    assert failed == []


@pytest.mark.usefixtures("copied")
def test_every_history_row_names_the_transaction_that_drew_its_revision(postgres_world: World) -> None:
    """By it a reader of the log knows what may still become visible."""
    states = postgres_world.states
    states.register_many("user", [{"state_id": name} for name in NAMES], chunk=10)
    states.transition_many(NAMES, "suspend", chunk=10)
    states.transition_many(NAMES, "resume", {"n": 1}, chunk=10)
    with postgres_world.db.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT xid, count(*) FROM statemanager_history GROUP BY xid").fetchall()
    assert [count for xid, count in rows if xid] == [10] * 9


def test_no_statistics_of_the_planner_make_it_scan_the_table(postgres_world: World) -> None:
    """Which a fresh table has not; each name is looked up by itself."""
    backend, states = postgres_world.runtime.backend, postgres_world.states
    states.register_many("user", [{"state_id": f"u{i}"} for i in range(3000)], chunk=3000)
    ways = plain_ways([states.define("user")], "suspend")
    move = Move("state", tuple(NAMES), ways, "suspend", Origin("me"), postgres_world.clock.now())
    with backend.writing() as unit:
        statement = backend._moves.statement(ways)
        explained = statement.behind("EXPLAIN")
        plan = "\n".join(row[0] for row in unit.run(explained, backend._moves.values(move), planned=False))
    assert plan.count("Index Scan using") == 2, plan
    assert "Seq Scan on statemanager" not in plan
    assert "Bitmap" not in plan


# -- registration --------------------------------------------------------------------------------------------------


def test_each_item_comes_to_what_a_registration_comes_to(world: World) -> None:
    declare(world)
    tighten(world)
    states = world.states
    for prefix in ("alone", "many"):
        states.register_state(f"{prefix}/taken", "checked", owner="me")
        states.register_state(f"{prefix}/dead", "checked", owner="me")
        states.delete_state(f"{prefix}/dead")
    made: list[dict[str, Any]] = [
        {"id": "bare", "data": {"n": None}, "owner": "me"},
        {"id": "enveloped", "data": {"name": "label", "data": {"n": 1}, "metadata": {"m": 1}}, "owner": "me"},
        {"id": "ending", "ttl": 60, "owner": "me"},
        {"id": "closed", "initial_status": "closed", "owner": "me"},
        {"id": "dead", "data": {"again": True}, "owner": "me"},
        {"id": "taken", "owner": "me"},
        {"id": "no owner"},
        {"id": "unowned"},
        {"id": "both", "ttl": 1, "expires_at": world.clock.now(), "owner": "me"},
        {"id": "late", "expires_at": "tomorrow", "owner": "me"},
        {"id": "astray", "initial_status": "nowhere", "owner": "me"},
        {"id": "worded", "initial_status": 7, "owner": "me"},
        {"id": "owned", "owner": ""},
        {"id": "typed", "data": {"type": "user", "data": {}}, "owner": "me"},
        {"id": "strange", "data": {"n": {1, 2}}, "owner": "me"},
    ]
    alone = []
    for item in made:
        more = {name: value for name, value in item.items() if name not in ("id", "data")}
        call = lambda item=item, more=more: states.register_state(  # noqa: E731
            f"alone/{item['id']}", "checked", item.get("data"), reason="why", **more
        )
        alone.append(outcome(call, "alone"))
    items = [{**{k: v for k, v in item.items() if k != "id"}, "state_id": f"many/{item['id']}"} for item in made]
    result = states.register_many("checked", items, reason="why", chunk=4)
    refused = {refusal.index: told(refusal.error, "many") for refusal in result.refused}
    # A single registration calls the argument initial_data.
    assert [refused.get(index) for index in range(len(items))] == alone
    good = [item["id"] for item, refusal in zip(made, alone, strict=True) if refusal is None]
    assert result.ids == tuple(f"many/{name}" for name in good)
    assert result.done == len(good) == 5
    names = [*good, "taken"]
    assert stories(world, [f"many/{n}" for n in names], "many") == stories(
        world, [f"alone/{n}" for n in names], "alone"
    )


def test_items_without_an_id_get_one_each_in_order(world: World) -> None:
    result = world.states.register_many("user", [{"data": {"n": n}} for n in range(5)] + [{"bad": 1}], chunk=2)
    assert [world.states.get_state(name).data["n"] for name in result.ids] == [0, 1, 2, 3, 4]  # type: ignore[union-attr]
    assert list(result.ids) == sorted(result.ids)
    assert [(refusal.index, refusal.state_id) for refusal in result.refused] == [(5, None)]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("text", "Must be dicts"),
        ({"state_id": "a", "status": "x"}, "'status' is no part of an item"),
        ({"state_id": "a", "data": {}, "initial_data": {}}, "Give either data or initial_data"),
        ({"state_id": 7}, "7 is not a state id"),
        ({"state_id": "a", "data": []}, "data: Must be a dict"),
        ({"state_id": "a", "initial_data": []}, "initial_data: Must be a dict"),
    ],
)
def test_an_unusable_item_is_refused_and_the_others_are_not(world: World, item: Any, message: str) -> None:
    result = world.states.register_many("user", [item, {"state_id": "fine"}])
    assert result.ids == ("fine",)
    (refusal,) = result.refused
    assert message in str(refusal.error)
    assert isinstance(refusal.error, StateValidationError)


@pytest.mark.parametrize("items", [{"state_id": "a"}, "text", b"text", 7, None])
def test_what_is_no_list_of_items_is_refused(world: World, items: Any) -> None:
    with pytest.raises(StateValidationError, match="items: Must be a list of dicts"):
        world.states.register_many("user", items)


def test_an_unknown_type_is_refused_at_once(world: World) -> None:
    with pytest.raises(StateValidationError, match="There is no type 'nothing'"):
        world.states.register_many("nothing", [{}])


def test_a_value_that_is_too_large_is_one_refusal(world: World) -> None:
    large = {"text": "x" * 2**20}
    result = world.states.register_many("user", [{"state_id": "a", "data": large}, {"state_id": "b"}])
    assert [type(refusal.error) for refusal in result.refused] == [LimitExceeded]
    assert result.ids == ("b",)


# -- guards that are rules -----------------------------------------------------------------------------------------


def test_a_rule_guards_single_writes_too(world: World) -> None:
    declare(world)
    states = world.states
    states.register_state("a", "ruled", {"data": {"balance": 9}, "metadata": {"open": True}})
    assert states.explain("a", "suspend").reason == "funded does not hold."
    with pytest.raises(GuardFailed, match="The guard 'funded' refuses the transition 'suspend': funded do"):
        states.update_state("a", transition="suspend")
    with pytest.raises(GuardFailed):  # the present state decides, not the one that it would become
        states.update_state("a", {"balance": 10}, "suspend")
    states.update_state("a", {"balance": 10})
    assert states.can("a", "suspend")
    assert states.update_state("a", transition="suspend").status == "suspended"


def test_a_rule_names_itself_and_says_why() -> None:
    one = Guard.where({"data.plan__in": ("pro", "team")})
    assert (one.title, one.sentence) == ("data.plan__in=['pro', 'team']", "data.plan__in=['pro', 'team'] does not hold")
    assert Guard.where({"data.a": 1, "data.b": 2}).sentence == "data.a=1, data.b=2 do not hold"
    assert Guard.where({"data.a": 1}, name="a", reason="No a.").sentence == "No a."


@pytest.mark.parametrize("filters", [{}, None, {"status": "x"}, {"data.a__near": 1}, {"data.a__in": range(10_001)}])
def test_an_unusable_rule_is_refused_where_it_is_declared(filters: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"guard (cannot be used|needs a condition)"):
        Guard.where(filters)


# -- how much is sent ----------------------------------------------------------------------------------------------


@pytest.fixture
def counted(sql_world: World, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[Callable[[], Any]], int]]:
    """Count the statements that the backend sends during a call."""

    def count(call: Callable[[], Any]) -> int:
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "flask_statemanager.sql"):
            call()
        return len([record for record in caplog.records if record.name == "flask_statemanager.sql"])

    return count


def test_a_chunk_takes_a_few_statements_however_many_states_it_has(sql_world: World, counted: Any) -> None:
    states, postgres = sql_world.states, sql_world.kind == "postgresql"
    names = [f"u{i}" for i in range(40)]
    items = [{"state_id": name} for name in names]
    assert counted(lambda: states.register_many("user", items, chunk=20)) == (4 if postgres else 8)
    assert counted(lambda: states.transition_many(names, "suspend", chunk=20)) == 4
    assert counted(lambda: states.transition_many(names, "resume", {"n": 1}, chunk=20)) == (4 if postgres else 8)
    states.register_callback("*", lambda *_: None)
    assert counted(lambda: states.transition_many(names, "suspend", chunk=20)) == 6
    assert counted(lambda: states.transition_many(names, "suspend", chunk=40)) == (3 if postgres else 2)


def test_what_was_refused_by_the_storage_is_looked_at_once_more(sql_world: World, counted: Any) -> None:
    states = sql_world.states
    states.register_many("user", [{"state_id": "a"}, {"state_id": "b"}])
    states.update_state("a", transition="suspend")
    assert counted(lambda: states.transition_many(["a", "b"], "suspend")) == 3


def test_a_race_that_nobody_lets_it_win_interrupts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.states.register_state("a", "user")
    tried: list[int] = []

    def lose(_unit: Any, changes: Any) -> Any:
        tried.append(1)
        raise StateConflict(changes[0].key, changes[0].version - 1, None)

    monkeypatch.setattr(world.runtime.backend, "apply_many", lose)
    monkeypatch.setattr("flask_statemanager.core.retry.time.sleep", lambda _seconds: None)
    with pytest.raises(BulkInterrupted):
        world.states.transition_many(["a"], "suspend", {"n": 1})
    assert len(tried) == 10

"""Idempotency keys: the same request under the same key gets the same answer and changes nothing more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from flask_statemanager import (
    IdempotencyKeyReused,
    LimitExceeded,
    Revision,
    StateConflict,
    StateManager,
    StateNotFound,
    StateValidationError,
    StorageError,
    TransitionNotAllowed,
)
from flask_statemanager.core.idempotency import Request, fingerprint
from flask_statemanager.core.query import ChangeQuery
from flask_statemanager.core.record import Key
from flask_statemanager.errors import RequestInProgress
from flask_statemanager.testing.capture import captured
from flask_statemanager.testing.clock import START
from tests.worlds import World, build, entered

PATIENCE = 60.0
DAY = 86_400
Verb = Callable[..., Any]


@pytest.fixture
def memory() -> Iterator[World]:
    """An application in memory, for what is the same on every backend."""
    yield from entered(build("memory", "sqlite://"))


def prepared(world: World) -> StateManager:
    """A state u1 with two versions, and a timer."""
    world.states.register_state("u1", "user", {"a": 1})
    world.states.update_state("u1", {"a": 2}, "activate")
    world.states.schedule_transition("u1", "suspend", after=DAY, key="old")
    return world.states


VERBS: dict[str, Verb] = {
    "register with an id": lambda states, **more: states.register_state("u2", "user", {"a": 1}, **more),
    "register without an id": lambda states, **more: states.register_state(None, "user", {"a": 1}, **more),
    "register over it": lambda states, **more: states.register_state(
        "u1", "user", {"a": 9}, if_exists="update", **more
    ),
    "update": lambda states, **more: states.update_state("u1", {"a": 3}, "suspend", **more),
    "delete": lambda states, **more: states.delete_state("u1", **more),
    "rollback": lambda states, **more: states.rollback_state("u1", to_version=1, **more),
    "schedule": lambda states, **more: states.schedule_transition("u1", "suspend", after=5, **more),
    "cancel": lambda states, **more: states.cancel_scheduled("u1", **more),
}
OTHERS: dict[str, Verb] = {
    "register with an id": lambda states, **more: states.register_state("u2", "user", {"a": 2}, **more),
    "register without an id": lambda states, **more: states.register_state("u3", "user", {"a": 1}, **more),
    "register over it": lambda states, **more: states.register_state("u1", "user", {"a": 9}, **more),
    "update": lambda states, **more: states.update_state("u1", {"a": 3}, "suspend", expect=2, **more),
    "delete": lambda states, **more: states.delete_state("u2", **more),
    "rollback": lambda states, **more: states.rollback_state("u1", to_version=2, **more),
    "schedule": lambda states, **more: states.schedule_transition("u1", "suspend", after=6, **more),
    "cancel": lambda states, **more: states.cancel_scheduled("u1", key="old", **more),
}


def footprint(world: World) -> Any:
    """Everything that a write could have changed."""
    changes = [(e.state_id, e.version) for e in world.states.get_recent_changes(limit=1000)]
    timers = [(t.id, t.status) for t in world.states.list_timers(status=None)]
    return changes, timers


@pytest.mark.parametrize("verb", VERBS)
def test_a_repeated_request_gets_the_same_answer_and_changes_nothing_more(world: World, verb: str) -> None:
    states = prepared(world)
    answer = VERBS[verb](states, idempotency_key="k")
    after = footprint(world)
    world.clock.advance(60)
    with captured() as told:
        for _ in range(2):
            assert VERBS[verb](states, idempotency_key="k") == answer
    assert told.names == []
    assert footprint(world) == after
    assert type(VERBS[verb](states, idempotency_key="k")) is type(answer)


@pytest.mark.parametrize("verb", VERBS)
def test_the_answer_stays_what_it_was_although_the_state_moves_on(memory: World, verb: str) -> None:
    states = prepared(memory)
    answer = VERBS[verb](states, idempotency_key="k")
    states.register_state("u1", "user", {"a": 7}, if_exists="update")
    states.delete_state("u1")
    assert VERBS[verb](states, idempotency_key="k") == answer


@pytest.mark.parametrize("verb", VERBS)
def test_another_request_under_the_same_key_is_refused(world: World, verb: str) -> None:
    states = prepared(world)
    VERBS[verb](states, idempotency_key="k")
    after = footprint(world)
    with pytest.raises(IdempotencyKeyReused, match="'k' belongs to another request") as refused:
        OTHERS[verb](states, idempotency_key="k")
    assert refused.value.key == "k"
    for differently in ({"reason": "why"}, {"source": "elsewhere"}):
        with pytest.raises(IdempotencyKeyReused):
            VERBS[verb](states, idempotency_key="k", **differently)
    assert footprint(world) == after


def test_a_repeated_rollback_is_answered_although_the_old_versions_are_gone(world: World) -> None:
    states, clock = world.states, world.clock
    states.register_state("u1", "user", {"a": 1})
    states.update_state("u1", {"a": 2}, "activate")
    moment = clock.now()
    clock.advance(60)
    states.delete_state("u1")

    def back(**more: Any) -> list[Any]:
        return [
            states.rollback_state("u1", 1, undelete=True, idempotency_key="k1", **more),
            states.rollback_state("u1", at=moment, idempotency_key="k2", **more),
        ]

    answers = back()
    assert [(state.version, state.data) for state in answers] == [(4, {"a": 1}), (5, {"a": 2})]
    clock.advance(DAY)
    states.delete_state("u1")
    backend = world.runtime.backend
    with backend.writing() as unit:
        assert len(backend.forget_changes(unit, clock.now(), 100)) == 5
    for wrong in (1, 4):
        with pytest.raises(StateNotFound):
            states.rollback_state("u1", wrong, undelete=True)
    after = footprint(world)
    assert back() == answers
    with pytest.raises(IdempotencyKeyReused):
        states.rollback_state("u1", 2, undelete=True, idempotency_key="k1")
    assert footprint(world) == after


def test_a_repeated_rollback_in_a_session_is_answered_although_the_old_version_is_gone(sql_world: World) -> None:
    states, session = prepared(sql_world), sql_world.db.session
    answer = states.rollback_state("u1", 1, session=session, idempotency_key="k")
    session.commit()
    sql_world.clock.advance(DAY)
    backend = sql_world.runtime.backend
    with backend.writing() as unit:
        assert len(backend.forget_changes(unit, sql_world.clock.now(), 100)) == 2
    assert states.rollback_state("u1", 1, session=session, idempotency_key="k") == answer


def test_a_new_key_makes_a_new_request(world: World) -> None:
    states = prepared(world)
    for number, key in enumerate(("k1", "k2", None, None), 3):
        assert states.update_state("u1", {"n": 1}, idempotency_key=key).version == number


def test_actor_verb_and_key_are_the_scope(world: World) -> None:
    states = prepared(world)
    ann = states.update_state("u1", {"b": 1}, actor="ann", idempotency_key="k")
    bob = states.update_state("u1", {"b": 1}, actor="bob", idempotency_key="k")
    assert (ann.version, bob.version) == (3, 4)
    assert states.schedule_transition("u1", "suspend", after=5, actor="ann", idempotency_key="k").status == "pending"
    assert states.update_state("u1", {"b": 1}, actor="ann", idempotency_key="k2").version == 5
    with pytest.raises(IdempotencyKeyReused):
        states.update_state("u1", {"b": 2}, actor="bob", idempotency_key="k")
    assert states.update_state("u1", {"b": 1}, actor="ann", idempotency_key="k") == ann


def test_the_history_has_the_key_and_no_other_version_has(world: World) -> None:
    states = prepared(world)
    states.update_state("u1", {"b": 1}, idempotency_key="k")
    states.update_state("u1", {"b": 2})
    with world.runtime.backend.reading() as unit:
        changes = world.runtime.backend.changes(unit, ChangeQuery("state", Key("state", "u1")))
    assert [change.origin.idempotency_key for change in changes] == [None, None, "k", None]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"new_data": {"a": 1, "b": {"x": 1, "y": [2]}}}, {"new_data": {"b": {"y": [2.0], "x": 1}, "a": 1.0}}),
        ({"new_data": {"a": -0.0}}, {"new_data": {"a": 0}}),
        ({"new_data": {"a": 1e16}}, {"new_data": {"a": 10**16}}),
        ({"ttl": 60}, {"ttl": timedelta(minutes=1)}),
        (
            {"expires_at": START + timedelta(hours=1)},
            {"expires_at": (START + timedelta(hours=1)).astimezone(timezone(timedelta(hours=5)))},
        ),
        ({"expect": 2}, {"expect": 2}),
    ],
    ids=["order and floats", "minus zero", "large", "ttl", "time zones", "version"],
)
def test_equal_values_are_the_same_request(world: World, one: dict[str, Any], other: dict[str, Any]) -> None:
    states = prepared(world)
    answer = states.update_state("u1", idempotency_key="k", **one)
    assert states.update_state("u1", idempotency_key="k", **other) == answer


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"new_data": {"a": 1}}, {"new_data": {"a": True}}),
        ({"new_data": {"a": 1}}, {"new_data": {"a": "1"}}),
        ({"new_data": {"a": None}}, {"new_data": {}}),
        ({"new_data": {"a": 1}}, {"new_data": {"data": {"a": 1}, "name": "n"}}),
        ({"expect": 2}, {"expect": Revision(2)}),
        ({"expect": 2}, {}),
        ({"mode": "merge", "new_data": {"a": 1}}, {"mode": "replace", "new_data": {"a": 1}}),
        ({"owner": "ann"}, {}),
        ({"ttl": 60}, {"ttl": 61}),
        ({"source": "api"}, {}),
    ],
    ids=str,
)
def test_values_that_differ_are_another_request(memory: World, one: dict[str, Any], other: dict[str, Any]) -> None:
    states = prepared(memory)
    states.update_state("u1", idempotency_key="k", **one)
    with pytest.raises(IdempotencyKeyReused):
        states.update_state("u1", idempotency_key="k", **other)


def test_a_fingerprint_tells_nothing_of_the_request_and_never_fails() -> None:
    assert fingerprint({"data": {"card": "4242"}}) == fingerprint({"data": {"card": "4242"}})
    found = [fingerprint({"ttl": value}) for value in (object, START, float("nan"), b"x", Revision(1), 10**400)]
    assert len(set(found)) == len(found)
    assert all(len(text) == 64 for text in found)
    assert len({fingerprint({"data": {"n": number}}) for number in (1e300, 1.0000000000000002e300, 1e20, 2e20)}) == 4
    edge = datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))
    assert fingerprint({"expires_at": edge}) == fingerprint({"expires_at": edge})


@pytest.mark.parametrize(
    "ttl", [object(), "5", b"5", -1, True, float("nan")], ids=["object", "text", "bytes", "negative", "true", "nan"]
)
def test_an_unusable_argument_is_refused_as_without_a_key(memory: World, ttl: Any) -> None:
    states = prepared(memory)
    with pytest.raises(StateValidationError, match="ttl"):
        states.update_state("u1", ttl=ttl, idempotency_key="k")


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_a_refusal_is_not_remembered(world: World) -> None:
    states = world.states
    with pytest.raises(StateNotFound):
        states.update_state("u1", transition="resume", idempotency_key="k")
    states.register_state("u1", "user")
    with pytest.raises(TransitionNotAllowed):
        states.update_state("u1", transition="resume", idempotency_key="k")
    states.update_state("u1", transition="suspend")
    assert states.update_state("u1", transition="resume", idempotency_key="k").version == 3
    with pytest.raises(StateConflict):
        states.update_state("u1", {"a": 1}, expect=1, idempotency_key="k2")
    assert states.update_state("u1", {"a": 1}, expect=3, idempotency_key="k2").version == 4
    with pytest.raises(StateValidationError):
        states.schedule_transition("u1", "ship", after=5, idempotency_key="k3")
    assert states.schedule_transition("u1", "suspend", after=5, idempotency_key="k3").status == "pending"


def test_a_veto_is_not_remembered(world: World) -> None:
    answers = [False, True]

    def sometimes(*_call: Any) -> None:
        if not answers.pop(0):
            raise PermissionError("not today")

    world.states.register_callback("user", sometimes, when="before")
    with pytest.raises(PermissionError):
        world.states.register_state("u1", "user", idempotency_key="k")
    assert world.states.register_state("u1", "user", idempotency_key="k").version == 1
    assert world.states.register_state("u1", "user", idempotency_key="k").version == 1


def test_a_repetition_is_answered_without_asking_guards_and_hooks_again(world: World) -> None:
    calls: list[Any] = []
    world.states.register_callback("user", lambda *call: calls.append(call), when="before")
    for _ in range(3):
        world.states.register_state("u1", "user", idempotency_key="k")
    assert len(calls) == 1


def test_an_effect_is_stored_once_for_a_repeated_request(world: World) -> None:
    world.states.register_callback("user", lambda *call: None, durable=True, name="mail")
    for _ in range(3):
        world.states.register_state("u1", "user", idempotency_key="k")
    assert len(world.states.list_effects()) == 1


# -- time --------------------------------------------------------------------------------------------------------------


def test_an_answer_is_remembered_for_three_days(world: World) -> None:
    world.states.register_state("u1", "user")
    first = world.states.update_state("u1", {"a": 1}, idempotency_key="k")
    world.clock.advance(3 * DAY - 1)
    assert world.states.update_state("u1", {"a": 1}, idempotency_key="k") == first
    world.clock.advance(1)
    assert world.states.update_state("u1", {"a": 2}, idempotency_key="k").version == 3
    world.clock.advance(1)
    assert world.states.update_state("u1", {"a": 2}, idempotency_key="k").version == 3


def test_how_long_an_answer_is_remembered_is_configured() -> None:
    for world in entered(build("memory", "sqlite://", STATEMANAGER_IDEMPOTENCY_TTL=10)):
        first = world.states.register_state(None, "user", idempotency_key="k")
        world.clock.advance(9)
        assert world.states.register_state(None, "user", idempotency_key="k") == first
        world.clock.advance(1)
        assert world.states.register_state(None, "user", idempotency_key="k") != first


def test_what_is_forgotten_can_be_asked_for_again(world: World) -> None:
    world.states.register_state("u1", "user")
    world.states.update_state("u1", {"a": 1}, idempotency_key="k")
    world.clock.advance(4 * DAY)
    world.states.update_state("u1", {"a": 1}, idempotency_key="k2")
    assert [world.runtime.workshop.forget(batch=1) for _ in range(2)] == [True, False]
    assert world.states.update_state("u1", {"a": 1}, idempotency_key="k2").version == 3
    assert world.states.update_state("u1", {"a": 1}, idempotency_key="k").version == 4


# -- at the same time --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["register without an id", "update", "schedule", "cancel"])
def test_duplicates_at_the_same_time_give_one_change_and_equal_answers(sql_world: World, verb: str) -> None:
    states = prepared(sql_world)
    racers = 6
    start, answers, errors = threading.Barrier(racers), list[Any](), list[BaseException]()

    def ask() -> None:
        with sql_world.app.app_context():
            try:
                start.wait(PATIENCE)
                answers.append(VERBS[verb](states, idempotency_key="k"))
            except Exception as error:  # noqa: BLE001 - the test shows whatever it is
                errors.append(error)

    before = footprint(sql_world)
    threads = [threading.Thread(target=ask) for _ in range(racers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert errors == []
    assert answers == [answers[0]] * racers
    changes, timers = footprint(sql_world)
    assert len(changes) - len(before[0]) == (1 if verb in ("register without an id", "update") else 0)
    assert len(timers) - len(before[1]) == (1 if verb == "schedule" else 0)


def test_different_requests_at_the_same_time_leave_one_winner(sql_world: World) -> None:
    states = prepared(sql_world)
    start, ended = threading.Barrier(2), list[str]()

    def ask(number: int) -> None:
        with sql_world.app.app_context():
            start.wait(PATIENCE)
            try:
                states.update_state("u1", {"a": number}, idempotency_key="k")
                ended.append("done")
            except IdempotencyKeyReused:
                ended.append("refused")

    threads = [threading.Thread(target=ask, args=(number,)) for number in (10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(ended) == ["done", "refused"]
    assert len(states.get_state_history("u1")) == 3


# -- joined ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_a_key_in_a_joined_session_is_taken_with_its_commit(sql_world: World, verb: str) -> None:
    states, session = prepared(sql_world), sql_world.db.session
    before = footprint(sql_world)
    VERBS[verb](states, idempotency_key="k", session=session)
    session.rollback()
    assert footprint(sql_world) == before
    answer = VERBS[verb](states, idempotency_key="k", session=session)
    assert VERBS[verb](states, idempotency_key="k", session=session) == answer
    session.commit()
    assert VERBS[verb](states, idempotency_key="k") == answer


def test_a_refusal_in_a_joined_session_leaves_it_usable_and_stores_nothing(sql_world: World) -> None:
    states, session = prepared(sql_world), sql_world.db.session
    session.add(sql_world.note(text="before"))
    with pytest.raises(TransitionNotAllowed):
        states.update_state("u1", transition="resume", idempotency_key="k", session=session)
    with pytest.raises(StateNotFound):
        states.schedule_transition("u9", "resume", after=5, idempotency_key="k2", session=session)
    states.update_state("u1", {"b": 1}, idempotency_key="k3", session=session)
    with pytest.raises(IdempotencyKeyReused):
        states.update_state("u1", {"b": 2}, idempotency_key="k3", session=session)
    states.update_state("u1", transition="suspend", session=session)
    session.commit()
    assert [note.text for note in session.query(sql_world.note)] == ["before"]
    assert states.update_state("u1", transition="resume", idempotency_key="k").version == 5


def test_a_rolled_back_savepoint_forgets_its_keys(sql_world: World) -> None:
    states, session = prepared(sql_world), sql_world.db.session
    with states.transaction(session):
        with session.begin_nested() as inner:
            states.update_state("u1", {"b": 1}, idempotency_key="k")
            inner.rollback()
        assert states.update_state("u1", {"b": 2}, idempotency_key="k").version == 3
    session.commit()
    assert states.update_state("u1", {"b": 2}, idempotency_key="k").version == 3


def test_a_key_that_this_threads_open_session_has_taken_is_not_waited_for(sql_world: World) -> None:
    states, session = prepared(sql_world), sql_world.db.session
    states.register_state(None, "user", idempotency_key="k", session=session)
    with pytest.raises(StorageError, match="session="):
        states.register_state(None, "user", idempotency_key="k")
    session.commit()
    assert states.register_state(None, "user", idempotency_key="k").version == 1


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("", StateValidationError),
        (5, StateValidationError),
        ("a\x00", StateValidationError),
        ("\ud800", StateValidationError),
        ("x" * 256, LimitExceeded),
    ],
    ids=["empty", "number", "NUL", "surrogate", "too long"],
)
@pytest.mark.parametrize("verb", VERBS)
def test_an_unusable_key_is_refused(memory: World, verb: str, key: Any, error: type[Exception]) -> None:
    states = prepared(memory)
    before = footprint(memory)
    with pytest.raises(error, match="idempotency_key"):
        VERBS[verb](states, idempotency_key=key)
    assert footprint(memory) == before


@pytest.mark.parametrize("key", ["x" * 255, "☃ é '\";--", "a b\nc"], ids=["longest", "any text", "blank"])
def test_a_key_may_be_any_text(world: World, key: str) -> None:
    first = world.states.register_state(None, "user", idempotency_key=key)
    assert world.states.register_state(None, "user", idempotency_key=key) == first


def test_a_request_waits_for_an_earlier_one_no_longer_than_its_patience(postgres_world: World) -> None:
    backend = postgres_world.runtime.backend
    request = Request("ada", "update", "k", "f", timedelta(days=1), patience=0.2)
    with backend.writing() as earlier:
        assert backend.recall(earlier, request, START) is None
        with pytest.raises(RequestInProgress), backend.writing() as later:
            backend.recall(later, request, START)
        backend.remember(earlier, request, "done")
    with backend.writing() as again:
        found = backend.recall(again, request, START)
        assert found is not None
        assert found.outcome == "done"

"""Turns: a message is worked on once, and leaves the whole of what it did, or nothing."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flask_statemanager import ConfigurationError, ResponsibilityBreach, StateConflict, StateValidationError
from flask_statemanager.core.ports import UNSEEN, Seen
from flask_statemanager.flows import (
    END,
    ApiComponent,
    Component,
    DisplayComponent,
    Flow,
    FlowSession,
    Goto,
    InMemoryMessaging,
    InputComponent,
    Message,
    Messaging,
    Step,
    ValidationResult,
    external_call,
)
from flask_statemanager.flows.turn_lease import TurnLease
from tests.flow_application import CALLS, AmountInput, ConfirmOffer, Dashboard, OfferApiCall
from tests.worlds import World

PATIENCE = 60.0


def say(talk: World, *messages: Any, channel: str = "web", who: str = "v1") -> list[tuple[Any, ...]]:
    """Deliver messages, each once, and return what was answered to each."""
    return [talk.states.flows.receive(channel, who, message).messages for message in messages]


def sent(talk: World) -> list[Message]:
    """Return what was sent."""
    messaging = talk.runtime.declarations.flows.messaging
    assert isinstance(messaging, InMemoryMessaging)
    return messaging.sent


class Failing(Messaging):
    """Fails as often as it is told to."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.keys: list[str | None] = []

    def send(self, message: Message) -> None:
        if self.times:
            self.times -= 1
            raise OSError("the network is away")
        self.keys.append(message.key)


# -- one turn ----------------------------------------------------------------------------------------------------------


def test_a_conversation_goes_through_its_flow_and_comes_home(talk: World) -> None:
    answers = say(talk, "hello", "offer", "many", "12", "ada", "perhaps", "yes")
    assert answers == [
        ("Welcome, stranger.",),
        ("How much?",),
        ("Send a number.", "How much?"),
        ("To whom?",),
        ("Offer 12 to ada?",),
        ("Please answer yes or no.", "Offer 12 to ada?"),
        ("Offer 1 is made.", "Welcome, stranger."),
    ]
    assert [message.body for message in sent(talk)] == [each for answer in answers for each in answer]
    keys = [message.key for message in sent(talk)]
    assert len(set(keys)) == len(keys)


def test_the_answer_says_where_the_conversation_is(talk: World) -> None:
    at = talk.states.flows.receive("web", "v1", "Pay")
    assert (at.path, at.component, at.failed, at.repeated) == ("offer", "amount", False, False)
    session = talk.states.flows.open("web", "v1")
    assert (session.get_path(), session.get_component(), session.is_awaiting_input()) == ("offer", "amount", True)


def test_a_message_that_comes_again_gets_the_same_answer_and_does_nothing(talk: World) -> None:
    say(talk, "offer", "12", "ada")
    first = talk.states.flows.receive("web", "v1", "yes", message_id="wamid.1")
    again = talk.states.flows.receive("web", "v1", "yes", message_id="wamid.1")
    assert (again.messages, again.path, again.repeated) == (first.messages, first.path, True)
    assert talk.states.flows.open("web", "v1").get("action") == {"offers": 1}
    assert len(CALLS) == 1
    assert [message.body for message in sent(talk)].count("Offer 1 is made.") == 1
    assert not talk.states.flows.receive("web", "v2", "yes", message_id="wamid.1").repeated
    assert not talk.states.flows.receive("sms", "v1", "yes", message_id="wamid.1").repeated


def test_messages_are_remembered_for_a_day_and_longer_than_the_conversation(talk: World) -> None:
    talk.states.flows.receive("web", "v1", "offer", message_id="m1")
    talk.clock.advance(24 * 3600 - 1)
    assert talk.states.flows.receive("web", "v1", "offer", message_id="m1").repeated
    talk.clock.advance(2)
    assert not talk.states.flows.receive("web", "v1", "offer", message_id="m1").repeated


def test_duplicates_at_the_same_time_get_one_answer(talk: World) -> None:
    say(talk, "offer", "12", "ada")
    barrier = threading.Barrier(4)

    def deliver(_number: int) -> Any:
        with talk.app.app_context():
            barrier.wait(PATIENCE)
            return talk.states.flows.receive("web", "v1", "yes", message_id="once")

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(deliver, range(4)))
    assert {answer.messages for answer in answers} == {("Offer 1 is made.", "Welcome, stranger.")}
    assert sum(not answer.repeated for answer in answers) == 1
    assert talk.states.flows.open("web", "v1").get("action") == {"offers": 1}


def test_arguments_that_are_none_are_refused(small_talk: World) -> None:
    flows = small_talk.states.flows
    for bad in ({"channel_type": "no word"}, {"channel_id": ""}, {"message": {1, 2}}, {"message_id": ""}):
        given = {"channel_type": "web", "channel_id": "v1", "message": "hello", "message_id": "1", **bad}
        kind, who, message, name = (given[each] for each in ("channel_type", "channel_id", "message", "message_id"))
        with pytest.raises(StateValidationError):
            flows.receive(kind, who, message, message_id=name)


def test_a_message_may_be_any_json(small_talk: World) -> None:
    assert say(small_talk, {"button": "offer"}, "offer", 12, "ada", True) == [
        ("Welcome, stranger.",),
        ("How much?",),
        ("To whom?",),
        ("Offer 12 to ada?",),
        ("Offer 1 is made.", "Welcome, stranger."),
    ]


# -- attempts ----------------------------------------------------------------------------------------------------------


def test_attempts_are_counted_in_the_state_and_lead_to_the_declared_branch(talk: World) -> None:
    say(talk, "offer", "a", "b")
    flow = talk.states.flows.open("web", "v1").get_flow_state()
    assert flow["validation"]["attempts"] == 2
    assert flow["validation"]["error"] == "Send a number."
    assert flow["validation"]["last_attempt"]["component"] == "amount"
    assert say(talk, "c") == [("Send a number.", {"text": "Too many attempts."}, "Welcome, stranger.")]
    assert talk.states.flows.open("web", "v1").get_path() is None


def test_a_success_ends_the_counting(talk: World) -> None:
    say(talk, "offer", "a", "b", "12", "back", "c", "d")
    assert talk.states.flows.open("web", "v1").get_attempts() == 2


def test_a_call_that_fails_tells_the_user_and_takes_its_branch(talk: World) -> None:
    answers = say(talk, "offer", "12", "nobody", "yes", "ada", "yes")
    assert answers[3:] == [
        ("There is nobody of that handle.", "To whom?"),
        ("Offer 12 to ada?",),
        ("Offer 1 is made.", "Welcome, stranger."),
    ]


# -- who outlives a lease ----------------------------------------------------------------------------------------------


class Slow(ApiComponent):
    """Takes longer than a lease, the first time."""

    clock: Any = None
    keys: list[str] = []  # noqa: RUF012 - what all that are made have seen

    def validate_api_call(self, value: Any) -> ValidationResult:
        self.keys.append(external_call())
        if len(self.keys) == 1:
            self.clock.advance(31)
        self.state_manager.update_state({"action": {"calls": len(self.keys)}})
        return ValidationResult.success()


def test_a_turn_that_outlives_its_lease_commits_nothing_and_is_made_again(talk: World) -> None:
    Slow.clock, Slow.keys = talk.clock, []
    talk.states.flows.define(Flow("slow", [Step("call", Slow, then=END)], triggers=["slow"]))
    talk.states.flows.receive("web", "v1", "slow", message_id="s1")
    assert len(Slow.keys) == 2
    assert Slow.keys[0] == Slow.keys[1], "the other system can tell that it is the same call"
    assert talk.states.flows.open("web", "v1").get("action") == {"calls": 2}


def commit(session: FlowSession, lease: TurnLease) -> None:
    """Write who has written."""
    with session:
        session.update_state({"action": {"by": lease.holder}})
        session.commit(also={lease.name: lease.returned()}, strict=True)


def test_somebody_who_has_taken_the_lease_meanwhile_keeps_what_it_wrote(talk: World) -> None:
    parts = talk.runtime.reception.parts()
    late, next_one = (TurnLease(parts, "channel:web:v1", 30) for _ in range(2))
    late.take()
    talk.clock.advance(31)
    next_one.take()
    assert (late.held, next_one.held) == (True, True)
    session = talk.states.flows.open("web", "v1")
    with pytest.raises(StateConflict):
        commit(session, late)
    late.give_back()
    commit(session, next_one)
    assert talk.states.flows.open("web", "v1").get("action") == {"by": next_one.holder}


def test_a_lease_that_is_never_free_is_waited_for_a_while(small_talk: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_statemanager.flows.turn_lease.PATIENCE", -30.0)
    TurnLease(small_talk.runtime.reception.parts(), "channel:web:v1", 30).take()
    with pytest.raises(StateConflict, match="to be free"):
        say(small_talk, "hello")


def test_a_turn_that_was_overtaken_before_it_had_the_lease_goes_by_what_is_there_now(
    talk: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(talk, "join")
    take, between = TurnLease.take, iter(["Ada"])

    def take_late(self: TurnLease, seen: Seen = UNSEEN) -> bool:
        say(talk, *between)
        return take(self, seen)

    monkeypatch.setattr(TurnLease, "take", take_late)
    assert say(talk, "Eve") == [("Welcome, Ada.",)]


def test_a_conversation_that_changes_within_a_turn_has_the_turn_made_again(talk: World) -> None:
    class Aside(ApiComponent):
        runs = 0

        def validate_api_call(self, value: Any) -> ValidationResult:
            type(self).runs += 1
            if self.runs == 1:
                talk.states.flows.open("web", "v1").update_state({"action": {"by": "somebody else"}})
            self.state_manager.authenticate("ada", "t0ken")
            return ValidationResult.success(value)

    talk.states.flows.define(Flow("log_in", [Step("call", Aside, branches={"success": END, "failure": END})]))
    talk.states.flows.configure(start="log_in")
    say(talk, "hello")
    session = talk.states.flows.open("web", "v1")
    assert (session.get_member_id(), session.get("action"), Aside.runs) == ("ada", {"by": "somebody else"}, 2)


def test_turns_of_one_conversation_follow_one_another(talk: World) -> None:
    say(talk, "offer")

    def deliver(number: int) -> Any:
        with talk.app.app_context():
            return talk.states.flows.receive("web", "v1", "x", message_id=str(number)).messages

    with ThreadPoolExecutor(3) as pool:
        answers = sorted(pool.map(deliver, range(3)), key=len)
    wrong = ("Send a number.", "How much?")
    assert answers == [wrong, wrong, ("Send a number.", {"text": "Too many attempts."}, "Welcome, stranger.")]


# -- what fails --------------------------------------------------------------------------------------------------------


class Broken(InputComponent):
    def prompt(self) -> str:
        return "Send anything."

    def validate(self, value: Any) -> ValidationResult:
        self.update_state(value, ValidationResult.success())
        raise RuntimeError(f"no way for {value}")


def test_a_component_that_raises_leaves_the_last_valid_state_and_tells_the_user(
    talk: World, caplog: pytest.LogCaptureFixture
) -> None:
    talk.states.flows.define(Flow("broken", [Step("ask", Broken, then=END)], triggers=["broken"]))
    say(talk, "broken")
    with caplog.at_level(logging.CRITICAL, "flask_statemanager.flows"):
        answer = talk.states.flows.receive("web", "v1", "s3cret", message_id="m1")
    assert (answer.failed, answer.path, answer.component) == (True, "broken", "ask")
    assert answer.messages == ("Something went wrong on our side. Nothing was lost: please try again in a moment.",)
    session = talk.states.flows.open("web", "v1")
    assert (session.get_flow_data(), session.is_awaiting_input()) == ({}, True)
    (error,) = talk.states.flows.audit.of_channel("web", "v1", event="error")
    assert error.details["error"] == "RuntimeError"
    assert "s3cret" not in str(error)
    assert talk.states.flows.receive("web", "v1", "s3cret", message_id="m1").repeated


class Lost(Dashboard):
    def validate_display(self, value: Any) -> ValidationResult:
        return ValidationResult.failure("No dashboard.")


class Wordless(AmountInput):
    def validate(self, value: Any) -> ValidationResult:
        return None  # type: ignore[return-value]


class Wayward(ConfirmOffer):
    def prompt(self) -> str:
        return "?"

    def handle_confirmation(self, value: bool) -> ValidationResult:
        self.set_component_result("perhaps")
        return ValidationResult.success()


class Callless(ApiComponent):
    pass


@pytest.mark.parametrize(
    ("component", "problem"),
    [(Wordless, "return a ValidationResult"), (Wayward, "has come to 'perhaps'"), (Callless, "needs a method")],
)
def test_what_a_component_gets_wrong_raises_in_tests_and_is_told_in_production(
    small_talk: World, component: type[Component], problem: str
) -> None:
    small_talk.states.flows.define(Flow("odd", [Step("odd", component, then=END)], triggers=["odd"]))
    with pytest.raises(ConfigurationError, match=problem):
        say(small_talk, "odd", "yes")
    small_talk.app.testing = False
    assert any(small_talk.states.flows.receive("web", "v1", word).failed for word in ("odd", "yes"))


def test_a_display_that_cannot_be_made_is_a_failure_like_others(small_talk: World) -> None:
    small_talk.states.flows.define(Flow("home", [Step("dashboard", Lost, then=END)]))
    answer = small_talk.states.flows.receive("web", "v1", "hello")
    assert answer.failed
    assert small_talk.states.flows.open("web", "v1").get_path() is None


class Ping(DisplayComponent):
    def validate_display(self, value: Any) -> ValidationResult:
        return ValidationResult.success()


def test_steps_without_end_are_found_out(small_talk: World) -> None:
    flows = small_talk.states.flows
    flows.define(Flow("ping", [Step("ping", Ping, then=Goto("pong"))], triggers=["ping"]))
    flows.define(Flow("pong", [Step("pong", Ping, then=Goto("ping"))]))
    with pytest.raises(ConfigurationError, match="more than 50 steps"):
        say(small_talk, "ping")


def test_outside_of_a_turn_a_component_stands_nowhere() -> None:
    with pytest.raises(ConfigurationError, match="stands in no conversation"):
        _ = AmountInput().state_manager
    assert AmountInput.prompt(AmountInput()) == "How much?"
    assert Component.prompt(AmountInput()) is None
    assert external_call() == ""


# -- responsibilities --------------------------------------------------------------------------------------------------


class WritingDisplay(DisplayComponent):
    def validate_display(self, value: Any) -> ValidationResult:
        self.state_manager.update_state({"action": {"by": "a display"}})
        return ValidationResult.success("Written.")


class ReadingInput(AmountInput):
    def validate(self, value: Any) -> ValidationResult:
        self.state_manager.get("dashboard")
        return ValidationResult.success(value)


class TellingApi(OfferApiCall):
    def validate(self, value: Any) -> ValidationResult:
        self.state_manager.messaging.send_text("Hello from an API component.")
        return ValidationResult.success()


class CallingConfirm(ConfirmOffer):
    def prompt(self) -> str:
        return "?"

    def handle_confirmation(self, value: bool) -> ValidationResult:
        external_call()
        return ValidationResult.success()


class InnerDisplay(DisplayComponent):
    def validate_display(self, value: Any) -> ValidationResult:
        return ValidationResult.success(str(len(self.state_manager._acts)))


class SteeringConfirm(ConfirmOffer):
    def prompt(self) -> str:
        return "?"

    def handle_confirmation(self, value: bool) -> ValidationResult:
        self.state_manager.transition_flow("home", "dashboard")
        return ValidationResult.success()


BREACHES = [
    (WritingDisplay, "'update_state': a display component reads and tells"),
    (ReadingInput, "'get': an input component validates"),
    (TellingApi, "'messaging': an API component calls"),
    (CallingConfirm, "'a call to another system': a confirm component acts"),
    (InnerDisplay, "'_acts'"),
    (SteeringConfirm, "'transition_flow': a confirm component"),
]


@pytest.mark.parametrize(("component", "problem"), BREACHES)
def test_what_a_component_is_not_for_raises_in_tests_and_nothing_is_kept(
    small_talk: World, component: type[Component], problem: str
) -> None:
    small_talk.states.flows.define(Flow("odd", [Step("odd", component, then=END)], triggers=["odd"]))
    with pytest.raises(ResponsibilityBreach, match=problem):
        say(small_talk, "odd", "yes")
    assert not small_talk.states.flows.open("web", "v1").get("action")


@pytest.mark.parametrize("component", [component for component, _problem in BREACHES])
def test_in_production_it_is_logged_and_counted_and_happens(
    small_talk: World, component: type[Component], caplog: pytest.LogCaptureFixture
) -> None:
    small_talk.app.testing = False
    small_talk.states.flows.define(Flow("odd", [Step("odd", component, then=END)], triggers=["odd"]))
    with caplog.at_level(logging.WARNING, "flask_statemanager.flows"):
        say(small_talk, "odd", "1")
    assert small_talk.runtime.counters.snapshot()["flows.breach"] >= 1
    assert component.__name__ in caplog.text


def test_what_there_is_not_is_no_breach(small_talk: World) -> None:
    class Odd(DisplayComponent):
        def validate_display(self, value: Any) -> ValidationResult:
            return ValidationResult.success(self.state_manager.there_is_none)  # type: ignore[attr-defined]

    small_talk.states.flows.define(Flow("odd", [Step("odd", Odd, then=END)], triggers=["odd"]))
    assert small_talk.states.flows.receive("web", "v1", "odd").failed


# -- sending -----------------------------------------------------------------------------------------------------------


def test_what_could_not_be_sent_is_sent_by_a_worker_with_the_same_key(talk: World) -> None:
    messaging = Failing(1)
    talk.states.flows.use_messaging(messaging)
    answer = talk.states.flows.receive("web", "v1", "hello", message_id="m1")
    assert (answer.messages, messaging.keys) == (("Welcome, stranger.",), [])
    talk.states.run_worker()
    assert messaging.keys == [], "the process that has worked on it has its time first"
    talk.clock.advance(31)
    talk.states.run_worker()
    assert len(messaging.keys) == 1
    talk.clock.advance(31)
    talk.states.run_worker()
    assert len(messaging.keys) == 1
    talk.states.flows.receive("web", "v1", "hello", message_id="m1")
    assert len(messaging.keys) == 1


def test_what_was_sent_is_not_sent_again(talk: World) -> None:
    messaging = Failing(0)
    talk.states.flows.use_messaging(messaging)
    say(talk, "hello")
    talk.clock.advance(3600)
    talk.states.run_worker()
    assert len(messaging.keys) == 1


def test_what_a_worker_cannot_send_either_is_tried_again(talk: World) -> None:
    messaging = Failing(2)
    talk.states.flows.use_messaging(messaging)
    say(talk, "hello")
    for _ in range(6):
        talk.clock.advance(60)
        talk.states.run_worker()
    assert len(messaging.keys) == 1

"""Conversations under strain: large messages, what quotes the user or the token, values that no store could take."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from flask_statemanager import ConfigurationError, StateValidationError
from flask_statemanager.flows import (
    END,
    ApiComponent,
    DisplayComponent,
    ErrorContext,
    ErrorHandler,
    Flow,
    FlowAuditLogger,
    InMemoryMessaging,
    InputComponent,
    Message,
    Step,
    ValidationResult,
)
from flask_statemanager.flows.channel import Channel
from flask_statemanager.flows.document import MAX_CHANNELS
from flask_statemanager.flows.messaging import MOST
from tests.test_cli_flows import typed
from tests.test_flow_recovery import overwrite
from tests.test_flow_turns import say
from tests.worlds import World

SORRY = ErrorHandler.sentences["system"]


class Long(DisplayComponent):
    """Tells more than a note of the audit trail could hold."""

    def validate_display(self, value: Any) -> ValidationResult:
        return ValidationResult.success("x" * 70_000)


class Gather(InputComponent):
    """Has the document grow beyond what may be stored."""

    def validate(self, value: Any) -> ValidationResult:
        self.update_state({str(number): "x" * 300_000 for number in range(3)}, ValidationResult.success())
        return ValidationResult.success()


class More(ApiComponent):
    def validate_api_call(self, value: Any) -> ValidationResult:
        self.state_manager.update_state({"action": {str(number): "x" * 300_000 for number in range(3)}})
        return ValidationResult.success()


class Unsayable(DisplayComponent):
    def validate_display(self, value: Any) -> ValidationResult:
        self.state_manager.messaging.send(object())  # type: ignore[arg-type]
        return ValidationResult.success()


class Quote(InputComponent):
    def validate(self, value: Any) -> ValidationResult:
        return ValidationResult.failure(f"{str(value).upper()!r} is no amount, an amount is a number")


class Leaking(InputComponent):
    def validate(self, value: Any) -> ValidationResult:
        raise ConnectionError("401 for t0ken-of-a-member")


def flow(talk: World, name: str, *components: type[Any]) -> None:
    """Declare a flow whose steps follow one another."""
    targets = [*(f"s{number}" for number in range(1, len(components))), END]
    steps = [Step(f"s{number}", each, then=targets[number]) for number, each in enumerate(components)]
    talk.states.flows.define(Flow(name, steps, triggers=[name]))


def test_messages_longer_than_a_note_are_said_and_heard(small_talk: World) -> None:
    flow(small_talk, "long", Long)
    assert say(small_talk, "y" * 70_000) == [("Welcome, stranger.",)]
    assert say(small_talk, "long") == [("x" * 70_000, "Welcome, stranger.")]
    session = small_talk.states.flows.open("web", "v1")
    FlowAuditLogger(session).log_message("z" * 70_000)
    session.touch()
    trail = small_talk.states.flows.audit.of_channel("web", "v1")
    bodies = [event.details["body"]["characters"] for event in trail if "body" in event.details]
    assert bodies == [70_000, 18, 70_000, 4, 18, 70_000]


@pytest.mark.parametrize("components", [(Gather, More, Quote), (Unsayable,)])
def test_a_turn_that_cannot_be_stored_fails_once_and_says_so(talk: World, components: tuple[type[Any], ...]) -> None:
    flow(talk, "much", *components)
    receive = talk.states.flows.receive
    for number, text in enumerate(("hello", "much", "x")[: len(components) + 1]):
        answer = receive("web", "v1", text, message_id=f"m{number}")
    assert (answer.failed, answer.messages) == (True, (SORRY,))
    again = receive("web", "v1", text, message_id=f"m{number}")
    assert (again.repeated, again.messages) == (True, (SORRY,)), "it is not worked on again and again"
    (error,) = talk.states.flows.audit.of_channel("web", "v1", event="error")
    assert error.details["error_type"] == "system"


def test_why_an_input_was_refused_quotes_the_user_to_the_user_alone(small_talk: World) -> None:
    flow(small_talk, "quote", Quote)
    say(small_talk, "quote")
    assert say(small_talk, "my pin is 1234")[0][0] == "'MY PIN IS 1234' is no amount, an amount is a number"
    (refused,) = small_talk.states.flows.audit.of_channel("web", "v1", event="validation")
    assert refused.details["error"] == "'[redacted]' is no amount, an amount is a number"


def test_the_log_shows_no_token(small_talk: World, caplog: pytest.LogCaptureFixture) -> None:
    flow(small_talk, "leak", Leaking)
    small_talk.states.flows.open("web", "v1").authenticate("ada", "t0ken-of-a-member")
    with caplog.at_level(logging.WARNING):
        say(small_talk, "leak", "x")
    assert "ConnectionError: 401 for [redacted]" in caplog.text
    assert "t0ken-of-a-member" not in caplog.text


def test_what_lies_too_deep_is_refused_as_everything_else_is(small_talk: World) -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    session = small_talk.states.flows.open("web", "v1")
    with pytest.raises(StateValidationError):
        session.update_state({"profile": {"deep": deep}})
    with pytest.raises(StateValidationError):
        session.set_component_result(deep)
    assert not session.atomic_state.execute_atomic("k", "set", deep)[0]


def test_atomic_operations_never_raise_because_of_what_was_passed(small_talk: World) -> None:
    session = small_talk.states.flows.open("web", "v1")
    for layer in (session.atomic_state, small_talk.states.flows.atomic):
        for key, operation in (("\ud800", "get"), ("a\0", "set"), ("k", []), (None, {})):
            success, data, error = layer.execute_atomic(key, operation, 1)  # type: ignore[arg-type]
            assert (success, data) == (False, None)
            assert error


def test_a_turn_that_joins_a_member_works_on_what_the_member_has_done_meanwhile(talk: World) -> None:
    """Its lease is that of the channel, so the other channel of the member can be faster."""
    flows = talk.states.flows
    flows.open("web", "a").link_member("ada")
    say(talk, "offer", "12", who="a")
    between = ["eve"]

    def join(session: Any, message: Any) -> None:
        if session.get_channel_id() == "b" and session.get_member_id() is None:
            session.link_member("ada")
            while between:
                say(talk, between.pop(), who="a")

    flows.configure(router=join)
    assert say(talk, "bob", who="b") == [("Please answer yes or no.", "Offer 12 to eve?")]
    assert flows.open("web", "a").get_flow_data() == {"amount": "12", "handle": "eve"}


class Handled(ApiComponent):
    def validate_api_call(self, value: Any) -> ValidationResult:
        error = OSError("the ledger is away")
        context = ErrorContext(error_type="api", message=str(error), details={"code": "LEDGER_DOWN"})
        return ErrorHandler.handle_error(error, self.state_manager, context)


class Logged(InputComponent):
    def validate(self, value: Any) -> ValidationResult:
        result = ValidationResult.failure("No.")
        FlowAuditLogger(self.state_manager).log_validation_result("logged", result)
        return result


def test_components_of_every_kind_may_write_to_the_audit_trail(small_talk: World) -> None:
    flow(small_talk, "handled", Handled)
    flow(small_talk, "logged", Logged)
    assert say(small_talk, "handled") == [(SORRY, "Welcome, stranger.")]
    say(small_talk, "logged", "x")
    trail = small_talk.states.flows.audit.of_channel("web", "v1")
    assert [event.details["error_type"] for event in trail if event.event == "error"] == ["api"]
    assert [event for event in trail if event.details.get("component") == "logged"]


@pytest.mark.parametrize(
    "manners",
    [
        {"words": ["x"]},
        {"words": None},
        {"words": {5: "home"}},
        {"words": {"x": "fly"}},
        {"router": 5},
        {"greet": "hello"},
        {"texts": {}},
        {"redaction": 5},
        {"start": 5},
    ],
)
def test_unusable_manners_are_refused_when_they_are_said(small_talk: World, manners: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        small_talk.states.flows.configure(**manners)
    assert say(small_talk, "hello") == [("Welcome, stranger.",)]


@pytest.mark.parametrize("triggers", ["offer", [5], [" "], 5])
def test_triggers_are_a_list_of_words(triggers: Any) -> None:
    with pytest.raises(ConfigurationError, match="pass a list of words"):
        Flow("offer", [Step("s", Logged, then=END)], triggers=triggers)


def test_messages_in_memory_are_bounded() -> None:
    messaging = InMemoryMessaging()
    for number in range(MOST + 50):
        messaging.send(Message(Channel("web", "v1"), number, str(number)))
    messaging.send(Message(Channel("web", "v1"), "again", str(MOST)))
    assert messaging.sent_to("web", "v1") == list(range(50, MOST + 50))
    assert len(messaging._keys) == MOST


def test_a_member_has_the_channels_that_were_linked_last(small_talk: World) -> None:
    flows = small_talk.states.flows
    for number in range(MAX_CHANNELS + 2):
        flows.open("web", f"v{number}").link_member("ada")
    flows.open("web", "v50").update_state({"profile": {"name": "Ada"}})
    members = [flows.open("web", f"v{number}").get_member_id() for number in (0, 1, 2, MAX_CHANNELS + 1)]
    assert members == [None, None, "ada", "ada"]


def test_operators_list_conversations_beside_what_is_none(small_talk: World) -> None:
    overwrite(small_talk, [1, 2], "channel:web:list")
    overwrite(small_talk, {"flow_data": 5}, "channel:web:spoilt")
    say(small_talk, "offer")
    answer = typed(small_talk, "conversations", "--json").output
    assert {each["key"]: each["path"] for each in json.loads(answer)["conversations"]} == {
        "channel:web:list": None,
        "channel:web:spoilt": None,
        "channel:web:v1": "offer",
    }


def test_what_a_session_shows_can_be_written_back(small_talk: World) -> None:
    session = small_talk.states.flows.open("web", "v1")
    session.authenticate("ada", "t0ken")
    for step in ("amount", "handle"):
        session.transition_flow("offer", step)
        session.track_validation(step, error="That is none.")
    session.set_component_result("done")
    before = session.get_state()
    session.update_state(before)
    assert {**session.get_state(), "_version": None} == {**before, "_version": None}


def test_what_was_read_shows_no_secrets(small_talk: World) -> None:
    session = small_talk.states.flows.open("web", "v1")
    session.authenticate("ada", "t0ken-of-ada")
    assert "t0ken" not in repr(session._found)

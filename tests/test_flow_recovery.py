"""Going back and going on: rollback, recovery, what has expired, what is damaged, another version of the flows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flask_statemanager import StateValidationError
from flask_statemanager.core.held import put
from flask_statemanager.core.record import Key, Record
from flask_statemanager.core.step import Step as Written
from flask_statemanager.flows import END, Flow, Step, Texts
from flask_statemanager.flows.document import MAX_PREVIOUS
from tests.flow_application import AmountInput, HandleInput
from tests.test_flow_turns import say
from tests.worlds import World

TEXTS = Texts()


def overwrite(talk: World, value: Any, name: str = "channel:web:v1") -> None:
    """Put anything where a conversation lies."""
    bucket = talk.runtime.shelves.kept("flows").bucket
    origin = talk.runtime.reception.parts().origin(actor=None, source=None, reason=None)

    def decide(stored: Record | None, now: Any) -> Written | None:
        return put(Key("flows", name), stored, value, now=now, expires_at=now + timedelta(minutes=5))

    bucket.write(name, decide, origin=origin)


# -- going back --------------------------------------------------------------------------------------------------------


def test_back_leads_to_the_step_before_with_the_data_from_there(talk: World) -> None:
    say(talk, "offer", "12", "ada")
    assert say(talk, "back", "BACK ") == [(TEXTS.back, "To whom?"), (TEXTS.back, "How much?")]
    session = talk.states.flows.open("web", "v1")
    assert (session.get_component(), session.is_awaiting_input()) == ("amount", True)
    assert session.get_flow_data() == {"amount": "12"}, "and not the handle"
    assert say(talk, "back") == [(TEXTS.first, "How much?")]
    assert say(talk, "7", "eve", "yes") == [
        ("To whom?",),
        ("Offer 7 to eve?",),
        ("Offer 1 is made.", "Welcome, stranger."),
    ]


def test_back_without_a_flow_leads_home(talk: World) -> None:
    assert say(talk, "back", "retry", "restart") == [
        (TEXTS.first, "Welcome, stranger."),
        (TEXTS.home, "Welcome, stranger."),
        (TEXTS.home, "Welcome, stranger."),
    ]


def test_what_was_called_is_not_taken_back(talk: World) -> None:
    """A call that was made has been made."""
    talk.states.flows.define(
        Flow(
            "offer",
            [
                *[each.step for each in talk.states.flows.registry.get("offer").steps if each.step.name != "done"],
                Step("done", HandleInput, then=END),
            ],
            triggers=["offer"],
        )
    )
    say(talk, "offer", "12", "ada", "yes")
    assert say(talk, "back") == [(TEXTS.first, "To whom?")]


def test_a_session_goes_back_several_steps_as_far_as_they_are_remembered(talk: World) -> None:
    session = talk.states.flows.open("web", "v1")
    for number in range(MAX_PREVIOUS + 3):
        session.transition_flow("count", f"s{number}", data={"n": number})
    assert session.rollback(2)
    assert (session.get_component(), session.get_flow_data()) == (f"s{MAX_PREVIOUS}", {"n": MAX_PREVIOUS})
    assert not session.rollback(MAX_PREVIOUS)
    assert session.rollback(MAX_PREVIOUS - 2)
    assert session.get_component() == "s2"
    assert not session.rollback()
    for bad in (0, True, "1"):
        with pytest.raises(StateValidationError, match="steps"):
            session.rollback(bad)  # type: ignore[arg-type]


def test_going_back_twice_at_the_same_time_goes_back_once_where_there_is_one_step(talk: World) -> None:
    flows = talk.states.flows
    flows.open("web", "v1").transition_flow("count", "s0")
    flows.open("web", "v1").transition_flow("count", "s1")
    one, other = flows.open("web", "v1"), flows.open("web", "v1")
    assert one.rollback()
    assert other.rollback(), "it has seen that there is a step"
    assert flows.open("web", "v1").get_component() == "s0"


# -- going on ----------------------------------------------------------------------------------------------------------


def test_each_recovery_goes_one_rung_further_until_there_is_progress(talk: World) -> None:
    say(talk, "offer", "12", "ada", "perhaps")
    assert say(talk, "retry") == [(TEXTS.again, "Offer 12 to ada?")]
    assert talk.states.flows.open("web", "v1").get_attempts() == 0
    assert say(talk, "retry", "retry", "retry") == [
        (TEXTS.back, "To whom?"),
        (TEXTS.restarted, "How much?"),
        (TEXTS.home, "Welcome, stranger."),
    ]
    say(talk, "offer", "12", "ada")
    say(talk, "retry", "yes", "offer", "12")
    assert say(talk, "retry") == [(TEXTS.again, "To whom?")]
    how = [event.details["how"] for event in talk.states.flows.audit.of_channel("web", "v1", event="recovery")]
    assert how == ["retry", "retry", "home", "restart", "previous", "retry"]


def test_words_lead_to_the_beginning_and_home(talk: World) -> None:
    say(talk, "offer", "12")
    assert say(talk, "restart", "menu") == [(TEXTS.restarted, "How much?"), (TEXTS.home, "Welcome, stranger.")]


def test_a_rung_that_is_not_there_leads_to_the_next(talk: World) -> None:
    session = talk.states.flows.open("web", "v1")
    assert session.recover() == "home"
    session.transition_flow("offer", "amount")
    assert session.recover("previous") == "restart"
    assert (session.get_path(), session.get_component()) == ("offer", None)
    assert say(talk, "whatever") == [("Send a number.", "How much?")]
    with pytest.raises(StateValidationError, match="choose among retry, previous, restart, home"):
        session.recover("fly")


# -- what is not there any more, or not as it was ----------------------------------------------------------------------


def test_an_expired_conversation_begins_anew_and_says_so(talk: World) -> None:
    say(talk, "offer", "12")
    talk.clock.advance(299)
    assert say(talk, "ada") == [("Offer 12 to ada?",)]
    talk.clock.advance(301)
    assert say(talk, "yes") == [(TEXTS.expired, "Welcome, stranger.")]
    assert say(talk, "yes") == [("Welcome, stranger.",)]


def test_it_says_so_too_where_the_expiry_was_written_down(talk: World) -> None:
    say(talk, "offer", "12")
    talk.clock.advance(301)
    talk.states.run_worker()
    assert say(talk, "ada") == [(TEXTS.expired, "Welcome, stranger.")]


@pytest.mark.parametrize(
    "value",
    [
        17,
        "text",
        [],
        {"flow_data": 5},
        {"flow_data": {"path": "offer", "component": [1]}},
        {"flow_data": {"path": "offer", "component": "amount", "data": 7}},
        {"flow_data": {"path": "offer", "component": "amount", "previous": [7]}},
        {"flow_data": {"path": "offer", "component": "amount", "validation": {"attempts": 3}}},
        {"flow_data": {"path": "offer", "component": "amount", "validation": {"attempts": {"amount": "x"}}}},
        {"flow_data": {"path": "offer", "component": "amount", "recoveries": -5}},
        {"flow_data": {"path": "offer", "component": "amount", "validation": {"context": 5}}},
        {"flow_data": {"path": "offer", "component": "amount", "validation": None}},
        {"flow_data": None},
        {"flow_data": {"path": "offer", "component": "amount", "previous": [{"path": 5, "data": 7}]}},
        {"flow_data": {}, "auth": "a token"},
        {"auth": {"token": "x"}},
        {"auth": {"token": "x", "expires_at": "soon"}},
        {"auth": {"token": "x", "expires_at": "2026-01-31"}},
        {"_channels": [7]},
        {"profile": 7},
        {"member_id": 7},
    ],
)
def test_a_damaged_document_begins_clean_with_the_channel_kept(small_talk: World, value: Any) -> None:
    overwrite(small_talk, value)
    assert say(small_talk, "12") == [(TEXTS.damaged, "Welcome, stranger.")]
    session = small_talk.states.flows.open("web", "v1")
    assert session.get("channel") == {"type": "web", "identifier": "v1"}
    assert say(small_talk, "offer", "12") == [("How much?",), ("To whom?",)]
    (found,) = small_talk.states.flows.audit.of_channel("web", "v1", event="recovery")[-1:]
    assert found.details["how"] == "clean"


@pytest.mark.parametrize("value", [{"auth": {"token": "x"}}, {"flow_data": []}, {"member_id": 7}, {"_channels": 7}])
def test_a_damaged_document_does_not_fail_a_session(small_talk: World, value: Any) -> None:
    overwrite(small_talk, value)
    session = small_talk.states.flows.open("web", "v1")
    assert (session.is_authenticated(), session.get_state()["flow_data"]["path"]) == (False, None)
    session.link_member("ada")
    session.update_state({"profile": {"name": "Ada"}})
    assert say(small_talk, "hello") == [("Welcome, Ada.",)], "it was mended by what was written"


def test_a_damaged_document_of_a_member_keeps_the_member(talk: World) -> None:
    talk.states.flows.open("web", "v1").link_member("ada")
    stored = talk.runtime.shelves.kept("flows").bucket.find("member:ada", strong=True).data["value"]
    overwrite(talk, {**stored, "flow_data": "?"}, "member:ada")
    assert say(talk, "hello") == [(TEXTS.damaged, "Welcome, stranger.")]
    assert talk.states.flows.open("web", "v1").get_member_id() == "ada"


def test_a_step_that_the_application_does_not_have_any_more_begins_the_flow_anew(talk: World) -> None:
    say(talk, "offer", "12")
    talk.states.flows.define(Flow("offer", [Step("sum", AmountInput, then=END)], triggers=["offer"]))
    assert say(talk, "ada") == [(TEXTS.damaged, "How much?")]


def test_a_flow_that_there_is_not_leads_home(talk: World) -> None:
    talk.states.flows.open("web", "v1").transition_flow("gone", "step")
    assert say(talk, "ada") == [(TEXTS.damaged, "Welcome, stranger.")]


def test_a_conversation_that_was_left_at_a_step_that_waits_for_nobody_goes_on(talk: World) -> None:
    session = talk.states.flows.open("web", "v1")
    session.transition_flow("offer", "sorry")
    assert say(talk, "hello") == [({"text": "Too many attempts."}, "Welcome, stranger.")]


def test_without_a_home_the_user_is_told(small_talk: World) -> None:
    small_talk.states.flows.configure(start=None, home=None)
    assert say(small_talk, "hello", "offer") == [(TEXTS.lost,), ("How much?",)]


# -- who it is ---------------------------------------------------------------------------------------------------------


def test_a_conversation_goes_on_on_another_channel(talk: World) -> None:
    say(talk, "join", "Ada", "offer", "12")
    talk.states.flows.open("whatsapp", "+263771").link_member("ada of v1")
    assert say(talk, "eve", channel="whatsapp", who="+263771") == [("Offer 12 to eve?",)]
    assert say(talk, "back") == [(TEXTS.back, "To whom?")]
    assert say(talk, "bob", channel="whatsapp", who="+263771") == [("Offer 12 to bob?",)]
    assert say(talk, "yes") == [("Offer 1 is made.", "Welcome, Ada.")]
    where = {(event.channel["type"], event.event) for event in talk.states.flows.audit.of_member("ada of v1")}
    assert {("web", "incoming"), ("whatsapp", "incoming"), ("web", "outgoing")} <= where


def test_who_begins_a_conversation_can_be_known(talk: World) -> None:
    talk.states.flows.configure(greet=lambda session: session.link_member("ada"))
    say(talk, "hello", channel="whatsapp", who="+263771")
    assert talk.states.flows.open("whatsapp", "+263771").get_member_id() == "ada"


def test_a_router_goes_before_everything_but_the_words(talk: World) -> None:
    talk.states.flows.configure(router=lambda session, message: "offer" if message == "jump" else None)
    assert say(talk, "join", "jump", "12", "back") == [
        ("What is your name?",),
        ("How much?",),
        ("To whom?",),
        (TEXTS.back, "How much?"),
    ]

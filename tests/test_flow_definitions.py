"""Flows are checked when they are defined: what cannot work is named, all of it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from flask_statemanager import ConfigurationError
from flask_statemanager.flows import END, Flow, Goto, Step
from flask_statemanager.flows.diagram import mermaid
from flask_statemanager.flows.registry import FlowRegistry
from tests.flow_application import (
    AmountInput,
    ConfirmOffer,
    Dashboard,
    HandleInput,
    OfferApiCall,
    Sorry,
    home,
    offer,
    sign_up,
)

ASK = Step("ask", HandleInput, then=END)


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([], "it has no steps"),
        (5, "its steps are 5, not a list"),
        ([ASK, Step("lost", Dashboard, then=END)], "the step 'lost' cannot be reached"),
        ([Step("ask", ConfirmOffer, branches={"confirmed": END})], "no branch for the result 'declined'"),
        ([Step("ask", AmountInput, then=END, max_attempts=3)], "no branch for the result 'exhausted'"),
        ([Step("ask", AmountInput, branches={"valid": END, "shown": END})], "which its component never comes to"),
        ([Step("ask", AmountInput, branches={"valid": END}, then=END)], "'then' is never taken"),
        ([Step("ask", HandleInput, then="nowhere")], "the step 'ask' leads to 'nowhere', which does not exist"),
        ([Step("ask", HandleInput, then=Goto("one", "nowhere"))], "'one/nowhere', which does not exist"),
        ([Step("ask", HandleInput, then=7)], "leads to 7, which is no step, Goto or END"),  # type: ignore[arg-type]
        ([ASK, ASK], "two steps have one name"),
        ([Step("1st", HandleInput, then=END)], "'1st' is not a name"),
        (["ask"], "'ask' is no Step"),
        ([Step("ask", int, then=END)], "which is no Component"),  # type: ignore[arg-type]
        ([Step("ask", lambda one: one, then=END)], "the component of 'ask' cannot be made"),  # type: ignore[arg-type,misc]
        (
            [Step("ask", AmountInput, then=END, branches={"exhausted": END}, max_attempts=0)],
            "must be a number from 1 on",
        ),
        (
            [Step("ask", Dashboard, then=END, branches={"exhausted": END}, max_attempts=2)],
            "waits for nobody, so max_attempts counts nothing",
        ),
        (
            [Step("ask", HandleInput, then="a"), Step("a", Dashboard, then="b"), Step("b", Sorry, then="a")],
            "nobody waits for the user in a circle among the steps a, b",
        ),
    ],
)
def test_what_cannot_work_is_refused_when_the_flow_is_made(steps: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(problem)):
        Flow("one", steps)


def test_all_that_is_wrong_is_named_at_once() -> None:
    steps = [Step("ask", ConfirmOffer, branches={"confirmed": "nowhere"}), Step("ask2", AmountInput, max_attempts=1)]
    with pytest.raises(ConfigurationError) as refused:
        Flow("one", steps)
    found = str(refused.value)
    assert all(each in found for each in ("'declined'", "'nowhere'", "'valid'", "'exhausted'"))


def test_a_flow_has_a_name() -> None:
    with pytest.raises(ConfigurationError, match="'not one' is not a name"):
        Flow("not one", [ASK])


def test_a_circle_in_which_somebody_waits_is_a_loop_like_others() -> None:
    flow = Flow("one", [Step("ask", HandleInput, then="tell"), Step("tell", Dashboard, then="ask")])
    assert (flow.first, flow.has("tell"), flow.has("other")) == ("ask", True, False)


def test_a_step_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="The flow 'offer' has no step 'other'"):
        offer().step("other")
    with pytest.raises(ConfigurationError, match="no branch for the result 'other'"):
        offer().step("confirm").step.target("other")


def test_a_flow_is_drawn_with_every_branch() -> None:
    assert mermaid(offer()) == (
        "stateDiagram-v2\n"
        '    state "amount (input)" as amount\n'
        '    state "handle (input)" as handle\n'
        '    state "confirm (confirm)" as confirm\n'
        '    state "call (api)" as call\n'
        '    state "done (display)" as done\n'
        '    state "sorry (display)" as sorry\n'
        "    [*] --> amount\n"
        "    amount --> handle : valid\n"
        "    amount --> sorry : exhausted (3 attempts)\n"
        "    handle --> confirm : valid\n"
        "    confirm --> call : confirmed\n"
        "    confirm --> [*] : declined\n"
        "    call --> done : success\n"
        "    call --> handle : failure\n"
        "    done --> [*] : shown\n"
        "    sorry --> [*] : shown\n"
    )


def test_another_flow_stands_in_the_drawing_by_its_name() -> None:
    drawn = mermaid(sign_up())
    assert '    state "→ home" as to_home\n' in drawn
    assert "    call --> to_home : success\n" in drawn
    assert "    to_home --> [*]\n" in drawn


def test_results_that_lead_to_one_place_share_an_arrow() -> None:
    assert "ask --> [*] : confirmed / declined" in mermaid(Flow("one", [Step("ask", ConfirmOffer, then=END)]))


# -- all flows of an application ---------------------------------------------------------------------------------------


def test_what_leads_to_a_flow_that_is_not_defined_is_found_before_the_first_turn() -> None:
    registry = FlowRegistry()
    registry.define(sign_up())
    with pytest.raises(ConfigurationError, match="The step sign_up/call leads to home, which does not exist"):
        registry.check()
    registry.define(home())
    registry.check()
    registry.configure({"start": "elsewhere"})
    with pytest.raises(ConfigurationError, match=r"configure\(start='elsewhere'\) names a flow that is not defined"):
        registry.check()
    registry.define(Flow("elsewhere", [Step("call", OfferApiCall, then=Goto("home", "nowhere"))]))
    with pytest.raises(ConfigurationError, match="elsewhere/call leads to home/nowhere"):
        registry.check()


def test_flows_are_found_by_name_and_by_what_begins_them() -> None:
    registry = FlowRegistry()
    made = registry.define(offer())
    assert registry.flows == {"offer": made}
    assert registry.triggered(" PAY ") is made
    assert registry.triggered("other") is None
    assert registry.triggered({"text": "pay"}) is None
    assert registry.find(7) is None
    with pytest.raises(ConfigurationError, match="There is no flow 'other'; defined are: offer"):
        registry.get("other")
    with pytest.raises(ConfigurationError, match="7 is no flow"):
        registry.define(7)  # type: ignore[arg-type]


def test_words_are_the_application_s_own() -> None:
    registry = FlowRegistry()
    assert registry.act_of(" Back ") == "rollback"
    registry.configure({"words": {"Zurück": "rollback"}})
    assert (registry.act_of("ZURÜCK"), registry.act_of("back"), registry.act_of(7)) == ("rollback", None, None)
    with pytest.raises(ConfigurationError, match="A word cannot do 'fly'"):
        registry.configure({"words": {"up": "fly"}})
    with pytest.raises(ConfigurationError, match="'colour'"):
        registry.configure({"colour": "red"})

"""The operator's commands for flows: what is typed, and what comes back."""

from __future__ import annotations

import inspect
import json

import pytest
from click.testing import CliRunner, Result

from flask_statemanager.cli import state
from flask_statemanager.flows import Flow, Goto, Step
from tests.flow_application import HandleInput
from tests.test_flow_turns import say
from tests.worlds import World

APART = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


def typed(world: World, *words: str) -> Result:
    world.app.cli.add_command(state, "state")
    runner = world.app.test_cli_runner(**APART)
    return runner.invoke(args=["state", "flows", *words], env={"COLUMNS": "100"})


def test_a_flow_is_drawn_as_mermaid_text(small_talk: World) -> None:
    found = typed(small_talk, "diagram", "offer")
    assert found.exit_code == 0
    assert found.output == small_talk.states.flows.diagram("offer")


def test_all_are_drawn_without_a_name(small_talk: World) -> None:
    assert typed(small_talk, "diagram").output.count("stateDiagram-v2") == 3


def test_a_flow_that_there_is_not_is_one_sentence(small_talk: World) -> None:
    found = typed(small_talk, "diagram", "other")
    assert (found.exit_code, found.stdout) == (1, "")
    assert "There is no flow 'other'; defined are: home, offer, sign_up." in found.stderr


def test_flows_are_listed_and_checked(small_talk: World) -> None:
    listed = typed(small_talk, "list").output
    assert [line.split()[0] for line in listed.splitlines()] == ["FLOW", "sign_up", "offer", "home"]
    assert "offer, pay" in listed
    found = json.loads(typed(small_talk, "list", "--json").output)["flows"][1]
    assert (found["title"], found["steps"][0]["results"]) == ("Make an offer", ["valid", "exhausted"])
    small_talk.states.flows.define(Flow("odd", [Step("ask", HandleInput, then=Goto("nowhere"))]))
    broken = typed(small_talk, "list")
    assert broken.exit_code == 1
    assert "odd/ask leads to nowhere" in broken.stderr


def test_without_flows_it_says_so(world: World) -> None:
    assert typed(world, "list").output == "No flows are defined.\n"


def test_a_trail_is_printed_newest_first_and_exported_oldest_first(small_talk: World) -> None:
    say(small_talk, "join", "Ada", "offer")
    lines = typed(small_talk, "audit", "--member", "ada of v1").output.splitlines()
    assert lines[0].split()[0] == "WHEN"
    assert "outgoing" in lines[1]
    exported = typed(small_talk, "audit", "--channel", "web", "v1", "--export").output.splitlines()
    assert json.loads(exported[0])["event"] == "incoming"
    only = typed(small_talk, "audit", "--channel", "web", "v1", "--event", "transition", "--limit", "1").output
    assert "transition" in only
    assert "incoming" not in only
    assert "not known any more" in typed(small_talk, "audit", "--member", "nobody").output


@pytest.mark.parametrize("words", [(), ("--member", "ada", "--channel", "web", "v1")])
def test_a_trail_is_of_a_member_or_of_a_channel(small_talk: World, words: tuple[str, ...]) -> None:
    found = typed(small_talk, "audit", *words)
    assert found.exit_code == 2
    assert "either --member or --channel" in found.stderr

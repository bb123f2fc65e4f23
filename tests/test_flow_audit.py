"""The audit trail: complete, in order, per member, without secrets and without what was said."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from flask_statemanager import ConfigurationError
from flask_statemanager.core.ports import Backend
from flask_statemanager.flows import FlowAuditLogger, Redaction, ValidationResult
from flask_statemanager.flows.audit import Audit
from tests.test_flow_turns import say
from tests.worlds import World


def test_a_trail_tells_what_has_happened_newest_first(talk: World) -> None:
    say(talk, "offer", "many")
    events = [event.event for event in reversed(talk.states.flows.audit.of_channel("web", "v1"))]
    assert events == [
        *("incoming", "transition", "awaiting", "outgoing"),
        *("incoming", "validation", "outgoing", "outgoing"),
    ]
    (refusal,) = talk.states.flows.audit.of_channel("web", "v1", event="validation")
    assert refusal.details["error"] == "Send a number."
    assert refusal.channel == {"type": "web", "identifier": "v1"}
    assert talk.states.flows.audit.of_channel("web", "v1", limit=1)[-1].event == "incoming"
    assert talk.states.flows.audit.of_channel("web", "v2") == []


def test_the_trail_of_a_member_begins_at_the_login(talk: World) -> None:
    say(talk, "join", "Ada Lovelace", "offer")
    trail = talk.states.flows.audit
    assert all(event.member_id is None for event in trail.of_channel("web", "v1"))
    found = trail.of_member("ada lovelace of v1")
    assert found
    assert all(event.member_id == "ada lovelace of v1" for event in found)
    assert "authenticated" in {event.event for event in found}


def test_neither_secrets_nor_what_was_said_are_in_it(talk: World) -> None:
    say(talk, "join", "Ada Lovelace", {"text": "PIN 4711"})
    whole = json.dumps([event.to_dict() for event in talk.states.flows.audit.of_member("ada lovelace of v1")])
    whole += json.dumps([event.to_dict() for event in talk.states.flows.audit.of_channel("web", "v1")])
    for said in ("t0ken", "4711", "What is your name", "Welcome"):
        assert said not in whole


def test_a_trail_outlives_the_conversation(talk: World) -> None:
    say(talk, "offer")
    talk.clock.advance(8 * 24 * 3600)
    talk.states.run_worker()
    assert talk.states.flows.audit.of_channel("web", "v1")[-1].event == "incoming"


def test_what_was_not_committed_is_not_in_it(talk: World) -> None:
    session = talk.states.flows.open("web", "v1")
    with pytest.raises(ZeroDivisionError):
        fail_within(session)
    assert talk.states.flows.audit.of_channel("web", "v1") == []


def fail_within(session: Any) -> None:
    with session:
        session.transition_flow("offer", "amount")
        raise ZeroDivisionError


def test_a_logger_notes_what_the_application_does(talk: World) -> None:
    session = talk.states.flows.open("web", "v1")
    with session:
        logger = FlowAuditLogger(session)
        logger.log_state_transition(["offer", "amount"], ["offer", "handle"])
        logger.log_validation_result("amount", ValidationResult.failure("Too much."))
        logger.log_error("api", "no answer from 4711", {"password": "x", "code": 7})
        logger.log_recovery("retry", outcome="asked again")
        logger.log_message("hello")
        logger.log_message("hello?", incoming=True)
    found = {event.event: event.details for event in talk.states.flows.audit.of_channel("web", "v1")}
    assert found == {
        "transition": {"from": ["offer", "amount"], "to": ["offer", "handle"]},
        "validation": {"component": "amount", "valid": False, "error": "Too much."},
        "error": {
            "error_type": "api",
            "problem": "no answer from 4711",
            "context": {"password": "[redacted]", "code": 7},
        },
        "recovery": {"how": "retry", "outcome": "asked again"},
        "outgoing": {"body": {"characters": 5}},
        "incoming": {"body": {"characters": 6}},
    }


def test_a_trail_is_exported_as_lines_oldest_first(talk: World) -> None:
    say(talk, "offer", "12")
    stream, trail = io.StringIO(), talk.states.flows.audit
    events = trail.of_channel("web", "v1")
    assert trail.export(stream, events) == len(events)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [event.event for event in reversed(events)]
    assert [line["revision"] for line in lines] == sorted(line["revision"] for line in lines)


def test_the_rule_of_what_is_left_out_is_the_application_s_own() -> None:
    rule = Redaction().beside(secrets=["Answer"], bodies=["note"])
    assert rule({"ANSWER": 42, "note": "hi", "list": [{"token": "x"}], "text": None, "value": True, "n": 1}) == {
        "ANSWER": "[redacted]",
        "note": {"characters": 2},
        "list": [{"token": "[redacted]"}],
        "text": None,
        "value": True,
        "n": 1,
    }
    assert rule({"body": {"n": 1}}) == {"body": {"characters": 8}}


def test_a_backend_without_a_history_is_named(small_talk: World) -> None:
    class Bare(Backend):
        title = "bare"
        identity = shareable = fetch = read = apply = close = reading = writing = None  # type: ignore[assignment]

    parts = small_talk.runtime.reception.parts()
    parts.bucket.backend = Bare()  # type: ignore[abstract]
    with pytest.raises(ConfigurationError, match="The bare backend keeps no history"):
        Audit(parts)

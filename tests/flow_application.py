"""The conversations that tests hold: a sign-up, an offer, a dashboard; and applications that have them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_statemanager import StateManager
from flask_statemanager.flows import (
    END,
    ApiComponent,
    ConfirmBase,
    DisplayComponent,
    Flow,
    Goto,
    InputComponent,
    Step,
    ValidationResult,
    external_call,
)
from tests.worlds import KV_KINDS, World, build, entered, uri_for

CALLS: list[str] = []
"""The idempotency keys of the calls that were made."""


class NameInput(InputComponent):
    def prompt(self) -> str:
        return "What is your name?"

    def validate(self, value: Any) -> ValidationResult:
        if not isinstance(value, str) or len(value.strip()) < 2:
            return ValidationResult.failure("A name has two letters at least.", field="name")
        return ValidationResult.success(value.strip())


class SignUpApiCall(ApiComponent):
    def validate_api_call(self, value: Any) -> ValidationResult:
        CALLS.append(external_call())
        name = self.state_manager.get_flow_data()["name"]
        if self.state_manager.get_member_id() is not None:
            return ValidationResult.failure("You are known already.")
        member = f"{name.casefold()} of {self.state_manager.get_channel_id()}"
        self.state_manager.authenticate(member, "t0ken-of-a-member")
        self.state_manager.update_state({"profile": {"name": name}})
        return ValidationResult.success({"name": name})


class AmountInput(InputComponent):
    def prompt(self) -> str:
        return "How much?"

    def validate(self, value: Any) -> ValidationResult:
        if not str(value).isdecimal():
            return ValidationResult.failure("Send a number.", field="amount")
        result = ValidationResult.success(int(value))
        self.update_state(str(int(value)), result)
        return result


class HandleInput(InputComponent):
    def prompt(self) -> str:
        return "To whom?"

    def validate(self, value: Any) -> ValidationResult:
        return ValidationResult.success(value)


class ConfirmOffer(ConfirmBase):
    def prompt(self) -> str:
        data = self.state_manager.get_flow_data()
        return f"Offer {data['amount']} to {data['handle']}?"

    def handle_confirmation(self, value: bool) -> ValidationResult:
        return ValidationResult.success({"confirmed": value})


class OfferApiCall(ApiComponent):
    """Counts the offers in the state, so that a turn that counts twice, or not at all, is seen."""

    def validate(self, value: Any) -> ValidationResult:
        CALLS.append(self.idempotency_key)
        action = self.state_manager.get_flow_state()["action"]
        if self.state_manager.get_flow_data()["handle"] == "nobody":
            return ValidationResult.failure("There is nobody of that handle.")
        self.state_manager.update_state({"action": {"offers": action.get("offers", 0) + 1}})
        return ValidationResult.success({"action": self.state_manager.get_flow_state()["action"]})


class OfferDone(DisplayComponent):
    def validate_display(self, value: Any) -> ValidationResult:
        return ValidationResult.success(f"Offer {self.state_manager.get('action')['offers']} is made.")


class Sorry(DisplayComponent):
    def validate_display(self, value: Any) -> ValidationResult:
        return ValidationResult.success({"text": "Too many attempts."})


class Dashboard(DisplayComponent):
    def validate_display(self, value: Any) -> ValidationResult:
        who = self.state_manager.get("profile", {}).get("name", "stranger")
        return ValidationResult.success(f"Welcome, {who}.")


def sign_up() -> Flow:
    return Flow(
        "sign_up",
        [
            Step("name", NameInput, then="call"),
            Step("call", SignUpApiCall, branches={"success": Goto("home"), "failure": "name"}),
        ],
        triggers=["join"],
    )


def offer() -> Flow:
    return Flow(
        "offer",
        [
            Step("amount", AmountInput, then="handle", branches={"exhausted": "sorry"}, max_attempts=3),
            Step("handle", HandleInput, then="confirm"),
            Step("confirm", ConfirmOffer, branches={"confirmed": "call", "declined": END}),
            Step("call", OfferApiCall, branches={"success": "done", "failure": "handle"}),
            Step("done", OfferDone, then=END),
            Step("sorry", Sorry, then=END),
        ],
        triggers=["offer", "Pay"],
        title="Make an offer",
    )


def home() -> Flow:
    return Flow("home", [Step("dashboard", Dashboard, then=END)])


def define(states: StateManager) -> None:
    """Declare the three flows."""
    for flow in (sign_up(), offer(), home()):
        states.flows.define(flow)
    states.flows.configure(start="home", home="home")


def flow_config(kind: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the config of conversations that live in one kind of store."""
    if kind != "redis":
        return {}
    return {
        "STATEMANAGER_FLOWS_BACKEND": "redis",
        "STATEMANAGER_REDIS_URL": request.getfixturevalue("redis_url"),
    }


@pytest.fixture(params=KV_KINDS)
def talk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application with these conversations, in memory, in SQLite, in PostgreSQL, in Redis."""
    kind = request.param
    world = build(kind, uri_for(kind, tmp_path, request), **flow_config(kind, request))
    define(world.states)
    CALLS.clear()
    yield from entered(world)


@pytest.fixture
def small_talk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """The same, in memory alone."""
    world = build("memory", uri_for("memory", tmp_path, request))
    define(world.states)
    CALLS.clear()
    yield from entered(world)

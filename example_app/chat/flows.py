"""The flows: which component follows which."""

from __future__ import annotations

import re
from typing import Any

from flask_statemanager.flows import END, Flow, FlowSession, Goto, Step

from ..extensions import state_manager
from . import members
from .components import (
    AmountInput,
    CodeApiCall,
    ConfirmOffer,
    CreateOfferApiCall,
    DashboardApiCall,
    FirstNameInput,
    HandleInput,
    LastNameInput,
    LinkApiCall,
    OfferGivenUp,
    OfferSent,
    OnboardMemberApiCall,
    ViewCode,
    ViewDashboard,
    Welcome,
)

ATTEMPTS = 3
"""How often somebody may be wrong."""

ONBOARDING = Flow(
    "onboarding",
    [
        Step("welcome", Welcome, then="first_name"),
        Step("first_name", FirstNameInput, then="last_name"),
        Step("last_name", LastNameInput, then="open_account"),
        Step("open_account", OnboardMemberApiCall, branches={"success": Goto("dashboard"), "failure": "first_name"}),
    ],
)

DASHBOARD = Flow(
    "dashboard",
    [
        Step("read", DashboardApiCall, branches={"success": "show", "failure": END}),
        Step("show", ViewDashboard, then=END),
    ],
    triggers=["dashboard", "balance"],
)

OFFER = Flow(
    "offer",
    [
        Step("amount", AmountInput, then="handle", branches={"exhausted": "give_up"}, max_attempts=ATTEMPTS),
        Step("handle", HandleInput, then="confirm", branches={"exhausted": "give_up"}, max_attempts=ATTEMPTS),
        Step("confirm", ConfirmOffer, branches={"confirmed": "send", "declined": END}),
        Step("send", CreateOfferApiCall, branches={"success": "sent", "failure": "amount"}),
        Step("sent", OfferSent, then=END),
        Step("give_up", OfferGivenUp, then=END),
    ],
    triggers=["offer", "send", "pay"],
    title="Send credits",
)

CODE = Flow(
    "code",
    [
        Step("get", CodeApiCall, branches={"success": "show", "failure": END}),
        Step("show", ViewCode, then=END),
    ],
)

LINK = Flow("link", [Step("join", LinkApiCall, branches={"success": Goto("dashboard"), "failure": END})])

CODE_WORDS = re.compile(r"\s*link\s+\d{6}\s*", re.IGNORECASE)


def route(session: FlowSession, message: Any) -> str | None:
    """Begin a flow by what the user writes, wherever the conversation is.

    :param session: the conversation.
    :param message: what the user has written.
    """
    if not isinstance(message, str):
        return None
    if CODE_WORDS.fullmatch(message) and session.get_member_id() is None:
        return LINK.name
    return CODE.name if message.strip().casefold() == "code" and session.get_path() is None else None


def greet(session: FlowSession) -> None:
    """Recognise who begins a conversation: a logged-in user on the chat page, a known number on the phone.

    :param session: the conversation.
    """
    member = members.behind(session.get_channel_type(), session.get_channel_id())
    if member is not None:
        session.link_member(member)


for _flow in (ONBOARDING, DASHBOARD, OFFER, CODE, LINK):
    state_manager.flows.define(_flow)
state_manager.flows.configure(start=ONBOARDING.name, home=DASHBOARD.name, router=route, greet=greet)

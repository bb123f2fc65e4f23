"""The chat page: a conversation in the browser, beside it a phone, and beneath what the state manager knows of both."""

from __future__ import annotations

import re
import secrets
from typing import Any

from flask import Blueprint, abort, current_app, flash, g, redirect, render_template, request, session, url_for
from msgspec import Struct

from flask_statemanager.flows import AuditEvent, FlowSession

from ..chat.messaging import keep, transcript
from ..chat.whatsapp import PATH, SIGNATURE, delivery_of, signature_of
from ..extensions import state_manager
from ..models import ChatMessage

blueprint = Blueprint("chat", __name__, url_prefix="/chat")

LONGEST, TRAIL, LINES = 500, 8, 16
TOLD = frozenset(
    ("incoming", "outgoing", "transition", "validation", "recovery", "rollback", "error", "linked", "authenticated")
)
NONCE = re.compile("[0-9a-f]{24}")
SUGGESTIONS = ("offer", "back", "menu")


class Side(Struct, frozen=True):
    """One of the two conversations, as the page shows it.

    :param title: how to call it.
    :param who: who is at the other end.
    :param action: where the form leads.
    :param lines: what was said.
    :param session: the conversation.
    """

    title: str
    who: str
    action: str
    lines: list[ChatMessage]
    session: FlowSession


class Happened(Struct, frozen=True):
    """A line of the audit trail, as the page shows it.

    :param at: the time of day.
    :param event: what it was.
    :param channel: where.
    :param about: what belongs to it.
    """

    at: str
    event: str
    channel: str
    about: str

    @classmethod
    def of(cls, event: AuditEvent) -> Happened:
        """Put an entry of the trail into words.

        :param event: the entry.
        """
        details = event.details
        if event.event == "transition":
            ways = ("/".join(str(part) for part in details[end] if part is not None) for end in ("from", "to"))
            about = " → ".join(way or "nothing" for way in ways)
        elif "body" in details:
            about = f"{details['body']['characters']} characters"
        else:
            about = ", ".join(f"{name} {value}" for name, value in details.items() if isinstance(value, str))
        return cls(event.at[11:19], event.event, event.channel["type"], about)


@blueprint.get("/")
def show() -> Any:
    """Show both conversations."""
    sides = [_side("Chat", "web", _visitor(), "chat.say"), _side("Phone", "whatsapp", _number(), "chat.phone")]
    web = sides[0].session
    member = web.get_member_id()
    audit = state_manager.flows.audit
    trail = audit.of_channel("web", _visitor(), limit=TRAIL) if member is None else audit.of_member(member, limit=TRAIL)
    told = [Happened.of(event) for event in trail if event.event in TOLD][:LINES]
    # A form that is sent twice is one message.
    return render_template(
        "chat.html", sides=sides, trail=told, nonce=secrets.token_hex(12), suggestions=SUGGESTIONS, member=member
    )


@blueprint.post("/say")
def say() -> Any:
    """Say something in the browser."""
    text, name = _said()
    keep("web", _visitor(), text, key=f"in:{name}", mine=True)
    state_manager.flows.receive("web", _visitor(), text, message_id=name)
    return redirect(url_for("chat.show", _anchor="chat"))


@blueprint.post("/phone")
def phone() -> Any:
    """Write on the phone: what follows is what WhatsApp would do."""
    text, name = _said()
    body = delivery_of(_number(), text, f"wamid.{name}")
    headers = {SIGNATURE: signature_of(body, current_app.config["WHATSAPP_SECRET"])}
    client = current_app.test_client(use_cookies=False)
    answer = client.post(PATH, data=body, content_type="application/json", headers=headers)
    if answer.status_code != 200:
        flash("The delivery failed; WhatsApp would try again.", "error")
    return redirect(url_for("chat.show", _anchor="phone"))


def _side(title: str, kind: str, who: str, endpoint: str) -> Side:
    return Side(title, who, url_for(endpoint), transcript(kind, who), state_manager.flows.open(kind, who))


def _said() -> tuple[str, str]:
    """Return what was written, and the name of the message."""
    text, name = request.form.get("text", "").strip(), request.form.get("nonce", "")
    if not text or len(text) > LONGEST or NONCE.fullmatch(name) is None:
        abort(422, f"Write something of at most {LONGEST} characters.")
    return text, name


def _visitor() -> str:
    """Return who chats: the logged-in user, or this browser."""
    if g.account is not None:
        return str(g.account.state_id)
    if "visitor" not in session:
        session["visitor"] = f"visitor-{secrets.token_hex(8)}"
    return str(session["visitor"])


def _number() -> str:
    """Return the number of the phone beside the page, which every browser has one of its own of."""
    if "number" not in session:
        session["number"] = f"26377{secrets.randbelow(10**7):07d}"
    return str(session["number"])

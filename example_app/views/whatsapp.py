"""The webhook that WhatsApp delivers messages to."""

from __future__ import annotations

import hmac
import json
from typing import Any

from flask import Blueprint, abort, current_app, request

from ..chat.messaging import keep
from ..chat.whatsapp import SIGNATURE, is_signed, messages_in
from ..extensions import state_manager

blueprint = Blueprint("whatsapp", __name__, url_prefix="/webhooks/whatsapp")

NO_TEXT = "(something that is no text)"
LONGEST = 4096
"""Characters of a message, as WhatsApp has it."""


@blueprint.get("")
def verify() -> Any:
    """Prove to WhatsApp that the address is ours, when it is entered there."""
    asked = request.args
    expected = current_app.config["WHATSAPP_VERIFY_TOKEN"]
    token = asked.get("hub.verify_token", "")
    if asked.get("hub.mode") != "subscribe" or not hmac.compare_digest(token.encode(), expected.encode()):
        abort(403, "The verify token is another one.")
    return asked.get("hub.challenge", ""), 200, {"Content-Type": "text/plain"}


@blueprint.post("")
def receive() -> Any:
    """Take a delivery. It comes again until it is answered with 200, perhaps in parallel: each message counts once."""
    body = request.get_data()
    if not is_signed(body, current_app.config["WHATSAPP_SECRET"], request.headers.get(SIGNATURE)):
        abort(401, "The signature does not fit.")
    taken = 0
    for message in messages_in(_delivery(body)):
        text = message.text[:LONGEST] or NO_TEXT
        keep("whatsapp", message.number, text, key=f"in:{message.message_id}", mine=True)
        state_manager.flows.receive("whatsapp", message.number, text, message_id=message.message_id)
        taken += 1
    return {"messages": taken}


def _delivery(body: bytes) -> Any:
    """Return what was delivered; None for what is no JSON, or nested deeper than any delivery is."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None

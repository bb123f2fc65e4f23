"""What conversations ask the credit system for, in JSON like the other endpoints."""

from __future__ import annotations

import secrets
from typing import Any

from flask import Blueprint, abort, request

from flask_statemanager import StateValidationError

from ..chat import members
from .api import authenticate

blueprint = Blueprint("members", __name__, url_prefix="/api")
blueprint.before_request(authenticate)


@blueprint.post("/members")
def onboard() -> Any:
    """Open an account: ``{"firstname", "lastname", "channel"}``, and the header ``Idempotency-Key``."""
    body = _body("firstname", "lastname", "channel")
    found = members.onboard(body["firstname"], body["lastname"], body["channel"], _key())
    return {
        "data": {"dashboard": found, "token": secrets.token_urlsafe(24), "action": {"type": "member_onboarded"}}
    }, 201


@blueprint.get("/members/<member_id>")
def show(member_id: str) -> Any:
    """Return the dashboard of a member.

    :param member_id: the member.
    """
    return {"data": {"dashboard": members.dashboard(member_id), "token": secrets.token_urlsafe(24)}}


@blueprint.post("/offers")
def offer() -> Any:
    """Send credits: ``{"from", "to", "amount"}``, and the header ``Idempotency-Key``.

    :raises StateValidationError: when the amount is none.
    """
    body = _body("from", "to")
    amount = body.get("amount")
    if type(amount) is not int or amount < 1:
        raise StateValidationError({"amount": ["Must be a whole number from 1 on."]})
    action = members.offer(body["from"], body["to"], amount, _key())
    return {"data": {"action": action, "dashboard": members.dashboard(body["from"])}}, 201


@blueprint.post("/codes")
def code() -> Any:
    """Make a code for another channel: ``{"member"}``."""
    return {"data": {"action": {"type": "code", "code": members.new_code(_body("member")["member"])}}}, 201


@blueprint.post("/links")
def link() -> Any:
    """Join a channel to the member of a code: ``{"code", "channel"}``."""
    body = _body("code", "channel")
    found = members.dashboard(members.take_code(body["code"], body["channel"]))
    return {"data": {"dashboard": found, "token": secrets.token_urlsafe(24), "action": {"type": "linked"}}}


def _key() -> str:
    key = request.headers.get("Idempotency-Key")
    if not key:
        abort(400, "Send the header 'Idempotency-Key', by which a repetition is told.")
    return key


def _body(*required: str) -> dict[str, Any]:
    body = request.get_json()
    if not isinstance(body, dict):
        abort(400, "Send a JSON object.")
    missing = {name: ["Must be text."] for name in required if not isinstance(body.get(name), str)}
    if missing:
        raise StateValidationError(missing)
    return body

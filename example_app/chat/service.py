"""How components call the credit system: over its own JSON endpoints, as any other program would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import current_app
from werkzeug.test import TestResponse

from flask_statemanager.flows import FlowSession, external_call

JSONObject = dict[str, Any]


def make_api_request(url: str, headers: Mapping[str, str] | None = None, payload: JSONObject | None = None) -> Any:
    """Send a request to the credit system, with the key by which it can tell a repetition.

    It runs in this process, so nothing goes over the network; the request and the answer are the same.

    :param url: the path, for example ``/api/offers``.
    :param headers: further headers.
    :param payload: the JSON object to POST; None makes it a GET.
    :returns: the response.
    :raises flask_statemanager.ResponsibilityBreach: when the component that asks is no API component.
    """
    given = {"Authorization": f"Bearer {current_app.config['API_TOKEN']}", "Idempotency-Key": external_call()}
    client = current_app.test_client(use_cookies=False)
    method = "GET" if payload is None else "POST"
    return client.open(url, method=method, json=payload, headers={**given, **(headers or {})})


def handle_api_response(response: TestResponse, state_manager: FlowSession) -> tuple[JSONObject | None, str | None]:
    """Store what the credit system answers: the member's dashboard, and what was done.

    :param response: from :func:`make_api_request`.
    :param state_manager: the conversation.
    :returns: the answer's data and None, or None and a sentence for the user.
    """
    body = response.get_json(silent=True) or {}
    if response.status_code >= 400:
        return None, _told(body)
    data: JSONObject = body["data"]
    known = {name: data[name] for name in ("dashboard", "action") if name in data}
    member = data.get("dashboard", {}).get("member")
    if member is not None:
        known["profile"] = {"firstname": member["firstname"], "handle": member["handle"]}
        known["active_account_id"] = data["dashboard"]["account"]["accountID"]
        if "token" in data:
            state_manager.authenticate(member["memberID"], data["token"])
    state_manager.update_state(known)
    return data, None


def _told(body: JSONObject) -> str:
    """Return what the user reads of a refusal."""
    messages = [message for messages in body.get("errors", {}).values() for message in messages]
    return " ".join(messages) or str(body.get("detail") or "The credit system does not answer.")

"""The document as a caller sees it: under the names of this package, and under those of other systems."""

from __future__ import annotations

from datetime import datetime

from ..core.clock import from_iso, iso
from ..core.codec import copied
from ..core.record import JSON, JSONObject, Record
from .document import CHANNELS, FLOW, Situation, written

OBJECTS = ("profile", "current_account", "dashboard", "action")
"""The members that are objects, and empty where nothing is stored."""


def state_of(situation: Situation, record: Record | None, now: datetime) -> JSONObject:
    """Return everything that is known of a conversation.

    :param situation: the conversation.
    :param record: its record, or None where nothing is stored yet.
    :param now: the moment.
    """
    document = situation.document(now)
    shown: JSONObject = {"member_id": None, "active_account_id": None, **{name: {} for name in OBJECTS}}
    shown.update({name: copied(value) for name, value in document.items() if name != CHANNELS})
    token = token_of(document, now)
    updated = iso(now if record is None else record.updated_at)
    shown.update(
        channel=written(situation.channel),
        auth=copied(document.get("auth", {})),
        jwt_token=token,
        authenticated=token is not None,
        _validation=validation_of(document),
        _metadata={**document.get("_metadata", {}), "updated_at": updated},
        _version=0 if record is None else record.version,
        _last_updated=updated,
    )
    shown[FLOW] = flow_of(document)
    return shown


def flow_of(document: JSONObject) -> JSONObject:
    """Return the flow with both spellings of everything, and the action.

    :param document: the document.
    """
    flow = copied(document.get(FLOW, {}))
    attempts = validation_of(document)
    component = flow.get("component")
    validation = {**attempts, "attempts": attempts["attempts"].get(str(component), 0)}
    context = validation.pop("context")
    data = flow.get("data", {})
    if flow.get("validation"):
        data = {**data, "_validation_context": context, "_validation_state": dict(validation)}
    previous = flow.get("previous", [])
    return {
        "id": flow.get("id"),
        "context": flow.get("path"),
        "path": flow.get("path"),
        "component": component,
        "step": component,
        "data": data,
        "validation": validation,
        "component_result": flow.get("result"),
        "awaiting_input": bool(flow.get("awaiting")),
        "previous": previous[-1] if previous else None,
        "action": copied(document.get("action", {})),
    }


def validation_of(document: JSONObject) -> JSONObject:
    """Return how validation stands, the attempts by component.

    :param document: the document.
    """
    found = document.get(FLOW, {}).get("validation", {})
    return {
        "in_progress": bool(found.get("in_progress")),
        "attempts": dict(found.get("attempts", {})),
        "last_attempt": copied(found.get("last_attempt")),
        "error": copied(found.get("error")),
        "context": copied(found.get("context", {})),
    }


def token_of(document: JSONObject, now: datetime) -> str | None:
    """Return the token, as long as it has not expired.

    :param document: the document.
    :param now: the moment.
    """
    auth: JSON = document.get("auth")
    if not auth or from_iso(auth["expires_at"]) <= now:
        return None
    token: str = auth["token"]
    return token

"""What a caller passes to ``update_state``: one name for each thing, datetimes as text, nothing critical."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from msgspec import Struct

from ..core.clock import iso
from ..core.codec import MAX_DEPTH, clean, same
from ..core.patch import merge
from ..core.record import JSON, JSONObject
from ..errors import StateValidationError, shown
from .document import FLOW, moved

CRITICAL = {
    "member_id": "link_member()",
    "channel": "initialize_channel()",
    "auth": "authenticate()",
    "jwt_token": "authenticate()",
    "authenticated": "authenticate()",
}
"""What ``update_state`` does not change, and what does."""

BOOKKEEPING = frozenset(("_metadata", "_version", "_last_updated"))
"""What is kept by itself, and left aside where a caller passes it on."""

_SPELLINGS = (
    ("path", "context"),
    ("component", "step"),
    ("result", "component_result"),
    ("awaiting", "awaiting_input"),
)
FLOW_NAMES = {"id", "data", "validation", *(name for pair in _SPELLINGS for name in pair)}
"""What a flow has, in both spellings."""

_DERIVED = {"previous", "action"}
_NOTHING: JSON = object()
_STATE, _CONTEXT = "_validation_state", "_validation_context"


class Update(Struct, frozen=True):
    """A caller's update, clean.

    :param members: a merge patch of the top level, the flow aside.
    :param flow: a merge patch of the flow under its own names; None where the flow is to be cleared.
    :param validation: a merge patch of how validation stands; its attempts are a number or by component.
    """

    members: JSONObject
    flow: JSONObject | None
    validation: JSONObject

    @classmethod
    def of(cls, given: object, present: Callable[[], JSONObject], limit: int) -> Update:
        """Take an update apart.

        :param given: what the caller passed.
        :param present: returns the whole state as the caller sees it; a critical member that is the same is no change.
        :param limit: the most bytes.
        :raises StateValidationError: when something in it is not acceptable.
        :raises LimitExceeded: when it is too large.
        """
        if not isinstance(given, Mapping):
            raise StateValidationError({"state": [f"Must be a dict, not {shown(given)}."]})
        plain: JSONObject = clean(textual(dict(given)), "state", limit)
        members = {
            name: value
            for name, value in plain.items()
            if name not in BOOKKEEPING and not _is_critical(name, value, present)
        }
        validation = _object(members.pop("_validation", None), "_validation")
        if FLOW not in members:
            return cls(members, {}, validation)
        flow = members.pop(FLOW)
        if flow is None:
            return cls(members, None, validation)
        names, more = _flow(_object(flow, FLOW))
        return cls(members, names, {**validation, **more})

    def applied(self, document: JSONObject, now: datetime) -> JSONObject:
        """Return a document with this update.

        :param document: the document.
        :param now: the moment.
        """
        merged: JSONObject = merge(document, self.members)
        if self.flow is None:
            return {name: value for name, value in merged.items() if name != FLOW}
        flow = _flow_after(document.get(FLOW, {}), self.flow)
        if self.validation:
            flow = {**flow, "validation": _validation(flow, self.validation)}
        return {**merged, FLOW: flow} if flow else merged


def _flow_after(flow: JSONObject, patch: JSONObject) -> JSONObject:
    went = any(name in patch and patch[name] != flow.get(name) for name in ("path", "component"))
    if went and flow.get("component") is not None and patch.get("component", flow["component"]) is not None:
        flow = moved(flow, patch.get("path"), patch.get("component", flow["component"]))
    after: JSONObject = merge(flow, patch)
    return after


def _validation(flow: JSONObject, patch: JSONObject) -> JSONObject:
    given = dict(patch)
    attempts = given.get("attempts")
    if attempts is not None and not isinstance(attempts, dict):
        given["attempts"] = {str(flow.get("component")): attempts}
    after: JSONObject = merge(flow.get("validation", {}), given)
    return after


def _is_critical(name: str, value: JSON, present: Callable[[], JSONObject]) -> bool:
    """Tell whether a member is not to be written, as it is the same; refuse another one."""
    if name not in CRITICAL:
        return False
    if same(present().get(name, _NOTHING), value):
        return True
    raise StateValidationError({name: [f"update_state() does not change it; what does is {CRITICAL[name]}."]})


def _flow(given: JSONObject) -> tuple[JSONObject, JSONObject]:
    """Return a flow under its own names, and what it says of validation."""
    unknown = sorted(given.keys() - FLOW_NAMES - _DERIVED)
    if unknown:
        known = ", ".join(sorted(FLOW_NAMES))
        raise StateValidationError({f"{FLOW}.{unknown[0]}": [f"A flow has no such member (known: {known}): use data."]})
    flow: JSONObject = {name: given[name] for name in ("id", "data") if name in given}
    for name, other in _SPELLINGS:
        spelled = [given[each] for each in (name, other) if each in given]
        if len(spelled) == 2 and not same(*spelled):
            raise StateValidationError({f"{FLOW}.{name}": [f"{name} and {other} are the same thing: pass one."]})
        if spelled:
            flow[name] = spelled[0]
    return flow, _validation_in(flow, _object(given.get("validation"), f"{FLOW}.validation"))


def _validation_in(flow: JSONObject, given: JSONObject) -> JSONObject:
    """Take what is said of validation out of the data, where another system keeps it."""
    data = flow.get("data")
    if not isinstance(data, dict):
        return given
    if "member_id" in data:
        raise StateValidationError({f"{FLOW}.data.member_id": ["The member is named at the top level alone."]})
    flow["data"] = {name: value for name, value in data.items() if name not in (_STATE, _CONTEXT)}
    found = {**_object(data.get(_STATE), f"{FLOW}.data.{_STATE}"), **given}
    context = _object(data.get(_CONTEXT), f"{FLOW}.data.{_CONTEXT}")
    return {**found, "context": context} if context else found


def _object(value: JSON, field: str) -> JSONObject:
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise StateValidationError({field: [f"Must be an object, not {shown(value)}."]})


def textual(value: Any, depth: int = 0) -> Any:
    """Return a value with its datetimes as text; one without a time zone means UTC.

    :param value: what a caller passed.
    :param depth: how deep it lies; what lies too deep to be stored is left as it is.
    """
    if isinstance(value, datetime):
        return iso(value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc))
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, Mapping):
        return {name: textual(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [textual(each, depth + 1) for each in value]
    return value

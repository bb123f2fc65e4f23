"""Whether a conversation's state may be stored: its shape, and the fields that the application adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema

from ..core.record import JSON, JSONObject
from ..errors import ConfigurationError, StateValidationError, shown
from .channel import Channel, check_identifier
from .document import CHANNELS, FLOW
from .results import ValidationResult
from .update import BOOKKEEPING, CRITICAL

BASE = {
    "profile": "object",
    "current_account": "object",
    "dashboard": "object",
    "action": "object",
    "active_account_id": "text",
}
"""The members at the top level that ``update_state`` changes, and what they hold."""

_FLOW = {
    "id": "text",
    "path": "text",
    "component": "text",
    "data": "object",
    "awaiting": "flag",
    "validation": "object",
}
_VALIDATION = {"in_progress": "flag", "attempts": "counts", "context": "object"}
_OWN = frozenset((*CRITICAL, *BOOKKEEPING, FLOW, CHANNELS, "_validation", *BASE))


def as_schema(given: object) -> Schema:
    """Return the instance of a marshmallow schema.

    :param given: a schema, class or instance.
    :raises ConfigurationError: when it is none, or has fields that are not the application's.
    """
    schema = given() if isinstance(given, type) and issubclass(given, Schema) else given
    if not isinstance(schema, Schema):
        raise ConfigurationError(f"The fields of flows are declared by a marshmallow Schema, not {shown(given)}.")
    taken = sorted(_names(schema) & _OWN)
    if taken:
        raise ConfigurationError(f"The schema of flows declares {', '.join(taken)}, which every flow has: rename it.")
    return schema


def _names(schema: Schema | None) -> frozenset[str]:
    if schema is None:
        return frozenset()
    return frozenset(field.data_key or name for name, field in schema.fields.items())


class StateValidator:
    """Looks at the state of a conversation.

    >>> StateValidator().validate_channel({"type": "web", "identifier": ""}).message
    "Must be text and not empty, not ''."

    :param schema: the fields that the application adds at the top level, a marshmallow schema, or None.
    :ivar added: their names.
    :raises ConfigurationError: when it is no schema, or has fields that are not the application's.
    """

    def __init__(self, schema: object = None) -> None:
        self.schema = None if schema is None else as_schema(schema)
        self.added = _names(self.schema)

    def check(self, document: JSONObject, changed: Mapping[str, JSON]) -> None:
        """Refuse a document in which something that was changed is not acceptable.

        :param document: the document as it would be stored.
        :param changed: the members at the top level that are changed; the flow is always looked at.
        :raises StateValidationError: with the messages by field.
        """
        errors: dict[str, list[str]] = {}
        for name in changed:
            if name in BASE:
                _expect(document.get(name), BASE[name], name, errors)
            elif name not in self.added:
                errors[name] = ["There is no such field: declare it with flows.register_schema(), or use flow_data."]
        _check_flow(document.get(FLOW, {}), errors)
        if not errors and self.schema is not None and not self.added.isdisjoint(changed):
            given = {name: document[name] for name in self.added if name in document}
            errors = dict(_flat(self.schema.validate(given, partial=True), ""))
        if errors:
            raise StateValidationError(errors)

    def validate_state(self, state: Mapping[str, Any]) -> ValidationResult:
        """Look at a whole state, as ``session.get_state()`` returns it.

        :param state: the state.
        :returns: a success with the state, or a failure with the messages by field among its details.
        """
        for found in (self.validate_channel(state.get("channel")), self.validate_member(state.get("member_id"))):
            if not found:
                return found
        changed = {name: value for name, value in state.items() if name not in CRITICAL and not name.startswith("_")}
        changed.pop(FLOW, None)
        flow = state.get(FLOW) or {}
        if not isinstance(flow, Mapping):
            return ValidationResult.failure("Must be an object.", field=FLOW)
        own = {name: flow[name] for name in _FLOW if name in flow and name != "validation"}
        return self._result(state, {**state, FLOW: own}, changed)

    def validate_channel(self, channel: object) -> ValidationResult:
        """Look at a channel.

        :param channel: ``{"type": str, "identifier": str}``.
        :returns: a success with the channel, or a failure.
        """
        found = channel if isinstance(channel, Mapping) else {}
        try:
            Channel.of(found.get("type"), found.get("identifier"))
        except StateValidationError as error:
            return _failure(error)
        return ValidationResult.success(channel)

    def validate_member(self, member_id: object) -> ValidationResult:
        """Look at a member's id; None stands for a conversation before its login.

        :param member_id: the id.
        :returns: a success with the id, or a failure.
        """
        try:
            return ValidationResult.success(None if member_id is None else check_identifier(member_id, "member_id"))
        except StateValidationError as error:
            return _failure(error)

    def _result(self, value: object, document: JSONObject, changed: Mapping[str, JSON]) -> ValidationResult:
        try:
            self.check(document, changed)
        except StateValidationError as error:
            return _failure(error)
        return ValidationResult.success(value)


def _failure(error: StateValidationError) -> ValidationResult:
    field, messages = next(iter(error.errors.items()))
    return ValidationResult.failure(" ".join(messages), field=field, details={"errors": error.errors})


def _check_flow(flow: JSONObject, errors: dict[str, list[str]]) -> None:
    for name, kind in _FLOW.items():
        _expect(flow.get(name), kind, f"{FLOW}.{name}", errors)
    validation = flow.get("validation") or {}
    if isinstance(validation, dict):
        for name, kind in _VALIDATION.items():
            _expect(validation.get(name), kind, f"{FLOW}.validation.{name}", errors)


def _expect(value: JSON, kind: str, field: str, errors: dict[str, list[str]]) -> None:
    if value is None or _FITS[kind](value):
        return
    errors[field] = [f"Must be {_WORDS[kind]}, not {shown(value)}."]


_WORDS = {
    "object": "an object",
    "text": "text or a number",
    "flag": "true or false",
    "counts": "a number from 0, or an object of such numbers by component",
}
_FITS = {
    "object": lambda value: isinstance(value, dict),
    "text": lambda value: isinstance(value, str | int) and not isinstance(value, bool),
    "flag": lambda value: isinstance(value, bool),
    "counts": lambda value: isinstance(value, dict) and all(type(n) is int and n >= 0 for n in value.values()),
}


def _flat(errors: Mapping[Any, Any], path: str) -> list[tuple[str, list[str]]]:
    """Turn marshmallow's nested messages into dotted paths."""
    out: list[tuple[str, list[str]]] = []
    for name, found in errors.items():
        where = f"{path}.{name}" if path else str(name)
        if isinstance(found, Mapping):
            out += _flat(found, where)
        else:
            out.append((where, [str(message) for message in (found if isinstance(found, list) else [found])]))
    return out

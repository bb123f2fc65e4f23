"""Input: what counts as an envelope, and whether a state may be stored as it would be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from ..core.clock import in_utc
from ..core.codec import clean
from ..core.names import check_text
from ..core.record import Change, JSONObject
from ..errors import StateManagerError, StateValidationError
from .definitions import Definitions, TypeDefinition
from .state import STATE_KEYS, State
from .types import EXPIRE

MAX_TEXT = 255
MAX_TTL = timedelta(days=365 * 1000)


class Envelope(Struct, frozen=True):
    """A caller's input taken apart; None where the caller left something out."""

    data: JSONObject | None = None
    metadata: JSONObject | None = None
    name: str | None = None
    type: str | None = None
    state_id: str | None = None


def open_envelope(value: object, limit: int, field: str) -> Envelope:
    """Take a caller's input apart.

    A dict is an envelope if it has ``data`` or ``metadata`` as an object and no keys beyond a State's; anything else is
    bare data. Of an envelope ``data``, ``metadata`` and ``name`` are used, ``type`` and ``state_id`` compared, and the
    rest (a State's own bookkeeping) left aside.

    :param value: a dict, or None.
    :param limit: the most bytes.
    :param field: how to name the value in errors.
    :raises StateValidationError: when it is no dict or holds what is not JSON.
    :raises LimitExceeded: when it is too large.
    """
    if value is None:
        return Envelope()
    if not isinstance(value, dict):
        raise StateValidationError({field: [f"Must be a dict, not {type(value).__name__}."]})
    parted = isinstance(value.get("data"), dict) or isinstance(value.get("metadata"), dict)
    if not parted or not value.keys() <= STATE_KEYS:
        return Envelope(data=clean(value, "data", limit))
    parts: dict[str, Any] = {part: _object(value.get(part), part, limit) for part in ("data", "metadata")}
    for part in ("name", "type", "state_id"):
        found = getattr(value.get(part), "value", value.get(part))
        parts[part] = None if found is None else check_text(found, part, MAX_TEXT)
    return Envelope(**parts)


def _object(value: object, part: str, limit: int) -> JSONObject | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise StateValidationError({part: [f"Must be an object, not {type(value).__name__}."]})
    found: JSONObject = clean(value, part, limit)
    return found


def check_identity(envelope: Envelope, state_id: str, type_name: str) -> None:
    """Refuse an envelope that speaks of another state.

    :param envelope: the caller's input.
    :param state_id: the state in question.
    :param type_name: its type; capital letters in the envelope's make no difference.
    :raises StateValidationError: when id or type differ.
    """
    if envelope.type is not None and envelope.type.lower() != type_name.lower():
        message = f"The data says type {envelope.type!r}, the state has type {type_name!r}: make them agree."
        raise StateValidationError({"type": [message]})
    if envelope.state_id is not None and envelope.state_id != state_id:
        message = f"The data says state_id {envelope.state_id!r}, the call says {state_id!r}: make them agree."
        raise StateValidationError({"state_id": [message]})


class Lifetime(Struct, frozen=True):
    """When a state shall expire, as the caller put it.

    :param ttl: seconds from the write on, or a timedelta.
    :param expires_at: an aware datetime.
    """

    ttl: float | timedelta | None = None
    expires_at: datetime | None = None

    def resolve(self, now: datetime, definition: TypeDefinition) -> datetime | None:
        """Return the moment of expiry, or None when the caller gave none.

        :param now: the moment of the write.
        :param definition: the type, which must be able to expire.
        :raises StateValidationError: when both are given, one is unusable, or the type has no expire transition.
        """
        if self.ttl is None and self.expires_at is None:
            return None
        field = "ttl" if self.expires_at is None else "expires_at"
        if self.ttl is not None and self.expires_at is not None:
            raise StateValidationError({"ttl": ["Give either ttl or expires_at, not both."]})
        if not definition.machine.lapses:
            message = f"The type {definition.name!r} has no 'expire' transition: declare one, or leave {field} out."
            raise StateValidationError({field: [message]})
        return in_utc(self.expires_at, field) if self.expires_at is not None else now + _span(self.ttl)


def _span(ttl: object) -> timedelta:
    if isinstance(ttl, int | float) and not isinstance(ttl, bool) and 0 < ttl <= MAX_TTL.total_seconds():
        return timedelta(seconds=ttl)
    if isinstance(ttl, timedelta) and timedelta(0) < ttl <= MAX_TTL:
        return ttl
    raise StateValidationError({"ttl": ["Must be a positive number of seconds or a timedelta, of at most 1000 years."]})


class StateValidation:
    """Checks a change against the schema and the validators of its type.

    They see the state as it would be stored, not the caller's patch. A deletion is not checked: old data must never
    prevent it. Nor is an expiry that changes no data.

    :param definitions: the declared types.
    """

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions

    def __call__(self, change: Change) -> None:
        """Refuse a change whose result is not acceptable.

        :param change: the change.
        :raises StateValidationError: with the messages per field.
        """
        definition = self._definitions.find(change.after.type)
        if definition is None or change.after.deleted_at is not None or _unchanged(change):
            return
        if definition.schema is not None:
            _check_schema(definition, State.of(change.after))
        for validator in definition.validators:
            _run(validator, State.of(change.after))


def _unchanged(change: Change) -> bool:
    before = change.before
    return before is not None and change.event == EXPIRE and before.data is change.after.data


def _check_schema(definition: TypeDefinition, state: State) -> None:
    assert definition.schema is not None
    try:
        errors = definition.schema.validate(state.data)
    except Exception as error:
        message = f"The schema {type(definition.schema).__name__} failed: {error!r}."
        raise StateValidationError({"data": [message]}) from error
    if errors:
        raise StateValidationError(dict(_flat(errors, "data")))


def _flat(errors: Mapping[Any, Any], path: str) -> list[tuple[str, list[str]]]:
    """Turn marshmallow's nested messages into dotted paths."""
    out: list[tuple[str, list[str]]] = []
    for name, found in errors.items():
        where = path if name == "_schema" else f"{path}.{name}"
        if isinstance(found, Mapping):
            out += _flat(found, where)
        else:
            out.append((where, [str(message) for message in (found if isinstance(found, list) else [found])]))
    return out


def _run(validator: Any, state: State) -> None:
    name = getattr(validator, "__name__", type(validator).__name__)
    try:
        answer = validator(state)
    except StateManagerError:
        raise
    except Exception as error:
        raise StateValidationError({"data": [f"The validator {name} refuses: {error}."]}) from error
    if answer is False:
        raise StateValidationError({"data": [f"The validator {name} refuses the state."]})

"""Whether what lies under a conversation's key is its document, and what is left of one that is spoilt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..core.clock import from_iso
from ..core.record import JSON, JSONObject
from .document import CHANNELS, FLOW, LINK

RECOVERIES = "recoveries"
"""The member of a flow that counts the rungs since it made progress last."""


def is_damaged(document: Any) -> bool:
    """Tell whether a document is not what a session writes: another program's, or the work of a fault.

    :param document: what is stored.
    """
    return not (
        _fits(document, _TOP) and all(_fits(step, _STEP) for step in document.get(FLOW, {}).get("previous", ()))
    )


def sound(value: JSON) -> JSONObject | None:
    """Return a document as a session can work with it; of a damaged one whose it is, and on which channels.

    :param value: what is stored.
    :returns: the document; None where there is none at all.
    """
    if not isinstance(value, dict):
        return None
    if not is_damaged(value):
        return value
    return {
        name: value[name] for name in ("channel", "member_id", CHANNELS) if name in value and _TOP[name](value[name])
    }


def _fits(members: JSON, kinds: Mapping[str, Callable[[Any], bool]]) -> bool:
    return isinstance(members, dict) and all(fits(members[name]) for name, fits in kinds.items() if name in members)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _counts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_count, value.values()))


def _place(value: Any) -> bool:
    return value is None or isinstance(value, str) or type(value) is int


def _login(value: Any) -> bool:
    return isinstance(value, dict) and (not value or (_text(value.get("token")) and _moment(value.get("expires_at"))))


def _moment(value: Any) -> bool:
    try:
        return from_iso(value).tzinfo is not None
    except (AttributeError, TypeError, ValueError):
        return False


_VALIDATION: Mapping[str, Callable[[Any], bool]] = {"attempts": _counts, "context": _object}
_STEP: Mapping[str, Callable[[Any], bool]] = {"path": _place, "component": _place, "data": _object}
_FLOW: Mapping[str, Callable[[Any], bool]] = {
    "path": lambda value: value is None or isinstance(value, str),
    "component": _place,
    "data": _object,
    "validation": lambda value: _fits(value, _VALIDATION),
    "previous": lambda value: isinstance(value, list),
    RECOVERIES: _count,
}
_TOP: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("profile", "current_account", "dashboard", "action", "channel", "_metadata"), _object),
    "auth": _login,
    "member_id": _text,
    CHANNELS: _texts,
    LINK: _text,
    FLOW: lambda value: _fits(value, _FLOW),
}

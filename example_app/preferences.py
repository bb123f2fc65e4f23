"""What users prefer: a JSON document each, of which a form changes parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_statemanager import StateValidationError
from flask_statemanager.kv.documents import Document

from .extensions import state_manager

THEMES = {"light": "Light", "dark": "Dark", "system": "As the device has it"}
LANGUAGES = {"en": "English", "de": "Deutsch"}
DEFAULTS = {"theme": "light", "language": "en", "notices": True}
"""What counts until somebody says otherwise. It is not stored, so that it can be changed for all who did not."""


def of(user_id: str) -> dict[str, Any]:
    """Return what a user prefers, with the defaults where nothing was chosen.

    :param user_id: the user.
    :raises StorageError: when the storage fails.
    """
    return _document(user_id).read(DEFAULTS)


def change(user_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Change some of what a user prefers; what a second page changes meanwhile is not undone.

    :param user_id: the user.
    :param changes: new values by name; None goes back to the default.
    :returns: what is stored now.
    :raises StateValidationError: when there is no such choice.
    :raises StateManagerError: when it cannot be written.
    """
    for name, choices in (("theme", THEMES), ("language", LANGUAGES)):
        if changes.get(name) is not None and changes[name] not in choices:
            raise StateValidationError({name: [f"Choose one of {', '.join(choices)}."]})
    return _document(user_id).update(changes, "preferences")


def _document(user_id: str) -> Document:
    return state_manager.kv.document(f"preferences:{user_id}")

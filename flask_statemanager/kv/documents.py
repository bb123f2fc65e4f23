"""A JSON object under a key, of which parts are read and changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.patch import merge
from ..core.record import JSON, JSONObject
from ..errors import StateValidationError, shown
from .parts import check_key
from .verbs import KvVerbs


class Document:
    """A JSON object such as a user's preferences; made by ``kv.document``.

    Of two programs that change different members at once, neither undoes what the other did.

    :param verbs: the keys and values.
    :param key: its key.
    :raises StateValidationError: when the key is impossible.
    """

    def __init__(self, verbs: KvVerbs, key: str) -> None:
        self._verbs = verbs
        self.key = check_key(key)

    def read(self, defaults: Mapping[str, Any] | None = None) -> JSONObject:
        """Return the whole object.

        :param defaults: what counts where nothing is stored, merged member by member, deeply.
        :raises StateValidationError: when the key holds no object, or the defaults are none.
        :raises StorageError: when the storage fails.
        """
        if not isinstance(defaults, Mapping | None):
            raise StateValidationError({"defaults": [f"Must be a dict, not {shown(defaults)}."]})
        stored = _object(self.key, self._verbs.get(self.key, {}))
        found: JSONObject = merge(dict(defaults or {}), stored)
        return found

    def update(self, changes: Mapping[str, Any], source: str | None = None) -> JSONObject:
        """Change members, and leave the others as they are.

        :param changes: a JSON Merge Patch (RFC 7396): objects nest, null removes.
        :param source: the part of the system that asks.
        :returns: the whole object as it is stored.
        :raises StateValidationError: when the changes are no JSON object, or the key holds none.
        :raises LimitExceeded: when the object gets too large.
        :raises StateConflict: when racers won every attempt.
        :raises StorageError: when the storage fails.
        """
        if not isinstance(changes, Mapping):
            raise StateValidationError({"changes": [f"Must be a dict, not {shown(changes)}."]})
        patch = dict(changes)

        def merged(present: JSON) -> JSON:
            return merge(_object(self.key, present), patch)

        return _object(self.key, self._verbs.update(self.key, merged, source, default={}).value)


def _object(key: str, value: JSON) -> JSONObject:
    if isinstance(value, dict):
        return value
    raise StateValidationError({"value": [f"{key} holds {shown(value)}, which is no JSON object."]})

"""The items of a registration of many states, each a dict with the arguments of a single registration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from ..core.batch import Row
from ..core.names import TimeOrderedIds, check_id, check_text, check_word
from ..core.record import Key
from ..errors import StateManagerError, StateValidationError, shown
from .bulk_calls import Entry
from .decisions import Registration
from .definitions import TypeDefinition
from .parts import BUCKET
from .validation import MAX_TEXT, Lifetime, open_envelope

MEMBERS = frozenset(("state_id", "data", "initial_data", "initial_status", "ttl", "expires_at", "owner"))
"""What an item may have."""

_ids = TimeOrderedIds()
_ENDLESS = Lifetime()


class ItemReader(Struct, frozen=True):
    """Turns items into rows.

    :param definition: the type of the states.
    :param limit: the most bytes of one.
    """

    definition: TypeDefinition
    limit: int

    def entries(self, items: Iterable[Any]) -> Iterator[Entry]:
        """Yield an entry for each item, with the error of an unusable one.

        :param items: the items.
        """
        for index, item in enumerate(items):
            given = item.get("state_id") if isinstance(item, dict) else None
            state_id = None if given is None else given if isinstance(given, str) else shown(given)
            try:
                yield Entry(index, state_id, self._row(item))
            except StateManagerError as error:
                yield Entry(index, state_id, None, error)

    def _row(self, item: Any) -> Row:
        _check_members(item)
        given = item.get("state_id")
        name = _ids.new() if given is None else check_id(given)
        field = "initial_data" if "initial_data" in item else "data"
        status, owner = item.get("initial_status"), item.get("owner")
        ttl, expires_at = item.get("ttl"), item.get("expires_at")
        decide = Registration(
            key=Key(BUCKET, name),
            definition=self.definition,
            envelope=open_envelope(item.get(field), self.limit, field),
            initial_status=None if status is None else check_word(status, "initial_status"),
            lifetime=_ENDLESS if ttl is None and expires_at is None else Lifetime(ttl, expires_at),
            owner=None if owner is None else check_text(owner, "owner", MAX_TEXT),
            if_exists="error",
        )
        return Row(name, decide)


def _check_members(item: Any) -> None:
    if not isinstance(item, dict):
        raise StateValidationError({"items": [f"Must be dicts such as {{'data': {{...}}}}, not {shown(item)}."]})
    if not item.keys() <= MEMBERS:
        unknown = next(name for name in item if name not in MEMBERS)
        listed = ", ".join(sorted(MEMBERS))
        raise StateValidationError({"items": [f"{shown(unknown)} is no part of an item; it may have {listed}."]})
    if "data" in item and "initial_data" in item:
        raise StateValidationError({"items": ["Give either data or initial_data, which mean the same."]})

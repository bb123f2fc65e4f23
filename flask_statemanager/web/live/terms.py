"""On what terms clients listen."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from ...core.record import Change
from ...tracking.propagation import Sight
from .messages import change_data

Telling = Callable[[Change, Sight, frozenset[str]], bytes]
"""Writes what is told of a change, as JSON: given which sides of it may be seen, and names of members to leave out."""


class Terms(Struct, frozen=True):
    """On what terms clients listen.

    :param secrets: names of members that nobody is told, in lower case.
    :param most_held: how many changes are held at most for a client that is catching up.
    :param telling: writes what is told of a change.
    """

    secrets: frozenset[str] = frozenset()
    most_held: int = 1000
    telling: Telling = change_data

    def told(self, change: Change, sight: Sight) -> bytes:
        """Return what is told of a change, as JSON.

        :param change: the change.
        :param sight: which sides of it may be seen.
        """
        return self.telling(change, sight, self.secrets)

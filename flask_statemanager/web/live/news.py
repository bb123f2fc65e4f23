"""News: one change on its way to clients, encoded once for each way in which it may be seen."""

from __future__ import annotations

from functools import cached_property

from ...core.record import Change
from ...tracking.propagation import Propagation, Reaches, Sight
from .interest import Audience
from .messages import CHANGE, Frame
from .terms import Terms


class News:
    """One change.

    :param change: the change.
    :param propagation: the rules.
    :param terms: on what terms clients listen.
    """

    def __init__(self, change: Change, propagation: Propagation, terms: Terms) -> None:
        self.change = change
        self._propagation = propagation
        self._terms = terms
        self._data: dict[Sight, bytes] = {}
        self._frames: dict[tuple[Sight, str], Frame] = {}

    @cached_property
    def reaches(self) -> Reaches:
        """Whose the record was and is."""
        return self._propagation.reaches(self.change)

    def seen_by(self, audience: Audience) -> Sight:
        """Return what somebody may see of it.

        :param audience: who listens.
        """
        return audience.sight(self.reaches)

    def frame(self, sight: Sight, cursor: str) -> Frame:
        """Return the message, the same for all to whom both are the same.

        :param sight: what may be seen of it.
        :param cursor: where to go on behind it.
        """
        found = self._frames.get((sight, cursor))
        if found is None:
            found = self._frames[sight, cursor] = Frame(CHANGE, cursor, self._encoded(sight))
        return found

    def _encoded(self, sight: Sight) -> bytes:
        if sight not in self._data:
            self._data[sight] = self._terms.told(self.change, sight)
        return self._data[sight]

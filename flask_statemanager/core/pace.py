"""How much to read at once, so that memory stays bounded."""

from __future__ import annotations

from .snapshots import MAX_HELD

_FIRST = 64


class Pace:
    """Finds how many records may be read at once, so that they do not take too much memory.

    :param most: the most, however small they are.
    :param held: about how many bytes may be held at once.
    """

    def __init__(self, most: int, held: int = MAX_HELD) -> None:
        self._most, self._held = most, held
        self.limit = min(most, _FIRST)

    def step(self, size: int, number: int) -> None:
        """Learn from what was read.

        :param size: how many bytes of JSON it was.
        :param number: of how many records.
        """
        fitting = self._held * number // max(1, size)
        self.limit = max(1, min(self._most, 4 * self.limit, fitting))

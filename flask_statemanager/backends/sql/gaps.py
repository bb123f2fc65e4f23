"""Which revisions were seen, where they may become visible in another order than their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

Gap = tuple[int, int]
"""The first and the last revision that were not seen between two that were."""

MOST_GAPS = 1000
"""With more of them, what lies between the first and the last counts as one: what is in it is seen again."""


class Gaps:
    """All revisions up to the highest one were seen, but for gaps, in which something may still appear.

    :param highest: where it begins; everything up to it was seen, or will never be visible.
    """

    def __init__(self, highest: int) -> None:
        self.highest = highest
        self.open: list[Gap] = []

    @property
    def lowest(self) -> int:
        """The lowest revision that may still appear."""
        return self.open[0][0] if self.open else self.highest + 1

    def see(self, revisions: Sequence[int], settled: int) -> None:
        """Take in what is visible in the gaps and above the highest.

        :param revisions: all of it, in order.
        :param settled: what was not visible up to here when they were looked for will never be.
        """
        highest = max(self.highest, revisions[-1]) if revisions else self.highest
        looked_into = [*self.open, (self.highest + 1, highest)]
        left = [gap for gap in _between(looked_into, revisions) if gap[1] > settled]
        self.open = left if len(left) <= MOST_GAPS else [(left[0][0], left[-1][1])]
        self.highest = highest


def _between(gaps: Iterable[Gap], revisions: Sequence[int]) -> Iterator[Gap]:
    """Yield what is left of gaps around revisions in them."""
    place = 0
    for first, last in gaps:
        begin = first
        while place < len(revisions) and revisions[place] <= last:
            if begin < revisions[place]:
                yield begin, revisions[place] - 1
            begin = revisions[place] + 1
            place += 1
        if begin <= last:
            yield begin, last

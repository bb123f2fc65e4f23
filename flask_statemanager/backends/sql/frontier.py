"""How far a log is settled whose numbers are drawn before their transactions commit, as PostgreSQL's are.

A number that is missing may be lost (its transaction was rolled back, or it was drawn in vain) or still to come.
Whoever draws one has its transaction's id before it. So of a missing number below one that is visible, the transaction
has an id below any that is given out from now on: note such an id, wait until every transaction up to it has ended, and
look again: what is still missing then will never be there.

To go by the ids of what is visible instead ("everything below the oldest running transaction is complete") loses what
was overtaken: a transaction that begins later may draw and commit earlier.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class Note(Struct, frozen=True):
    """A transaction's id, given out when everything up to a revision had been drawn.

    :param xid: the id.
    :param revision: the revision.
    """

    xid: int
    revision: int


class Frontier:
    """Remembers how far the log is settled, for all readers of a process. It needs no lock: whatever it says is true.

    :ivar settled: every revision up to this one is visible or will never be.
    :ivar note: what is waited for, or None.
    """

    def __init__(self) -> None:
        self.settled = 0
        self.note: Note | None = None

    def settled_at(self, oldest: int, known: int) -> int:
        """Return how far the log is settled as one snapshot shows it.

        :param oldest: the oldest transaction that ran when the snapshot was taken.
        :param known: how far the log was settled before that; what was learned since holds for later snapshots only.
        """
        note = self.note
        if note is None or oldest <= note.xid:
            return known
        self.note = None
        self.settled = max(self.settled, note.revision)
        return max(known, note.revision)

    def forget(self) -> None:
        """Begin anew, as in another database."""
        self.settled, self.note = 0, None


def safe(after: int, revisions: Sequence[int], settled: int) -> int:
    """Return how many revisions, from the first on, can be passed.

    :param after: the position, up to which everything is settled.
    :param revisions: what is visible behind it, in order.
    :param settled: how far the log is settled otherwise.
    """
    reached = max(after, settled)
    for number, revision in enumerate(revisions):
        if revision > reached + 1:
            return number
        reached = max(reached, revision)
    return len(revisions)

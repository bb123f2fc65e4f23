"""Beliefs: what this process wrote last, so that who writes a store again and again need not have it read each time.

Nothing is believed because it is here: the storage compares it with what it has, and a belief that is wrong costs a
round trip. So a record is believed in only when the last write of this process followed on the one before it.
"""

from __future__ import annotations

from ..core.ports import UNSEEN, Seen
from ..core.record import Record

MOST, LARGEST = 256, 16 * 1024
"""How many records are kept, and how many bytes one may have: larger ones are sooner read than compared."""


class Beliefs:
    """Keeps what was written last; safe with threads, as each step is one of a dict's."""

    def __init__(self) -> None:
        self._written: dict[str, tuple[Record, bool]] = {}

    def of(self, name: str) -> Seen:
        """Return what a record is believed to be.

        :param name: the record.
        """
        record, followed = self._written.get(name, (None, False))
        return record if record is not None and followed else UNSEEN

    def note(self, name: str, record: Record, size: int) -> None:
        """Remember what was written.

        :param name: the record.
        :param record: as it is stored now.
        :param size: about how many bytes it has.
        """
        before = self._written.pop(name, None)
        if size > LARGEST:
            return
        if len(self._written) >= MOST:
            self._written = {}
        followed = record.version == (1 if before is None else before[0].version + 1)
        self._written[name] = record, followed

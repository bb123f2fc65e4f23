"""What was read lately: who writes with the version that he has just read need not have it read again.

Nothing is believed because it is here. The script that writes compares it with what is stored, byte by byte.
"""

from __future__ import annotations

from ...core.record import Key, Record

MOST, LARGEST = 256, 16 * 1024
"""How many records are kept, and how many bytes one may have."""


class Recent:
    """Keeps the texts of a few records; safe with threads, as each step is one of a dict's."""

    def __init__(self) -> None:
        self._texts: dict[Key, bytes] = {}
        self._recalled: dict[Key, tuple[Record, bytes]] = {}

    def keep(self, key: Key, text: bytes) -> None:
        """Keep a record's text; where there is no more room, the others are forgotten.

        :param key: which record.
        :param text: what was read.
        """
        if len(text) > LARGEST:
            return
        if len(self._texts) >= MOST:
            self._texts, self._recalled = {}, {}
        self._texts[key] = text

    def text(self, key: Key) -> bytes | None:
        """Return the text of a record, or None.

        :param key: which record.
        """
        return self._texts.get(key)

    def recalled(self, record: Record, text: bytes) -> None:
        """Remember from which text a record was made, so that it need not be written down to be compared.

        :param record: the record that is handed out.
        :param text: the text.
        """
        self._recalled[record.key] = record, text

    def origin(self, record: Record) -> bytes | None:
        """Return the text that a record was made from, or None.

        :param record: a record, which has to be the very one that was handed out: another may be of any content.
        """
        known = self._recalled.get(record.key)
        return known[1] if known is not None and known[0] is record else None

"""Looking for a text in states: no index has it, so that a page looks at some of them, and the next page goes on."""

from __future__ import annotations

import json
import time

from msgspec import Struct

from ...core.record import JSON
from ...lifecycle.query import StateQuery
from ...lifecycle.state import State
from ..visit import Visit

MOST_LOOKED_AT = 1000
"""States that one page looks at."""

MOST_CHARACTERS = 4 * 2**20
"""Characters that one page looks at."""

MOST_SECONDS = 0.08
"""Seconds of this process that one page spends on looking, however fast it is."""

CHUNK, MOST_AT_ONCE, MUCH = 25, 200, 2**18
"""States that are read at once: so many at first, twice as many each time, while they have fewer characters."""

_WRITER = json.JSONEncoder(ensure_ascii=False)


class Look(Struct, frozen=True):
    """What a look came to.

    :param states: those that have the text, in the order of the search.
    :param looked_at: how many states were looked at.
    :param next: the cursor that goes on behind them, or None when there are no more.
    """

    states: list[State]
    looked_at: int
    next: str | None


def look(visit: Visit, found: StateQuery, text: str, *, size: int, after: str | None) -> Look:
    """Look for a text, whatever its case, in ids, names, owners, data and metadata, secrets left aside.

    :param visit: sees the states.
    :param found: the states among which to look.
    :param text: the text.
    :param size: how many states fill a page; what is read together with the last of them comes along.
    :param after: the cursor to go on from.
    :raises StateValidationError: when the cursor is unusable.
    :raises StorageError: when the storage fails.
    """
    wanted, states, looked_at, chunk, begin = Wanted(visit, text), list[State](), 0, CHUNK, time.thread_time()
    while True:
        page, before = found.page(chunk, after), wanted.characters
        states += [state for state in page if state in wanted]
        looked_at, after = looked_at + len(page), page.next
        full = len(states) >= size or looked_at >= MOST_LOOKED_AT or wanted.characters >= MOST_CHARACTERS
        if after is None or full or time.thread_time() - begin >= MOST_SECONDS:
            return Look(states, looked_at, after)
        chunk = 2 * chunk if wanted.characters - before < MUCH else CHUNK
        chunk = min(chunk, MOST_AT_ONCE, MOST_LOOKED_AT - looked_at)


class Wanted:
    """The states that have a text in what is shown of them, whatever its case.

    :param visit: sees the states.
    :param text: the text; all have the empty one.
    :ivar characters: in how many characters it was looked for.
    """

    def __init__(self, visit: Visit, text: str) -> None:
        self._visit = visit
        self._text = text.casefold()
        self._secrets = [_folded(name)[1:-1] for name in visit.runtime.settings.live_secrets]
        self.characters = 0

    def __contains__(self, state: State) -> bool:
        if not self._text:
            return True
        words = "\n".join((state.state_id, state.name, state.owner or "")).casefold()
        searched = "\n".join((words, *(self._document(state[part]) for part in ("data", "metadata"))))
        self.characters += len(searched)
        return self._text in searched

    def _document(self, value: JSON) -> str:
        """Return a document as it is shown; one in which no secret can be is not copied to cover them."""
        written = _folded(value)
        return _folded(self._visit.covered(value)) if any(name in written for name in self._secrets) else written


def _folded(value: JSON) -> str:
    return _WRITER.encode(value).casefold()

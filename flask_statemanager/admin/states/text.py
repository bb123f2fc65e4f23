"""Looking for a text in states: no index has it, so that a page looks at some of them, and the next page goes on."""

from __future__ import annotations

import json

from msgspec import Struct

from ...lifecycle.query import StateQuery
from ...lifecycle.state import State
from ..visit import Visit

MOST_LOOKED_AT = 2000
"""States that one page looks at."""

MOST_CHARACTERS = 16 * 2**20
"""Characters that one page looks at."""

CHUNK = 100
"""States that are read at once."""


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
    wanted, states, looked_at, characters = text.casefold(), list[State](), 0, 0
    while True:
        page = found.page(CHUNK, after)
        for state in page:
            searched = text_of(visit, state)
            characters += len(searched)
            if wanted in searched:
                states.append(state)
        looked_at, after = looked_at + len(page), page.next
        full = len(states) >= size or looked_at >= MOST_LOOKED_AT or characters >= MOST_CHARACTERS
        if after is None or full:
            return Look(states, looked_at, after)


def text_of(visit: Visit, state: State) -> str:
    """Return everything of a state in which a text is looked for, folded for comparison.

    :param visit: sees the state.
    :param state: the state.
    """
    documents = (json.dumps(visit.covered(state[part]), ensure_ascii=False) for part in ("data", "metadata"))
    return "\n".join((state.state_id, state.name, state.owner or "", *documents)).casefold()

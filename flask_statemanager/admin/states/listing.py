"""The list of states: a page of what a search finds, or a file of all of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from msgspec import Struct

from ...core.query import OPERATORS
from ...errors import LimitExceeded, StateValidationError
from ...lifecycle.query import StateQuery
from ...lifecycle.state import State
from ..answers import Download, Shown
from ..visit import Visit
from .export import MOST, Export, as_csv, as_json
from .search import SIZES, SORTS, Search, renamed
from .text import look

SHOWN_MEMBERS, SHOWN_CHARACTERS = 4, 40
"""Members of a state's data in a line of the list, and characters of each."""


class Found(Struct, frozen=True):
    """What a page of the list shows.

    :param states: the states.
    :param next: the cursor of the next page, or None.
    :param previous: the cursor of the page before, or None.
    :param number: how many states are found in all, about; None where that is not known.
    :param looked_at: in how many states a text was looked for; None where none was.
    :param doubts: why the search may take long.
    """

    states: Sequence[State]
    next: str | None = None
    previous: str | None = None
    number: int | None = None
    looked_at: int | None = None
    doubts: Sequence[str] = ()


def list_states(visit: Visit) -> Shown:
    """Show what a search finds, or why it cannot be made.

    :param visit: the visit.
    :raises StorageError: when the storage fails.
    """
    search, errors = Search.of(visit), dict[str, list[str]]()
    try:
        found = _found(visit, search)
    except StateValidationError as error:
        found, errors = Found(()), error.errors
    except LimitExceeded as error:
        found, errors = Found(()), {"where": [str(error)]}
    definitions, asked = visit.runtime.declarations.definitions.types, search.asked.get("type")
    values = {
        "search": search,
        "found": found,
        "problems": errors,
        "types": sorted({*definitions, *([] if asked is None else [asked])}),
        "statuses": sorted({status for each in definitions.values() for status in each.machine.statuses}),
        "sorts": SORTS,
        "sizes": SIZES,
        "operators": [name for name in OPERATORS if name != "eq"],
        "most": MOST,
        "glimpses": [glimpse(visit, state.data) for state in found.states],
    }
    return Shown("states.html", values, 400 if errors else 200)


def _found(visit: Visit, search: Search) -> Found:
    found, size, query = search.found(visit.runtime), search.size, visit.query
    if search.exact:
        return _exactly(found, search.asked["id"])
    doubts = search.doubts(found.query, visit.runtime.lifecycle.parts.searches.unserved)
    after, before = query.get("after") or None, query.get("before") or None
    with renamed():
        if search.text:
            seen = look(visit, found, search.text, size=size, after=after)
            return Found(seen.states, seen.next, looked_at=seen.looked_at, doubts=doubts)
        page = found.page(size, after, before=before)
    # To count means to look at everything where no index helps.
    number = None if doubts else found.count(estimate=True)
    return Found(page.items, page.next, page.previous, number, doubts=doubts)


def _exactly(found: StateQuery, state_id: str) -> Found:
    # Of all ids that begin so, the one that ends there is the first.
    states = [state for state in found.page(1) if state.state_id == state_id]
    return Found(states, number=len(states))


def export_csv(visit: Visit) -> Download:
    """Send what a search finds as a table.

    :param visit: the visit.
    :raises StateValidationError: when the search is unusable.
    """
    return Download(as_csv(_export(visit)), "text/csv", "states.csv")


def export_json(visit: Visit) -> Download:
    """Send what a search finds as JSON.

    :param visit: the visit.
    :raises StateValidationError: when the search is unusable.
    """
    return Download(as_json(_export(visit)), "application/json", "states.json")


def _export(visit: Visit) -> Export:
    search = Search.of(visit)
    return Export(visit, search.found(visit.runtime), search.text, MOST, search.asked["id"] if search.exact else None)


def glimpse(visit: Visit, data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the first members of a state's data, as a line of the list shows them.

    :param visit: sees them.
    :param data: the data.
    """
    first = visit.covered(dict(islice(data.items(), SHOWN_MEMBERS)))
    return [(name, _short(value)) for name, value in first.items()]


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{…}" if value else "{}"
    if isinstance(value, list):
        return f"[{len(value)}]"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"

"""Exports: what a search finds, as a file that is sent while it is read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice

import orjson
from msgspec import Struct

from ...lifecycle.query import Page, StateQuery
from ...lifecycle.state import State
from ..visit import Visit
from .text import Wanted

MOST = 100_000
"""States that an export looks at."""

COLUMNS = (
    *("state_id", "name", "type", "status", "owner", "version", "created_at", "updated_at", "expires_at"),
    *("data", "metadata"),
)
"""The columns of a table."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""With what a cell begins that a spreadsheet may take for a formula (OWASP, CSV Injection)."""

FIRST, CHUNK = 10, 100
"""States that are read at once: while it is not known how large they are, and behind that."""

AT_ONCE = 16 * 2**20
"""Bytes of documents that are read at once, about."""


class Export(Struct, frozen=True):
    """The states of an export.

    :param visit: sees them.
    :param found: what the search finds.
    :param text: what they must have in them; empty for all.
    :param most: how many states are looked at.
    :param only: the one id that is wanted; None for all.
    """

    visit: Visit
    found: StateQuery
    text: str = ""
    most: int = MOST
    only: str | None = None

    def states(self) -> Iterator[State | None]:
        """Return the states without their secrets; None behind the last one tells that there are more.

        :raises StorageError: when the storage fails.
        """
        after, left, wanted, chunk = None, self.most, Wanted(self.visit, self.text), FIRST
        while True:
            page = self.found.page(min(chunk, left), after)
            for state in page:
                if self.only not in (None, state.state_id) or state not in wanted:
                    continue
                yield State({**state, **{part: self.visit.covered(state[part]) for part in ("data", "metadata")}})
            after, left, chunk = page.next, left - len(page), _chunk_behind(page)
            if self.only is not None:
                return
            if after is None:
                return
            if left <= 0:
                yield None
                return


def as_csv(export: Export) -> Iterator[str]:
    """Write states as a table (RFC 4180) with data and metadata as JSON; no cell is a formula.

    :param export: the states.
    """
    states = _begun(export.states())
    yield _row(COLUMNS)
    for state in states:
        if state is None:
            yield _row([f"# there are more than these: {export.most} states were looked at"])
        else:
            yield _row([_cell(state.get(column)) for column in COLUMNS])


def as_json(export: Export) -> Iterator[str]:
    """Write states as a JSON object, whose ``complete`` says whether these are all.

    :param export: the states.
    """
    states = _begun(export.states())
    yield '{"items": ['
    complete, between = True, "\n"
    for state in states:
        if state is None:
            complete = False
        else:
            yield between + json.dumps(state, ensure_ascii=False)
            between = ",\n"
    yield f'\n], "complete": {json.dumps(complete)}}}\n'


def _chunk_behind(states: Page) -> int:
    """Return how many states to read next, were they as large as those before."""
    size = sum(len(orjson.dumps(state[part])) for state in states for part in ("data", "metadata"))
    return max(1, min(CHUNK, AT_ONCE * len(states) // max(1, size)))


def _begun(states: Iterator[State | None]) -> Iterator[State | None]:
    """Read the first state at once: a storage that fails must not look like a file without states."""
    return chain(list(islice(states, 1)), states)


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _row(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()

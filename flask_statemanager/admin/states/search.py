"""Searches: what the list of states is asked for, as it stands in the query of its URL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from msgspec import Struct

from ...core.conditions import conditions
from ...core.query import Query
from ...core.written import moment_of
from ...errors import StateValidationError
from ...lifecycle.query import StateQuery
from ...runtime import Runtime
from ..visit import Visit

BEGINS, EXACTLY = "begins", "exactly"
"""How an id is meant that is searched for."""

RANGES = {
    "created_from": "created_at__gte",
    "created_to": "created_at__lt",
    "updated_from": "updated_at__gte",
    "updated_to": "updated_at__lt",
}
"""Which condition a moment in the form stands for."""

FIELDS = ("id", "match", "text", "type", "status", "owner", "where", *RANGES, "sort", "size")
"""What a search is made of; every list of its URL has all of it."""

SIZES = (25, 50, 100, 200)
MOST_TEXT = 200
"""Characters of a text that is searched for."""

SORTS = {
    "": "as it is quickest",
    "state_id": "id",
    "-state_id": "id, last first",
    "-created_at": "created, newest first",
    "created_at": "created, oldest first",
    "-updated_at": "changed, newest first",
    "updated_at": "changed, oldest first",
    "-version": "version, highest first",
    "version": "version, lowest first",
    "-revision": "revision, highest first",
    "revision": "revision, lowest first",
}
"""The orders that there are, and how the form calls them."""

_NAMES = {"state_type": "type", "prefix": "id", "order_by": "sort", "after": "page", "before": "page"}


class Search(Struct, frozen=True):
    """One search.

    :param asked: the fields that are filled in, of :data:`FIELDS`.
    :param secrets: names of members by which nothing is found, in lower case.
    """

    asked: Mapping[str, str]
    secrets: frozenset[str]

    @classmethod
    def of(cls, visit: Visit) -> Search:
        """Read the search of a visit.

        :param visit: the visit.
        """
        given = ((name, visit.query.get(name, "").strip()) for name in FIELDS)
        return cls({name: value for name, value in given if value}, visit.runtime.settings.live_secrets)

    @property
    def narrowed(self) -> bool:
        """Whether anything but the order and the size of pages is asked for."""
        return bool(self.asked.keys() - {"match", "sort", "size"})

    @property
    def exact(self) -> bool:
        """Whether the id is meant as it stands."""
        return self.asked.get("match") == EXACTLY and "id" in self.asked

    @property
    def text(self) -> str:
        """The text to look for, or nothing.

        :raises StateValidationError: when it is too long.
        """
        text = self.asked.get("text", "")
        if len(text) > MOST_TEXT:
            raise StateValidationError({"text": [f"Must have at most {MOST_TEXT} characters."]})
        return text

    @property
    def size(self) -> int:
        """How many states a page has.

        :raises StateValidationError: when it is no such number.
        """
        text = self.asked.get("size", str(SIZES[0]))
        if text not in map(str, SIZES):
            raise StateValidationError({"size": [f"Must be one of {', '.join(map(str, SIZES))}."]})
        return int(text)

    @property
    def order(self) -> str:
        """The order; where none is asked for, one that an index has: by id, or among one type's or owner's by age."""
        aged = self.asked.keys() & {"type", "owner"} and "id" not in self.asked
        return self.asked.get("sort") or ("-created_at" if aged else "state_id")

    def found(self, runtime: Runtime) -> StateQuery:
        """Return what is found, the text left aside; nothing is read yet.

        :param runtime: the app's running parts.
        :raises StateValidationError: when a field is unusable.
        """
        asked = self.asked
        with renamed():
            return runtime.lifecycle.search_states(
                asked.get("type"),
                self._filters(),
                status=asked["status"].replace(",", " ").split() if "status" in asked else None,
                owner=asked.get("owner"),
                prefix=asked.get("id", ""),
                order_by="state_id" if self.exact else self.order,
                declared=False,
            )

    def _filters(self) -> dict[str, Any]:
        lines = (line.strip() for line in self.asked.get("where", "").splitlines())
        found = conditions(line for line in lines if line)
        for name in found:
            path = name.rpartition("__")[0] or name
            if not self.secrets.isdisjoint(part.lower() for part in path.split(".")):
                raise StateValidationError({"where": [f"{path} is a secret: nothing is found by it."]})
        for name, condition in RANGES.items():
            if name in self.asked:
                if condition in found:
                    raise StateValidationError({name: [f"{condition} is among the conditions already."]})
                found[condition] = _moment(name, self.asked[name])
        return found

    def doubts(self, query: Query, unserved: Callable[[Query], list[str]]) -> list[str]:
        """Tell why a search may take long, where many states are stored: what no index has.

        :param query: the search.
        :param unserved: returns the paths that no index serves.
        """
        led = query.type is not None or query.owner is not None
        by = query.order.by
        known = {
            "A status has an index only together with a type: choose one to be quick.": query.statuses is not None
            and query.type is None,
            "No index has these times: every state that the rest finds is looked at.": any(
                bound.column == "updated_at" or not led for bound in query.times
            ),
            "No index has this order: everything that is found is sorted.": by != "state_id"
            and not (by == "created_at" and led),
        }
        paths = [f"No index has {path}: every state that the rest finds is looked at." for path in unserved(query)]
        return paths + [doubt for doubt, there in known.items() if there]


@contextmanager
def renamed() -> Iterator[None]:
    """Name fields in what a search refuses as the form names them.

    :raises StateValidationError: when the block does.
    """
    try:
        yield
    except StateValidationError as error:
        fields: dict[str, list[str]] = {}
        for name, messages in error.errors.items():
            known = _NAMES.get(name, name)
            at = known if known in (*FIELDS, "page") else "where"
            path = name.removeprefix("filters.") if at == "where" and name != "filters" else ""
            fields.setdefault(at, []).extend(f"{path}: {message}" if path else message for message in messages)
        raise StateValidationError(fields) from error


def _moment(name: str, written: str) -> datetime:
    """Read a moment, in UTC where it says nothing else, as browsers send moments without a zone."""
    for text in (written, f"{written}Z", f"{written}T00:00Z"):
        found = moment_of(text)
        if found is not None:
            return found
    raise StateValidationError({name: ["Must be a moment, such as 2026-01-31T12:00 (UTC)."]})

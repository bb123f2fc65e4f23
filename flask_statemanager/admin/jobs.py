"""What the pages of effects and of timers have in common: numbers in addresses, pages of rows, stores without jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from ..errors import StateValidationError, shown
from .visit import Visit

PAGE = 50
"""The rows of a page."""

Row = TypeVar("Row", bound=Any)


def jobs_kept(visit: Visit) -> bool:
    """Tell whether the store of the states keeps effects and timers.

    :param visit: the visit.
    """
    return visit.runtime.bucket.jobs.enqueues is not None


def number_in(text: str, name: str) -> int:
    """Return a number from an address or a form.

    :param text: as it was given.
    :param name: how to name it.
    :raises StateValidationError: when it is none.
    """
    if text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    raise StateValidationError({name: [f"Must be a number, not {shown(text)}."]})


def paged(found: Sequence[Row]) -> tuple[Sequence[Row], int | None]:
    """Return the rows of a page, and behind which id the next one begins; None on the last.

    :param found: the rows, one more than a page has where there are more.
    """
    page = found[:PAGE]
    return page, page[-1]["id"] if len(found) > PAGE else None

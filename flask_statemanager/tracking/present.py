"""The present request, as it is tracked."""

from __future__ import annotations

from typing import Protocol

from flask import has_request_context, request

SLOT = "_statemanager_visit"
"""The attribute of a request object that holds its visit; not in ``g``, which nested requests of a test share."""


class Tracked(Protocol):
    """A request that is tracked."""

    @property
    def correlation_id(self) -> str:
        """The request's correlation id."""
        ...  # pragma: no cover - a protocol has no body

    user: str | None
    """Whose request it is."""
    left: str | None
    """Whose session it has ended."""


def present_visit() -> Tracked | None:
    """Return the present request as it is tracked, or None where there is none, or it is not tracked."""
    return getattr(request, SLOT, None) if has_request_context() else None

"""The present request, as it is tracked."""

from __future__ import annotations

from flask import has_request_context, request

SLOT = "_statemanager_visit"
"""The attribute of a request object that holds its visit; not in ``g``, which nested requests of a test share."""


def present_correlation_id() -> str | None:
    """Return the correlation id of the present request, or None where there is none, or it is not tracked."""
    visit = getattr(request, SLOT, None) if has_request_context() else None
    found: str | None = None if visit is None else visit.correlation_id
    return found

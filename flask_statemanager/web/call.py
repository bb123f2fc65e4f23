"""Calls: what an operation is given of the request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from ..runtime import Runtime
from ..security.identity import Identity
from .operation import Operation
from .preconditions import Preconditions


class Call(Struct, frozen=True):
    """One request, checked.

    :param runtime: the app's running parts.
    :param operation: what is asked for.
    :param identity: who asks; ``identity.user`` is the ``actor`` of what is written.
    :param query: the query, as its schema has loaded it.
    :param body: the body, as its schema has loaded it.
    :param preconditions: ``If-Match`` and ``If-None-Match``.
    :param idempotency_key: the caller's key for a repeatable request, or None.
    :param request_id: the request's id, or None.
    :param accepted: the media type to answer with, of those that the operation has.
    """

    runtime: Runtime
    operation: Operation
    identity: Identity
    query: Mapping[str, Any]
    body: Mapping[str, Any]
    preconditions: Preconditions
    idempotency_key: str | None
    request_id: str | None
    accepted: str = "application/json"

    @property
    def actor(self) -> str:
        """Who asks, for the verbs."""
        return self.identity.user

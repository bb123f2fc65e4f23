"""Who asks, filled in from the surroundings."""

from __future__ import annotations

from typing import Protocol

from .record import Origin


class OriginSource(Protocol):
    """Fills in who asks, from the surroundings, where the caller did not say."""

    def __call__(self, *, actor: str | None, source: str | None, reason: str | None) -> Origin:
        """Return the origin of a write.

        :param actor: as the caller said.
        :param source: as the caller said.
        :param reason: as the caller said.
        """
        ...  # pragma: no cover - a protocol has no body

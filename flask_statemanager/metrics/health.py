"""The health report: can states be read, how many are there, does the cache help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import StorageError
from .counters import Counters


def health_report(*, backend: str, count: Callable[[], int], counters: Counters, cache: str) -> dict[str, Any]:
    """Return the health of one app's states.

    :param backend: how to name the storage.
    :param count: counts the live states, and fails when the storage does.
    :param counters: the app's counters.
    :param cache: ``on``, ``off`` or ``unavailable``.
    :returns: ``{"status": "healthy"|"degraded"|"unhealthy", "state_count": int or None, "cache_hit_rate": float from 0
        to 1 (0 without look-ups), "backend": str, "cache": str}``, and ``"error"`` when unhealthy. Degraded means that
        a configured cache cannot be reached, which costs speed and nothing else.
    """
    hits, misses = counters.value("cache.hit"), counters.value("cache.miss")
    report: dict[str, Any] = {
        "status": "degraded" if cache == "unavailable" else "healthy",
        "state_count": None,
        "cache_hit_rate": round(hits / (hits + misses), 4) if hits + misses else 0.0,
        "backend": backend,
        "cache": cache,
    }
    try:
        report["state_count"] = count()
    except StorageError as error:
        report |= {"status": "unhealthy", "error": str(error)}
    return report

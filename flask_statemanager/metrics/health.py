"""The health report: can states be read, how many are there, does the cache help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..errors import StorageError
from .counters import Counters


class _Counts(Protocol):
    @property
    def pending(self) -> int: ...  # pragma: no cover - a protocol has no body
    @property
    def due(self) -> int: ...  # pragma: no cover - a protocol has no body
    @property
    def dead(self) -> int: ...  # pragma: no cover - a protocol has no body


class _Attendance(Protocol):
    @property
    def counts(self) -> _Counts: ...  # pragma: no cover - a protocol has no body
    @property
    def worker(self) -> str: ...  # pragma: no cover - a protocol has no body
    @property
    def waiting(self) -> float: ...  # pragma: no cover - a protocol has no body


def health_report(
    *,
    backend: str,
    count: Callable[[], int],
    attendance: Callable[[], _Attendance] | None,
    counters: Counters,
    cache: str,
    warnings: Callable[[], list[str]] = list,
) -> dict[str, Any]:
    """Return the health of one app's states.

    :param backend: how to name the storage.
    :param count: counts the live states, and fails when the storage does.
    :param attendance: tells whether effects and timers are attended to; None where the storage keeps none.
    :param counters: the app's counters.
    :param cache: ``on``, ``off`` or ``unavailable``.
    :param warnings: tells what of the buckets' stores contradicts that they keep what is written to them.
    :returns: ``{"status": "healthy"|"degraded"|"unhealthy", "state_count": int or None, "cache_hit_rate": float from 0
        to 1 (0 without look-ups), "backend": str, "cache": str, "effects": {"pending": int, "due": int, "dead": int,
        "waiting": seconds of the longest due, "worker": "alive"|"missing"|"none"} or None}, "warnings": [str, ...]}``,
        and ``"error"`` when unhealthy. Degraded means that a configured cache cannot be reached, which costs speed and
        nothing else, or that there are warnings. Work that has been due for a minute without a sign of a worker is
        unhealthy.
    """
    hits, misses = counters.value("cache.hit") + counters.value("cache.near"), counters.value("cache.miss")
    report: dict[str, Any] = {
        "status": "degraded" if cache == "unavailable" else "healthy",
        "state_count": None,
        "cache_hit_rate": round(hits / (hits + misses), 4) if hits + misses else 0.0,
        "backend": backend,
        "cache": cache,
        "effects": None,
        "warnings": [],
    }
    try:
        report["state_count"] = count()
        if attendance is not None:
            report |= _effects(attendance())
        report["warnings"] = warnings()
        if report["warnings"] and report["status"] == "healthy":
            report["status"] = "degraded"
    except StorageError as error:
        report |= {"status": "unhealthy", "error": str(error)}
    return report


def _effects(found: _Attendance) -> dict[str, Any]:
    counts = found.counts
    told: dict[str, Any] = {
        "effects": {
            "pending": counts.pending,
            "due": counts.due,
            "dead": counts.dead,
            "waiting": round(found.waiting, 3),
            "worker": found.worker,
        }
    }
    if found.worker == "missing":
        sentence = "Effects or timers are due and no worker is there: run 'flask state worker'."
        told |= {"status": "unhealthy", "error": sentence}
    return told

"""Verbs of the manager for views, scripts and operators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from flask import abort

from .errors import StateValidationError, shown
from .lifecycle.state import State
from .metrics.records import log_operation
from .runtime import Runtime
from .tracking.face import Tracking


class Operating(ABC):
    """What views, scripts and operators ask of the manager."""

    @abstractmethod
    def _runtime(self) -> Runtime:
        """Return the running parts of the present app."""

    @property
    def tracking(self) -> Tracking:
        """The tracking of this app's requests and sessions."""
        return self._runtime().tracking

    def get_state_or_404(self, state_id: str, description: str | None = None) -> State:
        """Return a state, or end the request with 404; for views.

        :param state_id: which state; an impossible id is not found either.
        :param description: the text of the error page.
        :raises werkzeug.exceptions.NotFound: when there is no such state.
        :raises StorageError: when the storage fails.
        """
        try:
            state = self._runtime().lifecycle.get_state(state_id)
        except ValueError:
            state = None
        if state is None:
            abort(404, description)
        return state

    def log_state_operation(
        self,
        operation: str,
        *,
        state_id: str | None = None,
        transition_type: str | None = None,
        duration_ms: float | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a structured INFO record to the logger ``flask_statemanager.operations``.

        :param operation: what was done, for example ``state_update``.
        :param state_id: on which state.
        :param transition_type: by which transition.
        :param duration_ms: how long it took, in milliseconds.
        :param fields: anything else, each an attribute of the record.
        """
        log_operation(
            operation, state_id=state_id, transition_type=transition_type, duration_ms=duration_ms, fields=fields
        )

    def run_worker(self, *, burst: bool = True, threads: int = 1) -> int:
        """Carry out effects and timers here and now, for scripts and tests; ``flask state worker`` does it for good.

        :param burst: until nothing is due; False makes one round, in which what fails is not tried again.
        :param threads: how many jobs are done at once, 1 to 256.
        :returns: how many attempts were begun.
        :raises StateValidationError: when ``threads`` is no such number.
        :raises ConfigurationError: when the backend keeps no effects and timers.
        :raises StorageError: when the storage fails.
        """
        if type(threads) is not int or not 1 <= threads <= 256:
            raise StateValidationError({"threads": [f"Must be a number from 1 to 256, not {shown(threads)}."]})
        worker = self._runtime().workshop.make_worker(threads=threads)
        worker.run_burst() if burst else worker.run_once()
        return worker.done

    def get_health_status(self) -> dict[str, Any]:
        """Return whether states can be read, how many there are, and how often the cache helped.

        :returns: ``{"status": "healthy"|"degraded"|"unhealthy", "state_count": int or None, "cache_hit_rate": 0.0 to
            1.0, "backend": str, "cache": "on"|"off"|"unavailable", "effects": {"pending": int, "due": int, "dead": int,
            "waiting": seconds, "worker": "alive"|"missing"|"none"} or None, "warnings": [str, ...]}``, and ``"error"``
            when unhealthy.
        """
        return self._runtime().health()

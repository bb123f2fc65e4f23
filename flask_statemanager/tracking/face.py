"""What an application asks of the tracking: the present correlation id, and signs of life that are no requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..core.clock import Clock
from ..core.names import check_text
from .presence import Presence
from .present import present_visit

MAX_USER_ID = 255
"""Characters of a user's id."""

COUNTED = ("kept", "duplicate", "dropped", "failed", "user_failed")
"""What is counted."""

PATIENCE = 5.0
"""Seconds to wait for what is not written yet."""


class Writing(Protocol):
    """Takes what is to be written, and has a thread write it."""

    def add(self, item: Presence, /) -> None:
        """Have a sign of life written soon.

        :param item: the sign.
        """
        ...  # pragma: no cover - a protocol has no body

    def flush(self, patience: float) -> bool:
        """Wait until what has been added so far is written or dropped.

        :param patience: how many seconds at most.
        :returns: whether it is.
        """
        ...  # pragma: no cover - a protocol has no body

    def close(self, patience: float) -> None:
        """Write what waits, and take nothing more in this process.

        :param patience: how many seconds to wait for it.
        """
        ...  # pragma: no cover - a protocol has no body


class Tracking:
    """Tracks the requests and sessions of one app, where ``STATEMANAGER_TRACK_REQUESTS`` says so.

    :param clock: the time.
    :param count: returns a counter.
    :param backlog: takes what is to be written; None where nothing is tracked.
    """

    def __init__(self, clock: Clock, count: Callable[[str], int], backlog: Writing | None = None) -> None:
        self._count = count
        self._clock = clock
        self._backlog = backlog

    @property
    def enabled(self) -> bool:
        """Whether requests are tracked."""
        return self._backlog is not None

    @property
    def correlation_id(self) -> str | None:
        """The correlation id of the present request, to be sent along to other services; None without one."""
        visit = present_visit()
        return None if visit is None else visit.correlation_id

    def counts(self) -> dict[str, int]:
        """Return what has become of the notes, in this process.

        :returns: ``kept``, requests that are noted; ``duplicate``, requests whose correlation id another one has;
            ``dropped``, notes that were not written, as the queue was full or the store failed; ``failed``, attempts to
            write; ``user_failed``, users who could not be found out or have no key.
        """
        return {name: self._count(f"tracking.{name}") for name in COUNTED}

    def name_user(self, user_id: str | int) -> None:
        """Say whose request the present one is, where the function of ``actor_loader`` cannot tell.

        :param user_id: the user.
        :raises StateValidationError: when that is no id.
        :raises LimitExceeded: when it is too long.
        """
        visit = present_visit()
        if visit is not None:
            visit.user = _checked(user_id)

    def heartbeat(self, user_id: str | int) -> None:
        """Note that a user is there, although no request says so; for connections that stay open.

        It is written soon, by a thread. Where nothing is tracked, nothing happens.

        :param user_id: the user.
        :raises StateValidationError: when that is no id.
        :raises LimitExceeded: when it is too long.
        """
        self._add(Presence(_checked(user_id), self._clock.now()))

    def end_session(self, user_id: str | int) -> None:
        """Note that a user has logged out: ``active`` is false until the next request of theirs.

        :param user_id: the user.
        :raises StateValidationError: when that is no id.
        :raises LimitExceeded: when it is too long.
        """
        user, visit = _checked(user_id), present_visit()
        if visit is not None:
            # That this request is theirs begins no new session.
            visit.left = user
        correlation_id = None if visit is None else visit.correlation_id
        self._add(Presence(user, self._clock.now(), correlation_id, active=False))

    def flush(self, patience: float = PATIENCE) -> bool:
        """Wait until this process has written what it has taken down so far; for tests.

        :param patience: how many seconds at most.
        :returns: whether it has.
        """
        return self._backlog is None or self._backlog.flush(patience)

    def close(self) -> None:
        """Write what waits, and take nothing more in this process."""
        if self._backlog is not None:
            self._backlog.close(PATIENCE)

    def _add(self, sign: Presence) -> None:
        if self._backlog is not None:
            self._backlog.add(sign)


def _checked(user_id: object) -> str:
    return check_text(str(user_id) if type(user_id) is int else user_id, "user_id", MAX_USER_ID)

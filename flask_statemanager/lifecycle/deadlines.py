"""Deadlines: a status that must be left in time, or a transition is made by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from ..core.record import Key
from ..errors import ConfigurationError, shown

Policy = Literal["restart", "deadline", "remaining"]
POLICIES = ("restart", "deadline", "remaining")

LATEST = timedelta(days=3650)
"""How far ahead a timer or deadline may be set."""


class Deadline(Struct, frozen=True):
    """A transition that is made by itself once a state has been in a status for too long.

    Updates and other transitions that stay in the status do not move the deadline. What happens when the status is left
    and entered again is up to the policy. A policy holds until the deadline has ended: once it has fired, or been
    skipped, or given up as dead, the next entry begins anew, whatever the policy.

    :param status: the status.
    :param after: seconds (or a timedelta) from the moment of entering it.
    :param transition: a transition that this status allows, for example ``expire``.
    :param policy: ``restart`` begins anew at each entry; ``deadline`` keeps the moment that the first entry has set;
        ``remaining`` stops the clock while the state is elsewhere.
    """

    status: str
    after: float | timedelta
    transition: str
    policy: Policy = "restart"

    @property
    def span(self) -> timedelta:
        """How long the status may last."""
        return self.after if isinstance(self.after, timedelta) else timedelta(seconds=self.after)

    def slot(self, key: Key) -> str:
        """Return the place that its job has, one for each record.

        :param key: the record.
        """
        return f"{key}:deadline:{self.status}.{self.transition}"


def checked(deadlines: Iterable[Any] | Deadline, allows: Callable[[str, str], bool]) -> tuple[Deadline, ...]:
    """Return a machine's deadlines, or refuse them.

    :param deadlines: what the application declares, one or several.
    :param allows: tells whether a status of the machine allows a transition.
    :raises ConfigurationError: when one does not fit the machine, or two are the same.
    """
    given = [deadlines] if isinstance(deadlines, Deadline | str) else deadlines
    if not isinstance(given, Iterable):
        raise ConfigurationError(f"deadlines= takes a Deadline or several of them, not {shown(given)}.")
    found = tuple(_checked(deadline, allows) for deadline in given)
    if len({(deadline.status, deadline.transition) for deadline in found}) < len(found):
        raise ConfigurationError("Two deadlines have the same status and transition: keep one of them.")
    return found


def _checked(deadline: Any, allows: Callable[[str, str], bool]) -> Deadline:
    """Return a deadline whose names are plain text, as an application may give the members of an enum."""
    if not isinstance(deadline, Deadline):
        raise ConfigurationError(f"deadlines= takes Deadline objects, not {shown(deadline)}.")
    _check_span(deadline.after)
    if deadline.policy not in POLICIES:
        raise ConfigurationError(f"policy={shown(deadline.policy)} is unknown: use {', '.join(POLICIES)}.")
    status, transition = (getattr(name, "value", name) for name in (deadline.status, deadline.transition))
    if not isinstance(status, str) or not isinstance(transition, str) or not allows(status, transition):
        raise ConfigurationError(
            f"The status {shown(status)} does not allow the transition {shown(transition)} of its deadline."
        )
    return replace(deadline, status=status, transition=transition)


def _check_span(after: object) -> None:
    if isinstance(after, bool) or not isinstance(after, int | float | timedelta):
        raise ConfigurationError(f"A deadline is a number of seconds or a timedelta, not {shown(after)}.")
    seconds = after.total_seconds() if isinstance(after, timedelta) else after
    if not 0 < seconds <= LATEST.total_seconds():
        raise ConfigurationError(f"A deadline must lie after now, within ten years, not {shown(after)}.")

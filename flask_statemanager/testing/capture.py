"""What was told within a block: the signals in their order, and the changes they carried."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from blinker import NamedSignal
from msgspec import Struct, field

from .. import signals
from ..core.record import Change

COMMITTED = (
    signals.state_registered,
    signals.state_changed,
    signals.state_transitioned,
    signals.state_deleted,
    signals.transition_refused,
    signals.callback_failed,
)
"""What is recorded unless told otherwise: every signal that is sent after the fact."""


class Sent(Struct, frozen=True):
    """One signal that was sent.

    :param name: the signal's name, for example ``state-changed``.
    :param sender: the app, or None.
    :param payload: its keyword arguments.
    """

    name: str
    sender: Any
    payload: dict[str, Any]


class Captured(Struct):
    """What one block told, in order.

    :param sent: every recorded signal.
    """

    sent: list[Sent] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The names of the signals."""
        return [one.name for one in self.sent]

    @property
    def changes(self) -> list[Change]:
        """The committed changes, one for each ``state-changed``."""
        return [one.payload["change"] for one in self.sent if one.name == signals.state_changed.name]


@contextmanager
def captured(*wanted: NamedSignal) -> Iterator[Captured]:
    """Record signals within a block.

    >>> with captured() as told:
    ...     pass
    >>> told.changes
    []

    :param wanted: the signals; by default all that tell of something done or refused.
    :returns: the record, which fills up during the block.
    """
    found = Captured()
    with ExitStack() as stack:
        for signal in wanted or COMMITTED:
            stack.enter_context(signal.connected_to(_recorder(signal.name, found)))
        yield found


def _recorder(name: str, found: Captured) -> Any:
    def record(sender: Any, **payload: Any) -> None:
        found.sent.append(Sent(name, sender, payload))

    return record

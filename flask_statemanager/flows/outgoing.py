"""What a session sends: held back until the turn is committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..core.record import JSON
from .channel import Channel
from .messaging import Message


class Sender(Protocol):
    """What an outgoing box belongs to."""

    @property
    def channel(self) -> Channel:
        """Where it sends to."""
        ...  # pragma: no cover - a protocol has no body

    @property
    def collecting(self) -> bool:
        """Whether a commit is going to follow."""
        ...  # pragma: no cover - a protocol has no body

    def dispatch(self, messages: Sequence[Message]) -> None:
        """Send messages now.

        :param messages: the messages, in order.
        """
        ...  # pragma: no cover - a protocol has no body


class Outgoing:
    """Sends to the channel of its session, after the commit of the turn that the message belongs to.

    :param sender: the session.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._held: list[Message] = []

    @property
    def held(self) -> tuple[Message, ...]:
        """What waits for the commit, in order."""
        return tuple(self._held)

    def send(self, body: JSON, *, key: str | None = None) -> None:
        """Send something to the user.

        :param body: text, or what the channel understands.
        :param key: the same whenever it is sent again; None where it is sent once.
        """
        self._held.append(Message(self._sender.channel, body, key))
        if not self._sender.collecting:
            self.release()

    def send_text(self, text: str, *, key: str | None = None) -> None:
        """Send text to the user.

        :param text: the text.
        :param key: as in :meth:`send`.
        """
        self.send(text, key=key)

    def take(self) -> list[Message]:
        """Take what waits out of this box, to have it sent in another way."""
        taken, self._held = self._held, []
        return taken

    def release(self) -> None:
        """Send what waits."""
        held = self.take()
        if held:
            self._sender.dispatch(held)

    def forget(self) -> None:
        """Forget what waits."""
        self._held = []

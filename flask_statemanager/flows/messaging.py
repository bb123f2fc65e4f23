"""Sending to the user: the port, and one that keeps what is sent, for tests and demonstrations."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from msgspec import Struct

from ..core.record import JSON
from .channel import Channel

MOST = 10_000
"""How many messages are kept in memory."""


class Message(Struct, frozen=True):
    """A message on its way to the user.

    :param channel: where it goes.
    :param body: text, or what the channel understands.
    :param key: the same whenever it is sent again, so that the receiver can tell; None where it is sent once.
    """

    channel: Channel
    body: JSON
    key: str | None = None


class Messaging(ABC):
    """Sends messages. An application derives from it, and puts its own in place by ``flows.use_messaging()``."""

    @abstractmethod
    def send(self, message: Message) -> None:
        """Send a message; it may come again with the same key after a failure.

        :param message: the message.
        :raises Exception: when it could not be sent.
        """

    def send_text(self, channel: Channel, text: str) -> None:
        """Send text.

        :param channel: where it goes.
        :param text: the text.
        """
        self.send(Message(channel, text))


class InMemoryMessaging(Messaging):
    """Keeps what is sent, and does not keep twice what comes twice with one key.

    It keeps the newest 10,000, as an application may do without messaging and answer with what ``receive`` returns.

    :ivar sent: the messages, in order.
    """

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self._lock = threading.Lock()
        self._keys: dict[str, None] = {}

    def send(self, message: Message) -> None:
        """Keep a message.

        :param message: the message.
        """
        with self._lock:
            if message.key is not None:
                if message.key in self._keys:
                    return
                self._keys[message.key] = None
                if len(self._keys) > MOST:
                    del self._keys[next(iter(self._keys))]
            self.sent.append(message)
            del self.sent[:-MOST]

    def sent_to(self, channel_type: str, identifier: str) -> list[JSON]:
        """Return the bodies of what was sent to one channel, in order.

        :param channel_type: the channel's type.
        :param identifier: who is at the other end.
        """
        wanted = Channel(channel_type, identifier)
        return [message.body for message in self.sent if message.channel == wanted]

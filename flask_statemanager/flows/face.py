"""Flows: what an application reaches conversations by."""

from __future__ import annotations

from collections.abc import Callable

from .atomic import RedisAtomic
from .channel import Channel
from .definitions import FlowDefinitions
from .messaging import Messaging
from .parts import FlowParts
from .session import FlowSession
from .turning import Turning
from .turns import Conduct


class Flows(Turning):
    """The conversations of the present app.

    :param find: finds the running parts, anew at each call.
    :param declaring: returns what the application declares, for something to be added.
    :param conduct: finds what turns stand on, anew at each call.
    """

    def __init__(
        self,
        find: Callable[[], FlowParts],
        declaring: Callable[[], FlowDefinitions],
        conduct: Callable[[], Conduct],
    ) -> None:
        super().__init__(conduct, declaring)
        self._find = find

    def open(self, channel_type: str, channel_id: str) -> FlowSession:
        """Open the conversation of a channel, which begins with the first change.

        :param channel_type: for example ``whatsapp`` or ``web``, a word.
        :param channel_id: who is at the other end, text of at most 200 characters.
        :returns: the session, with the version that it has read.
        :raises StateValidationError: when the channel is none.
        :raises StorageError: when the storage fails.
        """
        return FlowSession(self._find(), Channel.of(channel_type, channel_id))

    @property
    def atomic(self) -> RedisAtomic:
        """Single values under keys, changed atomically, beside the conversations."""
        return RedisAtomic(self._find())

    def register_schema(self, schema: object) -> None:
        """Declare the fields that the application adds at the top level of every conversation.

        :param schema: a marshmallow schema, class or instance; None for none.
        :raises ConfigurationError: when it is none, has fields that every conversation has, or a request is under way.
        """
        self._declaring().register_schema(schema)

    def use_messaging(self, messaging: Messaging) -> None:
        """Have messages sent by this; without it they are kept in memory.

        :param messaging: what sends.
        :raises ConfigurationError: when it cannot send, or a request is under way.
        """
        self._declaring().use_messaging(messaging)

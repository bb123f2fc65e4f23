"""What the engine itself says to a user. An application replaces any of it."""

from __future__ import annotations

from msgspec import Struct


class Texts(Struct, frozen=True):
    """The engine's own sentences.

    :param expired: the conversation has taken too long, and begins anew.
    :param damaged: what was stored cannot be used, and the conversation begins anew.
    :param lost: nothing is under way, and what the user wrote begins nothing.
    :param first: there is no step to go back to.
    :param back: the user is one step back.
    :param again: the step begins again.
    :param restarted: the flow begins again.
    :param home: the conversation is at the home flow again.
    """

    expired: str = "That took a while, so we begin again."
    damaged: str = "We had to begin again, as this conversation could not be continued."
    lost: str = "I did not understand that."
    first: str = "There is nothing to go back to."
    back: str = "One step back."
    again: str = "Once more, please."
    restarted: str = "From the beginning."
    home: str = "Back at the start."

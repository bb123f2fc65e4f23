"""What flows stand on: one bucket of one app."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from ..core.bucket import Bucket
from ..core.lists import Lists
from ..core.origins import OriginSource
from ..core.step import Decide
from .channel import Channel
from .messaging import Messaging
from .validation import StateValidator


class Note(Struct, frozen=True):
    """Something that happened in a conversation, for its audit trail.

    :param event: what it was, for example ``transition``.
    :param channel: where.
    :param member_id: whose conversation it is, or None.
    :param details: whatever belongs to it, JSON without secrets.
    """

    event: str
    channel: Channel
    member_id: str | None
    details: Mapping[str, Any]


Accompany = Callable[[Sequence[Note]], Mapping[str, Decide]]
"""Returns what is written in the same transaction as a turn: decisions by the names of their keys."""


class FlowParts(Struct, frozen=True):
    """The running parts of the flows of one app.

    :param bucket: where the documents lie.
    :param lists: the backend, as one that lists names.
    :param origin: who asks.
    :param ttl: seconds that a conversation lives without activity.
    :param limit: the most bytes of a document.
    :param validator: looks at every state before it is stored.
    :param messaging: sends to the user.
    :param accompany: what is written with each commit.
    :param beside: what the names begin with that this writes to, followed by the document's own: they are read with it.
    :param hints: the last known key of a channel's member, to have both read at once.
    """

    bucket: Bucket
    lists: Lists
    origin: OriginSource
    ttl: float
    limit: int
    validator: StateValidator
    messaging: Callable[[], Messaging]
    accompany: Accompany | None = None
    beside: tuple[str, ...] = ()
    hints: OrderedDict[str, str] = field(default_factory=OrderedDict)

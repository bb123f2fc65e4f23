"""The conversation's document as it is stored, and what a turn makes of it: pure functions.

A conversation is one document. Before its login it lies under its channel's key; after that under the member's key, and
the key of each channel of the member holds nothing but the name of that key. So a turn writes one record, wherever it
lies, and a channel and its member cannot come to different ends.

Stored is each thing once. What people from other systems look for under other names is made when it is read (``view``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from ..core.clock import iso
from ..core.patch import merge
from ..core.record import JSON, JSONObject
from ..errors import StateValidationError, shown
from .channel import Channel, member_key

LINK = "_link"
"""The member of what lies under the key of a channel that belongs to a member: the name of the member's key."""

FLOW, CHANNELS = "flow_data", "_channels"
"""The members with the flow, and with the keys of the channels of a member."""

MAX_PREVIOUS = 10
"""How many steps can be taken back."""

MAX_CHANNELS = 100
"""How many channels of a member are one conversation: the ones that were linked last."""

Documents = Mapping[str, JSONObject | None]
"""Documents by the name of their key; None where there is none."""


class Situation(Struct, frozen=True):
    """A conversation with everything that it is made of.

    :param channel: where the present turn takes place.
    :param home: the name of the key that the document lies under.
    :param documents: the document, and whatever else is looked at.
    """

    channel: Channel
    home: str
    documents: Documents

    @classmethod
    def of(cls, channel: Channel, documents: Documents) -> Situation:
        """Find out where a conversation's document lies.

        The link of a channel counts as long as the member's document lives, and knows of it.

        :param channel: the channel.
        :param documents: what lies under its key, and under the key that this names.
        """
        link = linked_to(documents.get(channel.key))
        document = None if link is None else documents.get(link)
        if link is not None and document is not None and channel.key in document.get(CHANNELS, ()):
            return cls(channel, link, documents)
        found = {**documents, channel.key: None} if link is not None else documents
        return cls(channel, channel.key, found)

    def document(self, now: datetime) -> JSONObject:
        """Return the document; a fresh one where there is none.

        :param now: the moment.
        """
        found = self.documents.get(self.home)
        return fresh(self.channel, now) if found is None else found

    def holding(self, document: JSONObject) -> Situation:
        """Return the same with another document.

        :param document: the document.
        """
        return replace(self, documents={**self.documents, self.home: document})


Act = Callable[[Situation, datetime], Situation]
"""A pure change of a conversation, made again on what is there then where somebody else was faster."""


def fresh(channel: Channel, now: datetime) -> JSONObject:
    """Return the document of a conversation that begins.

    :param channel: its channel.
    :param now: the moment.
    """
    return {"channel": written(channel), "_metadata": {"initialized_at": iso(now)}}


def written(channel: Channel) -> JSONObject:
    """Return a channel as a document holds it.

    :param channel: the channel.
    """
    return {"type": channel.type, "identifier": channel.identifier}


def linked_to(document: JSONObject | None) -> str | None:
    """Return the name of the key that a channel's key leads to, or None where it holds a document, or nothing.

    :param document: what lies under a channel's key.
    """
    found = None if document is None else document.get(LINK)
    return found if isinstance(found, str) else None


def edited(edit: Callable[[JSONObject, datetime], JSONObject]) -> Act:
    """Return the act that changes nothing but the document.

    :param edit: takes the document, which it leaves as it is, and the moment; returns the new one.
    """

    def act(situation: Situation, now: datetime) -> Situation:
        return situation.holding(edit(situation.document(now), now))

    return act


def joined(member_id: str, flow: str) -> Act:
    """Return the act that makes a conversation the member's, together with what the member has already.

    :param member_id: the member.
    :param flow: whose flow goes on where both have one: ``member`` or ``channel``.
    :raises StateValidationError: when the id is too long.
    """
    target = member_key(member_id)

    def act(situation: Situation, now: datetime) -> Situation:
        own, key = situation.document(now), situation.channel.key
        if situation.home == target:
            return situation
        if situation.home != key:
            raise StateValidationError(
                {"member_id": [f"The channel belongs to {shown(own.get('member_id'))}: clear_all_state() comes first."]}
            )
        theirs = situation.documents.get(target)
        both = own if theirs is None else _merged(theirs, own, flow)
        others = [each for each in (theirs or {}).get(CHANNELS, ()) if each != key]
        channels = [*others, key][-MAX_CHANNELS:]
        document = {**both, "member_id": member_id, "channel": written(situation.channel), CHANNELS: channels}
        documents = {**situation.documents, target: document, key: {LINK: target}}
        return Situation(situation.channel, target, documents)

    return act


def _merged(theirs: JSONObject, own: JSONObject, flow: str) -> JSONObject:
    """Put the member's document before the channel's, member by member; a login that was just made counts."""
    both: JSONObject = merge(
        {name: value for name, value in own.items() if name != FLOW},
        {name: value for name, value in theirs.items() if name != FLOW},
    )
    if own.get("auth"):
        both["auth"] = own["auth"]
    first, second = (theirs, own) if flow == "member" else (own, theirs)
    found = first if in_flow(first) else second
    if in_flow(found):
        both[FLOW] = found[FLOW]
    return both


def left(situation: Situation, now: datetime) -> Situation:
    """Begin anew on this channel, which belongs to no member any more; the member's other channels go on.

    :param situation: the conversation.
    :param now: the moment.
    """
    key = situation.channel.key
    documents = {**situation.documents, key: fresh(situation.channel, now)}
    if situation.home != key:
        shared = situation.document(now)
        others = [each for each in shared.get(CHANNELS, ()) if each != key]
        documents[situation.home] = {**shared, CHANNELS: others} if others else None
    return Situation(situation.channel, key, documents)


def in_flow(document: JSONObject) -> bool:
    """Tell whether a conversation is in the middle of a flow.

    :param document: the document.
    """
    found = document.get(FLOW, {})
    return bool(found.get("path") or found.get("id") or found.get("component") is not None)


def moved(flow: JSONObject, path: str | None, component: JSON) -> JSONObject:
    """Return a flow at another step; where it was is remembered.

    :param flow: the flow.
    :param path: where it goes; None for the same path.
    :param component: the component there.
    """
    kept = {name: value for name, value in flow.items() if name not in ("result", "awaiting")}
    if flow.get("component") is not None:
        step = {"path": flow.get("path"), "component": flow["component"], "data": flow.get("data", {})}
        kept["previous"] = [*flow.get("previous", ()), step][-MAX_PREVIOUS:]
    return {**kept, "path": flow.get("path") if path is None else path, "component": component}

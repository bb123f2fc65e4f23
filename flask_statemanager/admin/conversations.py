"""Conversations: who talks, where they are, what has happened, and how to help one that is stuck."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..core.buckets import FLOW_SECRETS
from ..core.codec import text_problem
from ..core.lists import Span
from ..core.names import check_prefix
from ..core.record import JSONObject, Origin, Record
from ..errors import ConfigurationError, StateNotFound, StateValidationError
from ..flows.audit import Audit, AuditEvent
from ..flows.channel import CHANNEL, MEMBER, Channel, channel_at, decoded, member_key
from ..flows.damage import sound
from ..flows.diagram import mermaid
from ..flows.document import CHANNELS, FLOW, linked_to
from ..flows.flow import Flow
from ..flows.parts import FlowParts
from ..flows.recovery import RUNGS
from ..flows.session import FlowSession
from ..kv.value import VALUE
from .answers import Done, Download, Shown
from .page import Pages
from .visit import Visit, Writing

pages = Pages("conversations", "Conversations", order=60)

PAGE = 50
"""The most conversations of a page."""

LOOK_AT = 500
"""How many names are looked at for a page, links of channels among them."""

STEP = 100
"""How many documents are read at once."""

EVENTS = 50
"""From how many of the newest turns the trail is shown."""

EXPORTED = 1000
"""Of how many of the newest turns a file holds the trail."""

SECRETS = (*FLOW_SECRETS, "jwt_token")

WAYS = {
    "retry": "Ask the same step again",
    "previous": "Go back to the step before",
    "restart": "Begin the flow anew",
    "home": "Leave the flow",
}
"""The ways of recovering, in words."""

assert WAYS.keys() == set(RUNGS), "each way has its words"


class Row(Struct, frozen=True):
    """A conversation in the list.

    :param name: the name of its key.
    :param kind: ``member`` or ``channel``.
    :param who: the member, or the channel.
    :param flow: where it is.
    :param record: its record.
    """

    name: str
    kind: str
    who: str
    flow: JSONObject
    record: Record


class Listing(Struct, frozen=True):
    """A page of the list.

    :param rows: the conversations.
    :param next: behind which name the next page begins; None where there is none.
    """

    rows: list[Row]
    next: str | None


# -- what there is -----------------------------------------------------------------------------------------------------


@pages.show("/conversations", "conversations")
def list_conversations(visit: Visit) -> Shown:
    """List the conversations, or find one.

    :param visit: the visit.
    """
    registry = visit.runtime.declarations.flows.registry
    parts, query = visit.runtime.reception.parts(), visit.query
    name, problem = None, None
    try:
        name = _wanted(query)
    except StateValidationError as error:
        problem = str(error)
    if name is not None:
        listing = Listing(list(_rows(parts, [name])), None)
    else:
        after = query.get("after")
        listing = _listing(parts, query.get("kind", ""), None if after is None else check_prefix(after, "after"))
    drawn = {flow.name: mermaid(flow) for flow in registry.flows.values()}
    values = {"listing": listing, "found": name, "problem": problem, "flows": registry.flows, "drawn": drawn}
    return Shown("conversations.html", values)


def _wanted(query: Any) -> str | None:
    """Return the name of the key of the conversation that is looked for, or None where none is."""
    member, kind, who = (query.get(name, "").strip() for name in ("member", "channel_type", "channel_id"))
    if member:
        return member_key(member)
    return Channel.of(kind, who).key if kind and who else None


def _listing(parts: FlowParts, kind: str, after: str | None) -> Listing:
    rows: list[Row] = []
    looked = 0
    for names in _steps(parts, kind, after):
        rows += islice(_rows(parts, names), PAGE - len(rows))
        looked += len(names)
        if len(rows) == PAGE:
            return Listing(rows, rows[-1].name)
        if looked >= LOOK_AT:
            return Listing(rows, names[-1])
    return Listing(rows, None)


def _steps(parts: FlowParts, kind: str, after: str | None) -> Iterator[list[str]]:
    """Yield names of conversations, some at a time: those of channels, then those of members."""
    for beginning in (CHANNEL, MEMBER):
        passed = after is not None and after > beginning and not after.startswith(beginning)
        if passed or kind not in ("", beginning.rstrip(":")):
            continue
        last = after if after is not None and after.startswith(beginning) else None
        while names := _names(parts, beginning, last):
            yield names
            last = names[-1]


def _names(parts: FlowParts, beginning: str, after: str | None) -> list[str]:
    bucket = parts.bucket
    with bucket.reading() as unit:
        return parts.lists.listed(unit, Span(bucket.name, bucket.clock.now(), beginning, after, STEP))


def _rows(parts: FlowParts, names: list[str]) -> Iterator[Row]:
    """Yield the conversations under names; a link of a channel to its member's is none."""
    found: Any = parts.bucket.find_many(names, strong=True)
    for name in names:
        record = found.get(name)
        document = None if record is None else sound(record.data.get(VALUE)) or {}
        if record is None or document is None or linked_to(document) is not None:
            continue
        kind, _mark, who = name.partition(":")
        yield Row(name, kind, decoded(who), document.get(FLOW, {}), record)


@pages.show("/conversations/<path:name>", "conversation")
def show_conversation(visit: Visit, name: str) -> Shown:
    """Show a conversation: where it is, what it holds, what has happened.

    :param visit: the visit.
    :param name: the name of its key.
    """
    parts = visit.runtime.reception.parts()
    session = _opened(parts, name)
    document = session.document
    flow: JSONObject = document.get(FLOW, {})
    values = {
        "name": name,
        "session": session,
        "member": document.get("member_id"),
        "channels": [each for each in map(channel_at, document.get(CHANNELS, ())) if each is not None],
        "record": parts.bucket.find_many([session.home], strong=True).get(session.home),
        "flow": visit.covered(flow),
        "defined": _defined(visit, flow),
        "document": visit.covered(session.get_state(), () if visit.revealed else SECRETS),
        "events": _events(visit, parts, session, EVENTS),
        "ways": list(WAYS.items()),
        "previous": [visit.covered(step) for step in reversed(flow.get("previous", ()))],
    }
    return Shown("conversation.html", values)


@pages.show("/conversations/trail/<path:name>", "trail")
def export_trail(visit: Visit, name: str) -> Download:
    """Send the trail of a conversation as lines of JSON, the oldest entry first.

    :param visit: the visit.
    :param name: the name of its key.
    """
    parts = visit.runtime.reception.parts()
    session = _opened(parts, name)
    events = _events(visit, parts, session, EXPORTED) or []
    lines = (json.dumps(visit.covered(event.to_dict()), ensure_ascii=False) + "\n" for event in reversed(events))
    return Download(lines, "application/x-ndjson", f"trail-{session.channel.type}.ndjson")


def _defined(visit: Visit, flow: JSONObject) -> Flow | None:
    return visit.runtime.declarations.flows.registry.find(flow.get("path"))


def _events(visit: Visit, parts: FlowParts, session: FlowSession, limit: int) -> list[AuditEvent] | None:
    """Return the trail, or None where the backend keeps none that could be read."""
    try:
        audit = Audit(parts)
    except ConfigurationError:
        return None
    member, channel = session.document.get("member_id"), session.channel
    event = visit.query.get("event") or None
    if member is not None:
        return audit.of_member(member, limit=limit, event=event)
    return audit.of_channel(channel.type, channel.identifier, limit=limit, event=event)


# -- what can be done --------------------------------------------------------------------------------------------------


@pages.act("/conversations/recover/<path:name>", "recover", page="conversation")
def recover(visit: Visit, name: str) -> Done:
    """Find a way on for a conversation that is stuck.

    :param visit: the visit.
    :param name: the name of its key.
    """
    with _helped(visit, name, "recover") as session:
        taken = session.recover(visit.form.get("how") or None)
    return Done(f"{WAYS[taken]}: done, version {session.version}.", visit.url("conversation", name=name))


@pages.act("/conversations/rollback/<path:name>", "rollback_conversation", page="conversation")
def rollback(visit: Visit, name: str) -> Done:
    """Go back to an earlier step, with the data that the flow had then.

    :param visit: the visit.
    :param name: the name of its key.
    :raises StateValidationError: when so many steps are not remembered.
    """
    given = visit.form.get("steps", "")
    steps = int(given) if given.isascii() and given.isdigit() and len(given) < 4 else 0
    with _helped(visit, name, "rollback") as session:
        if steps < 1 or not session.rollback(steps):
            raise StateValidationError({"steps": ["So many steps are not remembered: choose one of those shown."]})
    return Done(f"Went back, version {session.version}.", visit.url("conversation", name=name))


@pages.act(
    "/conversations/clear-flow/<path:name>", "clear_flow", destructive="End the flow of {name}?", page="conversation"
)
def clear_flow(visit: Visit, name: str) -> Done:
    """End the flow alone; login and profile stay.

    :param visit: the visit.
    :param name: the name of its key.
    """
    with _helped(visit, name, "clear_flow") as session:
        session.clear_flow_data()
    return Done("The flow has ended; login and profile are as they were.", visit.url("conversation", name=name))


@pages.act(
    "/conversations/clear/<path:name>",
    "clear_conversation",
    destructive="Clear the whole conversation of {name}, with its login and profile?",
    page="conversation",
)
def clear(visit: Visit, name: str) -> Done:
    """Begin a conversation anew; a member's other channels go on.

    :param visit: the visit.
    :param name: the name of its key.
    """
    with _helped(visit, name, "clear") as session:
        session.clear_all_state()
    return Done("The conversation was cleared and begins anew.", visit.url("conversations"))


@pages.act(
    "/conversations/reveal/<path:name>", "reveal_conversation", reveals="the conversation {name}", page="conversation"
)
def reveal(visit: Visit, name: str) -> Shown:
    """Show a conversation with its secrets.

    :param visit: the visit.
    :param name: the name of its key.
    """
    return show_conversation(visit, name)


# -- the parts of it ---------------------------------------------------------------------------------------------------


@contextmanager
def _helped(visit: Visit, name: str, how: str) -> Iterator[FlowSession]:
    """Open the conversation under a key for one write, and note in its trail who helps and why."""
    session = _opened(_parts_as(visit), name)
    with session:
        _note(visit, session, how)
        yield session


def _opened(parts: FlowParts, name: str) -> FlowSession:
    """Return the conversation under a key: a member's by one of its channels.

    :raises StateNotFound: when there is none.
    """
    channel = channel_at(name)
    if channel is None and name.startswith(MEMBER) and text_problem(name) is None:
        record: Any = parts.bucket.find_many([name], strong=True).get(name)
        document = {} if record is None else sound(record.data.get(VALUE)) or {}
        channel = next(filter(None, map(channel_at, reversed(document.get(CHANNELS, ())))), None)
    session = None if channel is None else FlowSession(parts, channel)
    if session is None or not session.version:
        raise StateNotFound(name, kind="conversation")
    return session


def _parts_as(visit: Visit) -> FlowParts:
    """Return what conversations stand on, whose changes are the visitor's."""
    parts = visit.runtime.reception.parts()
    return replace(parts, origin=partial(_origin, parts, visit.writing()))


def _origin(parts: FlowParts, writing: Writing, **_asked: Any) -> Origin:
    return parts.origin(actor=writing["actor"], source=writing["source"], reason=writing["reason"])


def _note(visit: Visit, session: FlowSession, act: str) -> None:
    """Have the trail say who has intervened, and why."""
    writing = visit.writing()
    session.note("intervention", act=act, by=writing["actor"], reason=writing["reason"])

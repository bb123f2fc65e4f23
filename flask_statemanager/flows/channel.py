"""Channels and members, and the names of the keys under which their conversations lie."""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct

from ..core.names import MAX_ID, check_text, check_word
from ..errors import StateValidationError, shown

CHANNEL, MEMBER = "channel:", "member:"
"""What the names of the two kinds of keys begin with."""

MAX_IDENTIFIER = 200
"""Characters of an identifier."""

_PLAIN = re.compile(rb"[A-Za-z0-9._:@+=-]")
_CODED = re.compile(r"~([0-9a-f]{2})")


class Channel(Struct, frozen=True):
    """Where a conversation takes place.

    >>> Channel("whatsapp", "+263771234567").key
    'channel:whatsapp:+263771234567'

    :param type: for example ``whatsapp`` or ``web``, a word.
    :param identifier: who is at the other end, as the channel names it: a phone number, a session id.
    """

    type: str
    identifier: str

    @classmethod
    def of(cls, channel_type: object, identifier: object) -> Channel:
        """Make a channel of what a caller passed.

        :param channel_type: a word.
        :param identifier: text, or a number.
        :raises StateValidationError: when one of them is unusable.
        :raises LimitExceeded: when the identifier is too long.
        """
        return cls(check_word(channel_type, "channel.type"), check_identifier(identifier, "channel.identifier"))

    @property
    def key(self) -> str:
        """The name of the key of a conversation before its login."""
        return _channel_key(self.type, self.identifier)


@lru_cache(maxsize=4096)
def _channel_key(channel_type: str, identifier: str) -> str:
    return f"{CHANNEL}{channel_type}:{coded(identifier, 'channel.identifier')}"


def member_key(member_id: str) -> str:
    """Return the name of the key of a member's conversation.

    >>> member_key("Zoë")
    'member:Zo~c3~ab'

    :param member_id: the member.
    :raises StateValidationError: when it is too long for a name.
    """
    return MEMBER + coded(member_id, "member_id")


def check_identifier(value: object, field: str) -> str:
    """Return what names a member, or who is at the other end of a channel; a number as its text.

    :param value: what the caller passed.
    :param field: how to name it in an error.
    :raises StateValidationError: when it is no text, or empty.
    :raises LimitExceeded: when it is too long.
    """
    text = str(value) if type(value) is int else value
    return check_text(text, field, MAX_IDENTIFIER)


def coded(text: str, field: str) -> str:
    """Write any text with the characters that a name may have, no two alike: the others as ``~`` and two digits.

    :param text: the text.
    :param field: how to name it in an error.
    :raises StateValidationError: when it is too long, so written.
    """
    written = "".join(chr(byte) if _PLAIN.match(bytes((byte,))) else f"~{byte:02x}" for byte in text.encode())
    if len(written) > MAX_ID - 80:
        raise StateValidationError({field: [f"{shown(text)} is too long for the name of a key: use a shorter one."]})
    return written


def decoded(written: str) -> str:
    """Read what :func:`coded` wrote.

    >>> decoded(coded("a/b ~", "example"))
    'a/b ~'

    :param written: its result.
    """
    raw = _CODED.sub(lambda found: chr(int(found[1], 16)), written)
    return raw.encode("latin-1").decode("utf-8", "replace")


def channel_at(name: str) -> Channel | None:
    """Return the channel of a key, or None where the name is not that of a channel's key.

    :param name: the name.
    """
    if not name.startswith(CHANNEL):
        return None
    kind, mark, identifier = name.removeprefix(CHANNEL).partition(":")
    return Channel(kind, decoded(identifier)) if mark and identifier else None

"""Sessions: when a user was seen last, and with which request."""

from __future__ import annotations

import re
from datetime import datetime

from msgspec import Struct

from ..core.clock import iso
from ..core.record import JSON, JSONObject
from .rules import Rules

MAX_USER = 200
"""Characters of a user's id as it stands in a key."""

_OTHERS = re.compile(r"[^A-Za-z0-9._:@/+~-]")


class Presence(Struct, frozen=True):
    """A sign of life of one user.

    :param user: the user's id.
    :param at: when.
    :param correlation_id: of the request that it was; None for a sign without one.
    :param active: whether the session goes on.
    """

    user: str
    at: datetime
    correlation_id: str | None = None
    active: bool = True

    def noted_on(self, present: JSON) -> JSONObject:
        """Return the note of a session behind this sign of life; an older sign changes nothing that a newer one said.

        :param present: the note as it is; anything else counts as none.
        """
        note: JSONObject = {"last_request": None, "correlation_id": None, "active": True, "last_heartbeat": None}
        if isinstance(present, dict):
            note |= {name: present[name] for name in note if name in present}
        at = iso(self.at)
        if not _later(at, note["last_heartbeat"]):
            return note
        note |= {"active": self.active, "last_heartbeat": at}
        if self.correlation_id is not None:
            note |= {"last_request": at, "correlation_id": self.correlation_id}
        return note


def _later(at: str, noted: JSON) -> bool:
    # Written alike, the order of the texts is that of the moments.
    return not isinstance(noted, str) or at >= noted


def session_key(rules: Rules, user: str) -> str | None:
    """Return the key of a user's session, or None where the id is too long for one.

    What a key cannot hold is written as in quoted-printable text, ``=`` and two hexadecimal digits for each byte, so
    that no two users share a key.

    :param rules: what its keys begin with.
    :param user: the user's id.
    """
    quoted = _OTHERS.sub(lambda found: "".join(f"={byte:02X}" for byte in found[0].encode("utf-8", "replace")), user)
    if not _segments(quoted):
        quoted = quoted.replace("/", "=2F").replace(".", "=2E")
    return f"{rules.session_prefix}{quoted}" if 0 < len(quoted) <= MAX_USER else None


def _segments(quoted: str) -> bool:
    """Tell whether each part between slashes can stand in a key."""
    return {"", ".", ".."}.isdisjoint(quoted.split("/"))

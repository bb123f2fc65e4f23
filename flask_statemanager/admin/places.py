"""Where a record is looked at, whichever bucket it lies in, and what a change has made of it."""

from __future__ import annotations

from ..core.audits import Deed
from ..core.buckets import FLOWS, RESERVED
from ..core.record import Key
from ..flows.channel import CHANNEL, MEMBER
from ..kv.value import GONE, TYPE
from ..lifecycle.parts import BUCKET
from .visit import Visit
from .wording import words


def place_of(visit: Visit, key: Key) -> str | None:
    """Return the URL of the page of a record, or None where there is none.

    :param visit: the visit.
    :param key: which record.
    """
    if key.bucket == BUCKET:
        return visit.find("state", state_id=key.name)
    if key.bucket == FLOWS and key.name.startswith((CHANNEL, MEMBER)):
        return visit.url("conversation", name=key.name)
    return None if key.bucket in RESERVED else visit.url("key", bucket=key.bucket, key=key.name)


def outcome(deed: Deed) -> str:
    """Return what a change has made of a record's status, in words.

    :param deed: the change.
    """
    if deed.type == TYPE:
        return "removed" if deed.to_status == GONE else ""
    after = words(deed.to_status)
    if deed.from_status in (None, deed.to_status):
        return after
    return f"{words(deed.from_status)} → {after}"

"""Many records at once: the values of a set-based transition."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from .query import Filter
from .record import Origin


class Way(Struct, frozen=True):
    """How the records of one type get away from one status.

    :param type: only records of this type.
    :param source: only those in this status.
    :param target: where they are led.
    :param rules: conditions, all of which must hold.
    :param lapsing: whether a record past its ``expires_at`` counts as expired here, so that it is left alone.
    :param leaving: whether ``expires_at`` is cleared.
    :param deleting: whether a tombstone is left.
    """

    type: str
    source: str
    target: str
    rules: tuple[Filter, ...] = ()
    lapsing: bool = False
    leaving: bool = False
    deleting: bool = False


class Move(Struct, frozen=True):
    """One transition of many records, in which nothing but the status changes.

    It takes the live records among ``names`` that one of the ways fits. Others are left alone.

    :param bucket: the collection.
    :param names: which records, at most some thousands.
    :param ways: no two of them with the same type and source.
    :param event: the transition's name.
    :param origin: who asks.
    :param now: the moment; no record gets an ``updated_at`` before the one that it has.
    """

    bucket: str
    names: tuple[str, ...]
    ways: tuple[Way, ...]
    event: str
    origin: Origin
    now: datetime


class Moved(Struct, frozen=True):
    """One record that a :class:`Move` has moved.

    :param name: the record's name.
    :param source: the status that it was in.
    :param version: its version now.
    :param revision: the revision drawn for the change.
    :param at: the change's moment.
    """

    name: str
    source: str
    version: int
    revision: int
    at: datetime

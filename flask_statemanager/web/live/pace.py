"""How long a stream lives, and how it shows that it does."""

from __future__ import annotations

from msgspec import Struct


class Pace(Struct, frozen=True):
    """In seconds.

    :param heartbeat: after how long a client is told that there was nothing, and how far it has come.
    :param longest: the age at which a stream ends, so that whoever goes on is identified again.
    :param retry: after how long a client should come again.
    """

    heartbeat: float
    longest: float
    retry: float = 2.0

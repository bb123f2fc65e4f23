"""A store's value with all that is known of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct


class StoreEntry(Struct, frozen=True):
    """One store at one version, a copy that may be edited freely.

    :param store_id: what the store is called.
    :param value: what it holds.
    :param version: how often it was written, removals and expiries included; it never starts again.
    :param updated_at: when it was written last.
    :param expires_at: when it is going to be absent, or None.
    """

    store_id: str
    value: Any
    version: int
    updated_at: datetime
    expires_at: datetime | None = None

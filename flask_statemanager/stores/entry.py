"""A store's value with all that is known of it, and a change of it."""

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


class StoreChange(Struct, frozen=True):
    """One change of a store: who did what, and when.

    :param store_id: what the store is called.
    :param event: ``create``, ``set``, ``remove``, ``expire`` or ``restore``.
    :param value: what the store holds behind it; None where that is nothing.
    :param version: the version that it made.
    :param actor: who asked; None for a visitor.
    :param source: the part of the system that asked.
    :param reason: why, if that was said.
    :param at: when.
    """

    store_id: str
    event: str
    value: Any
    version: int
    actor: str | None
    source: str | None
    reason: str | None
    at: datetime

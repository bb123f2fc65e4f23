"""What a transaction may have locked beside records."""

from __future__ import annotations

from collections.abc import Hashable

from msgspec import Struct


class Lock(Struct, frozen=True):
    """Something beside a record that one transaction has and others wait for; a record's lock is its key.

    :param kind: what it is, for people.
    :param name: which one.
    :param scope: what else tells it from others.
    """

    kind: str
    name: Hashable
    scope: Hashable = None

    def __str__(self) -> str:
        return f"The {self.kind} {self.name!r}"

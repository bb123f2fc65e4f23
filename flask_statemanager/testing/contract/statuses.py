"""Records in several statuses, some of them past their expiry, and what a search by status finds of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ...core.query import Lapse
from ..clock import START
from .store import Store

LAPSES = (Lapse("thing", "new", "expired"), Lapse("thing", "paused", "dropped"), Lapse("other", "new", "gone"))
HOUR = timedelta(hours=1)


def fill_statuses(store: Store) -> None:
    """Store records of two types in several statuses, some of them past their expiry.

    :param store: the empty store.
    """
    past, later = START - HOUR, START + HOUR
    store.create("new", owner="me")
    store.create("new_later", expires_at=later, owner="me")
    store.create("new_now", expires_at=START)
    store.create("new_past", expires_at=past, owner="you")
    store.create("paused_past", status="paused", expires_at=past)
    store.create("active_past", status="active", expires_at=past)
    store.create("expired_past", status="expired", expires_at=past)
    store.create("other_past", type="other", expires_at=past, owner="me")
    store.create("third_past", type="third", expires_at=past)
    store.create("deleted_past", expires_at=past, owner="me")
    store.delete("deleted_past")


STATUS_CASES: list[tuple[dict[str, Any], str]] = [
    ({}, "new new_later new_now new_past paused_past active_past expired_past other_past third_past"),
    ({"type": "thing"}, "new new_later new_now new_past paused_past active_past expired_past"),
    ({"type": "nothing"}, ""),
    ({"statuses": ("new",)}, "new new_later third_past"),
    ({"statuses": ("expired",)}, "new_now new_past expired_past"),
    ({"statuses": ("dropped",)}, "paused_past"),
    ({"statuses": ("paused",)}, ""),
    ({"statuses": ("active",)}, "active_past"),
    ({"statuses": ("gone",)}, "other_past"),
    ({"statuses": ("deleted",)}, ""),
    ({"statuses": ("new", "gone")}, "new new_later third_past other_past"),
    ({"statuses": ()}, ""),
    ({"type": "thing", "statuses": ("new",)}, "new new_later"),
    ({"type": "other", "statuses": ("new",)}, ""),
    ({"type": "other", "statuses": ("gone",)}, "other_past"),
    ({"type": "thing", "statuses": ("gone",)}, ""),
    ({"owner": "me"}, "new new_later other_past"),
    ({"owner": "ME"}, ""),
    ({"prefix": "new_", "statuses": ("expired",)}, "new_now new_past"),
    ({"owner": "me", "statuses": ("new",)}, "new new_later"),
]
"""Fields of a query with the lapse rules above, and the names that it finds."""


def fill_mixed(store: Store) -> None:
    """Store records that have expired among such as are past their expiry, with ties in moments and versions.

    :param store: the empty store.
    """
    past, later = START - HOUR, START + HOUR
    for number, (name, status, expires_at) in enumerate(
        [
            ("p2", "new", past),
            ("e1", "expired", past),
            ("n1", "new", None),
            ("p1", "new", START),
            ("e2", "expired", None),
            ("d1", "paused", past),
            ("n2", "new", later),
            ("p3", "new", past),
        ]
    ):
        made = START + timedelta(microseconds=number % 3)
        store.create(name, status=status, expires_at=expires_at, created_at=made, updated_at=made)
    store.create("o1", type="other", expires_at=past)
    store.create("o2", type="other", status="expired", expires_at=past)
    store.create("gone", expires_at=past)
    store.delete("gone")


MIXED_CASES: list[tuple[dict[str, Any], str]] = [
    ({"statuses": ("expired",)}, "e1 e2 p1 p2 p3 o2"),
    ({"statuses": ("new",)}, "n1 n2"),
    ({"statuses": ("new", "expired")}, "e1 e2 p1 p2 p3 n1 n2 o2"),
    ({"statuses": ("dropped", "gone")}, "d1 o1"),
    ({"type": "thing", "statuses": ("expired",)}, "e1 e2 p1 p2 p3"),
    ({"type": "thing", "statuses": ("expired", "dropped")}, "e1 e2 p1 p2 p3 d1"),
    ({"type": "thing", "statuses": ("new",)}, "n1 n2"),
    ({"type": "other", "statuses": ("gone", "expired")}, "o1 o2"),
    ({"prefix": "p", "statuses": ("expired",)}, "p1 p2 p3"),
]
"""Fields of a query with the lapse rules above, and the names that it finds of the mixed records."""

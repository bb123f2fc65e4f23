"""Who is a part of a gradual move from the browser to the server: the same users each time, more with each percent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

OTHERS = "*"
"""Stands for all stores that are not named."""

_STEPS = 2**32


def percentage(rollout: Mapping[str, float], store_id: str) -> float | None:
    """Return for how many percent of the users the server keeps a store; None where it is for all, and nothing moves.

    :param rollout: the percentages by store.
    :param store_id: the store.
    """
    return rollout.get(store_id, rollout.get(OTHERS))


def included(rollout: Mapping[str, float], store_id: str, owner: str | None) -> bool:
    """Tell whether the server keeps a store for a user.

    :param rollout: the percentages by store.
    :param store_id: the store.
    :param owner: the user; None for everybody, who are all included or none.
    """
    share = percentage(rollout, store_id)
    if share is None:
        return True
    digest = hashlib.sha256(f"{store_id}\0{owner or ''}".encode()).digest()
    return int.from_bytes(digest[:4], "big") < share / 100 * _STEPS

"""Feature flags: a state each, with the share of users that has the feature."""

from __future__ import annotations

import hashlib

from flask_statemanager import State, StateType

from .extensions import state_manager

FEATURES = {
    "bonus_credits": ("Ten percent more credits with every purchase", 30),
    "yearly_plans": ("Subscriptions can be paid by the year", 100),
    "dark_receipts": ("Receipts in the new design", 5),
    "gift_cards": ("Credits can be given to somebody else", 0),
}
"""Key, description and first rollout of each feature."""


def feature_id(key: str) -> str:
    """Return the state id of a feature.

    :param key: the feature.
    """
    return f"feature_{key}"


def is_enabled(key: str, user_id: str) -> bool:
    """Tell whether a user has a feature: it is active, and the user falls into its share.

    The same user stays in while the share grows, because the place of each is computed from feature and user alone.

    :param key: the feature.
    :param user_id: the user.
    :raises StorageError: when the storage fails.
    """
    feature = state_manager.get_state(feature_id(key))
    if feature is None or feature.status != "active":
        return False
    place = int.from_bytes(hashlib.sha256(f"{key}:{user_id}".encode()).digest()[:4], "big") % 100
    return place < int(feature.data["rollout"])


def register(key: str, description: str, rollout: int, *, actor: str | None = None) -> State:
    """Declare a feature, not yet active.

    :param key: its name.
    :param description: what it does.
    :param rollout: the share of users, in percent.
    :param actor: who asks; the logged-in user by default.
    :raises StateManagerError: when it cannot be written.
    """
    data = {"key": key, "description": description, "rollout": rollout}
    return state_manager.register_state(
        feature_id(key), StateType.FEATURE, {"name": key, "data": data}, if_exists="ignore", actor=actor
    )


def set_rollout(
    state_id: str, rollout: int, *, expect: int | None = None, reason: str | None = None, actor: str | None = None
) -> State:
    """Change the share of users that has a feature.

    :param state_id: the feature.
    :param rollout: the share, in percent.
    :param expect: the version that must be stored.
    :param reason: why, for the history.
    :param actor: who asks; the logged-in user by default.
    :raises StateManagerError: when it cannot be written.
    """
    return state_manager.update_state(state_id, {"rollout": rollout}, expect=expect, reason=reason, actor=actor)

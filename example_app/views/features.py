"""Feature flags: the list with switches, and the page of one."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for

from flask_statemanager import StateType, StateValidationError

from ..access import admin_required
from ..extensions import state_manager
from ..features import set_rollout
from .listing import whole
from .states import state_page

blueprint = Blueprint("features", __name__, url_prefix="/features")


@blueprint.get("/")
@admin_required
def index() -> Any:
    """List the features."""
    features = list(state_manager.get_states_by_type(StateType.FEATURE))
    ways = {feature.state_id: state_manager.allowed_transitions(feature.state_id) for feature in features}
    return render_template("features.html", features=features, ways=ways)


@blueprint.get("/<state_id>")
@admin_required
def show(state_id: str) -> Any:
    """Show a feature.

    :param state_id: the feature.
    """
    return state_page(state_id, StateType.FEATURE.value, "feature.html")


@blueprint.post("/<state_id>/rollout")
@admin_required
def rollout(state_id: str) -> Any:
    """Change the share of users that has a feature.

    :param state_id: the feature.
    :raises StateManagerError: when it is not acceptable, or the page is old.
    """
    share, seen = whole(request.form.get("rollout"), "rollout"), whole(request.form.get("expect"), "expect")
    if share is None or seen is None:
        raise StateValidationError({"rollout": ["Say which share, and of which version."]})
    done = set_rollout(state_id, share, expect=seen, reason=request.form.get("reason") or None)
    flash(f"{done.name} is rolled out to {share} percent.", "good")
    return redirect(url_for("features.show", state_id=state_id))

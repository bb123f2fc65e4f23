"""Mails: which were sent, by which effect, and what became of the effects that have not ended well yet."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, url_for

from .. import mails
from ..access import admin_required
from ..extensions import state_manager

blueprint = Blueprint("mails", __name__, url_prefix="/mails")


@blueprint.get("/")
@admin_required
def index() -> Any:
    """List the newest mails, and the effects that wait or are dead."""
    return render_template(
        "mails.html",
        mails=mails.newest(),
        unfinished=state_manager.list_effects(status=["pending", "dead"]),
        health=state_manager.get_health_status(),
    )


@blueprint.post("/effects/<int:effect_id>/retry")
@admin_required
def retry(effect_id: int) -> Any:
    """Let an effect be tried again now.

    :param effect_id: the effect.
    """
    effect = state_manager.retry_effect(effect_id)
    flash(f"{effect.key} is tried again.", "note")
    return redirect(url_for("mails.index"))


@blueprint.post("/effects/<int:effect_id>/discard")
@admin_required
def discard(effect_id: int) -> Any:
    """Give an effect up.

    :param effect_id: the effect.
    """
    effect = state_manager.discard_effect(effect_id)
    flash(f"{effect.key} is given up.", "note")
    return redirect(url_for("mails.index"))

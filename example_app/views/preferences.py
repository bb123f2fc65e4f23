"""Preferences: what each user chooses for himself."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from .. import preferences
from ..access import login_required

blueprint = Blueprint("preferences", __name__, url_prefix="/preferences")


@blueprint.get("/")
@login_required
def show() -> Any:
    """Show the form."""
    return render_template(
        "preferences.html",
        chosen=preferences.of(g.account.state_id),
        themes=preferences.THEMES,
        languages=preferences.LANGUAGES,
    )


@blueprint.post("/")
@login_required
def save() -> Any:
    """Keep what was chosen.

    :raises StateValidationError: when there is no such choice.
    """
    form = request.form
    changes = {"theme": form.get("theme"), "language": form.get("language"), "notices": "notices" in form}
    preferences.change(g.account.state_id, changes)
    flash("Your preferences are saved.", "good")
    return redirect(url_for("preferences.show"))

"""Keys and values: the switches to throw, how much there is, and what has changed."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from flask_statemanager import StateValidationError

from .. import counters, reports, switches
from ..access import admin_required
from ..extensions import state_manager
from .listing import whole

blueprint = Blueprint("keys", __name__, url_prefix="/keys")


@blueprint.get("/")
@admin_required
def index() -> Any:
    """Show switches, statistics and the newest changes."""
    return render_template(
        "keys.html",
        switches=switches.switches(),
        about=switches.SWITCHES,
        stats={"kv": state_manager.kv.stats(), counters.BUCKET: state_manager.bucket(counters.BUCKET).kv.stats()},
        changes=switches.newest_changes(),
        report=reports.latest(),
    )


@blueprint.post("/report")
@admin_required
def report() -> Any:
    """Make the report.

    :raises StateConflict: when somebody else is about it.
    """
    reports.make()
    flash("The report is made.", "good")
    return redirect(url_for("keys.index"))


@blueprint.post("/switches/<name>")
@admin_required
def throw(name: str) -> Any:
    """Throw a switch, if it is still as the page showed it.

    :param name: the switch.
    :raises StateManagerError: when it is not possible, or the page is old.
    """
    seen, to = whole(request.form.get("expect"), "expect"), request.form.get("to")
    if seen is None or to not in ("on", "off"):
        raise StateValidationError({"to": ["Say on or off, and of which version."]})
    reason = request.form.get("reason", "").strip() or None
    switches.throw(name, to == "on", expect=seen, by=g.account.login, reason=reason)
    flash(f"{switches.SWITCHES[name][0]} {'are' if name == 'sales' else 'is'} {to}.", "good")
    return redirect(url_for("keys.index"))

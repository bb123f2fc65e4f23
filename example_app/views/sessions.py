"""Login sessions: who is logged in, since when, until when; operators can end a session."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template

from flask_statemanager import StateType

from ..access import admin_required, login_required
from .listing import listing
from .states import state_page

blueprint = Blueprint("sessions", __name__, url_prefix="/sessions")


@blueprint.get("/")
@admin_required
def index() -> Any:
    """List sessions, newest first."""
    return render_template("sessions.html", found=listing(StateType.SESSION.value, filters={"user": "data.user_id"}))


@blueprint.get("/<state_id>")
@login_required
def show(state_id: str) -> Any:
    """Show a session.

    :param state_id: the session.
    """
    return state_page(state_id, StateType.SESSION.value)

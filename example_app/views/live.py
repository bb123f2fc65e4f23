"""What changes, as it changes: an event stream that the page listens to."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, g, render_template, request, url_for

from ..access import login_required
from ..live import API

blueprint = Blueprint("live", __name__, url_prefix="/live")


@blueprint.get("/")
@login_required
def index() -> Any:
    """Show the changes of states, and those of keys where they are asked for."""
    keys = g.account.is_admin and request.args.get("keys") == "1"
    stream = url_for(f"{API}.stream_events", bucket="state,kv" if keys else "state")
    return render_template("live.html", stream=stream, keys=keys)

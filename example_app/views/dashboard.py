"""The operator's first page: how many states of which status, what happened last, whether all is well."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app, g, redirect, render_template, url_for
from sqlalchemy import func, select

from ..access import login_required
from ..counters import visits
from ..events import TOLD
from ..extensions import db, state_manager
from ..machines import MACHINES
from ..models import Account

blueprint = Blueprint("dashboard", __name__)


@blueprint.get("/")
@login_required
def home() -> Any:
    """Show the dashboard to operators, and users their own page."""
    if not g.account.is_admin:
        return redirect(url_for("users.show", state_id=g.account.state_id))
    accounts, credits_held = db.session.execute(select(func.count(), func.sum(Account.balance))).one()
    return render_template(
        "dashboard.html",
        counts=counts(),
        changes=state_manager.get_recent_changes(limit=15),
        health=state_manager.get_health_status(),
        told=current_app.extensions[TOLD],
        accounts=accounts,
        credits_held=credits_held or 0,
        visits=visits(),
    )


def counts() -> dict[str, dict[str, int]]:
    """Count the states of each type by status.

    :raises StorageError: when the storage fails.
    """
    return {
        kind: {status: state_manager.search_states(kind, status=status).count() for status in machine.statuses}
        for kind, machine in MACHINES.items()
    }

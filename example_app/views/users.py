"""Users: the list, and the page of one."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template
from sqlalchemy import select

from flask_statemanager import StateType

from .. import mails
from ..access import admin_required, login_required
from ..accounts import account_of
from ..extensions import db, state_manager
from ..machines import PURCHASE
from ..models import LedgerEntry, Notice
from .listing import listing
from .states import state_page

blueprint = Blueprint("users", __name__, url_prefix="/users")

FILTERS = {"email": "data.email__contains", "name": "data.display_name__contains", "country": "data.country"}


@blueprint.get("/")
@admin_required
def index() -> Any:
    """List users, newest first."""
    return render_template("users.html", found=listing(StateType.USER.value, filters=FILTERS))


@blueprint.get("/<state_id>")
@login_required
def show(state_id: str) -> Any:
    """Show a user with everything that is theirs.

    :param state_id: the user.
    """
    account = account_of(state_id)
    if account is None:
        return state_page(state_id, StateType.USER.value)
    entries = select(LedgerEntry).where(LedgerEntry.account_id == account.id).order_by(LedgerEntry.id.desc())
    notices = select(Notice).where(Notice.user_id == state_id).order_by(Notice.created_at.desc())
    return state_page(
        state_id,
        StateType.USER.value,
        "user.html",
        account=account,
        entries=db.session.scalars(entries.limit(12)).all(),
        mails=mails.newest(state_id, 5),
        notices=db.session.scalars(notices.limit(5)).all(),
        purchases=state_manager.search_states(PURCHASE, owner=state_id, order_by="-created_at")[:5],
        subscriptions=state_manager.search_states(StateType.SUBSCRIPTION, owner=state_id, order_by="-created_at")[:5],
        sessions=state_manager.search_states(StateType.SESSION, owner=state_id, status="active")[:5],
    )

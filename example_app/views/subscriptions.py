"""Subscriptions: the list, the page of one, and the form to subscribe."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for

from flask_statemanager import StateType

from ..access import login_required
from ..extensions import unit_of_work
from ..features import is_enabled
from ..subscriptions import CYCLES, PLANS, subscribe
from .listing import listing
from .states import state_page

blueprint = Blueprint("subscriptions", __name__, url_prefix="/subscriptions")

FILTERS = {"plan": "data.plan", "cycle": "data.cycle"}


@blueprint.get("/")
@login_required
def index() -> Any:
    """List subscriptions, newest first: all for operators, their own for users."""
    owner = None if g.account.is_admin else g.account.state_id
    found = listing(StateType.SUBSCRIPTION.value, filters=FILTERS, owner=owner)
    return render_template("subscriptions.html", found=found, plans=PLANS, cycles=_cycles())


@blueprint.get("/<state_id>")
@login_required
def show(state_id: str) -> Any:
    """Show a subscription.

    :param state_id: the subscription.
    """
    return state_page(state_id, StateType.SUBSCRIPTION.value)


@blueprint.post("/")
@login_required
def create() -> Any:
    """Subscribe."""
    plan, cycle = request.form.get("plan", ""), request.form.get("cycle", "")
    if g.user.status != "active":
        abort(409, "Verify your e-mail address first.")
    if cycle not in _cycles():
        abort(422, "Choose a cycle.")
    with unit_of_work():
        done = subscribe(g.account, plan, cycle, trial="trial" in request.form)
    flash(f"The subscription {done.name} is {done.status}.", "good")
    return redirect(url_for("subscriptions.show", state_id=done.state_id))


def _cycles() -> list[str]:
    yearly = is_enabled("yearly_plans", g.account.state_id)
    return [cycle for cycle in CYCLES if yearly or cycle != "yearly"]
